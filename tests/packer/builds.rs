//! Whole builds, by the real Packer on real guests.

use crate::build::Workshop;
use crate::common::image;
use crate::common::program::Ran;
use crate::common::root;
use crate::common::wait;
use crate::guest::{self, Guest, SUITE, USER};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

const AT_ONCE: Duration = Duration::from_secs(10);

fn attributes(cache: &Path, more: &str) -> String {
    format!("    vm_size = \"{}\"\n    cache = \"{}\"\n{more}", image::VM_SIZE, cache.display())
}

/// Fails with all there is to read unless the build ended with this code and said this.
#[track_caller]
fn expect(workshop: &Workshop, ran: &Ran, code: i32, says: &[&str]) {
    let log = || std::fs::read_to_string(workshop.log()).unwrap_or_default();
    assert_eq!(ran.code, code, "{}\n{}\n{}", log(), ran.stdout, ran.stderr);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for says in says {
        assert!(said.contains(says), "not said: {says}\n{said}");
    }
}

/// The one line a failed build ends with.
#[track_caller]
fn failed(workshop: &Workshop, ran: &Ran, reason: &str) -> String {
    expect(workshop, ran, 1, &[]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let line = said.lines().find(|line| line.contains(&format!("ofed: {reason} (exit code")));
    line.unwrap_or_else(|| panic!("no line of {reason}:\n{said}")).to_owned()
}

#[test]
fn a_guest_is_baked_offline_once_and_generalized_and_nothing_of_the_build_stays() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let cache = image::staged(SUITE);
    let kept = attributes(&cache, "    output_directory = \"out\"\n");
    let ran = workshop.build(&workshop.template(&guest, USER, &kept));
    let newest = std::fs::read_dir(guest.root.path().join("lib/modules")).unwrap().next().unwrap().unwrap();
    let newest = format!("the modules are for {}", newest.file_name().to_str().unwrap());
    expect(&workshop, &ran, 0, &["ofed: install: ", "ofed: verify: ", "ofed: installed: inbox", &newest]);
    guest.assert_clean(AT_ONCE);
    assert!(guest.root.installed("rdma-core").is_some());
    assert_eq!(guest.root.dpkg_verify(), "");
    assert_eq!(image::receipt(&guest.root)["door"], "packer");
    image::ask("verify", &guest.root).expect(0, "verified");
    let out = workshop.folder.path().join("out");
    for (name, path) in [
        ("status.json", "var/lib/ofedctl/status/0.status"),
        ("receipt.json", "var/lib/ofedctl/receipt.json"),
        ("ib-vmext-status", "var/log/azure/ib-vmext-status"),
    ] {
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), guest.root.read(path), "{name}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("id=\"rollback\"") && page.contains("installed (exit code 0)"), "{page}");
    let materials = std::fs::read_to_string(out.join("sbom.json")).unwrap();
    assert!(materials.contains("pkg:deb/debian/rdma-core@"), "{materials}");

    let again = attributes(&cache, "    generalize = true\n");
    let ran = workshop.build(&workshop.template(&guest, "root", &again));
    expect(
        &workshop,
        &ran,
        0,
        &["ofed: already-installed: inbox", "ofed: generalized: log and status are gone"],
    );
    assert_eq!(guest.root.read("var/lib/ofedctl/status/0.status"), "");
    assert_eq!(image::receipt(&guest.root)["door"], "packer");
    guest.assert_clean(AT_ONCE);

    // What Packer logs is for people to send around.
    let log = std::fs::read_to_string(workshop.log()).unwrap();
    assert!(!log.contains("BEGIN OPENSSH PRIVATE KEY"), "the key of the guest is in the log");
}

#[test]
fn an_empty_cache_is_staged_on_the_build_host_with_the_guests_sources_and_what_is_there_stays_there() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let cache = workshop.folder.path().join("cache");
    let staging = attributes(&cache, "    stage = true\n");
    let ran = workshop.build(&workshop.template(&guest, USER, &staging));
    expect(
        &workshop,
        &ran,
        0,
        &["the cache has nothing for this guest", "0 of its", "ofed: installed: inbox"],
    );
    guest.assert_clean(AT_ONCE);
    assert!(!image::blobs(&cache).is_empty());
    image::ask("uninstall", &guest.root).expect(0, "uninstalled");

    // Now the guest has the files already, one of them damaged.
    let theirs = guest.root.path().join("var/cache");
    std::fs::create_dir_all(&theirs).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&cache).arg(theirs.join("ofedctl")).status();
    assert!(copied.unwrap().success());
    let blobs = image::blobs(&cache);
    let (largest, _) = blobs.iter().max_by_key(|(_, size)| **size).unwrap();
    let damaged = theirs.join("ofedctl/blobs/sha256").join(largest);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let ran = workshop.build(&workshop.template(&guest, USER, &staging));
    let there = format!("{} of its {} files are in the guest already", blobs.len() - 1, blobs.len());
    expect(&workshop, &ran, 0, &[&there, "ofed: installed: inbox"]);
    assert_eq!(std::fs::read(&damaged).unwrap(), bytes, "the guest's own cache was written to");
    guest.assert_clean(AT_ONCE);
}

#[test]
fn what_cannot_be_is_said_in_one_line_with_code_reason_and_remedy() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let empty = workshop.folder.path().join("empty");
    let ran = workshop.build(&workshop.template(&guest, USER, &attributes(&empty, "")));
    let line = failed(&workshop, &ran, "cache-missing");
    assert!(
        line.contains("(exit code 14)") && line.contains("Set `stage = true`; or run `ofedctl stage`"),
        "{line}"
    );

    let sizes = "    vm_sizes = [\"Standard_HB120rs_v3\", \"Standard_NC24rs_v3\"]\n    driver = \"inbox\"\n";
    let ran = workshop.build(&workshop.template(&guest, USER, sizes));
    let line = failed(&workshop, &ran, "bad-settings");
    assert!(
        line.contains("mlx5_core") && line.contains("mlx4_core") && line.contains("an image for each"),
        "{line}"
    );

    let sizes = "    vm_sizes = [\"Standard_D4s_v5\"]\n";
    let ran = workshop.build(&workshop.template(&guest, USER, sizes));
    assert!(failed(&workshop, &ran, "size-not-rdma").contains("(exit code 13)"));

    std::fs::remove_file(guest.root.path().join("etc/sudoers.d").join(USER)).unwrap();
    let ran = workshop.build(&workshop.template(&guest, USER, &attributes(&empty, "")));
    assert!(failed(&workshop, &ran, "not-root").contains("`execute_command`"));

    // Another way to become root.
    let way = "    execute_command = \"setpriv --no-new-privs sh -c {{ .Command }}\"\n";
    let ran = workshop.build(&workshop.template(&guest, "root", &attributes(&empty, way)));
    failed(&workshop, &ran, "cache-missing");
    guest.assert_clean(AT_ONCE);
    assert_eq!(guest.root.read("var/lib/ofedctl/receipt.json"), "");
}

/// Begins a build, and waits until the guest installs packages.
fn begin_until_install(workshop: &Workshop, guest: &Guest, more: &str) -> Child {
    let cache = image::staged(SUITE);
    let child = workshop.begin(&workshop.template(guest, USER, &attributes(&cache, more)));
    wait_until_install(guest);
    child
}

fn wait_until_install(guest: &Guest) {
    wait::until("the bake is in its step `install`", || {
        guest.root.read("var/lib/ofedctl/journal.json").contains("\"step\": \"install\"")
    });
}

/// Cuts the connection of a build, which must end well all the same: no line is lost, and none comes twice.
#[track_caller]
fn end_after_a_disconnection(workshop: &Workshop, guest: &Guest, child: Child) {
    guest.disconnect();
    let ran = Ran::from(child.wait_with_output().unwrap());
    expect(workshop, &ran, 0, &["connecting again", "ofed: installed: inbox"]);
    for line in [
        "ofed: detect: ",
        "ofed: plan: ",
        "ofed: stage: bundle ",
        " packages installed or upgraded",
        "ofed: verify: ",
    ] {
        assert_eq!(ran.stdout.matches(line).count(), 1, "{line}\n{}", ran.stdout);
    }
}

#[test]
fn a_lost_connection_ends_neither_the_bake_nor_the_build() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let child = begin_until_install(&workshop, &guest, "");
    end_after_a_disconnection(&workshop, &guest, child);
    guest.assert_clean(AT_ONCE);
    image::ask("verify", &guest.root).expect(0, "verified");
}

#[test]
fn a_cancelled_build_leaves_a_guest_that_cleans_up_by_itself() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let child = begin_until_install(&workshop, &guest, "    reconnect_timeout = \"2s\"\n");
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_ne!(ran.code, 0, "{ran:?}");
    guest.assert_clean(Duration::from_secs(60));
    // Stopped, it told so, unless it had just finished.
    let status = image::status(&guest.root);
    assert!(status.is_terminal(), "{status:?}");

    // The next build continues from whatever is there.
    let cache = image::staged(SUITE);
    let ran = workshop.build(&workshop.template(&guest, USER, &attributes(&cache, "")));
    expect(&workshop, &ran, 0, &[]);
    image::ask("verify", &guest.root).expect(0, "verified");
}

#[test]
fn a_build_that_packer_times_out_is_stopped_on_the_guest_at_once() {
    let guest = guest::start();
    let workshop = Workshop::new();
    // Somebody else's package manager, for longer than anyone waits.
    let held = guest.root.path().join("var/lib/dpkg/lock-frontend");
    let script = "import fcntl, sys\nlock = open(sys.argv[1], 'r+')\nfcntl.lockf(lock, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()";
    crate::common::need::need(&["python3"]);
    let mut python = std::process::Command::new("python3");
    python
        .args(["-c", script])
        .arg(held)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut holder = python.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    let cache = image::staged(SUITE);
    let ran =
        workshop.build(&workshop.template(&guest, USER, &attributes(&cache, "    timeout = \"15s\"\n")));
    assert_ne!(ran.code, 0, "{ran:?}");
    guest.assert_clean(Duration::from_secs(60));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let status = image::status(&guest.root);
    assert!(status.message.starts_with("interrupted: "), "{status:?}");
}

/// As packer-plugin-azure's own examples have it, on a machine whose name no server knows: sudo says so on the terminal,
/// where answers come as well (hashicorp/packer issue 1804 tells what else a terminal does).
#[test]
fn a_terminal_with_words_of_others_and_carriage_returns_changes_no_answer() {
    let mounts = "hostname azure-build-7; mount -t devpts devpts dev/pts -o newinstance,ptmxmode=666
        mount --bind dev/pts/ptmx dev/ptmx";
    let guest = guest::start_on(root::root_of(&root::guest(SUITE)), mounts);
    let workshop = Workshop::new();
    let cache = image::staged(SUITE);
    let template = workshop.template(&guest, USER, &attributes(&cache, ""));
    let text = std::fs::read_to_string(&template).unwrap();
    let text = text.replace("  ssh_host ", "  ssh_pty = true\n  ssh_host ");
    let template = workshop.write("build.pkr.hcl", &text);
    let child = workshop.begin(&template);
    wait_until_install(&guest);
    end_after_a_disconnection(&workshop, &guest, child);
    guest.assert_clean(AT_ONCE);
}

/// The shell provisioner's habit (hashicorp/packer issue 2181), and records that nobody could keep.
#[test]
fn root_is_had_as_templates_write_it_and_records_that_cannot_be_kept_stop_a_build_before_it() {
    let guest = guest::start();
    let workshop = Workshop::new();
    let nowhere = workshop.folder.path().join("none");
    for way in ["sudo sh -c '{{ .Command }}'", "echo 'pw' | {{ .Vars }} sudo -E -S sh '{{ .Path }}'"] {
        let way = format!("    execute_command = \"{way}\"\n");
        let ran = workshop.build(&workshop.template(&guest, USER, &attributes(&nowhere, &way)));
        failed(&workshop, &ran, "cache-missing");
    }
    let ran = workshop.build(&workshop.template(
        &guest,
        USER,
        &attributes(&nowhere, "    output_directory = \"/proc/records\"\n"),
    ));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.code == 1 && said.contains("`output_directory` `/proc/records` cannot be written to"),
        "{said}"
    );
    assert!(!said.contains("ofed: detect"), "{said}");
    guest.assert_clean(AT_ONCE);
}

#[test]
fn a_full_disk_of_the_guest_is_named_before_and_during_the_bake() {
    // All that the guest writes goes into a small file system.
    let small = "mkdir ../over; mount -t tmpfs -o size=5m tmpfs ../over; mkdir ../over/upper ../over/work
        mount -t overlay overlay -o lowerdir=\"$0\",upperdir=../over/upper,workdir=../over/work \"$0\"; cd \"$0\"
        mount -t proc proc proc; mount --bind /dev dev; mkdir -p run/sshd; mount -t tmpfs -o size=300m tmpfs var/tmp
        mkdir -p srv/tiny; mount -t tmpfs -o size=1m,mode=1777 tmpfs srv/tiny; chmod 1777 var/tmp";
    let guest = guest::start_on(root::root_of(&root::guest(SUITE)), small);
    let workshop = Workshop::new();
    let cache = image::staged(SUITE);
    let tiny = attributes(&cache, "    remote_folder = \"/srv/tiny\"\n");
    let ran = workshop.build(&workshop.template(&guest, USER, &tiny));
    let line = failed(&workshop, &ran, "no-space");
    assert!(line.contains("MiB free in `/srv/tiny`") && line.contains("`remote_folder`"), "{line}");

    let kept = attributes(&cache, "    output_directory = \"out\"\n");
    let ran = workshop.build(&workshop.template(&guest, USER, &kept));
    failed(&workshop, &ran, "no-space");
    let status = std::fs::read_to_string(workshop.folder.path().join("out/status.json")).unwrap_or_default();
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    assert!(status.is_null() || status[0]["status"]["code"] == 14, "{status}");
    guest.assert_clean(AT_ONCE);
}
