//! The order of things in a build: who is there, what it needs, bringing it, baking, keeping the records, clean-up.

use super::bake::{bake, outcome};
use super::guest::{As, Attempt, Guest, Machine};
use super::protocol::{Broker, Caller};
use super::root_access;
use super::shell::quoted_words;
use super::ui::Ui;
use super::upload::{self, Folder};
use super::wanted::Wanted;
use super::{collect, staging};
use crate::cache::Bundle;
use crate::config;
use crate::events::Step;
use crate::facts::Facts;
use crate::host::Host;
use crate::host::cancel::Cancel;
use crate::ledger::RECEIPT;
use crate::outcome::{Outcome, Reason, WithReason};
use crate::packages::Installed;
use crate::plan_document::Plan;
use crate::remedies::{Door, Situation};
use crate::settings::Settings;
use crate::stage;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Settings that are about the build host's side, or say where things lie there.
const NOT_FOR_THE_GUEST: [&str; 9] =
    ["cache", "offline", "catalog", "mirrors", "retries", "stall_timeout", "proxy", "ca_file", "kernels"];
/// What ends the build's traces on a guest that nobody looks after any more.
const KEEP: &str = include_str!("watchdog.sh");
/// How long cleaning up may take: a bake that is stopped ends its transaction.
const CLEANING: Duration = Duration::from_secs(90);

/// Provisions the guest behind the host's communicator. Says all there is to say on the way.
pub(super) fn provision(
    caller: &Caller,
    broker: &Arc<Broker>,
    cancel: Cancel,
    ui: &Ui,
    wanted: &Wanted,
) -> Outcome {
    // Nothing is done to a guest when its records could not be kept.
    let records = wanted.output_directory.as_deref().map_or(Ok(()), collect::prepare);
    let met = records.and_then(|()| Guest::meet(caller, broker, cancel, ui, wanted));
    let ended = met.and_then(|(guest, machine)| {
        let folder = Folder::make(&guest)?;
        let ended = root_access::require(&guest, &folder)
            .and_then(|()| upload::text(&guest, KEEP, &folder.at("watchdog.sh")))
            .and_then(|()| kept(&guest, &folder, || in_folder(&guest, &machine, &folder)));
        clean_up(guest, &folder);
        ended
    });
    let outcome = ended.unwrap_or_else(|error| Situation::at(Door::Packer).outcome(&error));
    ui.machine("ofed", &[outcome.reason.token(), &outcome.exit_code().number().to_string()]);
    outcome
}

/// Does the work while the watchdog file on the guest is renewed, so that a bake ends when the build is gone.
fn kept<T>(guest: &Guest, folder: &Folder, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let lease = guest.wanted.reconnect_timeout.max(Duration::from_secs(1));
    // The watchdog notes its process id first, so that it can be ended at any time.
    let script = format!(
        "setsid sh {} {} {} </dev/null >/dev/null 2>&1 &
        patience=100
        while [ ! -e {} ] && [ $patience -gt 0 ]; do sleep 0.1; patience=$((patience - 1)); done",
        folder.word("watchdog.sh"),
        folder.path(),
        lease.as_secs(),
        folder.word("watchdog")
    );
    guest.must(As::Root, &script, "watching over the guest")?;
    let renew = format!("touch {}", folder.word("lease"));
    std::thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        scope.spawn(move || {
            while is_done.recv_timeout(lease / 4) == Err(RecvTimeoutError::Timeout) {
                // A lost connection is reported by the work itself, so it is ignored here.
                let _ = guest.attempt(As::User, &renew, &mut |_| {});
            }
        });
        let worked = work();
        drop(done);
        worked
    })
}

/// Stops what runs and removes the folder, also when the build was cancelled.
fn clean_up(mut guest: Guest, folder: &Folder) {
    guest.cancel = Cancel::never().within(CLEANING);
    let script = format!("sh {} {} 0; rm -rf {1}", folder.word("watchdog.sh"), folder.path());
    let by_root = guest.attempt(As::Root, &script, &mut |_| {});
    if let Err(error) = &by_root
        && Reason::from_error(error) == Reason::NotRoot
    {
        let _ = guest.attempt(As::User, &format!("rm -rf {}", folder.path()), &mut |_| {});
    } else if !matches!(by_root, Ok(Attempt::Ended(_))) {
        let lease = guest.wanted.reconnect_timeout.as_secs();
        guest.ui.say(&format!("ofed: the guest is away; it cleans up by itself within {lease} s"));
    }
}

fn in_folder(guest: &Guest, machine: &Machine, folder: &Folder) -> Result<Outcome> {
    let host = Host::open(Path::new("/"), guest.ui.events(), guest.cancel.clone())?;
    host.events.enter(Step::Plan);
    let layer = guest.wanted.layer().map_err(|what| Reason::BadSettings.error(what))?;
    let settings = config::load(Some(&host.root), layer)?;
    upload::program(guest, folder, &machine.arch)?;
    if let Some(catalog) = &settings.catalog {
        let text = crate::host::read_here(Path::new(catalog))?;
        upload::text(guest, &text, &folder.at("catalog.yaml"))?;
    }
    let kernels = kernels(guest, machine, folder)?;
    let asked = arguments(guest, folder, &settings, &kernels)?;
    let (plan, size) = plan(guest, folder, &asked)?;
    guest.ui.say(&format!(
        "ofed: {} for {}: {}",
        plan.driver_name(),
        plan.target.distro,
        plan.why.join("; ")
    ));

    let mut bake_arguments = words(&["bake", "--root", "/", "--json", "--door", "packer"]);
    bake_arguments.extend(words(&["--cache", &folder.at("cache")]));
    if guest.wanted.settings.get("offline") != Some(&Value::Bool(false)) {
        bake_arguments.push("--offline".to_owned());
    }
    bake_arguments.extend(asked);
    bake_arguments.extend(size);
    let baked = bake_from_cache(&host, guest, folder, (&plan, &settings), &bake_arguments);
    if let Some(into) = &guest.wanted.output_directory {
        let kept = collect::collect(guest, folder, into);
        // A failure of the bake itself is reported before one of fetching the records.
        if baked.as_ref().is_ok_and(Outcome::is_success) {
            kept?;
        }
    }
    let baked = baked?;
    if baked.is_success() && guest.wanted.generalize {
        generalize(guest, folder)?;
    }
    Ok(baked)
}

/// The kernels to have modules for. An image boots its newest kernel, whichever the machine that makes it runs.
fn kernels(guest: &Guest, machine: &Machine, folder: &Folder) -> Result<Vec<String>> {
    let named = guest.wanted.kernels();
    if !named.is_empty() {
        return Ok(named);
    }
    let facts: Facts = query_guest(guest, folder, &words(&["detect", "--json"]))?;
    let Some(newest) = facts.os.kernels.last() else { return Ok(Vec::new()) };
    if *newest != machine.kernel {
        guest.ui.say(&format!(
            "ofed: the guest runs the kernel {} and will boot {newest}: the modules are for {newest}",
            machine.kernel
        ));
    }
    Ok(vec![newest.clone()])
}

/// What `plan` and `bake` are told on the guest, except the VM size where there are several. A value is in one word with
/// its option: by itself, one with a hyphen before it would be an option.
fn arguments(guest: &Guest, folder: &Folder, settings: &Settings, kernels: &[String]) -> Result<Vec<String>> {
    let set = |key: &str, value: &Value| words(&["--set", &format!("{key}={value}")]);
    let given = guest.wanted.settings.iter().filter(|(key, _)| !NOT_FOR_THE_GUEST.contains(&key.as_str()));
    let mut arguments: Vec<String> = given.flat_map(|(key, value)| set(key, value)).collect();
    arguments.extend(kernels.iter().map(|kernel| format!("--kernel={kernel}")));
    if settings.catalog.is_some() {
        arguments.extend(set("catalog", &json!(folder.at("catalog.yaml"))));
        // The login user owns the folder of this run, and this very program in it.
        let user = guest.must(As::User, "id -u", "asking who the login user is")?;
        arguments.extend(set("trusted_owner", &json!(user.trim())));
    }
    Ok(arguments)
}

/// The one plan that serves all VM sizes the image is for, and the argument that names one of them.
fn plan(guest: &Guest, folder: &Folder, asked: &[String]) -> Result<(Plan, Vec<String>)> {
    let for_size = |size: &[String]| -> Result<Plan> {
        let arguments = [words(&["plan", "--root", "/", "--json"]), asked.to_vec(), size.to_vec()].concat();
        query_guest(guest, folder, &arguments)
    };
    let named = |size: &String| vec![format!("--vm-size={size}")];
    let Some((first, others)) = guest.wanted.vm_sizes.split_first() else {
        return Ok((for_size(&[])?, vec![]));
    };
    let plan = for_size(&named(first))?;
    for other in others {
        let theirs = for_size(&named(other))?;
        if !plan.does_the_same(&theirs) {
            return Err(Reason::BadSettings.error(format!(
                "`vm_sizes`: {first} needs {} with {}, and {other} needs {} with {}: bake an image for each",
                plan.driver_name(),
                plan.modules.join(", "),
                theirs.driver_name(),
                theirs.modules.join(", ")
            )));
        }
    }
    Ok((plan, named(first)))
}

/// Asks the program on the guest something, whose answer is JSON.
fn query_guest<T: serde::de::DeserializeOwned>(
    guest: &Guest,
    folder: &Folder,
    arguments: &[String],
) -> Result<T> {
    let ran =
        guest.run(As::Root, &format!("{} --quiet {}", folder.word("ofedctl"), quoted_words(arguments)))?;
    if ran.code != 0 {
        let complaint = ran.complaint.trim().to_owned();
        let said = outcome(&ran.out).unwrap_or_else(|| Outcome::new(Reason::GuestFailed, complaint));
        return Err(said.reason.error(said.message));
    }
    let what = || format!("`ofedctl {}` in the guest gave an answer of another form", arguments.join(" "));
    serde_json::from_str(&ran.out).with_reason(Reason::GuestFailed, what)
}

/// Bakes from the bundles of the cache until one is complete for this guest. Stages one when there is none, and the
/// template allows it.
fn bake_from_cache(
    host: &Host,
    guest: &Guest,
    folder: &Folder,
    (plan, settings): (&Plan, &Settings),
    arguments: &[String],
) -> Result<Outcome> {
    if !plan.installs() {
        return bake(guest, folder, 0, arguments);
    }
    if let Some(in_place) = without_cache(guest, folder, arguments)? {
        return Ok(in_place);
    }
    let mut may_stage = guest.wanted.stage;
    let mut tried: Vec<Bundle> = Vec::new();
    loop {
        // The installed packages are compared on the guest.
        let found = stage::open(host, settings).and_then(|opened| {
            let bundles = stage::candidates(&opened, plan, &Installed::default(), None)?;
            Ok((opened, bundles))
        });
        let (incomplete, untried) = match found {
            Ok((opened, bundles)) => {
                let mut incomplete = None;
                for bundle in bundles {
                    if tried.iter().any(|tried| tried.digest == bundle.digest) {
                        continue;
                    }
                    upload::bundle(host, guest, folder, &opened.cache, &bundle)?;
                    let baked = bake(guest, folder, tried.len(), arguments)?;
                    tried.push(bundle);
                    if baked.reason != Reason::CacheMissing {
                        return Ok(baked);
                    }
                    incomplete = Some(baked);
                }
                (incomplete, None)
            }
            Err(error) if plan.present.is_some() || Reason::from_error(&error) == Reason::CacheMissing => {
                (None, Some(error))
            }
            Err(error) => return Err(error),
        };
        if may_stage {
            may_stage = false;
            host.events.enter(Step::Stage);
            match staging::fill(host, guest, folder, plan, settings) {
                Ok(()) => continue,
                Err(error) if plan.present.is_some() => guest.ui.say(&format!("ofed: {error:#}")),
                Err(error) => return Err(error),
            }
        }
        return match (incomplete, untried) {
            (Some(baked), _) => Ok(baked),
            // The driver is there, and what the VM agent lacks is no reason to fail.
            (None, Some(_)) if plan.present.is_some() => {
                guest.cancel.check()?;
                bake(guest, folder, tried.len(), arguments)
            }
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(Reason::CacheMissing.error("no bundle of the cache is complete for this guest"))
            }
        };
    }
}

/// How a bake ends that has no cache, where that is well: nothing of it is needed on a guest that was baked before.
fn without_cache(guest: &Guest, folder: &Folder, arguments: &[String]) -> Result<Option<Outcome>> {
    let offline = "--offline".to_owned();
    let rest = arguments.iter().filter(|word| **word != offline).chain([&offline]);
    let words = quoted_words(&rest.collect::<Vec<_>>());
    let script = format!("[ -e {RECEIPT} ] || exit 0\n{} --quiet {words}", folder.word("ofedctl"));
    let ran = guest.run(As::Root, &script)?;
    Ok(outcome(&ran.out).filter(Outcome::is_success))
}

fn generalize(guest: &Guest, folder: &Folder) -> Result<()> {
    let keep = guest.wanted.settings.get("keep_cache");
    let keep = keep.map(|keep| words(&["--set", &format!("keep_cache={keep}")])).unwrap_or_default();
    let arguments = [words(&["generalize", "--root", "/", "--json"]), keep].concat();
    let said: Value = query_guest(guest, folder, &arguments)?;
    guest.ui.say(&format!("ofed: generalized: {}", said["message"].as_str().unwrap_or_default()));
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
