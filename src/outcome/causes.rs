//! The causes within a reason. Programs use the [`Reason`]; the remedy depends on the cause.

use super::Reason;
use super::failure::Failure;

/// Declares [`Cause`] as one table, so that a cause cannot exist without its reason and meaning.
macro_rules! causes {
    ($($variant:ident $token:literal $reason:ident $meaning:literal;)+) => {
        /// What exactly went wrong. The token is stable, as a reason's is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Cause {
            $(#[doc = $meaning] $variant,)+
        }

        impl Cause {
            /// Every cause, by the order of its reason's row.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable token, e.g. `bundle-unknown`.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token),+ }
            }

            /// The reason that it belongs to.
            pub const fn reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$reason),+ }
            }

            /// What happened, in one sentence fragment.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

causes! {
    FileUnreadable "file-unreadable" BadSettings "a file that was named cannot be read";
    FolderUnwritable "folder-unwritable" BadSettings "a folder that was named cannot be written to";
    CatalogFaulty "catalog-faulty" BadSettings "a catalogue of drivers has rows that cannot be right";
    NothingRebuilds "nothing-rebuilds" BadSettings "`new_kernels` is `rebuild`, and nothing in the root builds this driver for a kernel that comes later";
    SizeUnknown "size-unknown" SizeUnknown "the VM size that was given is none that this program knows";
    CloudInitMissing "cloud-init-missing" ToolMissing "the image has no cloud-init";
    SigningKeyUnusable "signing-key-unusable" BadSettings "the key or the certificate for signing kernel modules cannot be used";
    NoProc "no-proc" ToolMissing "the kernel's own folder /proc is not there, as in a bare chroot";
    NoKernel "no-kernel" KernelUnsupported "no kernel is installed in the root";
    KernelNotThere "kernel-not-there" KernelUnsupported "a kernel that was named is not installed in the root";
    KernelWithoutModules "kernel-without-modules" KernelUnsupported "a kernel's own packages lack the modules for InfiniBand";
    NoDigest "no-digest" ImageUnsupported "nobody published the digest of the driver's package, and the settings ask for one";
    KernelOutOfRange "kernel-out-of-range" KernelUnsupported "no release of the wanted driver is known to build for a kernel";
    BundleLacksKernel "bundle-lacks-kernel" KernelUnsupported "the packages of the vendor's bundle have neither modules for a kernel nor sources of them";
    ModuleBuiltIn "module-built-in" KernelUnsupported "a kernel has the adapter's module built in, so that no other can take its place";
    OtherDriver "other-driver" DriverPresent "another driver than the one that is asked for is installed";
    DriverLacksKernel "driver-lacks-kernel" DriverPresent "the driver that is installed has neither modules nor sources for a kernel";
    OtherDriverWithoutUninstaller "other-driver-without-uninstaller" DriverPresent "the driver that is installed brought no program to take it out";
    ModulesRefused "modules-refused" SecureBoot "the running kernel refuses modules that are not signed by a key it knows";
    SigningKeyMissing "signing-key-missing" SecureBoot "modules have to be signed, and the key is not here";
    CertificateNotEnrolled "certificate-not-enrolled" SecureBoot "the firmware does not know the certificate that modules are signed by";
    CacheEmpty "cache-empty" CacheMissing "the cache is not there, or holds no bundle";
    BundleUnknown "bundle-unknown" CacheMissing "the cache holds no bundle of the name that was given";
    TargetNotStaged "target-not-staged" CacheMissing "no bundle of the cache serves this target whole";
    SourcesMissing "sources-missing" DkmsBuild "the driver's packages brought no sources of kernel modules";
    PackageNotWhole "package-not-whole" PackageManager "a package that the target has must be unpacked again, and its file is nowhere at hand";
    RecordsDamaged "records-damaged" PackageManager "the package manager's own records are damaged";
    OlderCatalog "older-catalog" Untrusted "a catalogue of drivers was issued before the one in force";
    CatalogUnsigned "catalog-unsigned" Untrusted "there is no key that a catalogue of drivers could be checked with";
    OlderBundle "older-bundle" Untrusted "a signed bundle was made before the one that is installed";
    TooLittleRoom "too-little-room" NoSpace "a file system has less room than the work needs, found out before anything was changed";
    UsrReadOnly "usr-read-only" ReadOnly "`/usr` is read-only, as on systems that are replaced as a whole";
    BuildPlaceNoexec "build-place-noexec" DkmsBuild "no program runs where modules are built, because the file system is mounted `noexec`";
    BuildWithoutModule "build-without-module" DkmsBuild "the build ended well and made no such module";
}

impl Cause {
    /// Looks a cause up by its token.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.token() == token)
    }

    /// An error with this cause, its reason and its own message.
    pub fn error(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Failure { reason: self.reason(), cause: Some(self), message: message.into() })
    }

    /// The cause that an error carries.
    pub fn from_error(error: &anyhow::Error) -> Option<Self> {
        error.downcast_ref::<Failure>().and_then(|failure| failure.cause)
    }
}

/// Adds a cause to an error.
pub trait WithCause<T> {
    /// Adds a message and, unless the error already has a reason, a cause with its reason.
    fn with_cause(self, cause: Cause, message: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithCause<T> for Result<T, E> {
    fn with_cause(self, cause: Cause, message: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if error.downcast_ref::<Failure>().is_some() {
                error.context(message())
            } else {
                error.context(Failure { reason: cause.reason(), cause: Some(cause), message: message() })
            }
        })
    }
}
