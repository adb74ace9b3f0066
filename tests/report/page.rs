//! The page: everything is there, it needs nothing else, and everybody can read it.

use crate::browser;
use crate::common::documents;
use crate::common::image;
use crate::common::root::debian_root;
use crate::{baked, report, reported};
use serde_json::Value;

const SECTIONS: [&str; 10] = [
    "verdict", "detected", "driver", "modules", "trust", "packages", "files", "timeline", "checks",
    "rollback",
];

#[test]
fn a_browser_shows_every_section_without_a_network_and_an_accessibility_checker_finds_nothing() {
    let root = baked();
    let html = reported(&root, "report.html", &[]);
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("src="), "{html}");
    for scheme in ["light", "dark"] {
        let picture = root.beside(&format!("{scheme}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        let blink = format!("--blink-settings=preferredColorScheme={}", u8::from(scheme == "light"));
        browser::open(&root.beside("report.html"), &[&screenshot, &blink]);
        let (colours, written) = browser::colours(&picture);
        assert!(colours > 20 && written > 2.0, "{scheme}: {colours} colours, {written} percent");
    }
    // What the checker finds is put into the page, where it can be read.
    let axe = std::fs::read_to_string(browser::axe()).unwrap();
    let run = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']}).then(found => { \
               document.title = JSON.stringify({found: found.violations, passed: found.passes.length}); });";
    let checked = html.replace("</body>", &format!("<script>{axe}</script><script>{run}</script></body>"));
    std::fs::write(root.beside("checked.html"), checked).unwrap();
    let output = browser::open(&root.beside("checked.html"), &["--dump-dom"]);
    let dom = String::from_utf8(output.stdout).unwrap();
    for id in SECTIONS {
        assert!(dom.contains(&format!("<section id=\"{id}\"")), "{id}");
    }
    let title = dom.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
    let found: Value =
        serde_json::from_str(&title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).unwrap();
    assert_eq!(found["found"], Value::Array(Vec::new()), "{found:#}");
    assert!(found["passed"].as_u64().unwrap() > 15, "{found:#}");
}

#[test]
fn the_page_says_what_was_done_in_each_of_its_forms() {
    let root = baked();
    let html = reported(&root, "report.html", &[]);
    let markdown = reported(&root, "report.md", &[]);
    let document: Value = serde_json::from_str(&reported(&root, "report.json", &[])).unwrap();
    documents::assert_follows(&document, "report");
    for (part, schema) in [("facts", "detect"), ("receipt", "receipt"), ("run", "run")] {
        documents::assert_follows(&document[part], schema);
    }
    let receipt = image::receipt(&root);
    for page in [&html, &markdown.replace('\\', "")] {
        for part in [
            "installed",
            "inbox",
            "ibverbs-providers",
            "+OS.EnableRDMA=y",
            "-# OS.EnableRDMA=y",
            "not installed",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(page.contains(receipt["bundle"].as_str().unwrap()), "the digest of what it came from");
        for check in receipt["checks"].as_array().unwrap() {
            assert!(page.contains(check["name"].as_str().unwrap()), "{check}");
        }
    }
    assert_eq!(document["receipt"], receipt);
    assert_eq!(html, reported(&root, "again.html", &[]), "the same root gives the same bytes");
}

#[test]
fn a_file_that_not_everybody_may_read_is_named_and_not_shown() {
    let root = baked();
    let file = root.path().join("etc/waagent.conf");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let html = reported(&root, "report.html", &[]);
    assert!(!html.contains("OS.EnableRDMA=y") && html.contains("etc/waagent.conf"), "{html}");
}

#[test]
fn a_root_without_a_run_or_a_file_of_an_unknown_form_is_refused_and_nothing_is_written() {
    let root = debian_root("bookworm");
    let (file, ran) = report(&root, "report.html", &["--json"]);
    ran.expect(14, "never-run");
    assert!(!file.exists());
    let (file, ran) = report(&root, "report.pdf", &["--json"]);
    ran.expect(1, "usage");
    assert!(!file.exists());
    // A run that failed leaves a status and no receipt: the page tells of it.
    let nowhere = root.beside("nothing-here");
    image::bake(&root, &nowhere);
    let html = reported(&root, "failed.html", &[]);
    assert!(html.contains("exit code 14") && html.contains("there is no receipt"), "{html}");
    report(&root, "sbom.json", &["--sbom", "spdx", "--json"]).1.expect(14, "never-run");
}
