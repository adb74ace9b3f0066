//! The entry points, and how each writes a setting.

/// An entry point, by the form in which its users write settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Door {
    /// A command line.
    #[default]
    Shell,
    /// A block of a Packer template.
    Packer,
    /// cloud-init's user data or an image's settings files.
    CloudInit,
    /// The settings of the VM extension.
    Extension,
}

impl Door {
    /// Every entry point.
    pub const ALL: [Self; 4] = [Self::Shell, Self::Packer, Self::CloudInit, Self::Extension];

    /// The entry point with this name in receipts.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|door| door.name() == name).unwrap_or_default()
    }

    /// Its name in receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Packer => "packer",
            Self::CloudInit => "cloud-init",
            Self::Extension => "extension",
        }
    }

    /// The form of a setting at this entry point.
    pub(super) fn setting(self, key: &str, value: &str) -> String {
        match self {
            Self::Shell => format!("`--set {key}={value}`"),
            Self::Packer => format!("`{key} = \"{value}\"`"),
            Self::CloudInit => format!("`{key}: {value}` in a file of /etc/ofedctl/config.d"),
            Self::Extension => format!("`\"{key}\": \"{value}\"` in the extension's settings"),
        }
    }
}
