//! A run owns what it starts: nothing of it goes on after the run has stopped or died.

use crate::command;
use crate::common::{program, wait};
use nix::sys::signal::Signal;
use ofedctl::host::fs;
use ofedctl::host::sandbox::Sandbox;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A package manager that starts others: one in a session of its own that does not listen, as daemons do. Both hear of
/// signals before the word is out that they are up.
const FAMILY: &str = "cd \"$0\"; trap 'echo asked > asked; exit 0' TERM; \
    setsid sh -c 'trap \"\" TERM HUP; echo up; while :; do sleep 0.05; done' & \
    while :; do sleep 0.05; done";

fn start(sealed: bool, folder: &Path) -> Child {
    let here = fs::Root::open(Path::new("/")).unwrap();
    let sandbox = Sandbox::offline(&here, sealed);
    let mut command = command(&sandbox, &["/bin/sh", "-c", FAMILY, folder.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    child
}

#[test]
fn a_stopped_program_is_asked_first_and_its_grandchildren_are_gone_when_the_sandbox_ends() {
    for sealed in [false, true] {
        // A sealed one has a /tmp of its own.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut child = start(sealed, folder.path());
        program::send(&child, Signal::SIGTERM);
        wait::until("the program is asked", || folder.path().join("asked").exists());
        assert!(child.try_wait().unwrap().is_none(), "it did not wait for the one that goes on");
        assert!(!program::processes_in(folder.path()).is_empty());
        program::send(&child, Signal::SIGQUIT);
        child.wait().unwrap();
        assert_eq!(program::processes_in(folder.path()), [] as [u32; 0], "sealed: {sealed}");
    }
}

#[test]
fn nothing_goes_on_when_the_run_itself_is_killed() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let here = fs::Root::open(Path::new("/")).unwrap();
        let inner = command(
            &Sandbox::offline(&here, sealed),
            &["/bin/sh", "-c", FAMILY, folder.path().to_str().unwrap()],
        );
        let words: Vec<_> = inner.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        // A shell in the place of the run.
        let mut run = Command::new("sh");
        run.args([
            "-c",
            "program=$1 enter=$2 spec=$4; shift 4; \"$program\" \"$enter\" $$ \"$spec\" \"$@\"; exit",
            "run",
        ]);
        run.arg(inner.get_program()).args(&words).stdout(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let mut up = [0; 3];
        run.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        wait::until("nothing goes on", || program::processes_in(folder.path()).is_empty());
    }
}
