//! Chromium without a screen and without a network.

use crate::common::need::need;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Opens a page, and fails where its console has anything to say. `what` says what to do with it.
pub(crate) fn open(page: &Path, what: &[&str]) -> Output {
    need(&["chromium", "fonts-dejavu-core"]);
    let profile = crate::common::scratch();
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "/usr/bin/chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1200,1600"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(what);
    let output = command.arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    // The browser's own pages have something to say where there is no network.
    let is_of_the_page = |line: &&str| line.contains("CONSOLE") && !line.contains("source: chrome://");
    let console: Vec<&str> = said.lines().filter(is_of_the_page).collect();
    assert!(console.is_empty(), "{console:#?}");
    output
}

/// How many colours a picture has, and how much of it is not of the commonest one, in percent.
pub(crate) fn colours(picture: &Path) -> (usize, f64) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report/colours.py");
    let output = Command::new("python3").arg(script).arg(picture).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (count, rest) = text.trim().split_once(' ').unwrap();
    (count.parse().unwrap(), rest.parse().unwrap())
}

/// The accessibility checker axe-core, from the npm registry.
pub(crate) fn axe() -> PathBuf {
    let folder = crate::common::kept("test-axe-core");
    let _lock = crate::common::lock(&crate::common::kept("test-locks").join("axe"));
    let script = folder.join("package/axe.min.js");
    if !script.exists() {
        let pack = Command::new("npm").args(["pack", "axe-core@4.10.3"]).current_dir(&folder).output();
        assert!(
            pack.as_ref().is_ok_and(|pack| pack.status.success()),
            "this test needs npm and its registry: {pack:?}"
        );
        let unpack = Command::new("tar").args(["-xzf", "axe-core-4.10.3.tgz"]).current_dir(&folder).status();
        assert!(unpack.unwrap().success());
    }
    script
}
