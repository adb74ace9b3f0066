#![no_main]
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 3] =
    ["etc/waagent.conf", "opt/azurehpc/component_versions.txt", "run/cloud-init/instance-data.json"];

fuzz_target!(|input: &[u8]| {
    let dir = ofedctl_fuzz::with_files(input, &FILES);
    let host = ofedctl_fuzz::host(&dir);
    let _ = (ofedctl::facts::azure::waagent(&host), ofedctl::facts::azure::hpc_image(&host));
});
