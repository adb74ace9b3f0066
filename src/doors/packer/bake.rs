//! The bake itself: started on the guest so that it outlives a lost connection, and followed line by line.

use super::guest::{As, Attempt, Guest};
use super::shell::quoted_words;
use super::upload::{self, Folder};
use crate::outcome::{Outcome, Reason};
use anyhow::Result;
use serde_json::Value;
use std::time::Instant;

/// The watchdog script, which lets a bake go on while the build is connected.
const RUN: &str = include_str!("run.sh");
/// The exit code of the script that follows the log, when the bake has ended without a result.
const GONE: i32 = 99;

/// Bakes with these arguments, and says how it ended. `number` tells the bakes of one build apart.
pub(super) fn bake(guest: &Guest, folder: &Folder, number: usize, arguments: &[String]) -> Result<Outcome> {
    let run = format!("run-{number}");
    upload::text(guest, RUN, &folder.at("run.sh"))?;
    // After a lost connection the command may come twice; the bake is started only once.
    let script = format!(
        "mkdir {run} 2>/dev/null || exit 0; setsid sh {sh} {run} {program} {arguments} </dev/null >/dev/null 2>&1 &",
        run = folder.word(&run),
        sh = folder.word("run.sh"),
        program = folder.word("ofedctl"),
        arguments = quoted_words(arguments),
    );
    guest.must(As::Root, &script, "starting the bake")?;
    let code = follow(guest, &folder.word(&run))?;
    let result = guest.run(As::Root, &format!("cat {}", folder.word(&format!("{run}/result"))))?;
    Ok(outcome(&result.out).unwrap_or_else(|| {
        Outcome::new(Reason::GuestFailed, format!("the bake ended with {code} and without a result"))
    }))
}

/// Shows the lines of a bake as they come, to its end, whatever happens to the connection. Returns its exit code.
fn follow(guest: &Guest, run: &str) -> Result<i32> {
    let mut seen = 0;
    let mut deadline = None;
    loop {
        let script = format!(
            "cd {run} || exit {GONE}
            echo $$ >follower
            line={} patience=100
            while :; do
                ended=
                [ ! -e code ] || ended=yes
                whole=$(wc -l <log 2>/dev/null || echo 0)
                if [ \"$whole\" -ge $line ]; then sed -n \"$line,${{whole}}p\" log; line=$((whole + 1)); fi
                [ -z \"$ended\" ] || break
                [ -d {run} ] || exit {GONE}
                if ! {{ [ -e pid ] && kill -0 \"$(cat pid)\"; }} 2>/dev/null; then
                    patience=$((patience - 1))
                    [ $patience -gt 0 ] || exit {GONE}
                fi
                sleep 0.1
            done
            sed -n \"$line,\\$p\" log
            exit \"$(cat code)\"",
            seen + 1
        );
        let mut came = false;
        let attempt = guest.attempt(As::Root, &script, &mut |line| {
            came = true;
            seen += 1;
            show(guest, line);
        })?;
        match attempt {
            Attempt::Ended(ran) => return Ok(ran.code),
            Attempt::Lost(how) | Attempt::Mute(how) => {
                if came || deadline.is_none() {
                    deadline = Some(Instant::now() + guest.wanted.reconnect_timeout);
                    guest.ui.say(&format!("ofed: {how}; the bake goes on in the guest, connecting again"));
                }
                guest.wait_for_it(deadline.unwrap_or_else(Instant::now), &how)?;
            }
        }
    }
}

/// One line of the bake's log, `2026-11-20T10:11:12Z INFO  install: …`, as Packer shows things.
fn show(guest: &Guest, line: &str) {
    let Some((level, text)) = level_and_text(line) else {
        // The last line of a bake that failed.
        if let Some(failure) = line.strip_prefix("ofedctl: ") {
            guest.ui.error(&format!("ofed: {failure}"));
        } else if !line.trim().is_empty() {
            guest.ui.say(&format!("ofed: {line}"));
        }
        return;
    };
    match level {
        "ERROR" => guest.ui.error(&format!("ofed: {text}")),
        "WARN" => guest.ui.say(&format!("ofed: warning: {text}")),
        _ => guest.ui.say(&format!("ofed: {text}")),
    }
}

fn level_and_text(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    humantime::parse_rfc3339(time).ok()?;
    let (level, text) = rest.trim_start().split_once(' ')?;
    Some((level, text.trim_start()))
}

/// The outcome in a command's JSON result.
pub(super) fn outcome(json: &str) -> Option<Outcome> {
    let result: Value = serde_json::from_str(json.trim()).ok()?;
    let reason = Reason::from_token(result["reason"].as_str()?)?;
    Some(Outcome::new(reason, result["message"].as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_taken_apart() {
        let line = "2026-11-20T10:11:12Z INFO  install: 12 packages";
        assert_eq!(level_and_text(line), Some(("INFO", "install: 12 packages")));
        let line = "2026-11-20T10:11:12Z ERROR stage: no room";
        assert_eq!(level_and_text(line), Some(("ERROR", "stage: no room")));
        for other in ["", "ofedctl: cache-missing: no bundle", "Segmentation fault", "2026-11-20T10:11:12Z"] {
            assert_eq!(level_and_text(other), None);
        }
    }

    #[test]
    fn an_outcome_is_read_from_a_result_and_from_nothing_else() {
        let json = r#"{"schema_version":1,"reason":"no-space","code":14,"message":"full","remedy":"x"}"#;
        assert_eq!(outcome(json), Some(Outcome::new(Reason::NoSpace, "full")));
        for other in ["", "{}", r#"{"reason":"new-one","message":"x"}"#, "[1]"] {
            assert_eq!(outcome(other), None);
        }
    }
}
