//! What a user may ask for: the one [`Settings`] every door builds and the pipeline obeys.
//!
//! Layers lie over each other key by key, a list as a whole: defaults, what an image's builder set in
//! `/usr/lib/ofedctl/config.d/*.yaml`, `/etc/ofedctl/config.yaml`, `/etc/ofedctl/config.d/*.yaml`, the door, the command
//! line. `docs/schema/settings.schema.json` is their JSON Schema.

mod guarded;
mod new_kernels;
mod profiles;
mod text;

pub use guarded::Guarded;
pub use new_kernels::NewKernels;
pub use profiles::{DocaProfile, LibrarySet, OfedProfile};
pub(crate) use text::{nearest_of, problem, read_yaml};

use crate::outcome::{Reason, shown};
use crate::target::{Driver, Nic};
use crate::texts::{packed, unpack};
use crate::trust::Trust;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use std::sync::LazyLock;
use text::{line_of, unknown_key, with_suggestion, without_location};

/// Settings of whoever built the image, inside its root, read in the order of their names. They lie below all that the
/// machine's own administrator writes, as systemd's and udev's folders in `/usr/lib` do (file-hierarchy(7)).
pub const IMAGE_DIR: &str = "/usr/lib/ofedctl/config.d";
/// Where the settings of a machine live, inside its root.
pub const CONFIG_FILE: &str = "/etc/ofedctl/config.yaml";
/// Further settings files, read in the order of their names.
pub const CONFIG_DIR: &str = "/etc/ofedctl/config.d";
/// The JSON Schema of [`Settings`], as shipped.
pub static SCHEMA: LazyLock<String> = LazyLock::new(|| unpack(packed!("settings.schema.json")));

/// Which driver to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriverChoice {
    /// The one that fits the adapter, distribution, kernel and architecture best.
    #[default]
    Auto,
    /// The vendor's `MLNX_OFED`.
    MlnxOfed,
    /// The vendor's DOCA-Host; see `doca_profile`.
    Doca,
    /// The distribution's own kernel modules and rdma-core.
    Inbox,
}

impl DriverChoice {
    /// The name used in settings and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::MlnxOfed => "mlnx_ofed",
            Self::Doca => "doca",
            Self::Inbox => "inbox",
        }
    }

    /// The one that asks for this driver.
    pub fn from_driver(driver: Driver) -> Self {
        let named = [Self::MlnxOfed, Self::Doca, Self::Inbox].into_iter().find(|it| it.allows(driver));
        named.unwrap_or_default()
    }

    /// Whether it is this driver, or leaves the choice.
    pub fn allows(self, driver: Driver) -> bool {
        self == Self::Auto || self.name() == driver.name()
    }
}

/// What a reboot that is due leads to. No door reboots a machine by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RebootPolicy {
    /// Nothing: the run ends as if the modules were loaded, and only its message tells.
    Never,
    /// The run ends with the reason `reboot-required`.
    #[default]
    Report,
    /// The same, for cloud-init's `power_state` to make the reboot at first boot.
    PowerState,
}

/// What RDMA devices are called after every boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RdmaNames {
    /// As on Azure's HPC images: `mlx5_ib0` and so on for InfiniBand, `mlx5_an0` for Accelerated Networking.
    #[default]
    Azure,
    /// As the kernel counts them: `mlx5_0`.
    Kernel,
    /// As the distribution's rdma-core has it: after the PCI address.
    Distribution,
}

/// What to do about a vendor's driver that somebody else installed, when it is not the one that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReplaceDriver {
    /// Leave it, and say so.
    #[default]
    Refuse,
    /// Take it out first, by its own uninstaller. This cannot be undone.
    Replace,
}

/// What to do where a driver that is named is not known to build for a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UnsupportedKernel {
    /// Refuse it, and say which kernels it builds for.
    #[default]
    Refuse,
    /// Try it.
    Try,
}

/// Everything a user may set. Every key means the same at every door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that users know by its name")]
pub struct Settings {
    /// Which driver to install.
    pub driver: DriverChoice,
    /// The driver's version, or the release it must be of: `5.8-2.0.3.0` or `5.8`. The best one when not set.
    pub driver_version: Option<String>,
    /// The SHA-256 of the driver's package, for one whose digest nobody published. Needs `driver_version`.
    pub sha256: Option<String>,
    /// Where the driver's package is, in place of the catalogue's address: a file of this machine, or an address.
    pub artifact: Option<String>,
    /// What must vouch for the driver's package: a digest that somebody published or that is given as `sha256`
    /// (`digest`), or else the vendor's signature (`signed`), or else that it came over TLS from the vendor's own host
    /// and is the same ever after (`first-use`).
    pub trust: Trust,
    /// A file that takes the place of the built-in catalogue of drivers.
    pub catalog: Option<String>,
    /// The cache: a folder, a file made by `ofedctl cache export`, `https://…` of such a file, or
    /// `oci://HOST/NAME:TAG` in a registry.
    pub cache: String,
    /// Use nothing but the cache; package managers then run without any network interface.
    pub offline: bool,
    /// The VM size to prepare for, such as `Standard_HB120rs_v3`. Found out when not set.
    pub vm_size: Option<String>,
    /// The adapter generation, where the VM size does not tell it.
    pub nic: Option<Nic>,
    /// The kernels that must have working modules, as `uname -r` prints them. When empty: all that are installed in an
    /// image; on a running VM the one that runs, and those that earlier runs installed modules for.
    pub kernels: Vec<String>,
    /// How long to wait on a live VM for a late InfiniBand function, in seconds. Baking never waits.
    pub wait_for_device: u64,
    /// Whether it is a failure (codes 10, 11 and 13) that a live VM has no InfiniBand. When not set, it is none at
    /// first boot through cloud-init, where one image serves many sizes, and one everywhere else.
    pub required: Option<bool>,
    /// How long one run may take in all, in seconds.
    pub deadline: u64,
    /// How long to wait for another program's package manager lock, in seconds.
    pub lock_timeout: u64,
    /// Load `ib_ipoib` at boot, so that every port gets a network interface.
    pub ipoib: bool,
    /// Let every user lock memory without limit, as RDMA programs need.
    pub memlock: bool,
    /// Let every user and service open 1048576 files, as Azure's HPC images do: each rank of an MPI job opens many.
    pub nofile: bool,
    /// Keep `NetworkManager` and systemd-networkd off the second interface of Accelerated Networking, and off `IPoIB`
    /// interfaces that no file of the image configures. No boot waits for those then.
    pub keep_unmanaged: bool,
    /// What to do when the running kernel cannot load the modules that were installed.
    pub reboot: RebootPolicy,
    /// Take the driver out again when the VM extension is removed from the VM. An upgrade of it never does.
    pub remove_on_uninstall: bool,
    /// How much of DOCA-Host to install, where that is the driver.
    pub doca_profile: DocaProfile,
    /// How much of `MLNX_OFED` to install, where its packages are installed and not its installer run.
    pub mlnx_ofed_profile: OfedProfile,
    /// Run the installer of `MLNX_OFED`, which no signature covers, in place of installing its packages. On rpm
    /// distributions it also runs where the bundle has no modules for the kernel.
    pub mlnx_ofed_installer: bool,
    /// The set of libraries of an `MLNX_OFED` that has two (4.9 and 5.0). The default of that release when not set.
    pub library_set: Option<LibrarySet>,
    /// A file with the `OpenPGP` key that signs the packages of `MLNX_OFED` in place of the vendor's: of one's own signed
    /// mirror.
    pub vendor_key: Option<String>,
    /// A file with the RSA key, in PEM, that signs each kernel module that is built, for machines with Secure Boot. It has to
    /// lie outside the image, and only its owner may be able to read it. Needs `module_signing_cert`.
    pub module_signing_key: Option<String>,
    /// A file with the certificate, in PEM or DER, of the key that signs kernel modules. Without `module_signing_key` only
    /// modules that are signed already are installed.
    pub module_signing_cert: Option<String>,
    /// What RDMA devices are called after every boot.
    pub rdma_names: RdmaNames,
    /// Put this program's names in the place of those that the image's own rules or services give RDMA devices, and the
    /// kernel's in the place of those that `.link` files give `IPoIB` interfaces.
    pub replace_names: bool,
    /// Put the kernel packages on hold, so that no new kernel comes without modules: `new_kernels` with `hold`.
    pub kernel_hold: bool,
    /// What becomes of the driver when a newer kernel comes, such as from unattended upgrades.
    pub new_kernels: NewKernels,
    /// What to do about a vendor's driver that somebody else installed, when it is not the one that is wanted.
    pub replace_driver: ReplaceDriver,
    /// What to do where a driver that `driver` or `driver_version` names is not known to build for a kernel.
    pub unsupported_kernel: UnsupportedKernel,
    /// Leave the cache in an image that is generalized.
    pub keep_cache: bool,
    /// Where else files are, tried in order before their own address: `https://HOST/PATH/=https://MIRROR/PATH/`
    /// replaces the beginning of an address, and `https://MIRROR/` alone gets host and path behind it.
    pub mirrors: Vec<String>,
    /// How often in a row each address of a download may fail before it is given up on.
    pub retries: u32,
    /// How long a server may send nothing, or less than 1 KiB/s, before it is asked again, in seconds.
    pub stall_timeout: u64,
    /// A file of registry credentials in Docker's form. What `docker login` has left when not set.
    pub registry_auth: Option<String>,
    /// Hosts, such as `registry.example:5000`, that a cache may come from without TLS. This machine itself always may.
    pub plain_http: Vec<String>,
    /// The public key, or a file with it, that a bundle must be signed by: ECDSA P-256 in PEM, as of `cosign`.
    pub public_key: Option<String>,
    /// Where a cache that is a registry or an address is kept on this machine.
    pub cache_copy: String,
    /// The user, by name or number, who may own the cache, catalogue and key files beside root. All of them must belong to
    /// root, and be writable by nobody else, when root installs from them.
    pub trusted_owner: Option<String>,
    /// Take a signed bundle that was made before the one that is installed.
    pub allow_older: bool,
    /// What user data and the extension's settings may loosen where the files of the image are stricter. Counts in those
    /// files alone.
    pub may_loosen: Vec<Guarded>,
    /// Over how many seconds machines spread before they pull a cache at boot, each at its own moment.
    pub pull_spread: u64,
    /// The proxy for all that staging and pulls fetch, such as `http://proxy.example:3128`. The environment's when not
    /// set; apt and dnf then use their own.
    pub proxy: Option<String>,
    /// A PEM file with certificate authorities to trust beside the system's, for downloads.
    pub ca_file: Option<String>,
    /// Let the image's own package manager, which resolves in the image while staging, ask the metadata service of the
    /// machine it runs on, as SUSE's `susecloud` does. It hands out that machine's credentials.
    pub allow_metadata: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            driver: DriverChoice::Auto,
            driver_version: None,
            sha256: None,
            artifact: None,
            trust: Trust::FirstUse,
            catalog: None,
            cache: "/var/cache/ofedctl".to_owned(),
            offline: false,
            vm_size: None,
            nic: None,
            kernels: Vec::new(),
            // waagent itself waits up to 120 s for /sys/class/infiniband (azurelinuxagent/pa/rdma/rdma.py).
            wait_for_device: 120,
            required: None,
            // Azure gives up on an extension after 90 minutes; say why before it does.
            deadline: 80 * 60,
            lock_timeout: 600,
            ipoib: true,
            memlock: true,
            nofile: true,
            keep_unmanaged: true,
            reboot: RebootPolicy::Report,
            remove_on_uninstall: false,
            doca_profile: DocaProfile::DocaOfed,
            mlnx_ofed_profile: OfedProfile::All,
            mlnx_ofed_installer: false,
            library_set: None,
            vendor_key: None,
            module_signing_key: None,
            module_signing_cert: None,
            rdma_names: RdmaNames::Azure,
            replace_names: false,
            kernel_hold: false,
            new_kernels: NewKernels::Leave,
            replace_driver: ReplaceDriver::Refuse,
            unsupported_kernel: UnsupportedKernel::Refuse,
            keep_cache: true,
            mirrors: Vec::new(),
            // With pauses of up to a minute, some minutes: a server's restart, or DNS that comes late at boot.
            retries: 8,
            stall_timeout: 60,
            registry_auth: None,
            plain_http: Vec::new(),
            public_key: None,
            cache_copy: "/var/cache/ofedctl".to_owned(),
            trusted_owner: None,
            allow_older: false,
            may_loosen: Vec::new(),
            pull_spread: 30,
            proxy: None,
            ca_file: None,
            allow_metadata: false,
        }
    }
}

/// The largest text of settings, in MiB.
const MAX_MIB: usize = 1;

/// One source of settings that has been checked on its own, so that its errors name it.
#[derive(Debug, Clone, Default)]
pub struct Layer(Mapping);

impl Layer {
    /// Reads a YAML (or JSON) text. `source` names it in errors, usually its path.
    pub fn parse(source: &str, text: &str) -> Result<Self> {
        let mapping = match read_yaml(source, text, MAX_MIB)? {
            Value::Null => Mapping::new(),
            Value::Mapping(mapping) => mapping,
            _ => return Err(problem(source, Some(1), &"settings are `key: value` lines")),
        };
        let mut layer = Self::default();
        for (key, value) in mapping {
            let Value::String(key) = key else {
                return Err(problem(source, None, &"a key is not a word"));
            };
            layer.set(&key, value).map_err(|what| problem(source, line_of(text, &key), &what))?;
        }
        Ok(layer)
    }

    /// Whether the key is set here.
    pub fn sets(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The keys that are set, with their values.
    pub const fn mapping(&self) -> &Mapping {
        &self.0
    }

    /// Sets one key; null unsets it. The error says what is wrong, for the caller to say where.
    pub fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        if !keys().iter().any(|known| known == key) {
            return Err(unknown_key(key));
        }
        let key = Value::String(key.to_owned());
        if value.is_null() {
            self.0.remove(&key);
            return Ok(());
        }
        let mut alone = Mapping::new();
        alone.insert(key.clone(), value.clone());
        serde_yaml::from_value::<Settings>(Value::Mapping(alone)).map_err(|error| {
            format!(
                "key `{}`: {}",
                key.as_str().unwrap_or_default(),
                with_suggestion(&shown::wrong_type(&without_location(&error)))
            )
        })?;
        self.0.insert(key, value);
        Ok(())
    }
}

impl Settings {
    /// Whether cloud-init is to reboot the VM when that is due.
    pub fn reboots(&self) -> bool {
        self.reboot == RebootPolicy::PowerState
    }

    /// What becomes of the driver when a newer kernel comes.
    pub fn of_new_kernels(&self) -> NewKernels {
        if self.kernel_hold { NewKernels::Hold } else { self.new_kernels }
    }

    /// Lays the layers over the defaults, later over earlier.
    pub fn from_layers(layers: impl IntoIterator<Item = Layer>) -> Result<Self> {
        let mut all = Mapping::new();
        for layer in layers {
            all.extend(layer.0);
        }
        serde_yaml::from_value(Value::Mapping(all))
            .map_err(|error| Reason::BadSettings.error(error.to_string()))
    }
}

/// Every key, in the order of the struct.
pub fn keys() -> Vec<String> {
    match serde_yaml::to_value(Settings::default()) {
        Ok(Value::Mapping(mapping)) => {
            mapping.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings> {
        Settings::from_layers([Layer::parse("/etc/ofedctl/config.yaml", text)?])
    }

    #[test]
    fn the_shipped_schema_is_that_of_the_struct() {
        let made = schemars::schema_for!(Settings);
        let made = serde_json::to_string_pretty(&made).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/settings.schema.json"), &made)
                .unwrap();
        }
        assert_eq!(made, *SCHEMA, "run the tests once with UPDATE_GOLDEN=1");
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(load("").unwrap(), Settings::default());
        assert_eq!(load("driver:\n").unwrap(), Settings::default());
    }

    #[test]
    fn later_layers_lie_over_earlier_ones_key_by_key() {
        let first = Layer::parse("a", "driver: inbox\nipoib: false\n").unwrap();
        let second = Layer::parse("b", "{\"ipoib\": true, \"deadline\": 60}").unwrap();
        let settings = Settings::from_layers([first, second]).unwrap();
        assert_eq!((settings.driver, settings.ipoib, settings.deadline), (DriverChoice::Inbox, true, 60));
    }

    #[test]
    fn a_wrong_key_is_named_with_file_line_and_the_nearest_right_one() {
        let error = load("# mine\noffline: true\ndrivr: inbox\n").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::BadSettings);
        let wanted = "`/etc/ofedctl/config.yaml` line 3: unknown key `drivr`; did you mean `driver`?";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_wrong_value_is_named_with_file_line_and_key() {
        let error = load("offline: perhaps\n").unwrap_err().to_string();
        assert!(error.starts_with("`/etc/ofedctl/config.yaml` line 1: key `offline`: "), "{error}");
        let error = load("driver: inbox\nnic: cx4\n").unwrap_err().to_string();
        assert!(error.contains("line 2: key `nic`") && error.contains("cx5"), "{error}");
    }

    #[test]
    fn broken_yaml_is_named_with_its_line() {
        let error = load("driver: inbox\n  kernels: [\n").unwrap_err().to_string();
        assert!(error.starts_with("`/etc/ofedctl/config.yaml` line "), "{error}");
        assert!(load("- driver\n").unwrap_err().to_string().contains("`key: value` lines"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = load(&text);
        }
    }

    #[test]
    fn a_value_of_a_wrong_type_is_not_repeated_where_it_may_be_a_secret() {
        let secret = "https://me:hunter2@host/?sig=hunter2";
        for key in keys() {
            for value in [Value::from(secret), Value::from(vec![secret]), Value::from(17)] {
                let Err(error) = Layer::default().set(&key, value) else { continue };
                assert!(error.contains(&key) && !error.contains("hunter2"), "{error}");
            }
        }
        let error = Layer::default().set("driver", "mlnx".into()).unwrap_err();
        assert!(error.contains("`mlnx`"), "{error}");
    }
}
