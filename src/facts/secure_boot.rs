//! UEFI Secure Boot: with it on, a kernel refuses modules that no trusted key has signed, and so any module that was
//! built on the machine.

use crate::host::Host;
use serde::{Deserialize, Serialize};

/// The variable of the UEFI specification, section 3.3, under its global GUID.
const VARIABLE: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What is known about Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SecureBoot {
    /// The firmware enforces it.
    On,
    /// The firmware supports it and does not enforce it.
    Off,
    /// The machine was not started by UEFI, as generation 1 VMs are not.
    Absent,
    /// Unknown, as in an image's root or a container.
    Unknown,
}

/// Reads the firmware's variable.
pub fn read(host: &Host) -> SecureBoot {
    if let Ok(Some(bytes)) = host.root.read(VARIABLE) {
        return parse(&bytes);
    }
    if host.root.is_dir("/sys/firmware") && !host.root.exists("/sys/firmware/efi") {
        return SecureBoot::Absent;
    }
    SecureBoot::Unknown
}

/// The variable as efivarfs shows it: four bytes of attributes (Linux, Documentation/filesystems/efivarfs.rst),
/// then the value, one byte.
fn parse(bytes: &[u8]) -> SecureBoot {
    match bytes {
        [_, _, _, _, 1] => SecureBoot::On,
        [_, _, _, _, 0] => SecureBoot::Off,
        _ => SecureBoot::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    #[test]
    fn the_fifth_byte_tells() {
        assert_eq!(parse(&[6, 0, 0, 0, 1]), SecureBoot::On);
        assert_eq!(parse(&[6, 0, 0, 0, 0]), SecureBoot::Off);
        for odd in [&[][..], &[1], &[6, 0, 0, 0], &[6, 0, 0, 0, 2], &[6, 0, 0, 0, 1, 0]] {
            assert_eq!(parse(odd), SecureBoot::Unknown, "{odd:?}");
        }
    }

    #[test]
    fn no_efi_is_not_the_same_as_no_sysfs() {
        assert_eq!(read(&host_with(&[]).1), SecureBoot::Unknown);
        assert_eq!(read(&host_with(&[("sys/firmware/acpi/pm_profile", "0\n")]).1), SecureBoot::Absent);
        assert_eq!(read(&host_with(&[("sys/firmware/efi/fw_platform_size", "64\n")]).1), SecureBoot::Unknown);
        assert_eq!(read(&host_with(&[(&VARIABLE[1..], "\x06\0\0\0\x01")]).1), SecureBoot::On);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
