//! The release build (`make release`), for tests that depend on its speed or on its being static.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds it, where it is not built yet.
pub fn program() -> PathBuf {
    super::need::need(&["make"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut make = Command::new("make");
    make.args(["--quiet", "release"]).current_dir(folder);
    // Cargo's variables for this test would make the inner cargo rebuild everything.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" && name != "CARGO_TARGET_DIR"
        {
            make.env_remove(name);
        }
    }
    let output = make.output().unwrap();
    assert!(output.status.success(), "{make:?}: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    // `FILE: SIZE bytes of at most SIZE`
    let line = said.lines().find(|line| line.contains(" bytes of at most ")).expect("a file with its size");
    folder.join(line.split(':').next().unwrap())
}
