//! A machine for Packer to build: a real Debian root in namespaces of its own, with the SSH server in it as its
//! first process, reached over the loopback.

use crate::common::need::need;
use crate::common::program;
use crate::common::root::{self, Root};
use crate::common::wait;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The Debian release of the guests: the one whose glibc is old enough for programs built here.
pub const SUITE: &str = "bookworm";
/// A user who may use sudo without a password.
pub const USER: &str = "packer";

/// A running guest; its end ends every process in it.
#[derive(Debug)]
pub struct Guest {
    pub root: Root,
    pub port: u16,
    /// The key to log in with.
    pub key: PathBuf,
    child: Child,
}

/// Starts a guest.
pub fn start() -> Guest {
    start_on(root::root_of(&root::guest(SUITE)), "")
}

/// Starts a guest on a root; `mounts` are commands of shell that mount more, run in the root's folder.
pub fn start_on(root: Root, mounts: &str) -> Guest {
    need(&["openssh-client", "openssh-server"]);
    let key = root.beside("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    assert!(keygen.status().unwrap().success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    root.write("etc/ssh/authorized_keys", &public);
    root.write(
        "etc/ssh/test_config",
        &format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM no\n\
             AuthorizedKeysFile /etc/ssh/authorized_keys\nStrictModes no\nPermitRootLogin prohibit-password\n\
             PidFile none\nSubsystem sftp internal-sftp\n"
        ),
    );
    // A locked account, `!`, is refused by a server without PAM.
    let useradd = root.inside(&["useradd", "-m", "-s", "/bin/bash", "-p", "*", USER]);
    assert!(useradd.status.success() || root.path().join("home").join(USER).is_dir(), "{useradd:?}");
    root.write(&format!("etc/sudoers.d/{USER}"), &format!("{USER} ALL=(ALL) NOPASSWD: ALL\n"));
    let script = format!(
        "mount --bind \"$0\" \"$0\"; cd \"$0\"; mount -t proc proc proc; mount --bind /dev dev; mkdir -p run/sshd
        {mounts}
        exec chroot . /usr/sbin/sshd -D -e -f /etc/ssh/test_config"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "sh", "-ec", &script]);
    unshare.arg(root.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let log = std::fs::File::create(root.beside("sshd.log")).unwrap();
    let child = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let guest = Guest { root, port, key, child };
    guest.wait_until_it_answers();
    guest
}

impl Guest {
    fn wait_until_it_answers(&self) {
        let answers = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            let mut banner = [0; 4];
            stream.read_exact(&mut banner).ok()?;
            (banner == *b"SSH-").then_some(())
        };
        let is_up = wait::within(Duration::from_secs(30), || answers().is_some());
        let log = || std::fs::read_to_string(self.root.beside("sshd.log")).unwrap();
        assert!(is_up, "the guest does not answer: {}", log());
    }

    /// The numbers of the guest's processes whose command line holds a text.
    pub fn processes(&self, text: &str) -> Vec<u32> {
        let holds = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        };
        program::processes_in(self.root.path()).into_iter().filter(holds).collect()
    }

    /// Cuts every connection, as a network does that goes away.
    pub fn disconnect(&self) {
        let without_terminal = self.processes("@notty").into_iter();
        for pid in without_terminal.chain(self.processes("@pts/")).chain(self.processes("[priv]")) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid.cast_signed()),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }

    /// The folders of builds that are still there.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path().join("var/tmp")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("ofedctl-")).collect()
    }

    /// Fails unless nothing of a build is there any more, neither files nor processes.
    #[track_caller]
    pub fn assert_clean(&self, patience: Duration) {
        let left = || (self.leftovers(), self.processes("ofedctl-"));
        let is_clean = wait::within(patience, || left() == (Vec::new(), Vec::new()));
        assert!(is_clean, "left in the guest: {:?}", left());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // `--kill-child` kills the first process of the namespace with it, and that all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The kernel needs a moment, and the folder cannot be removed before.
        wait::within(Duration::from_secs(10), || program::processes_in(self.root.path()).is_empty());
    }
}

/// The program that goes into guests: the one under test if it runs there, which was built against this machine's
/// libraries, else the static one, which then must have been built.
pub fn program_for(root: &Root) -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_ofedctl"));
    let inside = root.path().join("tried");
    std::fs::copy(ours, &inside).unwrap();
    let runs = root.inside(&["/tried", "--version"]).status.success();
    std::fs::remove_file(&inside).unwrap();
    if runs {
        return ours.to_owned();
    }
    let arch = std::env::consts::ARCH;
    let released = format!("target/{arch}-unknown-linux-musl/release/ofedctl");
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join(released);
    assert!(
        released.is_file(),
        "the guest cannot run what is under test; build the static program: make release"
    );
    released
}

/// A command that a Ctrl-C of its terminal reaches, and nothing else of the test.
pub fn own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}
