//! What the agent gets beside the status: a copy of the log in the handler's own log folder, which log collection picks
//! up, and telemetry events in the form the agent reads (`WALinuxAgent`, `ga/collect_telemetry_events.py`).

use super::environment::Handler;
use crate::events::{Event, Level, Sink, What};
use crate::host::Host;
use crate::host::fs::Root;
use anyhow::Result;
use serde_json::json;
use std::io::Write;
use std::time::UNIX_EPOCH;

/// The log's name in the handler's log folder.
const MIRROR: &str = "ofedctl.log";
/// The agent cuts longer messages, and drops events of more than 6144 characters.
const MAX_MESSAGE_CHARS: usize = 2000;
/// The agent takes 300 events in five minutes from all the processes of a handler.
const MAX_EVENTS: u32 = 200;
/// Where the kernel makes up a GUID (random(4)).
const UUID: &str = "/proc/sys/kernel/random/uuid";

/// Copies log lines to the log folder and the events folder from now on. A failure to write there does not fail a
/// run.
pub(super) fn attach(host: &Host, handler: &Handler, operation: &'static str) {
    let sinks = [
        handler.log_folder.as_deref().map(|folder| mirror(host, folder)),
        handler.events_folder.as_deref().map(|folder| events(host, folder, handler, operation)),
    ];
    for sink in sinks.into_iter().flatten() {
        match sink {
            Ok(Some(sink)) => host.events.attach(sink),
            Ok(None) => {}
            Err(error) => host.events.warn(format!("{error:#}")),
        }
    }
}

fn mirror(host: &Host, folder: &str) -> Result<Option<Sink>> {
    let mut file = host.root.append(&format!("{folder}/{MIRROR}"), 0o644)?;
    Ok(Some(Box::new(move |event: &Event| {
        if let Some(line) = event.log_line() {
            let _ = writeln!(file, "{line}");
        }
    })))
}

fn events(host: &Host, folder: &str, handler: &Handler, operation: &'static str) -> Result<Option<Sink>> {
    // Where the agent has made no folder it reads none.
    if !host.root.is_dir(folder) {
        return Ok(None);
    }
    let root = Root::open(host.root.path())?;
    let folder = folder.to_owned();
    let version = handler.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    let guid = root.attribute(UUID).unwrap_or_else(|| "00000000-0000-4000-8000-000000000000".to_owned());
    let pid = std::process::id().to_string();
    let (mut last, mut count) = (0, 0);
    Ok(Some(Box::new(move |event: &Event| {
        // Each step's begin and end, and what is said between them.
        let (level, text) = match &event.what {
            What::Begun => (Level::Info, event.step.doing()),
            What::Message(level, text) => (*level, text.as_str()),
            What::Failed(text) => (Level::Error, text.as_str()),
            What::Note(_) | What::Progress { .. } | What::Working { .. } => return,
        };
        if count >= MAX_EVENTS || !root.is_dir(&folder) {
            return;
        }
        count += 1;
        let millis = event.time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        last = millis.max(last + 1);
        let said = json!({
            "Version": version,
            "Timestamp": humantime::format_rfc3339_micros(event.time).to_string(),
            "TaskName": operation,
            "EventLevel": level_name(level),
            "Message": message(event.step.name(), text),
            "EventPid": pid,
            "EventTid": pid,
            "OperationId": guid,
        });
        // The agent empties the folder whenever it likes.
        let _ = root.write_text(&format!("{folder}/{last}.json"), &said.to_string());
    })))
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Info => "Informational",
        Level::Warn => "Warning",
        Level::Error => "Error",
    }
}

fn message(step: &str, text: &str) -> String {
    format!("{step}: {}", text.trim()).chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use serde_json::Value;

    #[test]
    fn an_event_has_all_that_the_agent_asks_for_as_text() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.make_dirs("/e", 0o700).unwrap();
        let handler = Handler { events_folder: Some("/e".to_owned()), ..Handler::default() };
        attach(&host, &handler, "Enable");
        host.events.warn("é".repeat(9000));
        host.events.begin(crate::events::Step::Verify);
        let names = host.root.list("/e");
        assert_eq!(names.len(), 2);
        let begun = host.root.read_text(&format!("/e/{}", names[1])).unwrap().unwrap();
        assert!(begun.contains("verify: proving the result"), "{begun}");
        for name in &names {
            let number = name.strip_suffix(".json").unwrap();
            assert!(number.chars().all(|c| c.is_ascii_digit()), "{name}");
        }
        let text = host.root.read_text(&format!("/e/{}", names[0])).unwrap().unwrap();
        assert!(text.chars().count() <= 6144);
        let event: Value = serde_json::from_str(&text).unwrap();
        for key in [
            "Version",
            "Timestamp",
            "TaskName",
            "EventLevel",
            "Message",
            "EventPid",
            "EventTid",
            "OperationId",
        ] {
            assert!(event[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {event}");
        }
        assert_eq!(event["EventLevel"], "Warning");
    }

    #[test]
    fn a_log_folder_gets_the_log_and_a_missing_events_folder_nothing() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let handler = Handler {
            log_folder: Some("/l".to_owned()),
            events_folder: Some("/none".to_owned()),
            ..Handler::default()
        };
        attach(&host, &handler, "Enable");
        host.events.info("one");
        assert!(host.root.read_text("/l/ofedctl.log").unwrap().unwrap().ends_with("INFO  detect: one\n"));
        assert!(!host.root.exists("/none"));
    }
}
