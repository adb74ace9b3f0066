#![no_main]
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 8] = [
    "sys/bus/pci/devices/0000:00:00.0/vendor",
    "sys/bus/pci/devices/0000:00:00.0/device",
    "sys/bus/pci/devices/0000:00:00.0/class",
    "sys/bus/vmbus/devices/1/class_id",
    "sys/class/infiniband/mlx5_0/ports/1/state",
    "sys/class/infiniband/mlx5_0/ports/1/rate",
    "sys/class/infiniband/mlx5_0/fw_ver",
    "proc/modules",
];

fuzz_target!(|input: &[u8]| {
    let dir = ofedctl_fuzz::with_files(input, &FILES);
    let host = ofedctl_fuzz::host(&dir);
    let _ = (ofedctl::facts::pci::read(&host), ofedctl::facts::vmbus::read(&host));
    let _ = ofedctl::facts::rdma::modules(&host);
});
