//! The process ends only with documented exit codes, and its messages fit the screen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::program::{Ran, finish, program, run, start};
use ofedctl::outcome::{ExitCode, Reason};
use std::io::Read;
use std::process::Stdio;

/// Runs a call that is wrong; the answer is one clear line and code 1.
#[track_caller]
fn is_refused(args: &[&str], says: &str) {
    let ran = run(args);
    assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
    assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_wrong_call_is_one_clear_line_and_code_1() {
    is_refused(&["--frobnicate"], "--frobnicate");
    is_refused(&["frobnicate"], "frobnicate");
    is_refused(&["plan", "--vm-sise", "x"], "--vm-size");
    is_refused(&["plan", "--nic", "cx4"], "cx5");
    is_refused(&["plan", "--distro", "debian"], "debian12");
    is_refused(&["bake"], "--root");
    is_refused(&["explain", "no-such-reason"], "no-such-reason");
}

#[test]
fn a_wrong_call_is_answered_as_json_where_json_is_wanted() {
    for args in [&["--json", "frobnicate"][..], &["plan", "--vm-sise", "x", "--json"], &["bake", "--json"]] {
        let ran = run(args);
        ran.expect(1, "usage");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
    }
    // After `--` it is a word like any other.
    assert_eq!(run(&["explain", "--", "--json", "x"]).stdout, "");
}

#[test]
fn every_command_has_a_manual_page_of_its_own() {
    for words in commands(&[]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = run(&[&["man"], &words[..]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        let name = [&["ofedctl"], &words[..]].concat().join("-");
        assert!(ran.stdout.contains(&format!(".TH {name} 1")), "{words:?}: {}", ran.stdout);
    }
    is_refused(&["man", "cache", "frobnicate"], "ofedctl cache frobnicate");
}

#[test]
fn no_command_at_all_shows_the_help_with_code_1() {
    let ran = run::<&str>(&[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("Usage:"), "{ran:?}");
}

#[test]
fn a_wrong_settings_file_is_named_with_line_and_key() {
    let root = common::scratch();
    std::fs::create_dir_all(root.path().join("etc/ofedctl")).unwrap();
    std::fs::write(root.path().join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
    std::fs::write(root.path().join("etc/ofedctl/config.yaml"), "ipoib: true\ndrivr: inbox\n").unwrap();
    for command in ["plan", "stage", "bake"] {
        let ran = run(&[command, "--root", root.path().to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{command}: {ran:?}");
        assert!(ran.stderr.contains("line 2") && ran.stderr.contains("`driver`"), "{command}: {ran:?}");
    }
}

#[test]
fn a_root_that_is_none_is_refused() {
    let empty = common::scratch();
    for root in [empty.path().to_str().unwrap(), "/no/such/folder", "/etc/passwd"] {
        let ran = run(&["bake", "--root", root, "--vm-size", "Standard_HB120rs_v3", "--offline", "--json"]);
        ran.expect(1, "bad-root");
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "it was written to");
}

/// Every command with its subcommands, read from the help itself.
fn commands(prefix: &[&str]) -> Vec<Vec<String>> {
    let help = run(&[prefix, &["--help"]].concat());
    assert_eq!(help.code, 0, "{prefix:?}: {help:?}");
    let mut all = vec![prefix.iter().map(|word| (*word).to_owned()).collect()];
    let listed = help.stdout.split_once("Commands:\n").map_or("", |(_, list)| list);
    let names =
        listed.lines().take_while(|line| line.starts_with(' ')).filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        all.extend(commands(&[prefix, &[name]].concat()));
    }
    all
}

#[test]
fn every_help_fits_80_columns() {
    let commands = commands(&[]);
    assert!(commands.len() > 10, "{commands:?}");
    for mut command in commands {
        for flag in ["--help", "-h"] {
            command.push(flag.to_owned());
            let help = run(&command);
            assert_eq!(help.code, 0, "{command:?}");
            let wide = help.stdout.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "`ofedctl {}`", command.join(" "));
            command.pop();
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in
        [&["--help"][..], &["explain"], &["plan", "--vm-size", "Standard_HB120rs_v3", "--distro", "debian12"]]
    {
        let mut child = start(program(args));
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = child.wait().unwrap().code();
        assert!(code.is_some_and(|code| code != 101 && code != 2), "{args:?}: {code:?} {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_full_device_as_output_is_no_panic() {
    let mut command = program(&["explain"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    let ran = Ran::from(command.spawn().unwrap().wait_with_output().unwrap());
    assert_eq!(ran.code, 14, "{ran:?}");
    assert!(ran.stderr.contains("no-space: cannot write the result"), "{ran:?}");
}

#[test]
fn explain_knows_every_code_and_every_reason() {
    let all = run(&["explain"]).stdout;
    for reason in Reason::ALL {
        assert!(all.contains(reason.token()), "{reason} is not in the list");
        let one = finish(program(&["explain", reason.token()]));
        assert_eq!(one.code, 0, "{one:?}");
        assert!(unwrapped(&one.stdout).contains(reason.remedy()), "{reason}: {}", one.stdout);
    }
    for code in ExitCode::ALL {
        let one = run(&["explain", &code.number().to_string()]);
        assert_eq!(one.code, 0, "{one:?}");
        assert!(unwrapped(&one.stdout).contains(code.meaning()), "{code:?}: {}", one.stdout);
    }
}

/// The text with its line breaks undone.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
