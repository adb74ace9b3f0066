#![no_main]
use libfuzzer_sys::fuzz_target;
use ofedctl::packages::Manager;

const FILES: [&str; 3] = ["var/lib/dpkg/status", "var/lib/dpkg/updates/0000", "var/lib/dpkg/triggers/Unincorp"];

fuzz_target!(|input: &[u8]| {
    let dir = ofedctl_fuzz::with_files(input, &FILES);
    let _ = Manager::Apt.installed_by_its_files(&ofedctl_fuzz::root(&dir));
});
