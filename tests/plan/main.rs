//! What is planned for which machine, and why nothing is. `UPDATE_GOLDEN=1` rewrites the files of `tests/golden`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod choices;
mod commands;
mod extension;
mod fixtures;
mod headers;
mod identities;
mod knowledge;
mod machine;
mod properties;
mod refusals;
mod settings;
mod signing;

use std::path::Path;

/// Holds a file of `tests/golden` equal to what was made.
#[track_caller]
fn hold(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let both = golden.lines().zip(made.lines()).enumerate().find(|(_, (golden, made))| golden != made);
    if let Some((number, (golden, made))) = both {
        let number = number + 1;
        panic!("tests/golden/{name}:{number}: was\n  {golden}\nis\n  {made}\nrun once with UPDATE_GOLDEN=1");
    }
    assert!(golden == made, "tests/golden/{name} is shorter or longer; run once with UPDATE_GOLDEN=1");
}
