//! A run of apt that writes only to a private folder: this machine's apt, or the target's own.

use super::super::in_target::Lent;
use crate::host::Host;
use crate::host::http::{asked_directly, without_secrets};
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;
use std::cell::OnceCell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An apt that writes only to a private folder: this machine's, which also reads only that folder, or the target's own.
pub(super) struct AptRun {
    pub(super) options: Vec<String>,
    /// The settings that this machine's apt works by, in place of its own.
    pub(super) settings: Option<PathBuf>,
    /// The folder of its state, as this machine sees it.
    pub(super) state: PathBuf,
    /// The target, where it is its own apt.
    pub(super) lent: Option<Lent>,
    /// All of its configuration, as `apt-config dump` prints it; asked for once.
    configuration: OnceCell<String>,
    /// The package lists that it has read; asked for once, when it has read them.
    lists: OnceCell<Vec<List>>,
}

/// A list of packages that apt has read.
#[derive(Debug)]
pub(super) struct List {
    pub(super) repository: String,
    /// Its name in the release's own list of files.
    pub(super) key: String,
    /// The name it is kept under.
    pub(super) file: String,
    /// What the names of all that apt keeps of the release begin with.
    pub(super) start: String,
}

impl List {
    /// What apt is asked of each of its package lists.
    pub(super) const ASKED: &str = "$(CREATED_BY)\t$(REPO_URI)\t$(METAKEY)\t$(FILENAME)";

    fn parse(line: &str) -> Option<Self> {
        let [kind, repository, key, file] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let file = file.rsplit('/').next().filter(|_| kind == "Packages")?;
        // It may be kept packed, under a longer name.
        let start = file.find(&key.replace('/', "_")).map(|at| &file[..at])?;
        let [repository, key, file, start] = [repository, key, file, start].map(str::to_owned);
        Some(Self { repository, key, file, start })
    }
}

impl AptRun {
    pub(super) fn new(
        options: Vec<String>,
        settings: Option<PathBuf>,
        state: PathBuf,
        lent: Option<Lent>,
    ) -> Self {
        Self { options, settings, state, lent, configuration: OnceCell::new(), lists: OnceCell::new() }
    }

    pub(super) fn cmd(&self, program: &str) -> Cmd {
        self.place(Cmd::new(program).args(self.options.iter().cloned()))
    }

    /// A command that runs where this apt does.
    pub(super) fn place(&self, cmd: Cmd) -> Cmd {
        if let Some(lent) = &self.lent {
            return lent.cmd(cmd);
        }
        let cmd = match &self.settings {
            Some(settings) => cmd.env("APT_CONFIG", settings.display().to_string()),
            None => cmd,
        };
        match asked_directly() {
            Some(hosts) => cmd.env("no_proxy", hosts),
            None => cmd,
        }
    }

    /// Where it keeps what it has read of repositories.
    pub(super) fn lists(&self) -> PathBuf {
        self.state.join("lists")
    }

    /// The folder it writes to, where it is the target's.
    pub(super) fn scratch(&self) -> PathBuf {
        self.lent.as_ref().map(Lent::scratch).unwrap_or_default()
    }

    /// Takes note of its configuration, where another command printed it.
    pub(super) fn keep_configuration(&self, dump: &str) {
        let _ = self.configuration.set(dump.to_owned());
    }

    /// All of its configuration, a line for each key and value.
    pub(super) fn configuration(&self, host: &Host) -> Result<&str> {
        if let Some(known) = self.configuration.get() {
            return Ok(known);
        }
        let dump = host.run(&self.cmd("apt-config").arg("dump").captured())?;
        let dump = dump.check(Reason::ResolveFailed, "reading apt's configuration")?.stdout;
        Ok(self.configuration.get_or_init(|| dump))
    }

    /// The package lists that it has read.
    pub(super) fn package_lists(&self, host: &Host) -> Result<&[List]> {
        if let Some(known) = self.lists.get() {
            return Ok(known);
        }
        let asked = self.cmd("apt-get").args(["indextargets", "--format", List::ASKED]).captured();
        let listed = host.run(&asked)?.check(Reason::ResolveFailed, "asking apt for its package lists")?;
        Ok(self.keep_lists(&listed.stdout))
    }

    /// Takes note of its package lists, where another command printed them as [`List::ASKED`] says.
    pub(super) fn keep_lists(&self, printed: &str) -> &[List] {
        self.lists.get_or_init(|| printed.lines().filter_map(List::parse).collect())
    }

    /// The target's proxy for apt, because a repository that apt reaches may not be reachable without it.
    pub(super) fn proxy(&self, host: &Host) -> Option<String> {
        let configuration = self.configuration(host).ok()?;
        let value = configuration
            .lines()
            .filter_map(|line| line.strip_suffix("\";")?.split_once(" \""))
            .find_map(|(key, value)| key.eq_ignore_ascii_case("Acquire::http::Proxy").then_some(value))?;
        (!value.is_empty() && value != "DIRECT").then(|| value.to_owned())
    }
}

/// The proxy as apt settings, read after the target's own configuration. It is not passed as an option, because all
/// users can see those.
pub(super) fn proxy_lines(proxy: &str) -> Result<String> {
    if proxy.chars().any(|c| c == '"' || c.is_control()) {
        return Err(Reason::BadSettings.error(format!("`{}` is not a proxy", without_secrets(proxy))));
    }
    let scheme = if proxy.contains("://") { "" } else { "http://" };
    let own_ways = "#clear Acquire::http::Proxy-Auto-Detect;\n#clear Acquire::http::ProxyAutoDetect;\n";
    let line = |kind: &str| format!("Acquire::{kind}::Proxy \"{scheme}{proxy}\";\n");
    Ok(format!("{own_ways}{}{}", line("http"), line("https")))
}

pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_written_as_apt_reads_it_or_refused_without_its_password() {
        assert!(
            proxy_lines("me:x@proxy:3128").unwrap().contains("https::Proxy \"http://me:x@proxy:3128\";\n")
        );
        assert!(proxy_lines("socks5h://p:1").unwrap().contains("http::Proxy \"socks5h://p:1\";\n"));
        let error = proxy_lines("http://me:secret@p:1/\"; evil").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::BadSettings);
        assert!(!format!("{error:#}").contains("secret"));
    }
}
