//! How Packer starts a plugin and finds its socket: one line on standard output, in one of two forms.
//!
//! Packer up to 1.6 starts a program for each component, without arguments, and takes three fields; later ones start
//! `PLUGIN start KIND [--protobuf] NAME` and take four (hashicorp/packer-plugin-sdk, plugin/server.go and set.go).

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The version of the protocol, major and minor.
pub(in super::super) const API_VERSION: (u32, u32) = (5, 0);
/// The variable by which a plugin knows that Packer started it, and its value.
pub(in super::super) const COOKIE: (&str, &str) =
    ("PACKER_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");
/// The component that goes by the plugin's own name.
pub(in super::super) const DEFAULT_COMPONENT: &str = "-packer-default-plugin-name-";
/// Packer itself gives up on a plugin after this long.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The form Packer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Dialect {
    /// Packer before 1.7.
    pub(in super::super) is_old: bool,
    /// The specification of the attributes goes as Protocol Buffers.
    pub(in super::super) protobuf: bool,
}

impl Dialect {
    /// Reads the arguments after the program's name; the error is for Packer's log.
    pub(in super::super) fn parse(args: &[OsString]) -> Result<Self, String> {
        let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
        let [start, rest @ ..] = words.as_slice() else {
            return Ok(Self { is_old: true, protobuf: false });
        };
        let protobuf = rest.contains(&"--protobuf");
        let rest: Vec<&str> = rest.iter().copied().filter(|word| *word != "--protobuf").collect();
        match (*start, rest.as_slice()) {
            ("start", ["provisioner", DEFAULT_COMPONENT]) => Ok(Self { is_old: false, protobuf }),
            _ => Err(format!(
                "`{}` is not what this plugin has: its one component is the provisioner `{DEFAULT_COMPONENT}`",
                words.join(" ")
            )),
        }
    }

    /// The line that tells Packer where the socket is.
    fn line(self, address: &Path) -> String {
        let (major, minor) = API_VERSION;
        let minor = if self.is_old { String::new() } else { format!("|{minor}") };
        format!("{major}{minor}|unix|{}\n", address.display())
    }
}

/// A socket in a folder of its own that nobody else may enter.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    address: PathBuf,
    _folder: TempDir,
}

impl Listener {
    pub(super) fn bind() -> io::Result<Self> {
        // An address must be shorter than 108 bytes, and a user's folder for temporary files may not be.
        Self::bind_in(&std::env::temp_dir()).or_else(|_| Self::bind_in(Path::new("/tmp")))
    }

    fn bind_in(folder: &Path) -> io::Result<Self> {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix("packer-plugin-ofed-").permissions(private).tempdir_in(folder)?;
        let address = folder.path().join("socket");
        let socket = UnixListener::bind(&address)?;
        Ok(Self { socket, address, _folder: folder })
    }

    /// What to print, now that the socket listens.
    pub(super) fn line(&self, dialect: Dialect) -> String {
        dialect.line(&self.address)
    }

    /// Waits for the one connection there is. The socket's name is gone then: Packer kills plugins.
    pub(super) fn accept(self) -> io::Result<UnixStream> {
        self.socket.set_nonblocking(true)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(args: &[&str]) -> Result<Dialect, String> {
        Dialect::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn each_packer_gets_the_line_it_reads() {
        let line = |args: &[&str]| dialect(args).unwrap().line(Path::new("/tmp/x"));
        assert_eq!(line(&[]), "5|unix|/tmp/x\n");
        assert_eq!(line(&["start", "provisioner", DEFAULT_COMPONENT]), "5|0|unix|/tmp/x\n");
    }

    #[test]
    fn protocol_buffers_are_asked_for_anywhere_in_the_line() {
        for args in [
            ["start", "provisioner", "--protobuf", DEFAULT_COMPONENT],
            ["start", "--protobuf", "provisioner", DEFAULT_COMPONENT],
            ["start", "provisioner", DEFAULT_COMPONENT, "--protobuf"],
        ] {
            assert_eq!(dialect(&args).unwrap(), Dialect { is_old: false, protobuf: true });
        }
        assert!(!dialect(&["start", "provisioner", DEFAULT_COMPONENT]).unwrap().protobuf);
    }

    #[test]
    fn a_component_this_plugin_lacks_is_named() {
        for args in [&["start", "builder", DEFAULT_COMPONENT][..], &["start", "provisioner", "x"], &["start"]]
        {
            assert!(dialect(args).unwrap_err().contains(args.last().unwrap()));
        }
    }

    #[test]
    fn the_socket_is_private_and_gone_after_the_first_connection() {
        let listener = Listener::bind().unwrap();
        let folder = listener.address.parent().unwrap().to_owned();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let _host = UnixStream::connect(&listener.address).unwrap();
        listener.accept().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_with_a_long_name_is_no_hindrance() {
        let long = tempfile::tempdir().unwrap();
        let long = long.path().join("a".repeat(120));
        std::fs::create_dir(&long).unwrap();
        assert!(Listener::bind_in(&long).is_err());
    }
}
