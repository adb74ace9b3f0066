//! A run of apt that writes only to a private folder: this machine's apt, or the target's own.

use super::super::in_target::Lent;
use crate::host::Host;
use crate::host::http::{asked_directly, without_secrets};
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;
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
}

impl AptRun {
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

    /// The target's proxy for apt, because a repository that apt reaches may not be reachable without it.
    pub(super) fn proxy(&self, host: &Host) -> Option<String> {
        let asked = host
            .run(&self.cmd("apt-config").args(["shell", "PROXY", "Acquire::http::Proxy"]).captured())
            .ok()?;
        let value = asked.stdout.trim().strip_prefix("PROXY='")?.strip_suffix('\'')?;
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
