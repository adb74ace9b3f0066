//! The exit codes, which are the same at every entry point.

/// A process exit code. The process ends with one of these seven, whichever entry point was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Success: done, or nothing to do.
    Success = 0,
    /// The call or its settings are wrong.
    Usage = 1,
    /// Not a Hyper-V guest: no VMBus.
    NoVmbus = 10,
    /// The hardware is not there.
    NoDevice = 11,
    /// No driver for this image.
    Unsupported = 12,
    /// The VM size has no SR-IOV InfiniBand.
    SizeNotRdma = 13,
    /// The work was possible, but failed.
    Failed = 14,
}

impl ExitCode {
    /// Every exit code, in ascending order.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Usage,
        Self::NoVmbus,
        Self::NoDevice,
        Self::Unsupported,
        Self::SizeNotRdma,
        Self::Failed,
    ];

    /// The number the process exits with.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// One line on when this code is returned.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done, or already right, or nothing to do",
            Self::Usage => "the call or its settings are wrong",
            Self::NoVmbus => {
                "no Hyper-V VMBus: Linux Integration Services are missing, or this is not an Azure VM"
            }
            Self::NoDevice => "the size should have InfiniBand, but no Mellanox InfiniBand function came",
            Self::Unsupported => {
                "no driver for this image: distribution, version, kernel, architecture or Secure Boot"
            }
            Self::SizeNotRdma => "the VM size is known and has no SR-IOV InfiniBand",
            Self::Failed => "it was possible, and it failed",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}
