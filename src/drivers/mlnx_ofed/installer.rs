//! `MLNX_OFED`: the archive checked and unpacked in private, modules built for the image's kernel, and the vendor's own
//! installer run with the options of that version, its calls of the package manager led to the local repository.

use super::super::{Work, logs};
use super::options::{self, Modules, Options};
use super::prerequisites;
use crate::amounts::size;
use crate::cache::{Built, BundleFile};
use crate::catalog::package_names::tag_of;
use crate::host::has_extension;
use crate::host::run::Finished;
use crate::host::unpack::unpack;
use crate::outcome::Reason;
use crate::packages::Transaction;
use crate::packages::diagnose::{self, Doing};
use crate::plan_document::Artifact;
use anyhow::Result;
use std::path::Path;

/// Where the archive is unpacked and modules are built, inside the root. `/tmp` may be memory, and is private to each
/// command.
const FOLDER: &str = "/var/lib/ofedctl/vendor";

/// The home folder for the installer, so that the user's own is neither read nor written.
const HOME: &str = "/var/lib/ofedctl/vendor/home";
/// Its spec files do not name every file that they make on some releases of Enterprise Linux, 8.6 for one, where that
/// would end a build (Azure/azhpc-images, which write the same into `~/.rpmmacros`).
const MACROS: &str = "%_unpackaged_files_terminate_build 0\n";

/// How the installer failed.
struct Failure {
    reason: Reason,
    /// Its last output, and that of its log.
    said: String,
    error: anyhow::Error,
}

/// An installation under way.
pub(super) struct Installer<'a> {
    pub(super) work: &'a Work<'a>,
}

impl Installer<'_> {
    /// Installs it for every kernel of the plan. Returns the compiled modules, to be stored in the cache.
    pub(super) fn install(&self) -> Result<Vec<Built>> {
        self.in_private(|| self.for_kernels())
    }

    /// Calls a function with a folder for the archive, which is removed afterwards.
    pub(super) fn in_private<T>(&self, installed: impl FnOnce() -> Result<T>) -> Result<T> {
        let root = &self.work.host.root;
        root.remove_all(FOLDER)?;
        root.make_dirs(&format!("{FOLDER}/tmp"), 0o700)?;
        root.write_text(&format!("{HOME}/.rpmmacros"), MACROS)?;
        let installed = installed();
        root.remove_all(FOLDER)?;
        installed
    }

    fn for_kernels(&self) -> Result<Vec<Built>> {
        match self.work.plan.target.kernels.as_slice() {
            [kernel] => self.for_one_kernel(kernel),
            // Packages of built modules have the same name for every kernel, so only one of them can be installed; DKMS
            // builds for several kernels.
            kernels => {
                let original = self.unpack_original()?;
                let first = kernels.first().map(String::as_str).unwrap_or_default();
                self.run(&original, first, Modules::Dkms)?;
                self.work.build_by_dkms()
            }
        }
    }

    /// Installs the vendor's package rebuilt for this kernel: from the cache if an earlier run built it, else built
    /// now.
    fn for_one_kernel(&self, kernel: &str) -> Result<Vec<Built>> {
        let title = self.title(kernel);
        if let Some(file) = self.work.bundle.file(&title) {
            self.work.host.events.info(format!("took the modules for {kernel} from `{title}`"));
            let rebuilt = self.unpack(file, "ext")?;
            self.run(&rebuilt, kernel, Modules::Prebuilt)?;
            return Ok(Vec::new());
        }
        let original = self.unpack_original()?;
        self.run(&original, kernel, Modules::BuildOnly)?;
        let root = &self.work.host.root;
        let place = format!("{FOLDER}/tmp/MLNX_OFED_LINUX-{}-{kernel}", self.version());
        let made = root.list(&place).into_iter().find(|name| name.ends_with("-ext.tgz"));
        let Some(made) = made else {
            // The package already has modules for this kernel.
            self.run(&original, kernel, Modules::Prebuilt)?;
            return Ok(Vec::new());
        };
        root.remove_all(&original)?;
        let archive = format!("{place}/{made}");
        let folder = self.unpack_at(&root.pin(&archive)?.1, "ext")?.0;
        let file = root.open_file(&archive)?;
        self.run(&folder, kernel, Modules::Prebuilt)?;
        Ok(file.map(|(file, _)| Built { title, file }).into_iter().collect())
    }

    /// The title in the bundle of the package rebuilt for a kernel.
    fn title(&self, kernel: &str) -> String {
        let name = self.artifact().map(|artifact| artifact.file_name.trim_end_matches(".tgz"));
        format!("{}-ext-{kernel}.tgz", name.unwrap_or("MLNX_OFED_LINUX"))
    }

    fn version(&self) -> &str {
        self.work.plan.driver_version.as_deref().unwrap_or_default()
    }

    fn artifact(&self) -> Option<&Artifact> {
        self.work.plan.artifact.as_ref()
    }

    /// Unpacks the bundle's archive and checks its version and target against the plan. Returns its folder inside the
    /// root.
    pub(super) fn unpack_original(&self) -> Result<String> {
        let file = self.work.vendor_file()?;
        let free = self.work.host.root.free_bytes()?;
        // The space for the archive, the unpacked files, the rebuilt archive and its files, by sizes of real packages.
        let needed = file.size.saturating_mul(8);
        if free < needed {
            let what = format!(
                "`{}` needs {} to be unpacked and built, and {} are free",
                file.title,
                size(needed),
                size(free)
            );
            return Err(Reason::NoSpace.error(what));
        }
        let folder = self.unpack(file, "original")?;
        self.check(&folder)?;
        Ok(folder)
    }

    fn unpack(&self, file: &BundleFile, into: &str) -> Result<String> {
        let (folder, sha256) = self.unpack_at(&self.work.cache.blob_path(&file.digest), into)?;
        if sha256 == file.digest.hex() {
            return Ok(folder);
        }
        Err(Reason::DigestMismatch.error(format!("`{}` is `{sha256}`, not `{}`", file.title, file.digest)))
    }

    /// Unpacks an archive. Returns the one folder in it, inside the root, and the archive's SHA-256.
    fn unpack_at(&self, archive: &Path, into: &str) -> Result<(String, String)> {
        let root = &self.work.host.root;
        let into = format!("{FOLDER}/{into}");
        root.make_dirs(&into, 0o700)?;
        let (_handle, pinned) = root.pin(&into)?;
        let unpacked = unpack(&self.work.host.cancel, archive, &pinned)?;
        let found = root.list(&into);
        let [top] = found.as_slice() else {
            return Err(
                Reason::WrongPackage.error(format!("an archive with {} folders, not one", found.len()))
            );
        };
        Ok((format!("{into}/{top}"), unpacked.sha256))
    }

    /// Checks that the package's own version and distribution are those of the plan.
    fn check(&self, folder: &str) -> Result<()> {
        let root = &self.work.host.root;
        let says = |file: &str| root.attribute(&format!("{folder}/{file}")).unwrap_or_default();
        let tag = self.tag().unwrap_or_default();
        let arch = self.work.plan.target.arch.name();
        for (file, wanted) in [(".mlnx", self.version()), (".arch", arch), ("distro", tag)] {
            let found = says(file);
            if found != wanted {
                let what = format!("the package's file `{file}` says `{found}`, and not `{wanted}`");
                return Err(Reason::WrongPackage.error(what));
            }
        }
        Ok(())
    }

    /// The distribution the package was built for, as its file name has it: `ubuntu22.04`, `sles15sp4`.
    fn tag(&self) -> Option<&str> {
        let name =
            self.artifact()?.file_name.strip_prefix("MLNX_OFED_LINUX-")?.strip_prefix(self.version())?;
        let arch = format!("-{}.tgz", self.work.plan.target.arch);
        name.strip_prefix('-')?.strip_suffix(&arch)
    }

    /// Runs the installer. If it reports missing packages that the cache has, they are installed, and it is run again.
    fn run(&self, folder: &str, kernel: &str, modules: Modules) -> Result<()> {
        let finished = self.call(folder, kernel, modules)?;
        if finished.code == 0 {
            return Ok(());
        }
        let failure = self.failure(&finished, &format!("{} for {kernel}", modules.doing()))?;
        if failure.reason != Reason::PrerequisitesMissing {
            return Err(failure.error);
        }
        self.install_missing(failure)?;
        let finished = self.call(folder, kernel, modules)?;
        if finished.code == 0 {
            return Ok(());
        }
        Err(self.failure(&finished, &format!("{} for {kernel}, again", modules.doing()))?.error)
    }

    fn call(&self, folder: &str, kernel: &str, modules: Modules) -> Result<Finished> {
        let distro = &self.work.plan.target.distro;
        let options = Options {
            version: self.version(),
            kernel,
            // The installer detects the distribution by itself; if it would find another name, it must be passed.
            distro: self.tag().filter(|tag| *tag != tag_of(distro)),
            is_rpm: distro.family() != crate::target::Family::Debian,
            tmpdir: &format!("{FOLDER}/tmp"),
            modules,
            library_set: self.work.options.settings.library_set,
        };
        let mut program = vec![format!("{folder}/mlnxofedinstall")];
        program.extend(options.all());
        self.work.host.events.info(format!("running {}", program.join(" ")));
        // The installer and its packages see this kernel as the running one, except where DKMS builds for each kernel
        // afterwards: package scripts would compile modules that the cache may already have.
        let told = (modules != Modules::Dkms).then_some(kernel);
        let transaction = Transaction { kernel: told, ..*self.work.transaction };
        let cmd = self.work.manager.with_repository(self.work.host, &transaction, &program);
        self.work.host.run(&cmd.env("HOME", HOME))
    }

    /// The error of a failed installer, from its exit code, its output and its log.
    fn failure(&self, finished: &Finished, doing: &str) -> Result<Failure> {
        let (log, lines) = self.log(&finished.tail)?;
        let said = format!("{lines} | {}", finished.tail);
        // The installer only checks the space in /usr, so a full disk shows as any other failure.
        let all = format!("{lines}\n{}", finished.output);
        let reason =
            diagnose::reason_on(self.work.host, &all, Doing::Vendors, options::reason(finished.code))?;
        let mut error = finished.error(reason, doing);
        if !lines.is_empty() {
            error = reason.error(format!("{error}; its log (all of it in `{log}`): {lines}"));
        }
        Ok(Failure { reason, said, error })
    }

    /// Installs the packages that the installer misses, from the cache.
    fn install_missing(&self, failure: Failure) -> Result<()> {
        let missing = prerequisites::named(&failure.said);
        if missing.is_empty() {
            return Err(failure.error);
        }
        self.work.host.events.info(format!("the installer misses {}", missing.join(" ")));
        let transaction = Transaction { packages: &missing, ..*self.work.transaction };
        self.work.manager.install(self.work.host, &transaction).map_err(|error| {
            match Reason::from_error(&error) {
                Reason::CacheMissing => {
                    let what =
                        format!("the installer misses {}, and so does the cache: {error}", missing.join(" "));
                    Reason::PrerequisitesMissing.error(what)
                }
                _ => error,
            }
        })
    }

    /// The log with the cause: the one named in the last output, or the installer's general log; then each log that the
    /// last one names at its end, because a compiler's error lies several logs deep (`See
    /// …/OFED.123.logs/mlnx-ofed-kernel.debbuild.log`).
    fn log(&self, said: &str) -> Result<(String, String)> {
        let root = &self.work.host.root;
        let general = || {
            let folders = root.list(&format!("{FOLDER}/tmp"));
            let folder = folders.into_iter().rfind(|name| has_extension(name, "logs"))?;
            Some(format!("{FOLDER}/tmp/{folder}/general.log"))
        };
        let mut seen: Vec<String> = Vec::new();
        let mut next = named_log(said, &seen).or_else(general);
        let mut kept = (String::new(), String::new());
        while let Some(log) = next.filter(|_| seen.len() < DEEPEST_LOG) {
            let Some(text) = root.read_text(&log)? else { break };
            let (copy, lines) = logs::copy(self.work.host, &log)?;
            if !lines.is_empty() {
                kept = (copy, lines);
            }
            seen.push(log);
            next = named_log(&text, &seen);
        }
        Ok(kept)
    }
}

/// The most logs that are followed.
const DEEPEST_LOG: usize = 5;

/// The last log below the working folder that a text names and that was not read yet.
fn named_log(text: &str, seen: &[String]) -> Option<String> {
    // Colour codes end in an `m` directly before a name.
    let words = text.split(|c: char| c.is_whitespace() || "\u{1b}\"'`,;".contains(c));
    let words = words.map(|word| word.trim_start_matches('[').trim_end_matches(['.', '!', ')']));
    let logs = words.filter_map(|word| word.find(FOLDER).map(|at| &word[at..]));
    let is_new = |log: &&str| has_extension(log, "log") && !seen.iter().any(|it| it == log);
    { logs }.rfind(is_new).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_found_between_colours_and_once_only() {
        let one = format!("{FOLDER}/tmp/OFED.7.logs/mlnx-ofed-kernel.debbuild.log");
        let two = format!("{FOLDER}/tmp/mlnx_iso.7_logs/mlnx_ofed_iso.7.log");
        let said = format!("\u{1b}[31mERROR: See {two}\u{1b}[0m | \u{1b}[31mSee {one}\u{1b}[0m\nlast words");
        assert_eq!(named_log(&said, &[]).as_deref(), Some(one.as_str()));
        assert_eq!(named_log(&said, &[one]).as_deref(), Some(two.as_str()));
        assert_eq!(named_log("See /tmp/other.log", &[]), None);
    }
}
