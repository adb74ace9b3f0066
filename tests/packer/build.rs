//! Runs the real Packer on a template, as a user does.

use crate::common::need::need;
use crate::common::program::Ran;
use crate::guest::{Guest, own_group, program_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The Packer that `make packer-newest` has built, where that runs the tests.
pub fn newer() -> Option<std::ffi::OsString> {
    std::env::var_os("OFEDCTL_TEST_PACKER")
}

/// A folder with a template in it, and Packer around it.
#[derive(Debug)]
pub struct Workshop {
    pub folder: tempfile::TempDir,
    plugins: PathBuf,
}

impl Workshop {
    /// Makes one, with the plugin installed.
    pub fn new() -> Self {
        Self::with(Path::new(env!("CARGO_BIN_EXE_ofedctl")))
    }

    /// Makes one with a program as its plugin, which then is also what goes into guests.
    pub fn with(program: &Path) -> Self {
        need(&["packer"]);
        let folder = crate::common::scratch();
        let plugins = folder.path().join("plugins");
        let setup = Command::new(program).args(["packer", "setup", "--plugin-path"]).arg(&plugins).output();
        assert!(setup.unwrap().status.success());
        std::fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder, plugins }
    }

    /// Writes a template.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Packer with these arguments.
    pub fn packer<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut packer = Command::new(newer().unwrap_or_else(|| "packer".into()));
        packer.args(args).current_dir(&self.folder).env_clear().stdin(Stdio::null());
        packer.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.folder.path().join("home"));
        packer.env("PACKER_PLUGIN_PATH", &self.plugins).env("CHECKPOINT_DISABLE", "1");
        packer.env("PACKER_LOG", "1").env("PACKER_LOG_PATH", self.log());
        packer
    }

    /// Packer's log, with what plugins wrote on standard error.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("packer.log")
    }

    /// Validates a template.
    pub fn validate(&self, template: &Path) -> Ran {
        Ran::from(self.packer(&[Path::new("validate"), template]).output().unwrap())
    }

    /// Builds a template.
    pub fn build(&self, template: &Path) -> Ran {
        Ran::from(self.build_command(template).output().unwrap())
    }

    /// Begins to build a template, for a test that does something meanwhile.
    pub fn begin(&self, template: &Path) -> Child {
        let mut command = self.build_command(template);
        own_group(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn build_command(&self, template: &Path) -> Command {
        self.packer(&[Path::new("build"), Path::new("-color=false"), template])
    }

    /// The template that provisions a guest over SSH.
    pub fn template(&self, guest: &Guest, user: &str, attributes: &str) -> PathBuf {
        let (port, key) = (guest.port, guest.key.display());
        let program = program_for(&guest.root);
        let text = format!(
            "source \"null\" \"ssh\" {{
  communicator         = \"ssh\"
  ssh_host             = \"127.0.0.1\"
  ssh_port             = {port}
  ssh_username         = \"{user}\"
  ssh_private_key_file = \"{key}\"
  ssh_timeout          = \"20s\"
}}
build {{
  sources = [\"source.null.ssh\"]
  provisioner \"ofed\" {{
    ofedctl_binary = \"{}\"
{attributes}
  }}
}}
",
            program.display()
        );
        self.write("build.pkr.hcl", &text)
    }
}
