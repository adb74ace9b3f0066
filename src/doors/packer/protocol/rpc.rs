//! Calls in both directions, each over a stream of its own: the host's to this program, and this program's to the
//! host. Many may be under way at once, and answers come in any order.

use super::message::{Request, Response};
use super::stream::Stream;
use crate::host::cancel::Cancel;
use rmpv::Value;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Packer has two under way at most: a `Provision`, and the `Cancel` of it.
const MAX_AT_ONCE: usize = 16;
/// How often whoever waits for an answer looks whether the run must stop.
const POLL: Duration = Duration::from_millis(100);

/// Answers a call of the host's: method, argument, and the result or what went wrong.
pub(in super::super) type Handler = Arc<dyn Fn(&str, &Value) -> Result<Value, String> + Send + Sync>;

/// Answers calls, each in a thread of its own, until the host has gone.
pub(super) fn serve(stream: Stream, handler: &Handler) -> io::Result<()> {
    let stream = Arc::new(stream);
    let answering = Arc::new(Mutex::new(()));
    let mut calls = BufReader::new(&*stream);
    while let Some(Request { method, number, argument }) = Request::read(&mut calls)? {
        // Each call under way holds one.
        let is_full = Arc::strong_count(&answering) > MAX_AT_ONCE;
        let (stream, answering, handler) = (Arc::clone(&stream), Arc::clone(&answering), Arc::clone(handler));
        let answer = move || {
            let result = if is_full {
                Err("too many calls at once".to_owned())
            } else {
                catch_unwind(AssertUnwindSafe(|| handler(&method, &argument)))
                    .unwrap_or_else(|_| Err("a bug in ofedctl; its message is in Packer's log".to_owned()))
            };
            let _one_at_a_time = answering.lock().unwrap_or_else(PoisonError::into_inner);
            // A host that has gone needs no answer.
            let _ = Response { method, number, result }.write(&mut &*stream);
        };
        if is_full {
            answer();
        } else {
            std::thread::Builder::new().name("call".to_owned()).spawn(answer)?;
        }
    }
    Ok(())
}

/// Calls the host.
pub(in super::super) struct Caller {
    stream: Arc<Stream>,
    writing: Mutex<()>,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Default)]
struct Pending {
    ended: bool,
    next: u64,
    waiting: HashMap<u64, SyncSender<Result<Value, String>>>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Caller {
    /// Calls over a stream that was dialed.
    pub(super) fn new(stream: Stream) -> io::Result<Self> {
        let stream = Arc::new(stream);
        let pending = Arc::new(Mutex::new(Pending::default()));
        let (from, theirs) = (Arc::clone(&stream), Arc::clone(&pending));
        let listen = move || {
            let mut answers = BufReader::new(&*from);
            while let Ok(Some(Response { number, result, .. })) = Response::read(&mut answers) {
                if let Some(caller) = lock(&theirs).waiting.remove(&number) {
                    let _ = caller.send(result);
                }
            }
            let mut pending = lock(&theirs);
            pending.ended = true;
            // Whoever still waits learns that no answer will come.
            pending.waiting.clear();
        };
        std::thread::Builder::new().name("answers".to_owned()).spawn(listen)?;
        Ok(Self { stream, writing: Mutex::new(()), pending })
    }

    /// Calls a method and waits for its answer. The error is the host's text.
    pub(in super::super) fn call(&self, method: &str, argument: Value) -> Result<Value, String> {
        self.call_unless(&Cancel::never(), method, argument)
    }

    /// The same, but gives up waiting when the run must stop.
    pub(in super::super) fn call_unless(
        &self,
        cancel: &Cancel,
        method: &str,
        argument: Value,
    ) -> Result<Value, String> {
        let gone = || format!("Packer has gone before it answered {method}");
        let (sender, answer) = sync_channel(1);
        let number = {
            let mut pending = lock(&self.pending);
            if pending.ended {
                return Err(gone());
            }
            let number = pending.next;
            pending.next += 1;
            pending.waiting.insert(number, sender);
            number
        };
        let request = Request { method: method.to_owned(), number, argument };
        let written = {
            let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            request.write(&mut &*self.stream)
        };
        if written.is_err() {
            lock(&self.pending).waiting.remove(&number);
            return Err(gone());
        }
        loop {
            match answer.recv_timeout(POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => cancel.check().map_err(|error| error.to_string())?,
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // The host closes its side then, which ends the thread that listens.
        self.stream.finish();
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::session::{Role, Session};
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;

    /// A caller whose calls `handler` answers.
    fn connected(handler: Handler) -> (Caller, Session) {
        let (host, plugin) = UnixStream::pair().unwrap();
        let (host, plugin) =
            (Session::start(host, Role::Host).unwrap(), Session::start(plugin, Role::Plugin).unwrap());
        let caller = Caller::new(host.open().unwrap()).unwrap();
        let stream = plugin.accept().unwrap();
        std::thread::spawn(move || serve(stream, &handler));
        (caller, host)
    }

    #[test]
    fn a_call_is_answered_while_another_waits() {
        let both = Arc::new(Barrier::new(2));
        let (caller, _host) = connected(Arc::new(move |method, argument| {
            // Neither ends unless both are under way.
            both.wait();
            Ok(format!("{method} {argument}").into())
        }));
        std::thread::scope(|scope| {
            let provision = scope.spawn(|| caller.call("Provisioner.Provision", 1.into()));
            let cancel = caller.call("Provisioner.Cancel", Value::Nil).unwrap();
            assert_eq!(cancel.as_str(), Some("Provisioner.Cancel nil"));
            assert_eq!(provision.join().unwrap().unwrap().as_str(), Some("Provisioner.Provision 1"));
        });
    }

    #[test]
    fn an_error_and_a_panic_come_back_as_texts_and_calls_go_on() {
        let (caller, _host) = connected(Arc::new(|method, _| match method {
            "panic" => panic!("on purpose"),
            "fail" => Err("no".to_owned()),
            _ => Ok(Value::Nil),
        }));
        assert_eq!(caller.call("fail", Value::Nil).unwrap_err(), "no");
        assert!(caller.call("panic", Value::Nil).unwrap_err().contains("a bug"));
        assert!(caller.call("other", Value::Nil).unwrap().is_nil());
    }

    #[test]
    fn more_calls_than_anyone_makes_are_refused_and_not_piled_up() {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (caller, _host) = connected(Arc::new(move |_, _| {
            let _ = gate.lock().unwrap().recv();
            Ok(Value::Nil)
        }));
        std::thread::scope(|scope| {
            let calls: Vec<_> =
                (0..=MAX_AT_ONCE).map(|_| scope.spawn(|| caller.call("wait", Value::Nil))).collect();
            // The one that is refused ends first; then the others are let go.
            while !calls.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::yield_now();
            }
            drop(open);
            let results: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
            assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1, "{results:?}");
        });
    }

    #[test]
    fn a_caller_learns_that_the_other_side_has_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let session = Session::start(ours, Role::Plugin).unwrap();
        let caller = Caller::new(session.open().unwrap()).unwrap();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| caller.call("Ui.Say", "anyone?".into()));
            drop(theirs);
            assert!(call.join().unwrap().unwrap_err().contains("has gone"));
        });
        assert!(caller.call("Ui.Say", Value::Nil).is_err());
    }
}
