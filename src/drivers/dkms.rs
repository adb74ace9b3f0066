//! Builds kernel modules with DKMS for the image's kernels, in an order that works, and reports every failure. The
//! packages' own scripts would build for the kernel of the machine that bakes, and hide failures. They are kept from
//! building ([`HOLD`]), and this module builds instead.

use super::signing::{Signatures, title_of_built};
use super::{InstallOptions, logs, shared};
use crate::cache::{Built, Bundle, Cache};
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::Sandbox;
use crate::host::unpack::unpack;
use crate::ledger::Journal;
use crate::outcome::{Cause, Reason};
use crate::packages::diagnose::{self, Doing};
use crate::packages::dkms::{self, HOLD, Source, TREE};
use anyhow::Result;

/// The folder in which archives of built modules are created.
const ARCHIVES: &str = "/var/lib/ofedctl/built";

/// Keeps package scripts from building until the run ends.
pub fn hold_back(journal: &mut Journal) -> Result<()> {
    journal.write_temporary(HOLD, b"ofedctl builds the modules itself\n")
}

/// The input of a build.
pub(super) struct Build<'a> {
    pub(super) host: &'a Host,
    pub(super) cache: &'a Cache,
    pub(super) bundle: &'a Bundle,
    /// By whom the modules are signed, where they are.
    pub(super) signatures: Option<Signatures>,
    pub(super) kernels: &'a [String],
    pub(super) options: InstallOptions<'a>,
}

impl Build<'_> {
    /// Provides the modules of all the vendor's sources for every kernel: from an earlier run's archives, else by
    /// compiling. Returns the compiled modules, to be stored in the cache.
    pub(super) fn build(&self) -> Result<Vec<Built>> {
        let sources = dkms::sources(&self.host.root);
        if sources.is_empty() {
            return Err(
                Cause::SourcesMissing.error("the driver's packages brought no sources of kernel modules")
            );
        }
        let signatures = self.signatures.as_ref();
        let mut built = Vec::new();
        for kernel in self.kernels {
            self.host.cancel.check()?;
            let is_unsigned = |it: &Signatures| it.is_lacking(self.host, &sources, kernel);
            let missing = dkms::missing(self.host, &sources, kernel)?;
            let has_all = missing.is_empty();
            if has_all && !signatures.map(is_unsigned).transpose()?.unwrap_or_default() {
                continue;
            }
            let restored = !has_all && self.restore(&sources, kernel)?;
            let mut signed = 0;
            let is_stale = stale(&sources, &missing);
            for source in &sources {
                if is_stale(source) && !self.build_again(source, kernel)? {
                    continue;
                }
                signed += self.install(source, kernel)?;
            }
            shared::rebuild(self.host, kernel, self.options)?;
            if !restored || signed > 0 {
                built.extend(self.archive(&sources, kernel)?);
            }
        }
        Ok(built)
    }

    /// Adds a source to DKMS, builds it if it is not built, has it signed where that is wanted, and installs it. Returns
    /// how many modules were signed.
    fn install(&self, source: &Source, kernel: &str) -> Result<usize> {
        let Source { name, version } = source;
        let added = self.host.root.exists(&format!("{TREE}/{name}/{version}/source"));
        if !added {
            let add = self.run(&["add", "-m", name, "-v", version], kernel)?;
            self.checked(&add, source, kernel)?;
        }
        self.host.events.info(format!("modules of {name} {version} for {kernel}"));
        let signed = match &self.signatures {
            None => 0,
            Some(signatures) => {
                if !self.host.root.exists(&format!("{TREE}/{name}/{version}/{kernel}"))
                    && !self.step("build", source, kernel)?
                {
                    return Ok(0);
                }
                signatures.sign_built(self.host, source, kernel)?
            }
        };
        // DKMS installs nothing over what it has installed.
        if signed > 0 && dkms::missing(self.host, std::slice::from_ref(source), kernel)?.is_empty() {
            self.step("uninstall", source, kernel)?;
        }
        self.step("install", source, kernel)?;
        Ok(signed)
    }

    /// Builds what was built with another `ib_core`, and takes the old modules out. Where that fails they stay, and are told.
    fn build_again(&self, source: &Source, kernel: &str) -> Result<bool> {
        let Source { name, version } = source;
        self.host.events.info(format!("building {name} {version} again for {kernel}, for it shares ib_core"));
        let built = self.run(&["build", "--force", "-m", name, "-v", version, "-k", kernel], kernel)?;
        if built.code != 0 {
            let said = &built.tail;
            self.host.events.warn(format!("{name} {version} for {kernel} could not be built again: {said}"));
            return Ok(false);
        }
        self.step("uninstall", source, kernel)
    }

    /// Runs an action of DKMS. Returns false for a source that excludes this kernel (`BUILD_EXCLUSIVE`), which is skipped
    /// as DKMS does at boot.
    fn step(&self, action: &str, source: &Source, kernel: &str) -> Result<bool> {
        let Source { name, version } = source;
        let finished = self.run(&[action, "-m", name, "-v", version, "-k", kernel], kernel)?;
        if finished.code == 77 {
            self.host.events.warn(format!("{name} {version} is not made for {kernel}"));
            return Ok(false);
        }
        self.checked(&finished, source, kernel).map(|()| true)
    }

    /// Runs DKMS in a sandbox in which `uname -r` names the kernel to build for.
    fn run(&self, args: &[&str], kernel: &str) -> Result<Finished> {
        let sandbox = self.sandbox().for_kernel(kernel);
        self.host.run(&Cmd::new("dkms").args(args.iter().copied()).inside(sandbox))
    }

    fn sandbox(&self) -> Sandbox {
        let InstallOptions { offline, sealed, .. } = self.options;
        Sandbox::offline(&self.host.root, sealed).with_network(!offline)
    }

    fn checked(&self, finished: &Finished, source: &Source, kernel: &str) -> Result<()> {
        if finished.code == 0 {
            return Ok(());
        }
        let Source { name, version } = source;
        if !self.host.root.exists(&format!("/lib/modules/{kernel}/build/Makefile")) {
            let what =
                format!("modules of {name} {version} for {kernel} need its headers, which are not installed");
            return Err(Reason::HeadersMissing.error(what));
        }
        let log = format!("{TREE}/{name}/{version}/build/make.log");
        let (kept, lines) = logs::copy(self.host, &log)?;
        let said = format!("{}\n{lines}", finished.output);
        let reason = diagnose::reason_of(&said, Doing::Vendors, Reason::DkmsBuild);
        let doing = format!("building the modules of {name} {version} for {kernel}");
        if lines.is_empty() {
            return Err(finished.error(reason, &doing));
        }
        Err(reason.error(format!("{doing}: make said (all of it in `{kept}`): {lines}")))
    }

    /// Unpacks an earlier run's built modules to where DKMS would have built them. Returns whether there were any.
    fn restore(&self, sources: &[Source], kernel: &str) -> Result<bool> {
        let plain = || self.bundle.file(&title_of_built(self.bundle, kernel, ""));
        let file = match &self.signatures {
            None => plain(),
            Some(it) => {
                let signed = self.bundle.file(&title_of_built(self.bundle, kernel, &it.suffix()));
                signed.or_else(|| plain().filter(|_| it.has_key()))
            }
        };
        let Some(file) = file else { return Ok(false) };
        let root = &self.host.root;
        for Source { name, version } in sources {
            root.remove_all(&format!("{TREE}/{name}/{version}/{kernel}"))?;
        }
        root.make_dirs(TREE, 0o755)?;
        let (_folder, pinned) = root.pin(TREE)?;
        let unpacked = unpack(&self.host.cancel, &self.cache.blob_path(&file.digest), &pinned);
        let is_whole = unpacked.as_ref().is_ok_and(|unpacked| unpacked.sha256 == file.digest.hex());
        if !is_whole {
            // Files from a broken archive must not count as built modules.
            for Source { name, version } in sources {
                root.remove_all(&format!("{TREE}/{name}/{version}/{kernel}"))?;
            }
            let found = unpacked?.sha256;
            return Err(
                Reason::DigestMismatch.error(format!("`{}` is `{found}`, not `{}`", file.title, file.digest))
            );
        }
        self.host.events.info(format!("took the modules for {kernel} from `{}`", file.title));
        Ok(true)
    }

    fn archive(&self, sources: &[Source], kernel: &str) -> Result<Option<Built>> {
        let root = &self.host.root;
        let suffix = self.signatures.as_ref().map(Signatures::suffix).unwrap_or_default();
        let title = title_of_built(self.bundle, kernel, &suffix);
        let folder = |Source { name, version }: &Source| format!("{name}/{version}/{kernel}");
        let built = sources.iter().map(folder).filter(|folder| root.exists(&format!("{TREE}/{folder}")));
        root.make_dirs(ARCHIVES, 0o700)?;
        let archive = format!("{ARCHIVES}/{title}");
        let tar = Cmd::new("tar").args(["-czf", &archive, "-C", TREE]).args(built).inside(self.sandbox());
        let packed = self.host.run(&tar)?;
        let opened = root.open_file(&archive)?;
        root.remove_all(ARCHIVES)?;
        if packed.code != 0 {
            self.host.events.warn(format!("the built modules are not kept: {}", packed.tail));
            return Ok(None);
        }
        Ok(opened.map(|(file, _)| Built { title, file }))
    }
}

/// Whether a source's modules were there before the main one, which is missing: they came from somebody else, with the
/// kernel's `ib_core`.
fn stale<'a>(sources: &'a [Source], missing: &[&Source]) -> impl Fn(&Source) -> bool + use<'a> {
    let is_main = |source: &Source| dkms::MAIN.contains(&source.name.as_str());
    let is_new = missing.iter().any(|source| is_main(source));
    let before: Vec<&'a Source> =
        sources.iter().filter(|it| is_new && !is_main(it) && !missing.contains(it)).collect();
    move |source| before.contains(&source)
}

/// Removes the modules that were built for these kernels, of a driver that stays for other kernels.
pub fn remove_built_modules(host: &Host, kernels: &[String], options: InstallOptions) -> Result<()> {
    let root = &host.root;
    let InstallOptions { offline, sealed, .. } = options;
    // Sources on which others depend are removed last.
    for Source { name, version } in dkms::sources(root).iter().rev() {
        for kernel in kernels {
            let built = format!("{TREE}/{name}/{version}/{kernel}");
            if !root.exists(&built) {
                continue;
            }
            let uninstall = Cmd::new("dkms").args(["uninstall", "-m", name, "-v", version, "-k", kernel]);
            let sandbox = Sandbox::offline(root, sealed).with_network(!offline);
            let doing = format!("taking out the modules of {name} {version} for {kernel}");
            host.run(&uninstall.inside(sandbox))?.check(Reason::DkmsBuild, &doing)?;
            root.remove_all(&built)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{BundleConfig, BundleFile};
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use crate::settings::Settings;
    use crate::target::Mode;
    use crate::target::{Arch, Distro, Driver};
    use std::time::{Duration, SystemTime};

    #[test]
    fn built_modules_that_are_not_those_of_the_bundle_are_not_restored() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let cache = Cache::open_or_create(&dir.path().join("cache")).unwrap();
        let mut archive =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        archive.append_data(&mut header, "iser/25.10/6.1/x86_64/module/ib_iser.ko", &b"ko"[..]).unwrap();
        let archive = archive.into_inner().unwrap().finish().unwrap();
        let config = BundleConfig {
            schema_version: 1,
            driver: Driver::Doca,
            driver_version: Some("3".into()),
            distro: Distro::new("debian", "12"),
            arch: Arch::X86_64,
            kernels: Vec::new(),
            packages: Vec::new(),
            repository: None,
            vendor_file: None,
            vendor_room: None,
            unsigned: Vec::new(),
            origins: Vec::new(),
            made_by: String::new(),
        };
        let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
        let blob = writer.put(&archive).unwrap();
        let file = BundleFile {
            title: "dkms-3-6.1.tgz".into(),
            media_type: "application/octet-stream".into(),
            digest: blob.digest,
            size: blob.size,
        };
        let bundle = writer.publish("x", &config, SystemTime::UNIX_EPOCH, vec![file]).unwrap();
        drop(writer);
        let settings = Settings { offline: true, lock_timeout: 0, ..Settings::default() };
        let options = InstallOptions::new(&settings, Mode::Bake);
        let work =
            Build { host: &host, cache: &cache, bundle: &bundle, signatures: None, kernels: &[], options };
        let sources = [Source { name: "iser".into(), version: "25.10".into() }];
        let module = "/var/lib/dkms/iser/25.10/6.1/x86_64/module/ib_iser.ko";
        assert!(work.restore(&sources, "6.1").unwrap() && host.root.exists(module));

        // Another valid archive under the name of the first.
        std::fs::write(cache.blob_path(&blob.digest), [&archive[..], b"more"].concat()).unwrap();
        let error = work.restore(&sources, "6.1").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
        assert!(!host.root.exists(module));
    }
}
