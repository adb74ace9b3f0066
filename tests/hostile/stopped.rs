//! A run that works on something large, and is told to end: it ends there and then, for the reason that it was told to, and
//! leaves nothing. That is shown by what it still reads and writes after the signal, because a clock would tell of the
//! machine's other work.

use crate::common::program::{self, Ran, go_on, send};
use crate::common::wait;
use crate::layouts::{names, parsed};
use crate::stage::Scene;
use crate::tar::{Kind, gzip, header};
use crate::{Outside, assert_told};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::unpack::unpack;
use ofedctl::outcome::Reason;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, Command};

/// Larger than what any program takes in at once.
const LARGE: u64 = 8 << 30;
/// What a program may have begun when the signal comes: its buffers, several times.
const BEGUN: u64 = 64 << 20;

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// The open files of a process below some folder, which have content.
fn begun(child: &Child, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?;
    let paths = open.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
    paths
        .into_iter()
        .find(|path| path.to_str().is_some_and(&is_it) && path.metadata().is_ok_and(|file| file.len() > 0))
}

/// The bytes that a process has read and written. It can be asked until somebody waits for it.
fn moved(child: &Child) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
    let count =
        |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap();
    count("rchar: ") + count("wchar: ")
}

fn state(child: &Child, flags: WaitPidFlag) -> WaitStatus {
    waitid(Id::Pid(pid(child)), flags | WaitPidFlag::WNOWAIT).unwrap()
}

/// Starts a command, stands it still amid its work on a file, and sends it a signal. Returns how it ended.
#[track_caller]
fn stopped(command: Command, signal: Signal, is_it: impl Fn(&str) -> bool) -> (Ran, PathBuf) {
    let child = program::start(command);
    let mut file = None;
    wait::until("it works on the large file", || {
        file = begun(&child, &is_it);
        file.is_some()
    });
    send(&child, Signal::SIGSTOP);
    assert!(matches!(state(&child, WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED), WaitStatus::Stopped(..)));
    let before = moved(&child);
    send(&child, signal);
    go_on(&child);
    wait::until("it has ended", || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        state(&child, flags) != WaitStatus::StillAlive
    });
    let after = moved(&child);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(after - before < BEGUN, "{signal}: {} bytes later: {ran:?}", after - before);
    ran.expect(14, "interrupted");
    (ran, file.unwrap())
}

#[test]
fn an_import_of_a_large_archive_ends_at_a_signal_and_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let scene = Scene::new();
        scene.write(|file| {
            let name = format!("blobs/sha256/{}", "0".repeat(64));
            file.write_all(&header(Kind::Regular, name.as_bytes(), b"", LARGE, 0o644)).unwrap();
            file.seek(SeekFrom::Start(512 + LARGE + 1023)).unwrap();
            file.write_all(b"\0").unwrap();
        });
        let cache = scene.cache();
        stopped(scene.import(), signal, |path| {
            path.contains("/blobs/sha256/") && path.contains(&*cache.to_string_lossy())
        });
        assert_eq!(names(&cache.join("blobs/sha256")), Vec::<String>::new());
        assert!(!names(&cache).iter().any(|name| name.starts_with(".new-")), "{:?}", names(&cache));
    }
}

#[test]
fn an_unpacking_of_a_large_file_ends_at_a_signal_and_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let scene = Scene::new();
        // A file of zeros, which pack into a thousandth.
        let zeros = gzip(&vec![0; 64 << 20]);
        let name = format!("hostile-{}-{}", std::process::id(), signal.as_str());
        scene.write(|file| {
            file.write_all(&gzip(&header(Kind::Regular, name.as_bytes(), b"", LARGE, 0o644))).unwrap();
            (0..LARGE >> 26).for_each(|_| file.write_all(&zeros).unwrap());
        });
        let (_, file) = stopped(scene.stage(), signal, |path| path.ends_with(&name));
        assert!(!file.parent().unwrap().exists(), "{}", file.display());
        let index = std::fs::read_to_string(scene.cache().join("index.json")).unwrap();
        assert_eq!(parsed(index.as_bytes())["manifests"], serde_json::json!([]));
    }
}

/// An archive that has no end, because another process writes it: with a clock, this could only be slow.
#[test]
fn an_archive_that_is_refused_or_given_up_is_not_read_to_its_end() {
    let bad = gzip(&header(Kind::Fifo, b"pipe", b"", 0, 0o644));
    let good = gzip(&header(Kind::Regular, b"large", b"", LARGE, 0o644));
    for (what, begin, reason) in
        [("refused", bad, Reason::DigestMismatch), ("given up", good, Reason::Interrupted)]
    {
        let outside = Outside::new();
        let pipe = outside.folder.path().join("archive.tgz");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let cancel = Cancel::never();
        let zeros = gzip(&vec![0; 1 << 20]);
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut pipe = std::fs::File::options().write(true).open(&pipe).unwrap();
                pipe.write_all(&begin).unwrap();
                // Until the reader has gone.
                while pipe.write_all(&zeros).is_ok() {}
            });
            scope.spawn(|| {
                let large = outside.private().join("large");
                let is_begun = || large.metadata().is_ok_and(|file| file.len() > 0);
                if reason == Reason::Interrupted {
                    wait::until("it is unpacking", is_begun);
                    cancel.now();
                }
            });
            unpack(&cancel, &pipe, &outside.private()).unwrap_err()
        });
        assert_eq!(assert_told(what, &error), reason, "{what}: {error:#}");
    }
}
