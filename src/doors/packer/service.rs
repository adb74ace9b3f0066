//! The calls Packer makes of a provisioner, and their answers.

use super::attributes;
use super::configs;
use super::protocol::{Attribute, Broker, Dialect, Handler, caller, field, map, spec};
use super::provision::provision;
use super::ui::Ui;
use super::wanted::{self, Wanted};
use super::wording::{at_this_door, remedy};
use crate::host::cancel::Cancel;
use crate::outcome::{Outcome, Reason};
use crate::status::verdict;
use rmpv::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The provisioner of one process. `Prepare` may come several times, and the last counts; `Provision` may come
/// again after a failure; `Cancel` may come at any time.
struct Provisioner {
    dialect: Dialect,
    broker: Arc<Broker>,
    state: Mutex<State>,
}

struct State {
    wanted: Option<Wanted>,
    /// The signal that stops the provisioning at work.
    cancel: Cancel,
}

/// Answers the host's calls.
pub(super) fn handler(dialect: Dialect, broker: Arc<Broker>) -> Handler {
    let state = Mutex::new(State { wanted: None, cancel: Cancel::never() });
    let provisioner = Provisioner { dialect, broker, state };
    Arc::new(move |method, argument| provisioner.answer(method, argument))
}

impl Provisioner {
    fn answer(&self, method: &str, argument: &Value) -> Result<Value, String> {
        match method {
            "Provisioner.ConfigSpec" => {
                let attributes: Vec<Attribute> = attributes::spec();
                Ok(map([("ConfigSpec", Value::Binary(spec(self.dialect, &attributes)))]))
            }
            "Provisioner.Prepare" => {
                self.state().wanted = None;
                let wanted = configs::attributes(argument).and_then(wanted::read)?;
                self.state().wanted = Some(wanted);
                Ok(Value::Nil)
            }
            "Provisioner.Provision" => self.provision(argument).map(|()| Value::Nil),
            "Provisioner.Cancel" => {
                self.state().cancel.now();
                Ok(Value::Nil)
            }
            _ => Err(format!("this plugin has no method `{method}`")),
        }
    }

    fn provision(&self, argument: &Value) -> Result<(), String> {
        // Packer waits for no more than five seconds.
        let id = field(argument, "StreamID").as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or("the call names no stream")?;
        let caller = caller(&self.broker, id).map_err(|error| format!("cannot call Packer: {error}"))?;
        let caller = Arc::new(caller);
        let cancel = Cancel::never();
        let wanted = {
            let mut state = self.state();
            state.cancel = cancel.clone();
            state.wanted.clone().ok_or("Provision was called before Prepare")?
        };
        let ui = Ui::new(Arc::clone(&caller));
        let outcome = provision(&caller, &self.broker, cancel.clone(), &ui, &wanted);
        if outcome.is_success() {
            ui.say(&format!("ofed: {}", verdict(&outcome)));
            return Ok(());
        }
        Err(failure(&outcome))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Code, reason and remedy in the one line that ends a build.
fn failure(outcome: &Outcome) -> String {
    let Outcome { reason, message, .. } = outcome;
    let message = if *reason == Reason::Interrupted { "the build was cancelled" } else { message };
    let (message, remedy) = (at_this_door(message), remedy(outcome));
    let line = format!("ofed: {reason} (exit code {}): {message}. {remedy}", outcome.exit_code().number());
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_code_reason_and_the_remedy_of_this_door() {
        let outcome = Outcome::new(Reason::NoSpace, "the disk\n`/c` has  no room; give --driver");
        let wanted = "ofed: no-space (exit code 14): the disk `/c` has no room; give `driver`. ";
        assert_eq!(failure(&outcome), format!("{wanted}{}", Reason::NoSpace.remedy()));
        assert!(failure(&Outcome::new(Reason::CacheMissing, "")).contains("Set `stage = true`"));
    }
}
