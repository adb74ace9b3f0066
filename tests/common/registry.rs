//! Debian's docker-registry, the real one, on a free port of this machine until dropped.

use super::need::need;
use super::wait;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Registry {
    /// An open one.
    pub fn open() -> Self {
        Self::start("")
    }

    /// One that lets only `me` with the password `secret` in.
    pub fn with_password() -> Self {
        need(&["apache2-utils"]);
        let folder = super::scratch();
        let file = folder.path().join("htpasswd");
        let made =
            Command::new("htpasswd").args(["-Bbc"]).arg(&file).args(["me", "secret"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self::start_in(
            folder,
            &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()),
        )
    }

    /// A pull-through mirror of another registry.
    pub fn mirror_of(address: &str) -> Self {
        Self::start(&format!("proxy:\n  remoteurl: {address}\n"))
    }

    fn start(more: &str) -> Self {
        Self::start_in(super::scratch(), more)
    }

    fn start_in(folder: tempfile::TempDir, more: &str) -> Self {
        need(&["docker-registry"]);
        // Free a moment ago; nobody else on this machine picks ports by number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {}/data\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\n{more}",
            folder.path().display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut started = Self { child: spawn(folder.path()), port, folder };
        started.wait();
        started
    }

    /// Ends it, and starts it again with what it has stored.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(self.folder.path());
        self.wait();
    }

    fn wait(&mut self) {
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        wait::until("the registry listens", || {
            assert!(self.child.try_wait().unwrap().is_none(), "the registry ended: {}", log());
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A place in it, as this program takes it.
    pub fn place(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.host())
    }

    /// Where it keeps a blob.
    pub fn blob(&self, hex: &str) -> PathBuf {
        let folder = Path::new("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
        self.folder.path().join(folder).join("data")
    }
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut registry = Command::new("docker-registry");
    registry.arg("serve").arg(folder.join("config.yml")).stdin(Stdio::null());
    registry.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
