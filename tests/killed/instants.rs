//! Kills a program at the n-th time that anything opens, reads or changes a file in a root: the program itself, dpkg
//! or a script of a package. The kernel holds whoever opens a file until the listener answers, so no clock is involved.

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// How a run that was watched ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    /// How many events there were up to its end.
    pub(crate) events: usize,
    pub(crate) was_killed: bool,
}

/// Runs a command, whose children end with it, and kills it at the n-th event in a root; to its end where there is none.
pub(crate) fn run_until(root: &Path, event: Option<usize>, command: &mut Command) -> Watched {
    let group = Fanotify::init(
        InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_UNLIMITED_QUEUE | InitFlags::FAN_CLOEXEC,
        EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE,
    )
    .unwrap();
    let events = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_MODIFY | MaskFlags::FAN_CLOSE_WRITE;
    let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    group.mark(mark, events, AT_FDCWD, Some(root)).unwrap();

    let (victim, has_ended) = (&AtomicI32::new(0), &AtomicBool::new(false));
    let a_file = root.join("etc/os-release");
    std::thread::scope(|scope| {
        let listener = scope.spawn(move || listen(group, event, victim, has_ended));
        let mut child: Child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        victim.store(child.id().cast_signed(), Ordering::SeqCst);
        let status = child.wait().unwrap();
        has_ended.store(true, Ordering::SeqCst);
        // Wakes the listener, where it waits for more.
        drop(File::open(&a_file));
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        Watched { events: listener.join().unwrap(), was_killed: signal == Some(Signal::SIGKILL as i32) }
    })
}

/// Answers all events until the victim has ended; returns how many there were. With the group, what the kernel still
/// holds back goes on.
fn listen(group: Fanotify, event: Option<usize>, victim: &AtomicI32, has_ended: &AtomicBool) -> usize {
    let mut count = 0;
    loop {
        let events = match group.read_events() {
            Ok(events) => events,
            Err(Errno::EINTR) => continue,
            Err(error) => panic!("the kernel's events cannot be read: {error}"),
        };
        for seen in &events {
            count += 1;
            if event.is_some_and(|event| count >= event) {
                // Once it has a number. A second signal to a process that is not waited for does no harm.
                match victim.load(Ordering::SeqCst) {
                    0 => {}
                    pid if !has_ended.load(Ordering::SeqCst) => {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                    _ => {}
                }
            }
            if let Some(fd) = seen.fd().filter(|_| seen.mask().contains(MaskFlags::FAN_OPEN_PERM)) {
                group.write_response(FanotifyResponse::new(fd, Response::FAN_ALLOW)).unwrap();
            }
        }
        if has_ended.load(Ordering::SeqCst) {
            drop(group);
            return count;
        }
    }
}
