//! From a plan to an installed driver: stages a bundle, removes another driver that is in the way, and installs the
//! bundle. The cache may hold several bundles for one target, resolved against different sets of installed packages. A
//! bundle that is incomplete for this root changes nothing, and the next is tried.

use super::step::{Declared, Steps};
use super::{Job, previous_run, rollback};
use crate::amounts::{count, size};
use crate::cache::remote::is_remote;
use crate::cache::{Bundle, Cache};
use crate::configure;
use crate::drivers::{self, InstallOptions};
use crate::events::Step;
use crate::facts::Facts;
use crate::host::Host;
use crate::install::{self, Installed};
use crate::ledger::{Journal, Receipt};
use crate::outcome::Reason;
use crate::plan_document::Plan;
use crate::stage::{self, Against, Opened, Proven, first_use};
use crate::target::Mode;
use crate::trust::Trust;
use anyhow::Result;
use std::collections::VecDeque;
use std::path::Path;

/// Stages and installs. Returns the bundle, including modules that were compiled, and the installed packages.
pub(super) fn install_from_cache<'h>(
    job: &Job<'h>,
    steps: &mut Steps<'_, 'h>,
    facts: &Facts,
    plan: &Plan,
    earlier: Option<&Receipt>,
) -> Result<(Bundle, Installed)> {
    let mut staging = Staging { job, facts, plan, earlier, found: None };
    let mut way_is_clear = false;
    loop {
        let (bundle, proven) = steps.change(Declared {
            name: Step::Stage,
            act: |journal: &mut Journal| {
                // Noted before anything is installed, so that this run removes only leftovers of its own.
                journal.note_leftovers(configure::leftovers(job.host))?;
                staging.next_bundle()
            },
            say: |(bundle, _): &(Bundle, Proven)| {
                let (files, bytes) = (count(bundle.files.len(), "file"), size(bundle.size_in_all));
                format!("bundle {}: {files}, {bytes}, verified", bundle.tag)
            },
        })?;
        // Whether the file's packages are signed is found out while they are installed; nothing else of the file is
        // run before.
        if !first_use::may_be_signed(plan, job.settings)? {
            say_trust(steps, plan, &bundle, None);
        }
        let (opened, has_more) = staging.opened()?;
        let installed = steps.change(Declared {
            name: Step::Install,
            act: |journal: &mut Journal| {
                let options = InstallOptions::new(job.settings, job.mode);
                drivers::require_signing_key(job.host, plan, &bundle, options)?;
                drivers::require_build_place(job.host, plan)?;
                stage::manager_of(plan)?.require_sound_records(&job.host.root)?;
                install::require_room(job.host, stage::manager_of(plan)?, (&proven.cache, &bundle), plan)?;
                if !way_is_clear {
                    // The other driver is removed only when a verified bundle to replace it is at hand.
                    previous_run::remove_other_driver(job, journal, plan, earlier)?;
                    way_is_clear = true;
                }
                install(job, journal, (&proven.cache, &bundle), plan)
            },
            say: |installed: &Installed| {
                format!("{} installed or upgraded", count(installed.changed, "package"))
            },
        });
        match installed {
            Ok(mut installed) => {
                if installed.trust.is_some() {
                    say_trust(steps, plan, &bundle, installed.trust);
                }
                let built = std::mem::take(&mut installed.built);
                return Ok((stage::add_built(job.host, opened, bundle, built), installed));
            }
            Err(error) if Reason::from_error(&error) == Reason::CacheMissing => {
                let what = format!("bundle {} is incomplete for this root: {error:#}", bundle.tag);
                job.host.events.warn(what);
                if !has_more {
                    return Err(error);
                }
            }
            Err(error) => {
                if rollback::is_due(plan, &error) {
                    let out = steps.change(Declared {
                        name: Step::Install,
                        act: |journal: &mut Journal| rollback::take_out(job, journal, plan),
                        say: String::clone,
                    });
                    let failed = |failed| {
                        format!("the packages that were installed with it could not be removed: {failed:#}")
                    };
                    steps.warn("rollback", &out.unwrap_or_else(failed));
                }
                return Err(error);
            }
        }
    }
}

/// Warns that nobody published a digest of the vendor's file, so that the first download alone vouches for it.
fn say_trust(steps: &mut Steps, plan: &Plan, bundle: &Bundle, found: Option<Trust>) {
    let file = first_use::vendor_file(plan, bundle, found);
    if let Some(warning) = file.and_then(|file| first_use::warning(plan, &file)) {
        steps.warn("trust", &warning);
    }
}

/// The suitable bundles that were not tried yet.
struct Staging<'a, 'h> {
    job: &'a Job<'h>,
    facts: &'a Facts,
    plan: &'a Plan,
    earlier: Option<&'a Receipt>,
    found: Option<(Opened, VecDeque<Bundle>)>,
}

impl<'h> Staging<'_, 'h> {
    /// The next bundle to try, with every file verified, and the cache to install it from.
    fn next_bundle(&mut self) -> Result<(Bundle, Proven<'h>)> {
        let Self { job, plan, earlier, .. } = *self;
        let (opened, untried) = if let Some(found) = &mut self.found {
            found
        } else {
            if job.mode == Mode::Live {
                stage::wait_turn(job.host, job.settings, &machine_name(job.host, self.facts))?;
            }
            self.found.insert(find_bundles(job, plan)?)
        };
        let mut refused = None;
        while let Some(bundle) = untried.pop_front() {
            let proven = previous_run::require_not_older(job, earlier, plan, &bundle)
                .and_then(|()| stage::hash_blobs(job.host, opened, &bundle, job.settings));
            match proven {
                // Anybody may put a newer one beside the one that is signed, or bring back an older one.
                Err(error) if Reason::from_error(&error) == Reason::Untrusted => {
                    job.host.events.warn(format!("bundle {} is not used: {error:#}", bundle.tag));
                    refused = Some(error);
                }
                proven => return Ok((bundle, proven?)),
            }
        }
        let none = || Reason::CacheMissing.error("the cache holds no bundle for this target");
        Err(refused.unwrap_or_else(none))
    }

    /// The cache, and whether it has more bundles to try.
    fn opened(&self) -> Result<(&Opened, bool)> {
        let none = || Reason::CacheMissing.error("no cache was opened");
        self.found.as_ref().map(|(opened, untried)| (opened, !untried.is_empty())).ok_or_else(none)
    }
}

/// The bundles to try. With a network, an empty cache is filled first.
fn find_bundles(job: &Job, plan: &Plan) -> Result<(Opened, VecDeque<Bundle>)> {
    let (host, settings) = (job.host, job.settings);
    let find = || {
        let opened = stage::open(host, settings)?;
        let installed = stage::manager_of(plan)?.installed(host)?;
        let bundles = stage::candidates(&opened, plan, &installed, Some(&host.root))?;
        Ok((opened, bundles.into()))
    };
    match find() {
        Err(error)
            if !settings.offline
                && !is_remote(&settings.cache)
                && Reason::from_error(&error) == Reason::CacheMissing =>
        {
            host.events.info("the cache does not serve this target yet; filling it");
            let base = stage::base_of(plan, &host.root);
            let against = Against { sources: &host.root, base, is_root: true };
            stage::fill(host, Path::new(&settings.cache), plan, &against, settings)?;
            find()
        }
        found => found,
    }
}

/// Installs a bundle's packages and drivers.
fn install(job: &Job, journal: &mut Journal, from: (&Cache, &Bundle), plan: &Plan) -> Result<Installed> {
    if plan.present.is_none() {
        for (path, lines) in drivers::ops(plan.driver).adds_lines() {
            journal.expect_lines(path, lines)?;
        }
    }
    let options = InstallOptions::new(job.settings, job.mode);
    install::install(job.host, journal, stage::manager_of(plan)?, from, plan, options)
}

/// What tells this machine from other VMs: its VM id, else its host name.
fn machine_name(host: &Host, facts: &Facts) -> String {
    let own = || host.root.attribute("/etc/machine-id").or_else(|| host.root.attribute("/etc/hostname"));
    facts.compute.vm_id.clone().or_else(own).unwrap_or_default()
}
