//! Protected settings: encrypted for the VM as the platform does it, used by the handler, and shown in no output.

use crate::common::wait;
use crate::vm::{NAME, Vm, offline};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};

const PASSWORD: &str = "Tr0ub4dor%263";
const TOKEN: &str = "sv=2022-11-02&sig=c2lnbmF0dXJlLW9mLW1pbmU%3D";

fn openssl(args: &[&str], folder: &Path, input: &str) -> Vec<u8> {
    use std::io::Write;
    let mut openssl = Command::new("openssl");
    openssl.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = openssl.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}");
    output.stdout
}

/// The goal state's settings, with a protected part for the VM's certificate.
fn protect(vm: &Vm, public: &serde_json::Value, protected: &serde_json::Value) -> serde_json::Value {
    crate::common::need::need(&["openssl"]);
    let keys = vm.root.path().join("srv/keys");
    std::fs::create_dir_all(&keys).unwrap();
    let request = [
        "req", "-x509", "-nodes", "-subj", "/CN=vm", "-newkey", "rsa:2048", "-keyout", "vm.prv", "-out",
        "vm.crt",
    ];
    openssl(&request, &keys, "");
    let print = openssl(&["x509", "-in", "vm.crt", "-noout", "-fingerprint", "-sha1"], &keys, "");
    let print = String::from_utf8(print).unwrap().trim().rsplit('=').next().unwrap().replace(':', "");
    let encrypt = ["cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "vm.crt"];
    std::fs::write(keys.join("blob"), openssl(&encrypt, &keys, &protected.to_string())).unwrap();
    let base64 = openssl(&["base64", "-A", "-in", "blob"], &keys, "");
    let handler = json!({
        "publicSettings": public,
        "protectedSettings": String::from_utf8(base64).unwrap().trim(),
        "protectedSettingsCertThumbprint": print,
    });
    let settings = json!({"runtimeSettings": [{"handlerSettings": handler}]});
    json!({"extensions": [{"name": NAME, "version": "1.0.0.0", "seq": 0, "settings": settings}], "events": true})
}

/// Everything that the VM's disk says, but for the settings as they came and the tests' own files.
fn everything_said(vm: &Vm) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for folder in
        ["var/log", "var/lib/ofedctl", "var/lib/waagent", "var/cache", "etc", "run", "tmp", "var/tmp"]
    {
        let mut found = Command::new("find");
        found.arg(vm.root.path().join(folder)).args(["-type", "f", "-size", "-2M"]);
        for path in String::from_utf8(found.output().unwrap().stdout).unwrap().lines() {
            let bytes = std::fs::read(path).unwrap_or_default();
            all.push((path.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    all
}

#[test]
fn protected_settings_are_used_and_said_nowhere() {
    let vm = Vm::new();
    vm.publish("1.0.0.0");
    let mut public = offline();
    public["frobnicate"] = json!(true);
    public["retries"] = json!(0);
    let address = format!("https://mine.blob.core.windows.net/c/bundle.tar?{TOKEN}");
    let proxy = format!("http://me:{PASSWORD}@127.0.0.1:9");
    let goal = protect(&vm, &public, &json!({"cache": address, "proxy": proxy}));
    let mut agent = vm.start(std::slice::from_ref(&goal));

    // Whoever looks at the process list meanwhile sees no secret.
    let mut lines = String::new();
    wait::until("the agent is done", || {
        for pid in crate::common::program::processes_in(vm.root.path()) {
            for what in ["cmdline", "environ"] {
                lines += &String::from_utf8_lossy(
                    &std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default(),
                );
            }
        }
        agent.try_wait().unwrap().is_some()
    });
    let ran = crate::common::program::Ran::from(agent.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let reported = crate::vm::Reported(serde_json::from_str(ran.stdout.trim()).unwrap());
    assert_eq!(reported.ending().0, "error", "{:#}", reported.0["status"]);
    let status = reported.0["status"].to_string();
    assert!(status.contains("mine.blob.core.windows.net"), "the protected address was not used: {status}");
    assert!(status.contains("unknown key `frobnicate`"), "{status}");

    let mut said = everything_said(&vm);
    said.push(("the process list".to_owned(), lines));
    said.push(("the uploaded status and events".to_owned(), reported.0.to_string()));
    assert!(said.len() > 20);
    for secret in [PASSWORD, "Tr0ub4dor&3", TOKEN, "c2lnbmF0dXJlLW9mLW1pbmU"] {
        for (place, text) in &said {
            assert!(!text.contains(secret), "{place} says {secret}");
        }
    }
}

/// A command line lost its quotes in another shell, and the settings came as one text instead of an object
/// (Azure/azure-cli 13471). The handler of another extension died of it and said nothing that helped.
#[test]
fn settings_that_a_shell_made_a_text_of_are_named_as_such() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    let goals =
        [json!("{driver:inbox,cache:/srv/cache}"), json!("{\"driver\": \"inbox\"}"), json!(["inbox"])];
    let goals = goals.iter().zip(0..).map(|(public, seq)| crate::vm::enabled("1.0.0.0", seq, public));
    for reported in vm.run(&goals.collect::<Vec<_>>()) {
        assert_eq!(reported.ending(), ("error", 1, "bad-settings"), "{:#}", reported.0["status"]);
        assert!(reported.0["status"].to_string().contains("publicSettings are not a JSON object"));
    }
}
