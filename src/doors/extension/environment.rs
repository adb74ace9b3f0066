//! The agent's environment for a handler: its folder with `HandlerEnvironment.json`, and the settings' sequence number.

use crate::host::Host;
use crate::host::process;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ENVIRONMENT: &str = "HandlerEnvironment.json";

/// The data that the agent passes to a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Handler {
    /// The folder the package was unpacked in; none when no agent started this.
    pub(super) dir: Option<String>,
    /// The handler's version, where its folder's name tells it.
    pub(super) version: Option<String>,
    pub(super) config_folder: Option<String>,
    pub(super) status_folder: Option<String>,
    pub(super) log_folder: Option<String>,
    /// Where telemetry events go; older agents have none.
    pub(super) events_folder: Option<String>,
    /// The number of the settings that count now.
    pub(super) seq: u64,
}

impl Handler {
    /// The handler that was started in `given`, or in the first folder that looks like one's.
    pub(super) fn find(host: &Host, given: Option<&Path>) -> Self {
        let Some(dir) =
            folders(given).into_iter().find(|dir| host.root.exists(&format!("{dir}/{ENVIRONMENT}")))
        else {
            return Self::default();
        };
        let text = host.root.read_text(&format!("{dir}/{ENVIRONMENT}")).ok().flatten().unwrap_or_default();
        let mut handler = Self::parse(&dir, &text);
        handler.seq = sequence_number(host, &handler, process::variable("ConfigSequenceNumber").as_deref());
        handler
    }

    /// Reads the document in both of its shapes: an array of one, as agents write it, or the object alone. Folders
    /// that the document does not name are those where agents put them.
    fn parse(dir: &str, text: &str) -> Self {
        let document: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default();
        let first = document.get(0).unwrap_or(&document);
        let said = &first["handlerEnvironment"];
        let folder = |key: &str| said[key].as_str().filter(|path| path.starts_with('/')).map(str::to_owned);
        Self {
            dir: Some(dir.to_owned()),
            version: version_of(dir),
            config_folder: folder("configFolder").or_else(|| Some(format!("{dir}/config"))),
            status_folder: folder("statusFolder").or_else(|| Some(format!("{dir}/status"))),
            log_folder: folder("logFolder"),
            events_folder: folder("eventsFolder").or_else(|| folder("eventsFolder_preview")),
            // Only very old agents give the sequence number in this document.
            seq: said["seqNo"].as_u64().or_else(|| said["seqNo"].as_str()?.parse().ok()).unwrap_or_default(),
        }
    }

    /// The status document of the settings that count now.
    pub(super) fn status_file(&self) -> Option<String> {
        Some(format!("{}/{}.status", self.status_folder.as_ref()?, self.seq))
    }

    /// The settings that count now.
    pub(super) fn settings_file(&self) -> Option<String> {
        Some(format!("{}/{}.settings", self.config_folder.as_ref()?, self.seq))
    }

    /// Where the number of the last settings that were dealt with is kept: the one file of a handler's own that the
    /// agent takes along when it updates a handler.
    fn mrseq_file(&self) -> Option<String> {
        Some(format!("{}/mrseq", self.dir.as_ref()?))
    }

    /// Whether the settings that count now have been dealt with. Numbers need not grow: those of a cloned VM begin
    /// again.
    pub(super) fn is_seen(&self, host: &Host) -> bool {
        let last = self.mrseq_file().and_then(|file| host.root.attribute(&file));
        last.is_some_and(|last| last == self.seq.to_string())
    }

    /// Notes that the settings that count now have been dealt with, to the end.
    pub(super) fn note_seen(&self, host: &Host) {
        // The agent may have removed the folder while a run was at work.
        if let Some(dir) = self.dir.as_ref().filter(|dir| host.root.is_dir(dir))
            && let Err(error) = host.root.write_text(&format!("{dir}/mrseq"), &self.seq.to_string())
        {
            host.events.warn(format!("{error:#}"));
        }
    }

    /// Forgets which settings have been dealt with.
    pub(super) fn forget(&self, host: &Host) -> anyhow::Result<()> {
        self.mrseq_file().map_or(Ok(()), |file| host.root.remove_file(&file))
    }
}

fn folders(given: Option<&Path>) -> Vec<String> {
    if let Some(given) = given {
        return vec![given.display().to_string()];
    }
    let program = process::program().ok();
    let above = |steps: usize| program.as_deref()?.ancestors().nth(steps).map(Path::to_owned);
    let told = process::variable("AZURE_GUEST_AGENT_EXTENSION_PATH").map(PathBuf::from);
    let all = [told, process::working_folder(), above(1), above(2)];
    all.into_iter().flatten().map(|path| path.display().to_string()).collect()
}

/// The version in a folder's name, `Publisher.Type-1.2.3.4`.
fn version_of(dir: &str) -> Option<String> {
    let (_, version) = dir.trim_end_matches('/').rsplit('/').next()?.split_once('-')?;
    let is_version =
        version.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    is_version.then(|| version.to_owned())
}

/// What the agent says in the environment or, as older ones say nothing there, the number of the settings that were
/// written last: the highest number may be of an earlier life of the VM.
fn sequence_number(host: &Host, handler: &Handler, told: Option<&str>) -> u64 {
    if let Some(seq) = told.and_then(|told| told.trim().parse().ok()) {
        return seq;
    }
    let Some(folder) = &handler.config_folder else { return handler.seq };
    let numbered = host.root.list(folder).into_iter().filter_map(|name| {
        let seq: u64 = name.strip_suffix(".settings")?.parse().ok()?;
        let written = host.root.metadata(&format!("{folder}/{name}"))?.modified().ok()?;
        Some((written, seq))
    });
    numbered.max_by_key(|(written, _): &(SystemTime, u64)| *written).map_or(handler.seq, |(_, seq)| seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    const DIR: &str = "/var/lib/waagent/Contoso.Hpc.InfiniBandDriverLinux-1.2.3.4";

    #[test]
    fn both_shapes_of_the_environment_say_the_same() {
        let object = r#"{"name": "n", "version": 1.0, "handlerEnvironment": {"logFolder": "/var/log/azure/x",
            "configFolder": "/c", "statusFolder": "/s", "heartbeatFile": "/h", "eventsFolder": "/e"}}"#;
        let one = Handler::parse(DIR, object);
        assert_eq!(one, Handler::parse(DIR, &format!("\u{feff}[{object}]")));
        assert_eq!(one.version.as_deref(), Some("1.2.3.4"));
        assert_eq!(one.status_file().unwrap(), "/s/0.status");
        assert_eq!(one.settings_file().unwrap(), "/c/0.settings");
        assert_eq!(one.events_folder.as_deref(), Some("/e"));
        let preview = object.replace("eventsFolder", "eventsFolder_preview");
        assert_eq!(Handler::parse(DIR, &preview).events_folder.as_deref(), Some("/e"));
    }

    #[test]
    fn what_a_broken_environment_does_not_say_is_where_agents_put_it() {
        for text in ["", "[]", "{", "[null]", r#"[{"handlerEnvironment": {"configFolder": 7}}]"#] {
            let handler = Handler::parse(DIR, text);
            assert_eq!(handler.config_folder.unwrap(), format!("{DIR}/config"), "{text}");
            assert_eq!(handler.log_folder, None);
        }
        assert_eq!(version_of("/opt/some-folder"), None);
    }

    #[test]
    fn the_number_is_the_agents_or_that_of_the_newest_settings() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let handler = Handler::parse("/h", r#"{"handlerEnvironment": {"seqNo": "4"}}"#);
        assert_eq!(sequence_number(&host, &handler, None), 4);
        let write = |name: &str, seconds: u64| {
            host.root.write_text(&format!("/h/config/{name}"), "").unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let file =
                std::fs::File::options().write(true).open(dir.path().join("h/config").join(name)).unwrap();
            file.set_modified(time).unwrap();
        };
        write("9.settings", 1000);
        write("2.settings", 2000);
        write("x.settings", 3000);
        assert_eq!(sequence_number(&host, &handler, None), 2);
        assert_eq!(sequence_number(&host, &handler, Some("7")), 7);
        assert_eq!(sequence_number(&host, &handler, Some("seven")), 2);
    }

    #[test]
    fn settings_are_seen_when_their_number_is_the_last_one_and_not_when_it_is_lower() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.make_dirs("/h", 0o755).unwrap();
        let mut handler = Handler { seq: 5, ..Handler::parse("/h", "") };
        assert!(!handler.is_seen(&host));
        handler.note_seen(&host);
        assert!(handler.is_seen(&host));
        handler.seq = 0;
        assert!(!handler.is_seen(&host));
        handler.forget(&host).unwrap();
        Handler { dir: Some("/gone".to_owned()), ..Handler::default() }.note_seen(&host);
        assert!(!host.root.exists("/gone") && host.root.list("/h").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_environment_makes_the_reader_panic(text in "\\PC{0,80}", dir in "[/a-z.0-9-]{0,20}") {
            let _ = (Handler::parse(&dir, &text), version_of(&dir));
        }
    }
}
