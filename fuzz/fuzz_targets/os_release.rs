#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let dir = ofedctl_fuzz::with_files(input, &["etc/os-release"]);
    let _ = ofedctl::facts::os::read(&ofedctl_fuzz::root(&dir));
});
