//! Makes sure that each command of the handler ends with a terminal status document for the agent, also when it fails
//! or panics.

use super::environment::Handler;
use crate::events::Events;
use crate::host::Host;
use crate::outcome::{Outcome, Reason};
use crate::status::{STATUS_FILE, State, StatusDocument};

/// The operation in status documents.
pub(super) const OPERATION: &str = "Enable";
/// Bytes of a message on standard output or error. The agent reads the first 3200 of both together, and shows less.
const BRIEF: usize = 600;

/// Ends the status on drop, unless [`StatusGuard::settle`] or [`StatusGuard::hand_over`] came before.
#[derive(Debug)]
pub(super) struct StatusGuard<'a> {
    host: &'a Host,
    handler: &'a Handler,
    open: bool,
}

impl<'a> StatusGuard<'a> {
    pub(super) fn new(host: &'a Host, handler: &'a Handler) -> Self {
        Self { host, handler, open: true }
    }

    /// Another process, the worker, will end the status.
    pub(super) fn hand_over(mut self) {
        self.open = false;
    }

    /// Writes how it ended, and that these settings have been dealt with, with `warnings` beside it. What a run has
    /// written about its own end stays.
    pub(super) fn settle(mut self, outcome: &Outcome, warnings: &[String]) {
        self.open = false;
        let Self { host, handler, .. } = self;
        write(host, handler, outcome, warnings);
        // Settings whose run was stopped have not been dealt with.
        if outcome.reason != Reason::Interrupted {
            handler.note_seen(host);
        }
    }
}

impl Drop for StatusGuard<'_> {
    fn drop(&mut self) {
        if self.open {
            let outcome = Outcome::new(Reason::Internal, "the handler ended without saying how");
            write(self.host, self.handler, &outcome, &[]);
        }
    }
}

fn write(host: &Host, handler: &Handler, outcome: &Outcome, warnings: &[String]) {
    let outcome = clean(&host.events, outcome);
    let file = handler.status_file();
    let known = file.as_deref().and_then(|file| StatusDocument::load(&host.root, file).ok().flatten());
    let code = outcome.exit_code().number();
    let ended = known.filter(|known| known.tells(&outcome));
    let has_ended = ended.is_some();
    let mut document = ended.unwrap_or_else(|| StatusDocument::begin(OPERATION));
    if !has_ended {
        let state = if outcome.is_success() { State::Success } else { State::Error };
        document.set_step(host.events.step(), state, code, &outcome.message);
        document.end(&outcome);
    }
    if !warnings.is_empty() {
        document.set("settings", State::Warning, 0, &host.events.clean(&warnings.join("; ")));
    } else if has_ended {
        return;
    }
    let shared = (!has_ended).then_some(STATUS_FILE);
    for path in [file.as_deref(), shared].into_iter().flatten() {
        save(host, &document, path);
    }
}

/// Leaves a document that says what goes on where there is none yet: the agent waits for a missing one.
pub(super) fn announce(host: &Host, handler: &Handler, text: &str) {
    if handler.status_file().is_some_and(|file| !host.root.exists(&file)) {
        let mut document = StatusDocument::begin(OPERATION);
        document.say(text);
        save(host, &document, handler.status_file().as_deref().unwrap_or(STATUS_FILE));
    }
}

/// How the last run of these settings ended; none when none has, or one is at work.
pub(super) fn ended(host: &Host, handler: &Handler) -> Option<Outcome> {
    let file = handler.status_file();
    let document = StatusDocument::load(&host.root, file.as_deref().unwrap_or(STATUS_FILE)).ok()??;
    document.outcome()
}

/// Says that the work has begun, in the handler's own document.
pub(super) fn begin(host: &Host, handler: &Handler, text: &str) {
    let mut document = StatusDocument::begin(OPERATION);
    let text = host.events.clean(text);
    document.say(&text);
    document.set_step(host.events.step(), State::Transitioning, 0, &text);
    save(host, &document, handler.status_file().as_deref().unwrap_or(STATUS_FILE));
}

/// Whether the handler's own document tells of this outcome already, or of the run that led to it.
pub(super) fn stands(host: &Host, handler: &Handler, outcome: &Outcome) -> bool {
    let document = handler.status_file().and_then(|file| StatusDocument::load(&host.root, &file).ok()?);
    let told = document.and_then(|document| document.reason());
    told == Some(outcome.reason)
        || (told, outcome.reason) == (Some(Reason::Installed), Reason::AlreadyInstalled)
}

fn save(host: &Host, document: &StatusDocument, path: &str) {
    // The agent removes the folder together with the handler, and then reads no status any more.
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    if path != STATUS_FILE && !host.root.is_dir(folder) {
        return;
    }
    if let Err(error) = document.save(&host.root, path) {
        host.events.warn(format!("the status document was not written: {error:#}"));
    }
}

/// An outcome without secrets.
fn clean(events: &Events, outcome: &Outcome) -> Outcome {
    outcome.with_message(&events.clean(&outcome.message))
}

/// An outcome for standard output: the agent keeps little of it.
pub(super) fn brief(events: &Events, outcome: &Outcome) -> Outcome {
    let mut outcome = clean(events, outcome);
    outcome.message = outcome.message.replace('\n', " ");
    if outcome.message.len() > BRIEF {
        let end = (0..=BRIEF).rev().find(|at| outcome.message.is_char_boundary(*at)).unwrap_or_default();
        outcome.message.truncate(end);
        outcome.message.push_str(" …");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    fn handler(host: &Host) -> Handler {
        for folder in ["/h", "/h/status"] {
            host.root.make_dirs(folder, 0o700).unwrap();
        }
        let status_folder = Some("/h/status".to_owned());
        Handler { dir: Some("/h".to_owned()), status_folder, seq: 4, ..Handler::default() }
    }

    fn document(host: &Host) -> StatusDocument {
        StatusDocument::load(&host.root, "/h/status/4.status").unwrap().unwrap()
    }

    #[test]
    fn a_panic_ends_the_status_and_leaves_the_settings_to_the_next_start() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let handler = handler(&host);
        begin(&host, &handler, "at work");
        assert_eq!(document(&host).code(), (0, false));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ending = StatusGuard::new(&host, &handler);
            panic!("a bug");
        }));
        assert!(panicked.is_err());
        assert_eq!((document(&host).code(), document(&host).reason()), ((14, true), Some(Reason::Internal)));
        assert!(!handler.is_seen(&host));
    }

    #[test]
    fn what_a_run_has_said_of_its_end_stays_and_another_end_takes_its_place() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let handler = handler(&host);
        let installed = Outcome::new(Reason::Installed, "inbox");
        let mut told = StatusDocument::begin("Install");
        told.end(&installed);
        told.save(&host.root, "/h/status/4.status").unwrap();
        let before = host.root.read_text("/h/status/4.status").unwrap();
        StatusGuard::new(&host, &handler).settle(&installed, &[]);
        assert_eq!(host.root.read_text("/h/status/4.status").unwrap(), before);
        assert!(handler.is_seen(&host));
        assert!(stands(&host, &handler, &Outcome::new(Reason::AlreadyInstalled, "inbox")));
        assert!(!stands(&host, &handler, &Outcome::new(Reason::RebootRequired, "inbox")));

        StatusGuard::new(&host, &handler).settle(&Outcome::new(Reason::NoVmbus, "none"), &["odd".to_owned()]);
        assert_eq!(document(&host).code(), (10, true));
        assert!(document(&host).to_text().contains("odd"));
    }

    #[test]
    fn the_end_of_a_run_is_read_back_and_a_run_that_goes_on_has_none() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let handler = handler(&host);
        assert!(ended(&host, &handler).is_none());
        announce(&host, &handler, "looking at this VM");
        assert!(ended(&host, &handler).is_none() && document(&host).code() == (0, false));
        let failed = Outcome::new(Reason::CacheMissing, "no bundle: none at all");
        StatusGuard::new(&host, &handler).settle(&failed, &[]);
        let told = ended(&host, &handler).unwrap();
        assert_eq!((told.reason, told.message), (failed.reason, failed.message));
        announce(&host, &handler, "looking at this VM");
        assert!(ended(&host, &handler).is_some(), "what was said before stays");
    }

    #[test]
    fn a_folder_that_the_agent_has_removed_is_not_made_again() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let handler = handler(&host);
        host.root.remove_all("/h").unwrap();
        StatusGuard::new(&host, &handler).settle(&Outcome::new(Reason::Installed, "inbox"), &[]);
        assert!(!host.root.exists("/h"));
    }

    #[test]
    fn what_is_printed_is_short_one_line_and_without_secrets() {
        let events = Events::silent();
        events.conceal(["hush".to_owned()]);
        let outcome = Outcome::new(Reason::PackageManager, format!("hush\n{}", "é".repeat(5000)));
        let brief = brief(&events, &outcome);
        assert!(brief.message.starts_with("*** é") && brief.message.len() < 700, "{}", brief.message.len());
        assert!(crate::status::verdict(&brief).len() < 1000);
    }
}
