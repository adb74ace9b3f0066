//! Locks: this program's own run lock, and waiting for the locks of package managers. Messages name the holder.

use super::Host;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);

/// The folder of the run lock, inside the root. Only root may enter it, so nobody else can put a file in the way.
const RUN_FOLDER: &str = "/run/ofedctl";
/// The folder where releases up to 0.1 keep their run lock. Every user may create files there.
const OLD_FOLDER: &str = "/run/lock";
const OLD_LOCK: &str = "ofedctl.lock";
/// The lock of the programs that change users and groups.
const ACCOUNTS_LOCK: &str = "/etc/.pwd.lock";

/// An exclusive lock on a file; released, and the file removed, when dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

/// The lock that allows one run at a time on one root.
#[derive(Debug)]
pub struct RunLock {
    lock: Option<FileLock>,
    old: Option<FileLock>,
    /// For an image: the folder from which the lock's own folder is removed at the end.
    image: Option<pathrs::Handle>,
    // The locks' paths go through these descriptors, so this field is dropped after the locks.
    folders: Vec<pathrs::Handle>,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        drop(self.old.take());
        drop(self.lock.take());
        self.folders.clear();
        if let Some(run) = &self.image {
            // Fails if another run has a lock in it by now; then the folder stays.
            let _ = nix::unistd::unlinkat(run, "ofedctl", nix::unistd::UnlinkatFlags::RemoveDir);
        }
    }
}

impl FileLock {
    /// Takes the lock on the file at `path`, waiting up to `patience` for another holder. The file is created where
    /// missing and removed at release, so that it does not become part of an image. Its content has no meaning: the
    /// kernel knows the holder.
    pub fn take(host: &Host, path: &Path, patience: Duration) -> Result<Self> {
        let waiting = Waiting::for_up_to(patience);
        Self::wait(host, path, waiting)
    }

    fn wait(host: &Host, path: &Path, mut waiting: Waiting) -> Result<Self> {
        loop {
            host.cancel.check()?;
            match Self::attempt(path)? {
                Attempt::Taken(lock) => return Ok(lock),
                Attempt::Gone => {}
                Attempt::Held(file) => waiting.wait(host, path, holder(&file))?,
            }
        }
    }

    fn attempt(path: &Path) -> Result<Attempt> {
        let doing = || format!("cannot lock `{}`", path.display());
        let mut options = OpenOptions::new();
        // Only its owner may read it, because a user who cannot open the file cannot lock it.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file =
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).with_context(doing)?;
        if !file.metadata().with_context(doing)?.is_file() {
            return Err(Reason::UnexpectedFile.error(format!("`{}` is no regular file", path.display())));
        }
        Self::lock(file, path).with_context(doing)
    }

    fn lock(file: File, path: &Path) -> std::io::Result<Attempt> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held(file)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The earlier holder removes the file at release, so the lock counts only if the locked file is still at that
        // path.
        let ours = file.metadata()?;
        let same = std::fs::symlink_metadata(path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()));
        Ok(if same { Attempt::Taken(Self { file, path: path.to_owned() }) } else { Attempt::Gone })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// How an attempt to take a lock ended.
enum Attempt {
    Taken(FileLock),
    /// The file was removed meanwhile, so the lock must be taken on a new one.
    Gone,
    Held(File),
}

/// A wait for a lock, with a time limit and one message that names the holder.
struct Waiting {
    patience: Duration,
    begin: Instant,
    said: bool,
}

impl Waiting {
    fn for_up_to(patience: Duration) -> Self {
        Self { patience, begin: Instant::now(), said: false }
    }

    fn wait(&mut self, host: &Host, path: &Path, holder: Option<i32>) -> Result<()> {
        let held = format!("`{}` is held by {}", path.display(), name_of(holder));
        if self.begin.elapsed() >= self.patience {
            return Err(Reason::LockTimeout.error(format!("{held}; waited {} s", self.patience.as_secs())));
        }
        if !self.said {
            host.events.info(format!("waiting: {held}"));
            self.said = true;
        }
        std::thread::sleep(POLL);
        Ok(())
    }
}

impl Host {
    /// Takes the lock in `/run/ofedctl`, which every entry point takes before it changes this root. For one release the
    /// lock of earlier releases is taken as well, so that an old and a new program never work at once.
    pub fn lock_run(&self, patience: Duration) -> Result<RunLock> {
        let at_work = || format!("another ofedctl works on `{}`", self.root.path().display());
        let mut run = self.lock_named("lock", patience).with_context(at_work)?;
        if let Ok((folder, pinned)) = self.root.pin(OLD_FOLDER) {
            run.old = self.take_old_lock(&pinned.join(OLD_LOCK), patience).with_context(at_work)?;
            run.folders.push(folder);
        }
        Ok(run)
    }

    /// Whether a run works on this root now. Takes nothing and makes nothing; without root's rights it cannot tell, and
    /// says so by none.
    pub fn run_is_at_work(&self) -> Option<bool> {
        let Ok((_folder, pinned)) = self.root.pin(RUN_FOLDER) else {
            return nix::unistd::geteuid().is_root().then_some(false);
        };
        let mut options = OpenOptions::new();
        match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(pinned.join("lock")) {
            // A shared lock, which no run waits for longer than this question takes.
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Some(false),
                Err(TryLockError::WouldBlock) => Some(true),
                Err(TryLockError::Error(_)) => None,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
            Err(_) => None,
        }
    }

    /// Takes another lock in the same folder, by its file name.
    pub fn lock_named(&self, name: &str, patience: Duration) -> Result<RunLock> {
        let (lock, folder) = self.lock_in_run_folder(name, patience)?;
        let image = (!self.is_running_system()).then(|| self.root.pin("/run")).transpose()?;
        let image = image.map(|(handle, _)| handle);
        Ok(RunLock { lock: Some(lock), old: None, image, folders: vec![folder] })
    }

    fn lock_in_run_folder(&self, name: &str, patience: Duration) -> Result<(FileLock, pathrs::Handle)> {
        let begin = Instant::now();
        loop {
            self.root.make_dirs(RUN_FOLDER, 0o700)?;
            let Ok((folder, pinned)) = self.root.pin(RUN_FOLDER) else { continue };
            only_ours(&folder, &pinned)?;
            let left = patience.saturating_sub(begin.elapsed());
            match FileLock::take(self, &pinned.join(name), left) {
                // In an image, the run before may have removed the folder that was opened here.
                Err(error) if is_not_found(&error) => self.cancel.check()?,
                taken => return Ok((taken?, folder)),
            }
        }
    }

    /// Takes the run lock of earlier releases. Other users may write to its folder and must not be able to stop a run:
    /// a file that does not belong to root is ignored, and so is a lock that is held by no process of root.
    fn take_old_lock(&self, path: &Path, patience: Duration) -> Result<Option<FileLock>> {
        let mut waiting = Waiting::for_up_to(patience);
        loop {
            self.cancel.check()?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let file = match options.open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    match options.create_new(true).mode(0o600).open(path) {
                        Ok(file) => file,
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                        Err(_) => return Ok(None),
                    }
                }
                Err(_) => return Ok(None),
            };
            let metadata = file.metadata().context("cannot look at the lock of an earlier release")?;
            let ours = nix::unistd::geteuid().as_raw();
            if !metadata.is_file() || metadata.uid() != ours || metadata.nlink() > 1 {
                return Ok(None);
            }
            match FileLock::lock(file, path)? {
                Attempt::Taken(lock) => return Ok(Some(lock)),
                Attempt::Gone => {}
                Attempt::Held(file) => match holder(&file).filter(|pid| owner_of(*pid) == Some(ours)) {
                    Some(pid) => waiting.wait(self, path, Some(pid))?,
                    None => {
                        let _ = std::fs::remove_file(path);
                    }
                },
            }
        }
    }

    /// Waits up to `patience` until no process holds an fcntl lock on any of `files` (the locks of apt, dpkg, rpm and
    /// tdnf), and no process runs whose number stands in one of `numbers` (the locks of yum, dnf and zypper). Works
    /// with every version of apt. Newer versions wait by themselves, but do not name the holder.
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

    /// Takes the lock under which programs change users and groups (lckpwdf(3)), waiting up to `patience` for its holder.
    /// The kernel gives it up with the file. None where the root has no such file: then no program has ever taken it.
    pub fn lock_accounts(&self, patience: Duration) -> Result<Option<File>> {
        let Ok((_folder, pinned)) = self.root.pin(ACCOUNTS_LOCK) else { return Ok(None) };
        let doing = || format!("cannot lock `{ACCOUNTS_LOCK}`");
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(pinned).with_context(doing)?;
        let wanted = write_lock();
        let mut waiting = Waiting::for_up_to(patience);
        loop {
            self.cancel.check()?;
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
                Ok(_) => return Ok(Some(file)),
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    waiting.wait(self, Path::new(ACCOUNTS_LOCK), self.lock_holder(ACCOUNTS_LOCK))?;
                }
                Err(error) => return Err(error).with_context(doing),
            }
        }
    }

    /// The running process whose number stands in a file. Such a file in an image is a leftover: process numbers belong
    /// to the running system.
    fn numbered_process(&self, path: &str) -> Option<i32> {
        let number = self.root.attribute(path).filter(|_| self.is_running_system())?.parse().ok()?;
        (number > 0 && Path::new(&format!("/proc/{number}")).exists()).then_some(number)
    }

    /// The process that holds a write lock on a file of the root.
    fn lock_holder(&self, path: &str) -> Option<i32> {
        let (file, _) = self.root.open_file(path).ok()??;
        let mut lock = write_lock();
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
        (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
    }
}

/// A write lock on a whole file.
fn write_lock() -> libc::flock {
    libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// The C constants are ints, the fields of `struct flock` shorts.
fn short(value: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(value).unwrap_or_default()
}

/// Checks that a folder belongs to this user and that nobody else may enter it.
fn only_ours(folder: &pathrs::Handle, pinned: &Path) -> Result<()> {
    let doing = "cannot look at the folder of the run lock";
    let found = nix::sys::stat::fstat(folder).context(doing)?;
    let is_folder = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if !is_folder || found.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(Reason::UnexpectedFile
            .error(format!("`{RUN_FOLDER}` is not a folder of the user who runs this; remove it")));
    }
    if found.st_mode & 0o077 != 0 {
        std::fs::set_permissions(pinned, Permissions::from_mode(0o700)).context(doing)?;
    }
    Ok(())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let of_io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
    };
    error.chain().any(of_io)
}

fn owner_of(pid: i32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// A process that holds a lock on an open file: the one that took it, or, where that one has ended after passing it on,
/// as flock(1) does, a process of this user that has the file open.
fn holder(file: &File) -> Option<i32> {
    let wanted = file.metadata().ok().map(|it| (it.dev(), it.ino()))?;
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let took = locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF`
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, place, ..] = words.as_slice() else { return None };
        let inode: u64 = place.rsplit(':').next()?.parse().ok()?;
        (inode == wanted.1).then(|| pid.parse::<i32>().ok()).flatten()
    });
    let has_it_open = |pid: i32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::metadata(fd.path()).ok()).any(|it| (it.dev(), it.ino()) == wanted)
    };
    if let Some(pid) = took.filter(|pid| has_it_open(*pid)) {
        return Some(pid);
    }
    let (own, user) = (std::process::id().cast_signed(), nix::unistd::geteuid().as_raw());
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut others = numbers.filter(|pid| *pid != own && owner_of(*pid) == Some(user));
    others.find(|pid| has_it_open(*pid))
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
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout);
        assert!(format!("{error:#}").contains(&format!("process {}", std::process::id())), "{error:#}");
        drop(first);
        drop(host.lock_run(Duration::ZERO).unwrap());
        assert!(host.root.list("/run").is_empty());
    }

    fn old_lock(dir: &tempfile::TempDir) -> PathBuf {
        let folder = dir.path().join("run/lock");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("ofedctl.lock")
    }

    #[test]
    fn as_root_nothing_at_the_old_lock_that_is_not_roots_own_file_stops_or_misleads_a_run() {
        use std::os::unix::fs::symlink;
        let (dir, host) = host();
        let path = old_lock(&dir);
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        let nobodys = || std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let planted: [&dyn Fn(); 4] = [
            &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap(),
            &|| symlink(&victim, &path).unwrap(),
            &|| {
                std::fs::write(&path, "1").unwrap();
                File::options().write(true).open(&path).unwrap().set_len(6 << 30).unwrap();
                nobodys();
            },
            &|| std::fs::hard_link(&victim, &path).unwrap(),
        ];
        for plant in planted {
            plant();
            drop(host.lock_run(Duration::ZERO).unwrap());
            assert!(path.symlink_metadata().is_ok(), "a file of another user must not be removed");
            assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_program_of_an_earlier_release_is_waited_for() {
        let (dir, host) = host();
        let path = old_lock(&dir);
        let script = r#"exec 9>"$1"; flock 9; echo held; read -r end"#;
        let mut held = std::process::Command::new("sh");
        held.args(["-c", script, "sh"]).arg(&path);
        held.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut held = held.spawn().unwrap();
        std::io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        let error = host.lock_run(Duration::ZERO).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout, "{error:#}");
        assert!(format!("{error:#}").contains("(sh)"), "{error:#}");
        drop(held.stdin.take());
        held.wait().unwrap();
        let lock = host.lock_run(Duration::ZERO).unwrap();
        // The earlier release waits for this one, too.
        let refused = std::process::Command::new("flock").arg("-n").arg(&path).arg("true").status().unwrap();
        assert!(!refused.success());
        drop(lock);
        assert!(!path.exists());
    }

    #[test]
    fn as_root_a_lock_that_somebody_else_holds_on_the_old_file_is_no_run() {
        let (dir, host) = host();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let path = old_lock(&dir);
        // An earlier release that was killed leaves such a file.
        std::fs::write(&path, "1").unwrap();
        let mut held = std::process::Command::new("setpriv");
        held.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"]);
        held.args([r#"exec 9<"$1"; flock 9; echo held; read -r end"#, "sh"]).arg(&path);
        held.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut held = held.spawn().unwrap();
        std::io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        drop(host.lock_run(Duration::ZERO).unwrap());
        drop(held.stdin.take());
        held.wait().unwrap();
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
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout);
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
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout);
        let said = format!("zypp.pid` is held by process {} (", other.id());
        assert!(error.to_string().contains(&said), "{error}");
        // The process ends while the other thread waits for it.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| host.wait_for_package_locks(&[], &files, Duration::from_secs(60)));
            other.kill().unwrap();
            other.wait().unwrap();
            waiting.join().unwrap().unwrap();
        });
        // The file of a process that died stays behind.
        host.wait_for_package_locks(&[], &files, Duration::ZERO).unwrap();
        // Process numbers in an image do not belong to this machine.
        let image = Host::open(dir.path(), crate::events::Events::silent(), Cancel::never()).unwrap();
        std::fs::write(&noted, std::process::id().to_string()).unwrap();
        image.wait_for_package_locks(&[], &["/zypp.pid"], Duration::ZERO).unwrap();
    }
}
