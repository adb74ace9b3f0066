//! Locks: this program's own, and waiting for those of package managers, with the holder named.

use super::Host;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);

/// An exclusive lock on a file; released, and the file removed, when dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

/// The lock of one run on one root.
#[derive(Debug)]
pub struct RunLock {
    _lock: FileLock,
    // The lock's path leads through this descriptor, so it is dropped after the lock.
    _folder: pathrs::Handle,
}

impl FileLock {
    /// Takes the lock on the file at `path`, waiting up to `patience` for another holder.
    ///
    /// The file is made where missing and removed at release, so that an image keeps no trace of it.
    pub fn take(host: &Host, path: &Path, patience: Duration) -> Result<Self> {
        let started = Instant::now();
        let mut said = false;
        loop {
            host.cancel.check()?;
            if let Some(lock) = Self::attempt(path)? {
                return Ok(lock);
            }
            let holder = std::fs::read_to_string(path).unwrap_or_default();
            let held = format!("`{}` is held by {}", path.display(), name_of(holder.trim().parse().ok()));
            if started.elapsed() >= patience {
                return Err(Reason::LockTimeout.error(format!("{held}; waited {} s", patience.as_secs())));
            }
            if !said {
                host.events.info(format!("waiting: {held}"));
                said = true;
            }
            std::thread::sleep(POLL);
        }
    }

    fn attempt(path: &Path) -> Result<Option<Self>> {
        let doing = || format!("cannot lock `{}`", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path).with_context(doing)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        // The holder before us removes the file as it lets go: the lock counts only on the file that is there.
        let same = std::fs::metadata(path)
            .is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino()));
        if !same {
            return Ok(None);
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).with_context(doing)?;
        Ok(Some(Self { file, path: path.to_owned() }))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

impl Host {
    /// Takes `/run/lock/ofedctl.lock`, which every door takes before it changes this root.
    pub fn lock_run(&self, patience: Duration) -> Result<RunLock> {
        self.root.make_dirs("/run/lock", 0o755)?;
        let (folder, pinned) = self.root.pin("/run/lock")?;
        let lock = FileLock::take(self, &pinned.join("ofedctl.lock"), patience)
            .with_reason(Reason::LockTimeout, || {
                format!("another ofedctl works on `{}`", self.root.path().display())
            })?;
        Ok(RunLock { _lock: lock, _folder: folder })
    }

    /// Waits until nobody holds an fcntl lock on any of `files` (apt, dpkg, rpm and tdnf lock so), and no process
    /// whose number stands in one of `numbers` is there (yum, dnf and zypper lock so), up to `patience`.
    ///
    /// Works with every version of apt; newer ones wait by themselves, but do not say for whom.
    pub fn wait_for_package_locks(&self, files: &[&str], numbers: &[&str], patience: Duration) -> Result<()> {
        let started = Instant::now();
        let mut said = None;
        loop {
            self.cancel.check()?;
            let locked = files.iter().find_map(|file| Some((*file, self.lock_holder(file)?)));
            let numbered = || numbers.iter().find_map(|file| Some((*file, self.numbered_process(file)?)));
            let Some((file, holder)) = locked.or_else(numbered) else { return Ok(()) };
            let held = format!("`{file}` is held by {}", name_of(Some(holder)));
            if started.elapsed() >= patience {
                return Err(Reason::LockTimeout.error(format!("{held}; waited {} s", patience.as_secs())));
            }
            if said != Some(holder) {
                self.events.info(format!("waiting: {held}"));
                said = Some(holder);
            }
            std::thread::sleep(POLL);
        }
    }

    /// The process whose number stands in a file. One in an image was left there: numbers are the running system's.
    fn numbered_process(&self, path: &str) -> Option<i32> {
        let number = self.root.attribute(path).filter(|_| self.is_running_system())?.parse().ok()?;
        (number > 0 && Path::new(&format!("/proc/{number}")).exists()).then_some(number)
    }

    /// The process that holds a write lock on a file of the root.
    fn lock_holder(&self, path: &str) -> Option<i32> {
        let (file, _) = self.root.open_file(path).ok()??;
        let mut lock = libc::flock {
            l_type: short(libc::F_WRLCK),
            l_whence: short(libc::SEEK_SET),
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
        (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
    }
}

/// The C constants are ints, the fields of `struct flock` shorts.
fn short(value: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(value).unwrap_or_default()
}

fn name_of(pid: Option<i32>) -> String {
    let Some(pid) = pid else { return "another process".to_owned() };
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(comm) => format!("process {pid} ({})", comm.trim()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    fn host() -> (tempfile::TempDir, Host) {
        on_an_empty_root(Cancel::never())
    }

    #[test]
    fn a_second_run_on_one_root_waits_and_then_names_the_holder() {
        let (_dir, host) = host();
        let first = host.lock_run(Duration::ZERO).unwrap();
        let error = host.lock_run(Duration::ZERO).unwrap_err();
        assert_eq!(Reason::of(&error), Reason::LockTimeout);
        assert!(format!("{error:#}").contains(&format!("process {}", std::process::id())), "{error:#}");
        drop(first);
        drop(host.lock_run(Duration::ZERO).unwrap());
        assert!(host.root.list("/run/lock").is_empty());
    }

    #[test]
    fn a_package_lock_held_by_another_process_is_waited_for_and_named() {
        let (dir, host) = host();
        let path = dir.path().join("lock");
        std::fs::write(&path, "").unwrap();
        let script = "import fcntl,sys,time\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(60)";
        let holder = duct::cmd!("python3", "-c", script, &path).reader().unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(&mut &holder, &mut said).unwrap();
        let error = host.wait_for_package_locks(&["/lock"], &[], Duration::ZERO).unwrap_err();
        assert_eq!(Reason::of(&error), Reason::LockTimeout);
        assert!(
            error.to_string().contains("`/lock` is held by process") && error.to_string().contains("python3"),
            "{error}"
        );
        holder.kill().unwrap();
        host.wait_for_package_locks(&["/lock", "/missing"], &[], Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn a_process_whose_number_is_noted_is_waited_for_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let noted = dir.path().join("zypp.pid");
        let files = [noted.to_str().unwrap()];
        let host = Host::open(Path::new("/"), crate::events::Events::silent(), Cancel::never()).unwrap();
        let mut other = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        std::fs::write(&noted, format!("{}\n", other.id())).unwrap();
        let error = host.wait_for_package_locks(&[], &files, Duration::ZERO).unwrap_err();
        assert_eq!(Reason::of(&error), Reason::LockTimeout);
        let said = format!("zypp.pid` is held by process {} (", other.id());
        assert!(error.to_string().contains(&said), "{error}");
        // It ends while it is waited for.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| host.wait_for_package_locks(&[], &files, Duration::from_secs(60)));
            other.kill().unwrap();
            other.wait().unwrap();
            waiting.join().unwrap().unwrap();
        });
        // The file of one that died stays.
        host.wait_for_package_locks(&[], &files, Duration::ZERO).unwrap();
        // Numbers in an image are not this machine's.
        let image = Host::open(dir.path(), crate::events::Events::silent(), Cancel::never()).unwrap();
        std::fs::write(&noted, std::process::id().to_string()).unwrap();
        image.wait_for_package_locks(&[], &["/zypp.pid"], Duration::ZERO).unwrap();
    }
}
