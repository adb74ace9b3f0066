//! Programs inside a root, in namespaces of their own. This program starts itself twice. [`ENTER`] creates new mount,
//! pid, uts, ipc and, offline, network namespaces, and reaps all processes in them (`reap`). [`BECOME`], the first
//! process in them, mounts what a program expects (`mounts`), drops the capabilities that a program must not have
//! (`limits`), and starts the program. The kernel signals each of them when its parent dies, and the end of the first
//! process ends the namespaces with everything in them, so no mount and no process outlives a run, even a killed one.
//!
//! There are three kinds of sandbox:
//! | created by | root | what the program cannot reach |
//! |---|---|---|
//! | [`Sandbox::offline`], not sealed | `/` of a VM that installs for itself | the network |
//! | [`Sandbox::offline`], sealed | an image, or `/` while an image is made of it | the running system: its processes, services, `/run`, `/tmp`, kernel settings, modules, mounts, disks |
//! | [`Sandbox::lookup`] | the same | all of that, and every write but those below `/run/o` |
//! A lookup is for programs of an image that only answer a question, such as what a package manager would download. A
//! folder of this machine appears in it as [`SCRATCH`], the only place that can be written to besides private `/run`,
//! `/tmp` and `/var/tmp`; parts of that folder may be mounted over files of the root. Without root rights it runs in a
//! user namespace, where the system allows one. With [`Sandbox::through_relay`] it reaches the network except the
//! addresses of the machine's cloud platform; the relay resolves names for it. If a program cannot be started, the exit
//! code is [`NOT_MADE`], [`NOT_RUNNABLE`] or [`NOT_THERE`].

mod kernel;
mod limits;
mod mount_table;
mod mounts;
mod place;
mod reap;
mod relay;

pub(super) use reap::{ASK, KILL};
pub use reap::{become_program, enter};

use super::fs::Root;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// First argument of the process that makes the namespaces. Not for users.
pub const ENTER: &str = "__enter";
/// First argument of the process that becomes the program. Not for users.
pub const BECOME: &str = "__become";
/// The path inside the sandbox of the only folder that a lookup may write to.
pub const SCRATCH: &str = "/run/o";

/// The exit code of a lookup whose namespaces could not be set up. This and the next two codes are those of `env(1)`
/// and the shell.
pub const NOT_MADE: u8 = 125;
/// The exit code of a lookup whose program cannot run on this machine: it is for another architecture.
pub const NOT_RUNNABLE: u8 = 126;
/// The exit code of a lookup whose program is not in the root.
pub const NOT_THERE: u8 = 127;

/// How the root's own `uname` is treated where the program sees another kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Uname {
    /// The script is mounted over it, so it cannot be called by its path either.
    Covered,
    /// Nothing is mounted over it, so that a package can replace it.
    Replaceable,
}

/// How a lookup reaches the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Relayed {
    /// The ports that may be asked, beside the usual ones of the web and its proxies.
    ports: Vec<u16>,
    /// Whether the metadata service of the machine may be asked, too.
    metadata: bool,
}

/// What a program in a sandbox sees and may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The root it runs in; `/` is the running system itself.
    root: PathBuf,
    /// Whether the program has no network interface at all.
    offline: bool,
    /// Private process numbers, an empty `/run` and `/tmp`: nothing of the running system can be reached or
    /// started. Always on when the root is not `/`.
    sealed: bool,
    /// Folders of this machine shown read-only inside, as (folder, path inside). Made in a private `/run`.
    views: Vec<(PathBuf, String)>,
    /// The kernel release that the program sees.
    kernel: Option<(String, Uname)>,
    /// Whether the program may set `SELinux` labels that this machine's kernel does not know.
    labels: bool,
    /// Nothing can be written but into this folder of this machine, which appears as [`SCRATCH`].
    scratch: Option<PathBuf>,
    /// Files and folders in the scratch folder that cover others of the root, as (name, path in the root).
    covers: Vec<(String, String)>,
    /// A file of the root that the program cannot read.
    hidden: Option<String>,
    /// How the program reaches the network through this machine, if it does.
    relayed: Option<Relayed>,
}

impl Sandbox {
    /// A program in `root`, without a network. `sealed` keeps it from reaching or starting anything of the running
    /// system; a root other than `/` always is.
    pub fn offline(root: &Root, sealed: bool) -> Self {
        Self {
            root: root.path().to_owned(),
            offline: true,
            sealed: sealed || !root.is_slash(),
            views: Vec::new(),
            kernel: None,
            labels: false,
            scratch: None,
            covers: Vec::new(),
            hidden: root.hidden().map(str::to_owned),
            relayed: None,
        }
    }

    /// A program in `root` that can write nothing but into `scratch`, a folder of this machine that it finds as
    /// [`SCRATCH`].
    pub fn lookup(root: &Root, scratch: &Path) -> Self {
        Self { scratch: Some(scratch.to_owned()), ..Self::offline(root, true) }
    }

    /// Gives the program this machine's network, or none.
    #[must_use]
    pub fn with_network(mut self, on: bool) -> Self {
        self.offline = !on;
        self
    }

    /// Connections to these ports and the usual web ports go to a relay, which makes them from this machine's network;
    /// connections to the machine's cloud platform only where `metadata` is true.
    #[must_use]
    pub fn through_relay(mut self, ports: impl IntoIterator<Item = u16>, metadata: bool) -> Self {
        self.relayed = Some(Relayed { ports: ports.into_iter().collect(), metadata });
        self
    }

    /// Mounts a file or folder of the scratch folder over `path` of the root. A path that the root does not have is
    /// left out.
    #[must_use]
    pub fn with_cover(mut self, name: &str, path: &str) -> Self {
        self.covers.push((name.to_owned(), path.to_owned()));
        self
    }

    /// Shows a folder of this machine read-only at the path `inside`.
    #[must_use]
    pub fn with_view(mut self, folder: &Path, inside: &str) -> Self {
        self.views.push((folder.to_owned(), inside.to_owned()));
        self
    }

    /// Lets `uname -r` and `/proc/sys/kernel/osrelease` name this kernel instead of the running one.
    #[must_use]
    pub fn for_kernel(mut self, kernel: &str) -> Self {
        self.kernel = Some((kernel.to_owned(), Uname::Covered));
        self
    }

    /// The same for programs that find `uname` in their search path, where a package may replace `uname`.
    #[must_use]
    pub fn for_kernel_in_search_path(mut self, kernel: &str) -> Self {
        self.kernel = Some((kernel.to_owned(), Uname::Replaceable));
        self
    }

    /// Allows the program to set `SELinux` labels that this machine's kernel does not know.
    #[must_use]
    pub fn with_labels(mut self) -> Self {
        self.labels = true;
        self
    }

    fn is_another_root(&self) -> bool {
        self.root != Path::new("/")
    }

    fn is_lookup(&self) -> bool {
        self.scratch.is_some()
    }

    /// Whether the program gets a mount tree of its own, which it cannot leave.
    fn has_own_tree(&self) -> bool {
        self.is_another_root() || self.is_lookup()
    }
}

/// The command line that runs `program` in `sandbox`.
pub(super) fn wrap(sandbox: &Sandbox, program: &str, args: &[String]) -> Result<(PathBuf, Vec<String>)> {
    let spec = serde_json::to_string(sandbox).context("cannot describe the sandbox")?;
    let mut all = vec![ENTER.to_owned(), std::process::id().to_string(), spec, program.to_owned()];
    all.extend_from_slice(args);
    Ok((PathBuf::from("/proc/self/exe"), all))
}
