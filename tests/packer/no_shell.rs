//! Hostile text through each attribute of the provisioner: neither a shell of the build host nor one of the guest reads
//! it. The builder is of the kind that hands each command to two shells, one of them on the build host.

use crate::chroot_host::Chroot;
use crate::common;
use crate::common::hostile_text::{RIGHT_REASONS, assert_no_shell_was_here, option, text};
use crate::common::image;
use crate::common::root;
use crate::guest::{SUITE, program_for};
use serde_json::{Value, json};

/// The attributes that take text, and whether each takes a list of it, by what the documents say. `execute_command` is
/// shell of the template's author by its meaning.
fn of_text() -> Vec<(String, bool)> {
    let list = ofedctl::doors::packer::markdown_list();
    let lines = list.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("` ("));
    let of_text = lines.filter(|(name, says)| {
        *name != "execute_command" && (says.starts_with("string)") || says.starts_with("list("))
    });
    of_text.map(|(name, says)| (name.to_owned(), says.starts_with("list("))).collect()
}

#[test]
fn no_attribute_of_the_provisioner_reaches_a_shell() {
    let root = root::root_of(&root::guest(SUITE));
    let folder = common::scratch();
    let program = program_for(&root);
    let cache = image::staged(SUITE);
    let chroot = Chroot::mount(&root, &["proc", "sys", "dev"], "{}");
    let build = |more: &Value| {
        let mut block = json!({"vm_size": image::VM_SIZE, "cache": cache, "ofedctl_binary": program});
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chroot.build(&json!({"value": block, "type": ["object", {}]}).to_string())
    };
    let attributes = of_text();
    assert!(attributes.len() > 25, "{attributes:?}");
    for (name, is_list) in &attributes {
        for text in [text(), option()] {
            // Where files are made, they are made in a folder of the test.
            let text = match name.as_str() {
                "output_directory" => folder.path().join(text).display().to_string(),
                _ => text,
            };
            let ran = build(&json!({name: if *is_list { json!([text]) } else { json!(text) }}));
            // What is found before the build, the plugin says in a list; else there is one line with the reason.
            let is_told =
                RIGHT_REASONS.iter().any(|reason| ran.error.starts_with(&format!("ofed: {reason} ")));
            let is_found = ran.error.contains(" error(s) occurred:");
            assert!(ran.error.is_empty() || is_found || is_told, "{name}: {ran:?}");
            assert!(!ran.error.contains("unexpected argument"), "{name} became an option: {ran:?}");
        }
        assert_no_shell_was_here(name, &[&root.upper(), folder.path()]);
    }

    // All places that may have any name, in a build that ends well.
    image::ask("uninstall", &root);
    let odd = folder.path().join(format!("all{}", text()));
    std::fs::create_dir(&odd).unwrap();
    let cache = image::copy_of_staged(SUITE, &odd);
    std::fs::copy(&program, odd.join(text())).unwrap();
    let all =
        json!({"cache": cache, "ofedctl_binary": odd.join(text()), "output_directory": odd.join("out")});
    let ran = build(&all);
    assert_eq!(ran.error, "", "{}", ran.said);
    assert!(ran.said.contains("ofed: installed: inbox"), "{}", ran.said);
    assert!(odd.join("out/receipt.json").exists());
    assert_no_shell_was_here("all places", &[&root.upper(), folder.path()]);
}
