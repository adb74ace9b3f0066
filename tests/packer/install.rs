//! The installation of the plugin in Packer's plugin folder.

use crate::common::program::run;
use crate::common::sha256;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn setup_makes_the_tree_that_every_packer_reads() {
    let folder = crate::common::scratch();
    let plugins = folder.path().join("plugins");
    let setup = || run(&["packer", "setup", "--plugin-path", plugins.to_str().unwrap(), "--json"]);
    // Again is no different.
    for ran in [setup(), setup()] {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["source"], "github.com/ofedctl/ofed");
    }
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let name = format!("packer-plugin-ofed_v{}_x5.0_linux_{arch}", env!("CARGO_PKG_VERSION"));
    let home = plugins.join("github.com/ofedctl/ofed");
    let mut files: Vec<_> = std::fs::read_dir(&home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, [name.clone(), format!("{name}_SHA256SUM")]);
    let plugin = home.join(&name);
    assert_eq!(plugin.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    let sum = std::fs::read_to_string(home.join(format!("{name}_SHA256SUM"))).unwrap();
    assert_eq!(sum, sha256(&std::fs::read(&plugin).unwrap()));
    let old = plugins.join("packer-provisioner-ofed");
    describes_itself(&plugin);
    // `packer plugins remove` removes the plugin and its sum; what is left is no link that leads nowhere.
    std::fs::remove_file(&plugin).unwrap();
    std::fs::remove_file(home.join(format!("{name}_SHA256SUM"))).unwrap();
    assert!(!old.is_symlink());
    describes_itself(&old);
    // `packer plugins install --path` takes the program under any name.
    describes_itself(Path::new(env!("CARGO_BIN_EXE_ofedctl")));
}

fn describes_itself(program: &Path) {
    let ran = Command::new(program).arg("describe").env_clear().output().unwrap();
    assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(0), b"".as_slice()));
    assert_eq!(ran.stdout.last(), Some(&b'\n'));
    let said: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&said["api_version"], &said["protocol_version"]), (&"x5.0".into(), &"v2".into()));
    assert_eq!(said["provisioners"], serde_json::json!(["-packer-default-plugin-name-"]));
    for none in ["builders", "post_processors", "datasources"] {
        assert_eq!(said[none], serde_json::json!([]), "{none}");
    }
}

#[test]
fn without_a_folder_it_goes_where_packer_looks() {
    let home = crate::common::scratch();
    let home = home.path();
    let setup = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ofedctl"));
        command.args(["packer", "setup", "--json"]).env_clear().env("HOME", home);
        let ran =
            crate::common::program::Ran::from(command.envs(variables.iter().copied()).output().unwrap());
        (ran.code, ran.json())
    };
    let folder = |variables: &[(&str, &str)]| {
        let (code, json) = setup(variables);
        assert_eq!(code, 0, "{json}");
        Path::new(json["folder"].as_str().unwrap()).strip_prefix(home).unwrap().to_owned()
    };
    let at = |name: &str| home.join(name).display().to_string();
    assert_eq!(folder(&[]), Path::new(".config/packer/plugins"));
    assert_eq!(folder(&[("XDG_CONFIG_HOME", &at("xdg"))]), Path::new("xdg/packer/plugins"));
    assert_eq!(folder(&[("PACKER_CONFIG_DIR", &at("own"))]), Path::new("own/.packer.d/plugins"));
    assert_eq!(folder(&[("PACKER_PLUGIN_PATH", &at("path"))]), Path::new("path"));
    std::fs::create_dir(home.join(".packer.d")).unwrap();
    assert_eq!(folder(&[]), Path::new(".packer.d/plugins"));
    let (code, json) = setup(&[("PACKER_PLUGIN_PATH", "/a:/b")]);
    assert_eq!((code, &json["reason"]), (1, &"usage".into()));
}
