//! The handler's package: its content, its reproducibility, and that its shim runs where handlers run.

use crate::common;
use crate::common::program::Ran;
use crate::vm::{PROGRAM, package};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Unpacks a package as the agent does: Python's zipfile keeps neither modes nor links.
pub(crate) fn unpack(package: &Path, into: &Path) {
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let unpacked = Command::new("python3").args(["-c", script]).arg(package).arg(into).status();
    assert!(unpacked.unwrap().success());
}

#[test]
fn a_package_holds_what_the_agent_and_publishing_want() {
    let folder = common::scratch();
    let zip = folder.path().join("h.zip");
    let bundle = folder.path().join("bundle-of-mine");
    std::fs::write(&bundle, "an exported cache").unwrap();
    let made = package(
        &zip,
        &["--version", "1.2.3.4", "--publisher", "Contoso.Hpc", "--bundle", bundle.to_str().unwrap()],
    );
    made.expect(0, "packaged");
    assert_eq!(made.json()["package"]["sha256"], common::sha256(&std::fs::read(&zip).unwrap()));
    let out = folder.path().join("out");
    unpack(&zip, &out);
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let manifest: Value = serde_json::from_str(&text("HandlerManifest.json")).unwrap();
    let commands = manifest[0]["handlerManifest"].as_object().unwrap();
    for name in ["install", "enable", "update", "disable", "uninstall"] {
        let command = commands[&format!("{name}Command")].as_str().unwrap();
        assert!(command.ends_with(&format!("bin/ofedctl-shim {name}")), "{command}");
    }
    let xml = text("manifest.xml");
    for part in ["<ProviderNameSpace>Contoso.Hpc<", "<Type>InfiniBandDriverLinux<", "<Version>1.2.3.4<"] {
        assert!(xml.contains(part), "{xml}");
    }
    let python = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    let parsed = Command::new("python3").args(["-c", python]).arg(out.join("manifest.xml")).status().unwrap();
    assert!(parsed.success());
    assert_eq!(text("bundle.tar"), "an exported cache");
    let program = out.join(format!("bin/ofedctl-{}", std::env::consts::ARCH));
    assert_eq!(std::fs::read(program).unwrap(), std::fs::read(&*PROGRAM).unwrap());
}

#[test]
fn the_same_parts_make_the_same_bytes_and_two_programs_for_one_architecture_none() {
    let folder = common::scratch();
    let make = |name: &str| {
        let zip = folder.path().join(name);
        package(&zip, &[]).expect(0, "packaged");
        std::fs::read(zip).unwrap()
    };
    let first = make("one.zip");
    // What the file system says of the program's age must not matter.
    let touched = Command::new("touch").args(["-d", "2001-02-03"]).arg(&*PROGRAM).status().unwrap();
    assert!(touched.success());
    assert_eq!(first, make("two.zip"));

    let program = PROGRAM.to_str().unwrap();
    let zip = folder.path().join("three.zip");
    let mut other = std::fs::read(&*PROGRAM).unwrap();
    other[18] = 183;
    let aarch64 = folder.path().join("aarch64");
    std::fs::write(&aarch64, other).unwrap();
    let both = package(&zip, &["--program", aarch64.to_str().unwrap()]);
    assert_eq!(both.json()["package"]["architectures"], serde_json::json!(["aarch64", "x86_64"]));
    for wrong in [
        &["--program", program, "--program", program][..],
        &["--program", "/etc/passwd"],
        &["--version", "1.2"],
    ] {
        let zip = folder.path().join("wrong.zip");
        package(&zip, wrong).expect(1, "usage");
        assert!(!zip.exists());
    }
}

/// Runs the manifest's command in an unpacked package the way the agent does, in a mount namespace of its own with a
/// private `/usr/local`, `/opt` and `/run`, where `before` was run.
fn command(handler: &Path, name: &str, before: &str) -> Ran {
    let manifest = std::fs::read(handler.join("HandlerManifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let command = manifest[0]["handlerManifest"][format!("{name}Command")].as_str().unwrap().to_owned();
    let line = format!("{}/{command}", handler.display());
    let script = format!(
        "mount -t tmpfs tmpfs /usr/local; mount -t tmpfs tmpfs /opt; mount -t tmpfs tmpfs /run; \
         mount -t tmpfs tmpfs /var/log; mount -t tmpfs tmpfs /var/lib; cd {}; {before}; sh -c '{line}'",
        handler.display()
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--mount-proc", "--net", "sh", "-c", &script]);
    unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    common::program::finish(unshare)
}

pub(crate) fn unpacked() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = common::scratch();
    let zip = folder.path().join("h.zip");
    package(&zip, &["--version", "1.2.3.4"]).expect(0, "packaged");
    let handler = folder.path().join("Ofedctl.Hpc.InfiniBandDriverLinux-1.2.3.4");
    unpack(&zip, &handler);
    std::fs::write(handler.join("HandlerEnvironment.json"), "[]").unwrap();
    (folder, handler)
}

#[test]
fn the_shim_needs_no_modes_no_exec_and_no_closed_file() {
    let (_folder, handler) = unpacked();
    for file in ["bin/ofedctl-shim", &format!("bin/ofedctl-{}", std::env::consts::ARCH)] {
        let path = handler.join(file);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    // Still open for writing, and on a file system that runs no programs.
    let program = handler.join(format!("bin/ofedctl-{}", std::env::consts::ARCH));
    let _open = std::fs::File::options().append(true).open(program).unwrap();
    let here = handler.display();
    let noexec = format!("mount --bind {here} {here}; mount -o remount,bind,noexec {here}; cd {here}");
    for before in ["true", &noexec] {
        let ran = command(&handler, "install", before);
        assert_eq!(ran.code, 0, "{before}: {ran:?}");
        assert!(ran.stdout.starts_with("handler-ready: version 1.2.3.4"), "{ran:?}");
        assert_eq!(ran.stderr, "", "{before}");
    }
    // The first choice runs no programs either.
    let ran = command(&handler, "install", "mount -o remount,noexec /usr/local");
    assert!(ran.stdout.starts_with("handler-ready: "), "{ran:?}");
}

#[test]
fn a_machine_of_another_architecture_is_refused_by_the_shim() {
    let (_folder, handler) = unpacked();
    std::fs::remove_file(handler.join(format!("bin/ofedctl-{}", std::env::consts::ARCH))).unwrap();
    let ran = command(&handler, "enable", "true");
    assert_eq!(ran.code, 12, "{ran:?}");
    assert!(ran.stdout.starts_with("image-unsupported: "), "{ran:?}");
}

#[test]
fn without_an_agent_the_commands_stand_alone() {
    let (_folder, handler) = unpacked();
    std::fs::remove_file(handler.join("HandlerEnvironment.json")).unwrap();
    for (name, reason) in [
        ("install", "handler-ready"),
        ("update", "handler-ready"),
        ("disable", "let-go"),
        ("uninstall", "let-go"),
        ("resetState", "handler-ready"),
    ] {
        let ran = command(&handler, name, "true");
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        assert!(ran.stdout.starts_with(reason), "{name}: {ran:?}");
    }
    // This machine is no Azure VM; its status is where every door keeps it.
    let ran = command(&handler, "enable", "trap 'cat /var/lib/ofedctl/status/0.status >&2' EXIT");
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.stderr.contains("\"status\": \"error\"") && ran.stderr.contains("no-vmbus: "), "{ran:?}");
}
