//! Hostile text through what cloud-init hands over: the user data's key `ofedctl`, and the arguments of the module.

use crate::common::hostile_text::{
    RIGHT_REASONS, assert_no_shell_was_here, option, settings_of_text, taken_as_they_are, text as hostile,
};
use crate::common::image::{self, receipt};
use crate::machine::{Machine, text};
use serde_json::{Value, json};

/// Calls the module's own function as cloud-init does, for each pair of settings and arguments, and prints what it made
/// of each.
const FEED: &str = "
import json
from cloudinit.config import cc_ofedctl
for settings, args in json.load(open('/srv/given.json')):
    try:
        cc_ofedctl.handle('ofedctl', {'ofedctl': settings}, cloud=None, args=args)
        print('done')
    except cc_ofedctl.OfedctlError as error:
        print(str(error).replace(chr(10), ' '))
";

#[test]
fn no_text_in_user_data_or_in_the_arguments_of_the_module_reaches_a_shell() {
    let vm = Machine::with_cache("bookworm");
    // In a boot of its own, as a user sends it, with all that a run takes as it is.
    let all = json!({"ofedctl": taken_as_they_are(&hostile())});
    vm.user_data(&format!("#cloud-config\n{all}\n"));
    let booted = vm.boot();
    println!("{booted:?}");
    assert_eq!(receipt(&vm.root)["door"], "cloud-init", "{booted:?}");
    assert_no_shell_was_here("the user data", &[&vm.root.upper()]);
    image::ask("uninstall", &vm.root);

    let mut given: Vec<Value> = Vec::new();
    for (key, is_list) in settings_of_text() {
        for text in [hostile(), option()] {
            let value = if is_list { json!([text]) } else { json!(text) };
            given.push(json!([{&key: value}, []]));
            given.push(json!([{}, ["--set", format!("{key}={value}")]]));
        }
    }
    given.push(json!([{}, [hostile()]]));
    given.push(json!([{}, [option()]]));
    given.push(json!([hostile(), []]));
    given.push(json!([{hostile(): hostile()}, []]));
    vm.root.write("srv/given.json", &json!(given).to_string());
    vm.root.write("srv/feed.py", FEED);
    let output = vm.shell("cd /srv && exec python3 feed.py");
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(said.lines().count(), given.len(), "{}", text(&output));
    for (line, given) in said.lines().zip(&given) {
        println!("{given}: {line}");
        let is_told = RIGHT_REASONS.iter().any(|reason| line.contains(&format!("({reason})")));
        assert!(line == "done" || is_told, "{given}: {line}");
    }
    assert_no_shell_was_here("the module", &[&vm.root.upper()]);
}
