//! What a machine says about itself, one question per file. Nothing here changes the machine or starts a program.
//!
//! Every loader takes a [`Host`](crate::host::Host) and reads a few small files of its root; what is missing is
//! unknown, never an error. The parsers beside them take text, so that they can be tried without a machine.

pub mod azure;
pub mod compute;
pub mod imds;
pub mod modules;
pub mod ofed;
pub mod os;
pub mod pci;
pub mod rdma;
pub mod secure_boot;
pub mod vm_size;
pub mod vm_size_table;
pub mod vmbus;

#[cfg(test)]
mod tests {
    use crate::events::Events;
    use crate::host::Host;
    use crate::host::stop::Stop;

    /// A root with these files, and nothing else.
    pub(super) fn host_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::open(dir.path(), Events::silent(), Stop::never()).unwrap();
        (dir, host)
    }
}
