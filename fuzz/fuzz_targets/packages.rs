#![no_main]
use libfuzzer_sys::fuzz_target;
use ofedctl::packages::Manager;

fuzz_target!(|input: &[u8]| {
    let _ = Manager::Apt.unpacked_sizes("Packages", input);
    let _ = Manager::Dnf.unpacked_sizes("primary.xml.gz", input);
});
