//! Tests of the Python module itself.

use crate::common::need;
use crate::machine::text;
use std::process::Command;

#[test]
fn the_module_suits_every_cloud_init_and_python_and_never_ends_in_silence_or_an_exit() {
    need::need(&["python3"]);
    let house = env!("CARGO_MANIFEST_DIR");
    let mut python = Command::new("python3");
    python.args(["-B", &format!("{house}/tests/cloud_init/adapter.py")]);
    let output = python.arg(format!("{house}/cloud-init/cc_ofedctl.py")).output().unwrap();
    assert!(output.status.success() && text(&output).contains("Ran 11 tests"), "{}", text(&output));
}
