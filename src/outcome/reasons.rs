//! The table of reasons: why a run can end, with which exit code, and what to do next.
//!
//! `ofedctl explain`, the table in docs/reasons.md and the status document are all made from it. The exit codes are those that the
//! `InfiniBandDriverLinux` VM extension documents (azure-compute-docs, hpc-compute-infiniband-linux.md); the reasons are
//! this project's own stable tokens.

use super::ExitCode;
use std::fmt;

/// Declares [`Reason`] as one table, so that a reason cannot exist without its code, meaning and remedy.
macro_rules! reasons {
    ($($variant:ident $token:literal $code:ident $meaning:literal, $remedy:literal;)+) => {
        /// Why a run ended as it did. The token is stable: it appears in status documents, JSON and logs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the table in docs/reasons.md.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable token, e.g. `digest-mismatch`.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token),+ }
            }

            /// The exit code a run with this reason ends with.
            pub const fn exit_code(self) -> ExitCode {
                match self { $(Self::$variant => ExitCode::$code),+ }
            }

            /// What happened, in one sentence fragment.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// What to do next, in one sentence, where nothing more is known; see `remedies`.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

reasons! {
    Installed "installed" Success
        "the driver was installed and every check passed", "Nothing to do.";
    AlreadyInstalled "already-installed" Success
        "the machine is already as planned; nothing was changed", "Nothing to do.";
    RebootRequired "reboot-required" Success
        "installed, but the running kernel has not loaded the modules", "Reboot, then run `ofedctl verify`.";
    NotNeeded "not-needed" Success
        "this machine has no InfiniBand, and none is required of it", "Nothing to do.";
    Uninstalled "uninstalled" Success
        "the driver and the edits around it were removed", "Nothing to do.";
    ReceiptForgotten "receipt-forgotten" Success
        "what earlier runs wrote down was put aside; what they installed and edited stays", "Run `ofedctl bake` or `install` to start over, or remove packages and edits by hand.";
    NotInstalled "not-installed" Success
        "there is no receipt, so there is nothing to remove", "Nothing to do.";
    Generalized "generalized" Success
        "what belongs to this VM alone was removed", "Capture the image.";
    Verified "verified" Success
        "every check passed", "Nothing to do.";
    Planned "planned" Success
        "a driver exists for this target", "Run `ofedctl stage`, then `ofedctl bake` or `ofedctl install`.";
    Staged "staged" Success
        "the cache holds everything the target needs", "Run `ofedctl bake --offline` with this cache.";
    Packaged "packaged" Success
        "the VM extension's package was made", "Publish it as azure/README.md says.";
    HandlerReady "handler-ready" Success
        "the VM extension can be enabled", "Nothing to do.";
    AtWork "at-work" Success
        "the VM extension works in the background", "Wait for the status to end; `ofedctl status` shows how far it is.";
    LetGo "let-go" Success
        "the VM extension has let go; what is installed stays", "Nothing to do.";
    Listed "listed" Success
        "the command's result was printed", "Nothing to do.";

    Usage "usage" Usage
        "the command line is wrong", "See `ofedctl --help`, or `--help` after the command.";
    BadSettings "bad-settings" Usage
        "a settings file or value is wrong", "Correct the named key; `ofedctl explain settings` lists all keys.";
    NotRoot "not-root" Usage
        "this command works inside a system and needs root", "Run it again as root, for example with sudo.";
    BadRoot "bad-root" Usage
        "the given root is not a Linux root", "Give a directory that holds an unpacked distribution.";
    UnsafeOwner "unsafe-owner" Usage
        "others than root could change a file that this run would obey", "Run `chown root:root` and `chmod go-w` on what the message names; on a build server where one user owns the cache, set `trusted_owner` to that user.";
    ToolMissing "tool-missing" Usage
        "a program this command needs is not on this machine", "Install the named program and run again.";

    SizeUnknown "size-unknown" Usage
        "the VM size that was given is none that this program knows", "Correct `vm_size`; for a size newer than this program, set `nic` to its adapter, such as cx7.";

    NoVmbus "no-vmbus" NoVmbus
        "no Hyper-V VMBus on this machine", "Run it on an Azure VM; to prepare an image elsewhere, use `ofedctl bake`.";

    SizeNotRdma "size-not-rdma" SizeNotRdma
        "this VM size has no InfiniBand", "Choose a size with an `r` in its feature letters, such as Standard_HB120rs_v3.";
    SizeLegacyNd "size-legacy-nd" SizeNotRdma
        "this VM size has Network Direct, not SR-IOV InfiniBand", "Move to an SR-IOV size, such as Standard_HB120rs_v3, Standard_HB176rs_v4 or Standard_ND96isr_H100_v5.";

    NoIbDevice "no-ib-device" NoDevice
        "no Mellanox InfiniBand function was offered to this VM", "Stop (deallocate) and start the VM; if it stays, report it to Azure support.";

    ImageUnsupported "image-unsupported" Unsupported
        "no driver for this distribution, version or architecture", "Use an image that `ofedctl catalog list` names.";
    KernelUnsupported "kernel-unsupported" Unsupported
        "no driver for this kernel", "Install a kernel that has the modules for InfiniBand, or a driver that is made for this one.";
    DriverPresent "driver-present" Unsupported
        "another vendor's driver is installed, and it is not the one that is wanted",
        "Set `replace_driver` to `replace` to have it taken out by its own uninstaller, or name neither driver nor version, and it is kept.";
    SecureBoot "secure-boot" Unsupported
        "Secure Boot refuses modules that are built on the machine", "Use the Standard security type, disable Secure Boot, or take the distribution's own driver (`driver` `inbox`).";

    WrongPackage "wrong-package" Unsupported
        "the vendor's package was made for another distribution, version or architecture", "Use the package for this distribution; see `ofedctl catalog list`.";
    AdapterUnsupported "adapter-unsupported" Unsupported
        "this release of the driver does not know the adapter", "Set `nic` to the adapter that is there: ConnectX-3 Pro needs MLNX_OFED 4.9.";

    DigestMismatch "digest-mismatch" Failed
        "a file is not what its digest says", "Of a cache: run `ofedctl cache gc --damaged`, then stage again. Of a download: the named server has another file.";
    CacheMissing "cache-missing" Failed
        "the cache does not hold what this target needs", "Run `ofedctl stage` for this target on a machine with a network.";
    CacheUnreadable "cache-unreadable" Failed
        "the cache is not a readable OCI image layout", "Give the folder that `ofedctl stage` filled, or import an exported file again.";
    DownloadFailed "download-failed" Failed
        "a file could not be downloaded", "Check the named address, proxy and certificate settings; what was fetched is kept for the next run.";
    AccessDenied "access-denied" Failed
        "a server refused access to a file", "Give credentials it takes (for a registry, `docker login` or the setting `registry_auth`), or an address with a valid signature.";
    NotOnServer "not-on-server" Failed
        "a server does not have the file", "Check the address; if the package sources have moved on, run `ofedctl stage` again.";
    WebPage "web-page" Failed
        "a web page came where a file is wanted", "Open the named address in a browser: a proxy or portal there wants a login first.";
    RedirectRefused "redirect-refused" Failed
        "a server redirects in circles, or to a connection without TLS", "Give the final address itself, for example with the setting `mirrors`.";
    ServerUntrusted "server-untrusted" Failed
        "a server's certificate is not trusted", "Name its authority with the setting `ca_file`, and check this machine's clock.";
    ServerBusy "server-busy" Failed
        "a server failed or was too busy, again and again", "Run again later, or name a mirror with the setting `mirrors`.";
    ServerSlow "server-slow" Failed
        "a server sent nothing, or next to nothing", "Run again: what came is kept. Name a mirror, or raise `stall_timeout`.";
    NameUnknown "name-unknown" Failed
        "the name of a server could not be resolved", "Check the address and this machine's DNS.";
    UploadFailed "upload-failed" Failed
        "a registry did not take a file", "Read what the server said; check that the name may be written to, and run again: what is there is not sent twice.";
    Untrusted "untrusted" Failed
        "a bundle, or a vendor's file, is not signed by the key it must be signed by", "Sign the bundle with `cosign sign --key` or `ofedctl cache sign`, fetch it from its owner, or correct the setting `public_key`. Of a vendor's file, give the digest as `sha256`, or its key as `vendor_key`.";
    ResolveFailed "resolve-failed" Failed
        "the package manager could not resolve the packages", "Read the quoted lines; check the target's package sources and keys.";
    RepositoryKey "repository-key" Failed
        "a package is not signed with a key that its repository names, or that the image's own rpm asks for", "Put the repository's current key where its `gpgkey` or `signed-by` says, in the target's package sources, and stage again; where the image's rpm asks for signatures, `rpm --import` their key there.";
    PackageConflict "package-conflict" Failed
        "a package that is installed, or its files, stands in the way of one to be installed", "Remove the package that the quoted lines name, or hold it back from the image, and run again.";
    PackageManager "package-manager" Failed
        "the package manager failed", "Read the quoted lines and the named log, repair the cause, and run again.";
    HeadersMissing "headers-missing" Failed
        "the headers of a kernel that modules are to be built for are not at hand", "Stage again for this kernel with sources that still have its headers, or boot a newer kernel first.";
    DkmsBuild "dkms-build" Failed
        "the driver's kernel modules could not be built", "Read the compiler's lines; take a newer release of the driver, or an older kernel.";
    PrerequisitesMissing "prerequisites-missing" Failed
        "the vendor's installer misses packages of the distribution", "Stage again with the image's own package sources; the quoted lines name what is missing.";
    DriverInUse "driver-in-use" Failed
        "the old driver's modules are in use, so that they cannot be replaced now", "Reboot, and run it before anything uses the adapter.";
    DriverShadowed "driver-shadowed" Failed
        "a kernel would load the distribution's module instead of the driver's", "Run it again to build the driver for the named kernel; look for copies in `extra` and `weak-updates`.";
    InstallerFailed "installer-failed" Failed
        "the vendor's installer failed", "Read the quoted lines and the named log, repair the cause, and run again.";
    LockTimeout "lock-timeout" Failed
        "another program held a lock for too long", "Wait for the named program to end, or raise `lock_timeout`.";
    NoSpace "no-space" Failed
        "a file system is full", "Free space on the named file system and run again.";
    ReadOnly "read-only" Failed
        "a file system that must be written to is read-only", "Mount the named file system writable; one that became read-only by itself has errors: see `dmesg`.";
    DiskError "disk-error" Failed
        "a disk or file system failed", "Look at `dmesg`, repair or replace the disk, and run again.";
    NoMemory "no-memory" Failed
        "the system is short of memory, processes or open files", "End what takes them or raise the limit, and run again.";
    NotPermitted "not-permitted" Failed
        "the system forbids access to a file", "Look at the named file's owner, attributes (`lsattr`) and SELinux label, and run again.";
    UnexpectedFile "unexpected-file" Failed
        "a file or folder is not there, or something else stands in its place", "Look at what the message names, put it right, and run again.";
    LedgerUnreadable "ledger-unreadable" Failed
        "what an earlier run wrote down cannot be read by this version; nothing was touched",
        "Run the version that wrote it. To give up what it says, so that its packages and edits stay for good: `ofedctl uninstall --forget-receipt`.";
    EditRefused "edit-refused" Failed
        "a file that is to be edited is a link that leads to no file of this root; nothing was touched",
        "Let the link lead to a file, remove it, or switch the edit off by its setting.";
    InitramfsFailed "initramfs-failed" Failed
        "a kernel's initial file system could not be made with the new modules",
        "Read the quoted lines and the named log, repair the cause, and run again.";
    ServiceFailed "service-failed" Failed
        "a service around the driver failed or hung at boot", "Read `journalctl -b -u` of the named service; blacklist the module it cannot load (often ib_iser or rpcrdma), or make the InfiniBand interface optional for wait-online; then reboot.";
    VerifyFailed "verify-failed" Failed
        "the result is not as planned", "Read the failed checks; run `ofedctl bake` or `install` again to repair.";
    NeverRun "never-run" Failed
        "there is no earlier outcome to show", "Run `ofedctl bake` or `ofedctl install` first.";
    RunUnfinished "run-unfinished" Failed
        "a run is at work, and how it ends is not known yet", "Ask again in a minute; the log has each step.";
    DeadlineExceeded "deadline-exceeded" Failed
        "the run took longer than its deadline", "Look at the named log for what hung; raise `deadline` if it was only slow.";
    GuestUnreachable "guest-unreachable" Failed
        "the machine that Packer builds was not reached", "Check the builder's communicator and the machine's console; then build again.";
    GuestFailed "guest-failed" Failed
        "a command failed on the machine that Packer builds", "Read the quoted lines; PACKER_LOG=1 shows every command.";
    Interrupted "interrupted" Failed
        "the run was stopped by a signal", "Run the same command again: it continues where it stopped.";
    Internal "internal" Failed
        "something failed that has no reason of its own", "Report it with the log /var/log/azure/ib-vmext-status.";
}

impl Reason {
    /// Looks a reason up by its token.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.token() == token)
    }

    /// Whether the disk is to blame: full, read-only or broken.
    pub const fn is_of_disk(self) -> bool {
        matches!(self, Self::NoSpace | Self::ReadOnly | Self::DiskError)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// The table of codes and reasons as Markdown: docs/reasons.md holds exactly this text.
pub fn markdown_table() -> String {
    let mut table = String::from("| code | reason | what happened | what to do next |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let row = format!(
            "| {} | `{}` | {} | {} |\n",
            reason.exit_code().number(),
            reason.token(),
            reason.meaning(),
            reason.remedy()
        );
        table.push_str(&row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_lower_case_words() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.token()), "`{reason}` stands twice");
            assert!(reason.token().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{reason}");
            assert_eq!(Reason::from_token(reason.token()), Some(*reason));
        }
    }

    #[test]
    fn every_code_has_a_reason() {
        for code in ExitCode::ALL {
            assert!(Reason::ALL.iter().any(|reason| reason.exit_code() == code), "{code:?}");
        }
    }
}
