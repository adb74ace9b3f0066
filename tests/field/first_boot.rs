//! Images whose boot would not run the installed module: `cloud-init setup` and `detect` warn about it beforehand.

use crate::common::program::{self, Ran};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// An image's root with cloud-init and these files, made ready for a first boot.
struct Image(tempfile::TempDir);

const STOCK: &str = "cloud_config_modules:\n - locale\n - runcmd\n";

impl Image {
    fn with(files: &[(&str, &str)]) -> Self {
        let image = Self(crate::common::scratch());
        image.write("etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n");
        image.write("etc/cloud/cloud.cfg", STOCK);
        image.write("usr/lib/python3/dist-packages/cloudinit/config/__init__.py", "");
        for (path, text) in files {
            image.write(path, text);
        }
        image
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn setup(&self, more: &[&str]) -> Ran {
        let root = self.path().display().to_string();
        program::run(&[&["cloud-init", "setup", "--json", "--root", &root], more].concat())
    }

    /// What setup and detect say is in the way, which is the same: place and words.
    #[track_caller]
    fn obstacles(&self) -> Vec<(String, String)> {
        let set_up = self.setup(&[]).json();
        let root = self.path().display().to_string();
        let detected = program::run(&["detect", "--json", "--root", &root]).json();
        assert_eq!(set_up["first_boot"], detected["first_boot"]);
        let text = program::run(&["detect", "--root", &root]).stdout;
        let read = |obstacle: &Value| {
            let [place, what] = ["place", "what"].map(|key| obstacle[key].as_str().unwrap().to_owned());
            assert!(text.contains(&format!("may not run it: `{place}`: {what}")), "{text}");
            (place, what)
        };
        detected["first_boot"]["obstacles"].as_array().unwrap().iter().map(read).collect()
    }
}

#[track_caller]
fn says(image: &Image, place: &str, what: &str) {
    let found = image.obstacles();
    let said = found.iter().any(|(at, says)| at == place && says.contains(what));
    assert!(said, "{place}: {what}: {found:?}");
    let warned = image.setup(&[]).stderr;
    assert!(warned.contains(place) && warned.contains("--unit"), "{warned}");
}

#[test]
fn an_image_that_nothing_hinders_is_set_up_without_a_word() {
    let image = Image::with(&[
        ("etc/default/grub", "# GRUB_CMDLINE_LINUX=\"cloud-init=disabled\"\nGRUB_CMDLINE_LINUX=\"quiet\"\n"),
        ("etc/cloud/ds-identify.cfg", "policy: search,found=all,maybe=none,notfound=disabled\n"),
        ("etc/cloud/cloud.cfg.d/50.cfg", "## template: jinja\nfinal_message: '{{ v1.region }}'\n"),
    ]);
    assert_eq!(image.obstacles(), []);
    assert!(!image.setup(&[]).stderr.contains("may not run it"));
}

/// Azure/azhpc-images pull request 84 switches cloud-init off with a file; scaleway/image-ubuntu 95 met
/// `cloud-init=disabled` among the kernel's arguments; cloud-init's own `disable_cloud_init.rst` and the head of
/// `ds-identify` name the other places.
#[test]
fn cloud_init_that_is_switched_off_anywhere_is_named_with_the_place() {
    let off = "switches cloud-init off";
    for (path, text) in [
        ("etc/cloud/cloud-init.disabled", ""),
        ("etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet cloud-init=disabled\"\n"),
        ("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_CMDLINE_LINUX_DEFAULT='cloud-init=disabled'\n"),
        ("etc/kernel/cmdline", "root=LABEL=x ro cloud-init=disabled\n"),
        ("boot/loader/entries/a-5.14.conf", "title a\noptions root=x ci.di.policy=disabled\n"),
        ("boot/grub/grub.cfg", "\tlinux /boot/vmlinuz root=x cloud-init=disabled\n"),
        ("etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=KERNEL_CMDLINE=cloud-init=disabled\n"),
        (
            "etc/systemd/system.conf.d/ci.conf",
            "[Manager]\nDefaultEnvironment=KERNEL_CMDLINE=cloud-init=disabled\n",
        ),
        ("etc/cloud/ds-identify.cfg", "policy: disabled\n"),
    ] {
        says(&Image::with(&[(path, text)]), &format!("/{path}"), off);
    }
}

/// giovtorres/kvm-install-vm 15: images whose builder has masked the service.
#[test]
fn a_masked_unit_of_cloud_init_is_named() {
    for unit in ["cloud-init.service", "cloud-config.service", "cloud-init-main.service"] {
        let image = Image::with(&[("etc/systemd/system/README", "")]);
        symlink("/dev/null", image.path().join("etc/systemd/system").join(unit)).unwrap();
        says(&image, &format!("/etc/systemd/system/{unit}"), "masks");
    }
}

/// canonical/cloud-init 3436: a list of modules that comes from elsewhere drops every other module.
#[test]
fn another_list_of_modules_that_counts_more_is_named() {
    let list = "#cloud-config\ncloud_config_modules: [runcmd]\n";
    for (path, text, what) in [
        ("etc/cloud/cloud.cfg.d/zzz-vendor.cfg", list, "is read later"),
        ("var/lib/cloud/seed/nocloud/user-data", list, "user data has a `cloud_config_modules`"),
        ("var/lib/cloud/instance/cloud-config.txt", list, "user data has a `cloud_config_modules`"),
        ("etc/kernel/cmdline", "ro cc: cloud_config_modules: [runcmd] end_cc quiet", "argument `cc:`"),
        (
            "etc/cloud/cloud.cfg.d/60.cfg",
            "## template: jinja\n{% if v1.region %}\ncloud_config_modules: [ntp]\n{% endif %}\n",
            "is a jinja template",
        ),
        ("etc/cloud/cloud.cfg", "cloud_config_modules: [ntp]\nconf_d: /etc/other.d\n", "`conf_d` reads"),
    ] {
        says(&Image::with(&[(path, text)]), &format!("/{path}"), what);
    }
    // One that names ours is in nobody's way.
    let with_ours = "#cloud-config\ncloud_config_modules: [[ofedctl, always], runcmd]\n";
    assert_eq!(Image::with(&[("var/lib/cloud/seed/nocloud/user-data", with_ours)]).obstacles(), []);
}

/// canonical/cloud-init 6268 and canonical/multipass 3247: what a vendor writes is dropped where the user writes files, too.
#[test]
fn a_vendors_settings_that_user_data_replaces_are_named() {
    let seed = "var/lib/cloud/seed/nocloud-net";
    let vendor =
        "#cloud-config\nwrite_files: [{path: /etc/ofedctl/config.d/50-site.yaml, content: 'ipoib: false'}]\n";
    let image = |user: &str| {
        Image::with(&[(&format!("{seed}/user-data"), user), (&format!("{seed}/vendor-data"), vendor)])
    };
    let place = format!("/{seed}/vendor-data");
    let files = "#cloud-config\nwrite_files: [{path: /etc/motd, content: hello}]\n";
    says(&image(files), &place, "/etc/ofedctl/config.d/50-site.yaml");
    says(&image("#cloud-config\nvendor_data: {enabled: false}\n"), &place, "50-site.yaml");
    let merged = format!("{files}merge_how: 'dict(recurse_list)+list(append)'\n");
    for kept in ["#cloud-config\n{}\n", merged.as_str(), vendor] {
        assert_eq!(image(kept).obstacles(), [], "{kept}");
    }
}

#[test]
fn a_module_that_a_new_python_does_not_have_is_named_and_a_unit_needs_none_of_it() {
    let image = Image::with(&[]);
    assert_eq!(image.obstacles(), []);
    let newer = "usr/lib64/python3.13/site-packages/cloudinit/config";
    image.write(&format!("{newer}/__init__.py"), "");
    let root = image.path().display().to_string();
    let text = program::run(&["detect", "--root", &root]).stdout;
    assert!(text.contains(&format!("`/{newer}`: the module is not there")), "{text}");
    image.write("etc/cloud/cloud-init.disabled", "");
    let set_up = image.setup(&["--unit"]);
    assert_eq!(set_up.json()["first_boot"], serde_json::json!({"way": "unit", "obstacles": []}));
    assert!(!set_up.stderr.contains("may not run it"), "{}", set_up.stderr);
}
