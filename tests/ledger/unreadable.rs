//! A receipt or journal that this version cannot read: half a file, a newer schema version, a wrong type.

use crate::common::image;
use crate::common::program;
use crate::common::root::{Root, debian_root};
use crate::common::tree::Tree;

const RECEIPT: &str = "var/lib/ofedctl/receipt.json";
const JOURNAL: &str = "var/lib/ofedctl/journal.json";

fn forget(root: &Root) -> program::Ran {
    program::run(&["uninstall", "--forget-receipt", "--json", "--root", root.path().to_str().unwrap()])
}

#[test]
fn a_receipt_that_cannot_be_read_is_never_taken_for_none() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    let receipt = root.read(RECEIPT);
    let newer = receipt.replacen("\"schema_version\": 1", "\"schema_version\": 7", 1);
    let wrong = receipt.replacen("\"changes\": [", "\"changes\": {\"x\": [", 1).replacen(
        "\"held\"",
        "}, \"held\"",
        1,
    );
    let zeroes = "\0".repeat(receipt.len());
    for text in [&newer, &wrong, &zeroes, &receipt[..receipt.len() / 2], "", "[]", "7"] {
        root.write(RECEIPT, text);
        let before = Tree::of(root.path());
        for command in ["uninstall", "verify", "generalize"] {
            let ran = image::ask(command, &root);
            ran.expect(14, "ledger-unreadable");
            assert!(ran.stderr.contains("--forget-receipt"), "{ran:?}");
        }
        image::bake(&root, &cache).expect(14, "ledger-unreadable");
        image::assert_untouched(&root, &before);
        assert_eq!(root.read(RECEIPT), text);
    }
    // The version that wrote it can read it again.
    root.write(RECEIPT, &receipt);
    image::ask("verify", &root).expect(0, "verified");
}

#[test]
fn what_cannot_be_read_is_given_up_only_when_that_is_asked_for() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    root.write(RECEIPT, "{\"schema_version\": 99}");
    root.write(JOURNAL, "{\"schema_version\": 99}");
    image::ask("uninstall", &root).expect(14, "ledger-unreadable");
    forget(&root).expect(0, "receipt-forgotten");
    assert_eq!(root.read(&format!("{RECEIPT}.forgotten")), "{\"schema_version\": 99}");
    assert!(root.installed("rdma-core").is_some());
    forget(&root).expect(0, "not-installed");
    image::ask("uninstall", &root).expect(0, "not-installed");
    // Packages that the run found installed are not listed as its own in the new receipt.
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(image::receipt(&root)["added"].as_array().unwrap().len(), 0);
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert!(root.installed("rdma-core").is_some());
}
