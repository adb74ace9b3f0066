//! VM agents that cannot start, or that find what they need only in part: what the plan for such an image says.

use crate::common::small_root::{KERNEL, SmallRoot};
use serde_json::json;
use std::os::unix::fs::symlink;

const UNIT: &str = "usr/lib/systemd/system/waagent.service";

/// An image with a driver, and an agent whose code lies in this folder of a Python; these files and links are there too.
fn with_agent(python: &str, files: &[(&str, &str)], links: &[(&str, &str)]) -> SmallRoot {
    let root = SmallRoot::ubuntu().with_vendor_driver();
    let agent = format!("usr/lib/{python}/azurelinuxagent/common");
    root.put(&format!("{agent}/version.py"), "AGENT_VERSION = '2.7.3.0'\n");
    root.put(&format!("{agent}/rdma.py"), "sriov IPoIB_Data\n");
    for (path, text) in files {
        root.put(path, text);
    }
    for (path, to) in links {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }
    root
}

fn runs(command: &str) -> String {
    format!("[Unit]\nDescription=Azure Linux Agent\n[Service]\nType=simple\nExecStart={command}\n")
}

fn why(root: &SmallRoot) -> String {
    root.plan(&[])["why"].to_string()
}

#[test]
fn an_agent_whose_python_is_not_there_or_lacks_its_code_is_named_with_the_way_out() {
    let agents = runs("/usr/bin/python -u /usr/sbin/waagent -daemon");
    let kept = [("usr/bin/python2.7", ""), ("usr/bin/python3.6", "")];
    // Azure/WALinuxAgent 2699: a package for Enterprise Linux 8, where only python2 and python3 have a name.
    let links = [("usr/bin/python3", "python3.6"), ("usr/bin/python2", "python2.7")];
    let missing = with_agent("python3.6/site-packages", &[&kept[..], &[(UNIT, &agents)]].concat(), &links);
    let said = why(&missing);
    assert!(
        said.contains("the VM agent 2.7.3.0 does not start") && said.contains("runs /usr/bin/python, which"),
        "{said}"
    );
    assert!(said.contains("a drop-in of the unit can name the Python that is there"), "{said}");

    // microsoft/lisa 720: the script's own first line, where no link `python` was made.
    let script = [
        (UNIT, runs("/usr/sbin/waagent -daemon")),
        ("usr/sbin/waagent", "#!/usr/bin/env python\n".to_owned()),
    ];
    let script = script.each_ref().map(|(path, text)| (*path, text.as_str()));
    let files = [&kept[..], &script, &[("usr/bin/env", "")]].concat();
    let said = why(&with_agent("python3.6/site-packages", &files, &links));
    assert!(said.contains("waagent.service runs python, which this root lacks"), "{said}");
    // Their way out.
    let linked = [&links[..], &[("usr/bin/python", "python3.6")]].concat();
    assert!(!why(&with_agent("python3.6/site-packages", &files, &linked)).contains("does not start"));

    // Azure/WALinuxAgent 2728: a newer Python took the name that the unit runs.
    let threes = runs("/usr/bin/python3 -u /usr/sbin/waagent -daemon");
    let files = [(UNIT, threes.as_str()), ("usr/bin/python3.9", ""), ("usr/libexec/platform-python3.6", "")];
    let links = [
        ("usr/bin/python3", "/etc/alternatives/python3"),
        ("etc/alternatives/python3", "/usr/bin/python3.9"),
        ("usr/libexec/platform-python", "platform-python3.6"),
    ];
    let said = why(&with_agent("python3.6/site-packages", &files, &links));
    assert!(said.contains("which is Python 3.9, and its code was installed for Python 3.6"), "{said}");
    let named =
        "[Service]\nExecStart=\nExecStart=/usr/libexec/platform-python -u /usr/sbin/waagent -daemon\n";
    let mended = [&files[..], &[("etc/systemd/system/waagent.service.d/override.conf", named)]].concat();
    assert!(!why(&with_agent("python3.6/site-packages", &mended, &links)).contains("does not start"));

    // Azure/WALinuxAgent 2802: another `python` comes first in the search path, which the unit does not use.
    let files = [(UNIT, agents.as_str()), ("usr/bin/python2.7", ""), ("usr/bin/python3.9", "")];
    let links = [("usr/bin/python", "python2.7"), ("usr/local/bin/python", "/usr/bin/python3.9")];
    assert!(!why(&with_agent("python2.7/site-packages", &files, &links)).contains("does not start"));
}

#[test]
fn of_two_agents_the_one_that_the_units_python_finds_counts() {
    // As images are built that install an agent from its sources beside the distribution's (Azure/azhpc-images pull request
    // 379): the newer one is for another Python.
    let unit = runs("/usr/bin/python3 -u /usr/sbin/waagent -daemon");
    let files = [
        (UNIT, unit.as_str()),
        ("usr/bin/python3.6", ""),
        (
            "usr/local/lib/python3.9/site-packages/azurelinuxagent/common/version.py",
            "AGENT_VERSION = '2.15.0.1'\n",
        ),
        ("usr/local/lib/python3.9/site-packages/azurelinuxagent/pa/rdma/rdma.py", "sriov IPoIB_Data\n"),
    ];
    let root = with_agent("python3.6/site-packages", &files, &[("usr/bin/python3", "python3.6")]);
    let found = root.run("detect", &[]).json()["waagent"].clone();
    assert_eq!((&found["version"], &found["no_start"]), (&json!("2.7.3.0"), &json!(null)), "{found:#}");
}

#[test]
fn a_masked_agent_is_named_and_what_azure_does_not_tell_of_is_left_alone() {
    let mask = [("etc/systemd/system/waagent.service", "/dev/null")];
    let said = why(&with_agent("python3/dist-packages", &[(UNIT, "")], &mask));
    assert!(said.contains("waagent.service is masked; `systemctl unmask waagent.service`"), "{said}");
    // Azure/WALinuxAgent 3413: the setting is for Network Direct, and the agent goes on without its driver.
    let root = with_agent(
        "python3/dist-packages",
        &[("etc/waagent.conf", "OS.EnableRDMA=y\nOS.CheckRdmaDriver=y\n")],
        &[],
    );
    let plan = root.plan(&[]);
    assert!(!plan["edits"].to_string().contains("CheckRdmaDriver"), "{plan:#}");
    assert!(!plan["why"].to_string().contains("does not start"), "{plan:#}");
}

#[test]
fn an_image_of_ubuntus_without_the_hosts_pairs_gets_the_daemon_of_its_kernel() {
    // cloudfoundry/bosh-linux-stemcell-builder 453 and Azure/aks-rdma-infiniband 44: nothing keeps what the host tells.
    let daemon = format!("usr/lib/linux-tools/{KERNEL}/hv_kvp_daemon");
    for (files, lacks) in [(vec![], true), (vec![(daemon.as_str(), "")], false)] {
        let files = [&files[..], &[("usr/share/doc/linux-cloud-tools-common/copyright", "")]].concat();
        let plan = with_agent("python3/dist-packages", &files, &[]).plan(&[]);
        let wanted = if lacks { json!([format!("linux-cloud-tools-{KERNEL}")]) } else { json!([]) };
        assert_eq!(plan["packages"], wanted, "{plan:#}");
    }
}
