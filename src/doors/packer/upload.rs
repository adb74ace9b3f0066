//! What a bake needs on the guest: the program, and a bundle without what the guest has already.

use super::elf::architecture;
use super::guest::{As, Attempt, Guest};
use super::shell::quoted;
use crate::amounts::{count, size};
use crate::cache::{Bundle, Cache, Digest};
use crate::host::Host;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::time::Instant;

/// Where a guest keeps a cache of its own, if it has one.
const GUESTS_CACHE: &str = "/var/cache/ofedctl";
/// Beside what is uploaded, a bake writes logs, indexes and a database.
const ROOM_BESIDE: u64 = 64 << 20;

/// The folder of the run on the guest.
#[derive(Debug, Clone)]
pub(super) struct Folder(String);

impl Folder {
    /// Makes it, with room for `bytes` more in it.
    pub(super) fn make(guest: &Guest) -> Result<Self> {
        let folder = Self(guest.folder());
        let path = quoted(&folder.0);
        // When the command is repeated after a lost connection, the folder is there already and belongs to this run.
        let script = format!("umask 077; mkdir {path} 2>/dev/null || [ -O {path} ]");
        guest.must(As::User, &script, &format!("making the folder `{}`", folder.0))?;
        Ok(folder)
    }

    /// A path in it.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// The same, as one word of shell.
    pub(super) fn word(&self, name: &str) -> String {
        quoted(&self.at(name))
    }

    /// Its own path, as one word of shell.
    pub(super) fn path(&self) -> String {
        quoted(&self.0)
    }

    /// Refuses when the guest has no room for `bytes`, before anything is uploaded.
    fn require_room(&self, guest: &Guest, bytes: u64) -> Result<()> {
        let script = format!("df -Pk {}", self.path());
        let table = guest.must(As::User, &script, "asking for the free space")?;
        let free = table.lines().nth(1).and_then(|row| row.split_whitespace().nth(3)?.parse::<u64>().ok());
        let Some(free) = free.map(|kibibytes| kibibytes << 10) else { return Ok(()) };
        if free >= bytes {
            return Ok(());
        }
        Err(Reason::NoSpace.error(format!(
            "the guest has {} MiB free in `{}`, and needs {} MiB there; another place is set with `remote_folder`",
            free >> 20,
            guest.wanted.remote_folder,
            bytes.div_ceil(1 << 20)
        )))
    }
}

/// Uploads the program that bakes, and proves that it runs there.
pub(super) fn program(guest: &Guest, folder: &Folder, arch: &str) -> Result<()> {
    let path = match &guest.wanted.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("cannot find this program's own file")?,
    };
    let doing = || format!("cannot read `{}`", path.display());
    let mut file = File::open(&path).with_reason(Reason::BadSettings, doing)?;
    let built_for = architecture(&mut file).with_reason(Reason::BadSettings, doing)?;
    if built_for.is_none_or(|built_for| built_for != arch) {
        let built_for = built_for.unwrap_or("no known architecture");
        return Err(Reason::BadSettings.error(format!(
            "the guest is {arch}, and `{}` is built for {built_for}: set `ofedctl_binary` to a static build for {arch}",
            path.display()
        )));
    }
    let size = file.metadata().with_context(doing)?.len();
    folder.require_room(guest, size + ROOM_BESIDE)?;
    upload(guest, &mut file, size, &folder.at("ofedctl"), 0o755, "ofedctl")?;
    // Communicators of builders that work in a chroot pass over the mode of a file.
    let program = folder.word("ofedctl");
    let ran = guest.run(As::Root, &format!("chmod 755 {program} && {program} --version"))?;
    let wanted = concat!("ofedctl ", env!("CARGO_PKG_VERSION"));
    if ran.code == 0 && ran.out.trim() == wanted {
        return Ok(());
    }
    let said = if ran.code == 0 { ran.out } else { ran.complaint };
    Err(Reason::BadSettings.error(format!(
        "`{}` does not run in the guest as {wanted}: it said `{}`; it must be a static build, and `remote_folder` must \
         not be mounted noexec",
        path.display(),
        said.trim()
    )))
}

/// Uploads a text of this program's own.
pub(super) fn text(guest: &Guest, text: &str, path: &str) -> Result<()> {
    let mut bytes = std::io::Cursor::new(text.as_bytes());
    upload(guest, &mut bytes, text.len() as u64, path, 0o600, "")
}

/// Uploads a file, again from its begin when the connection is lost meanwhile. With a label, progress is shown.
pub(super) fn upload(
    guest: &Guest,
    from: &mut (impl Read + Seek + Send),
    size: u64,
    path: &str,
    mode: u32,
    label: &str,
) -> Result<()> {
    let deadline = Instant::now() + guest.wanted.reconnect_timeout;
    loop {
        from.rewind().with_context(|| format!("cannot read what goes to `{path}`"))?;
        let mut progress = (!label.is_empty()).then(|| guest.ui.progress(label, size));
        let mut on_sent = |bytes| {
            if let Some(progress) = &mut progress {
                progress.add(bytes);
            }
        };
        let sent = guest.caller.upload(guest.broker, &guest.cancel, (path, mode), (from, size), &mut on_sent);
        let Err(how) = sent else { return Ok(()) };
        guest.cancel.check()?;
        if how.contains("No space left") || how.contains("Disk quota") {
            return Err(Reason::NoSpace.error(format!("uploading `{path}`: {how}")));
        }
        // A guest that answers other commands has refused the file, and would refuse it again.
        if let Attempt::Ended(_) = guest.attempt(As::User, ":", &mut |_| {})? {
            return Err(Reason::GuestFailed.error(format!("uploading `{path}`: {how}")));
        }
        guest.wait_for_it(deadline, &how)?;
    }
}

/// Puts a bundle into the run's cache on the guest.
pub(super) fn bundle(
    host: &Host,
    guest: &Guest,
    folder: &Folder,
    cache: &Cache,
    bundle: &Bundle,
) -> Result<()> {
    let there = blobs_there(guest, folder, bundle)?;
    let blobs = bundle.blobs();
    let missing = blobs.iter().filter(|(digest, _)| !there.contains(digest));
    let missing = crate::cache::total(missing.map(|(_, size)| *size));
    guest.ui.say(&format!(
        "ofed: bundle {}: {} of its {} are in the guest already, {} to upload",
        bundle.tag,
        there.len(),
        count(bundle.blobs().len(), "file"),
        size(missing)
    ));
    // Room for the file, and for the files that are unpacked from it.
    folder.require_room(guest, 2 * missing + ROOM_BESIDE)?;
    let scratch = scratch()?;
    let path = scratch.path().join("bundle.tar");
    let exported = cache.export_without(host, &[&bundle.tag], &there, &path)?;
    let mut file = File::open(&path).context("cannot read the bundle that was just exported")?;
    upload(guest, &mut file, exported.bytes, &folder.at("bundle.tar"), 0o600, "bundle")?;
    let script = format!(
        "{} cache import {} --cache {} --quiet && rm -f {}",
        folder.word("ofedctl"),
        folder.word("bundle.tar"),
        folder.word("cache"),
        folder.word("bundle.tar")
    );
    guest.must(As::Root, &script, "unpacking the bundle").map(drop)
}

/// The blobs of a bundle that the guest has, in its own cache or from an earlier bundle, now in the run's cache:
/// found by name, proven by digest.
fn blobs_there(guest: &Guest, folder: &Folder, bundle: &Bundle) -> Result<BTreeSet<Digest>> {
    let names: Vec<String> = bundle.blobs().keys().map(Digest::hex).collect();
    text(guest, &(names.join("\n") + "\n"), &folder.at("needed"))?;
    let script = format!(
        "cd {cache}/blobs/sha256 2>/dev/null || mkdir -p {cache}/blobs/sha256 && cd {cache}/blobs/sha256 || exit
        while read -r blob; do
            theirs={GUESTS_CACHE}/blobs/sha256/$blob
            if [ ! -e \"$blob\" ] && [ -f \"$theirs\" ] && [ ! -L \"$theirs\" ]; then
                ln \"$theirs\" \"$blob\" 2>/dev/null || cp \"$theirs\" \"$blob\"
            fi
            [ -e \"$blob\" ] || continue
            if echo \"$blob  $blob\" | sha256sum -c --status; then echo \"$blob\"; else rm -f \"$blob\"; fi
        done <{needed}",
        cache = folder.word("cache"),
        needed = folder.word("needed")
    );
    let there = guest.must(As::Root, &script, "looking for files that are there already")?;
    Ok(there.lines().filter_map(|name| Digest::from_hex(name).ok()).collect())
}

/// A folder on the build host.
pub(super) fn scratch() -> Result<crate::host::temp::Folder> {
    crate::host::temp::Folder::large("packer")
}

#[cfg(test)]
mod tests {
    use super::super::protocol::testing::{Mood, guest};
    use super::super::ui::Ui;
    use super::super::wanted::{self, Wanted};
    use super::*;
    use crate::host::cancel::Cancel;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Programs of a guest whose user is root, and whose disk is as `df -Pk` of coreutils 9.1 says it.
    const ID: &str = "#!/bin/sh\necho 0\n";
    const EMPTY: &str = "Filesystem     1024-blocks    Used Available Capacity Mounted on\n\
        /dev/root         30298176 2096184  28185608       7% /\n";
    const FULL: &str = "Filesystem     1024-blocks    Used Available Capacity Mounted on\n\
        tmpfs                 1024       0      1024       0% /srv/tiny\n";

    fn put(path: &Path, text: impl AsRef<[u8]>) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Meets a guest whose disk is so, and does something with it.
    fn with_guest<T>(
        df: &str,
        change: impl FnOnce(&mut Wanted, &Path),
        mood: impl Fn(&str) -> Mood + Send + Sync + 'static,
        work: impl FnOnce(&Guest, &Path) -> Result<T>,
    ) -> Result<T> {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join("id"), ID);
        put(&folder.path().join("df"), format!("#!/bin/sh\ncat <<'.'\n{df}.\n"));
        let mut wanted = wanted::read(serde_json::Map::new()).unwrap();
        wanted.remote_folder = folder.path().display().to_string();
        change(&mut wanted, folder.path());
        let (caller, broker) = guest(folder.path().to_owned(), mood);
        let caller = Arc::new(caller);
        let ui = Ui::new(Arc::clone(&caller));
        let (guest, machine) = Guest::meet(&caller, &broker, Cancel::never(), &ui, &wanted).unwrap();
        assert!(!machine.kernel.is_empty());
        work(&guest, folder.path())
    }

    fn well(_: &str) -> Mood {
        Mood::Well
    }

    #[track_caller]
    fn refused<T>(result: Result<T>, reason: Reason, parts: &[&str]) {
        let error = result.err().unwrap();
        let said = format!("{error:#}");
        assert_eq!(Reason::from_error(&error), reason, "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }

    /// Sends a program, which a guest of this machine's architecture is given.
    fn send(df: &str, file: impl AsRef<[u8]>, arch: &str) -> Result<()> {
        let binary = |wanted: &mut Wanted, folder: &Path| {
            put(&folder.join("binary"), file);
            wanted.binary = Some(folder.join("binary"));
        };
        with_guest(df, binary, well, |guest, _| program(guest, &Folder::make(guest)?, arch))
    }

    fn this() -> &'static str {
        crate::target::Arch::of_this_program().name()
    }

    #[test]
    fn a_program_that_cannot_run_in_the_guest_is_refused_with_the_setting_that_names_another() {
        let whole = std::fs::read("/bin/true").unwrap();
        let other = send(EMPTY, &whole, "riscv64");
        let parts = ["the guest is riscv64", &format!("is built for {}", this()), "`ofedctl_binary`"];
        refused(other, Reason::BadSettings, &parts);
        let script = send(EMPTY, "#!/bin/sh\necho it is a script\n", this());
        refused(script, Reason::BadSettings, &["is built for no known architecture"]);
        refused(send(EMPTY, "short", this()), Reason::BadSettings, &["cannot read"]);
        // What the kernel refuses, and what is another program.
        let torn = send(EMPTY, &whole[..64], this());
        refused(torn, Reason::BadSettings, &["does not run in the guest", "static build", "noexec"]);
        let version = concat!("as ofedctl ", env!("CARGO_PKG_VERSION"));
        refused(
            send(EMPTY, &whole, this()),
            Reason::BadSettings,
            &[version, "it said `true (GNU coreutils)"],
        );
    }

    #[test]
    fn a_guest_without_room_is_named_before_anything_goes_there() {
        let whole = std::fs::read("/bin/true").unwrap();
        let parts = ["the guest has 1 MiB free in `/", "and needs 65 MiB", "`remote_folder`"];
        refused(send(FULL, &whole, this()), Reason::NoSpace, &parts);
        // Whoever says it in another way is believed to have room.
        refused(send("df: out of order\n", &whole, this()), Reason::BadSettings, &["does not run"]);
    }

    /// Sends three bytes; returns what arrived.
    fn send_text(patience: Duration, mood: impl Fn(&str) -> Mood + Send + Sync + 'static) -> Result<String> {
        let patient = |wanted: &mut Wanted, _: &Path| wanted.reconnect_timeout = patience;
        with_guest(EMPTY, patient, mood, |guest, folder| {
            let path = folder.join("text");
            text(guest, "abc", path.to_str().unwrap())?;
            Ok(std::fs::read_to_string(path).unwrap())
        })
    }

    /// As OpenSSH's sftp server and shell 9.2 say it (`scp` has `No space left on device`; a quota, `Disk quota exceeded`).
    #[test]
    fn a_file_that_the_guest_does_not_take_is_not_sent_again() {
        for (why, reason) in [
            ("scp: /var/tmp/x: No space left on device", Reason::NoSpace),
            ("cp: error writing '/var/tmp/x': Disk quota exceeded", Reason::NoSpace),
            ("sftp: \"Permission denied\" (SSH_FX_PERMISSION_DENIED)", Reason::GuestFailed),
        ] {
            let sent = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&sent);
            let mood = move |method: &str| {
                let is_upload = method == "Communicator.Upload";
                counted.fetch_add(is_upload.into(), Ordering::Relaxed);
                if is_upload { Mood::Refuses(why) } else { Mood::Well }
            };
            refused(send_text(Duration::from_secs(60), mood), reason, &["uploading `/", why]);
            assert_eq!(sent.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_file_is_sent_again_from_its_begin_when_the_guest_was_away_and_not_for_ever() {
        // Away at the first upload, and at the question that follows it.
        let away = |times: usize| {
            let calls = AtomicUsize::new(0);
            let began = AtomicUsize::new(0);
            move |method: &str| {
                let is_upload = method == "Communicator.Upload";
                began.fetch_add(is_upload.into(), Ordering::Relaxed);
                let is_away =
                    began.load(Ordering::Relaxed) > 0 && calls.fetch_add(1, Ordering::Relaxed) < times;
                if is_away { Mood::Away } else { Mood::Well }
            }
        };
        assert_eq!(send_text(Duration::from_secs(60), away(2)).unwrap(), "abc");
        let gone = send_text(Duration::ZERO, away(usize::MAX));
        refused(gone, Reason::GuestUnreachable, &["not reached again within 0 s"]);
    }
}
