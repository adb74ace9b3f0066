//! Hostile text through each of the extension's settings, and through all that the agent and the metadata service say:
//! no shell reads it, and the reason names the setting, or what is missing.

use crate::common;
use crate::common::hostile_text::{
    RIGHT_REASONS, assert_no_shell_was_here, option, settings_of_text, taken_as_they_are, text,
};
use crate::common::program::Ran;
use crate::package::unpack;
use crate::vm::{Vm, enabled, offline, package};
use serde_json::{Value, json};

fn with(settings: &Value) -> Value {
    let mut all = offline();
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    all
}

#[test]
fn no_text_in_the_settings_of_the_extension_reaches_a_shell() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    // First what decides how packages are found and installed, with nothing installed; then each by itself.
    let mut goals: Vec<Value> = vec![
        with(&json!({"cache": text()})),
        with(&json!({"cache": format!("/srv/{}", text())})),
        with(&json!({"public_key": text()})),
        with(&taken_as_they_are(&text())),
        with(&taken_as_they_are(&option())),
    ];
    goals.extend(
        settings_of_text().iter().map(|(key, is_list)| {
            with(&json!({key: if *is_list { json!([text()]) } else { json!(text()) }}))
        }),
    );
    let numbered = goals.iter().enumerate();
    let steps: Vec<Value> = numbered.map(|(seq, goal)| enabled("1.0.0.0", seq as u64, goal)).collect();
    let reported = vm.run(&steps);
    for (reported, settings) in reported.iter().zip(&goals) {
        let (state, code, reason) = reported.ending();
        println!("{settings} {state} {code} {reason}");
        let is_right = match state {
            "success" => code == 0,
            _ => RIGHT_REASONS.contains(&reason),
        };
        assert!(is_right, "{state} {code} {reason}: {settings}");
    }
    assert_eq!(reported[3].ending(), ("success", 0, "reboot-required"), "{:#}", reported[3].0["status"]);
    assert_no_shell_was_here("the extension's settings", &[&vm.root.upper()]);

    // What the metadata service says of the VM.
    let reported = vm.run_on(&text(), &[enabled("1.0.0.0", 100, &offline())]);
    assert_ne!(reported[0].ending().2, "internal", "{:#}", reported[0].0["status"]);
    assert_no_shell_was_here("the metadata service", &[&vm.root.upper()]);
}

/// The one script of shell that the agent starts is told where it lies, and hands on what the agent says.
#[test]
fn a_handler_may_lie_in_a_folder_of_any_name_and_be_told_anything_by_its_agent() {
    let vm = Vm::new();
    let folder = common::scratch();
    let zip = folder.path().join("handler.zip");
    package(&zip, &[]).expect(0, "packaged");
    let handler = format!("srv/{}", text());
    unpack(&zip, &vm.root.path().join(&handler));
    let sound = json!({"offline": true, "cache": format!("/srv/{}", text())});
    let sound = json!({"runtimeSettings": [{"handlerSettings": {"publicSettings": sound}}]}).to_string();
    for (settings, code, reason) in [(text(), 1, "bad-settings"), (sound, 0, "at-work")] {
        let folder_of = |name: &str| format!("/srv/{name}{}", text());
        let environment = json!([{"name": text(), "version": text(), "handlerEnvironment": {
            "configFolder": folder_of("config"), "statusFolder": folder_of("status"), "logFolder": folder_of("log"),
        }}]);
        vm.root.write(&format!("{handler}/HandlerEnvironment.json"), &environment.to_string());
        vm.root.write(&format!("srv/config{}/7.settings", text()), &settings);
        let shim = format!("/{handler}/bin/ofedctl-shim");
        for verb in ["install", "update", "enable"] {
            let mut command = vm.root.booted_command(&["sh", &shim, verb, "--json"]);
            command.env("ConfigSequenceNumber", text()).current_dir(folder.path());
            let ran = Ran::from(command.output().unwrap());
            println!("{verb} {ran:?}");
            if verb == "enable" {
                ran.expect(code, reason);
            }
        }
    }
    assert_no_shell_was_here("the agent's words", &[&vm.root.upper(), folder.path()]);
}
