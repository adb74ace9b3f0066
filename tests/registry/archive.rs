//! An exported file behind an address.

use super::common::web::{Fault, Web};
use super::{Lab, files, noise};
use std::path::Path;

/// A lab whose bundle has two large files, exported where a server gives it.
fn served() -> (Lab, Web, String) {
    let lab = Lab::with(&[("a_1_amd64.deb", noise(1, 4 << 20)), ("b_2_amd64.deb", noise(2, 3 << 20))]);
    std::fs::create_dir(lab.path("www")).unwrap();
    let file = lab.path("www/bundle.tar").display().to_string();
    super::cache(&lab.cache(), &["export", "--out", &file]).json();
    let web = Web::serve(&lab.path("www"));
    let url = format!("{}/bundle.tar", web.address());
    (lab, web, url)
}

fn pull(lab: &Lab, url: &str, into: &Path) -> super::Ran {
    lab.pull(url, into, &[])
}

#[test]
fn it_is_imported_byte_by_byte_and_again_without_its_large_files() {
    for ranges in [true, false] {
        let (lab, web, url) = served();
        if !ranges {
            web.fail("bundle", Fault::NoRanges, usize::MAX);
        }
        let copy = lab.path("copy");
        assert!(pull(&lab, &url, &copy).json()["bundles"].is_array());
        assert_eq!(files(&copy), files(&lab.cache()), "ranges: {ranges}");
        let before = web.sent();
        assert!(pull(&lab, &url, &copy).json()["bundles"].is_array());
        if ranges {
            // What was on its way when the reader moved on may have left the server.
            assert!(web.sent() - before < 6 << 20, "{} bytes", web.sent() - before);
        }
    }
}

#[test]
fn what_breaks_off_is_gone_on_with_by_the_next_run() {
    let (lab, web, url) = served();
    let copy = lab.path("copy");
    // Every answer breaks off; with so little patience the run ends before the files are whole.
    web.fail("bundle", Fault::CutAfter(50_000), 1000);
    let mut runs = 0;
    loop {
        let ran = pull(&lab, &url, &copy);
        runs += 1;
        if ran.code == 0 {
            break;
        }
        ran.expect(14, "download-failed");
        assert!(runs < 60, "{ran:?}");
        if runs == 3 {
            let partial = std::fs::read_dir(copy.join("blobs/sha256")).unwrap();
            let kept = partial
                .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "partial"));
            assert!(kept.count() > 0);
            web.heal();
        }
    }
    assert!(runs > 3);
    assert_eq!(files(&copy), files(&lab.cache()));
}

#[test]
fn without_tls_only_this_machine_may_give_it_unless_it_is_signed() {
    let lab = Lab::new();
    let refused = pull(&lab, "http://files.example/bundle.tar", &lab.path("copy"));
    refused.expect(1, "bad-settings");
    assert!(refused.stderr.contains("has no TLS"), "{}", refused.stderr);
}

#[test]
fn damage_and_pages_to_log_in_are_refused() {
    for (fault, reason) in [(Fault::LoginPage, "web-page"), (Fault::Status(404), "not-on-server")] {
        let (lab, web, url) = served();
        web.fail("bundle", fault, usize::MAX);
        let refused = pull(&lab, &format!("{url}?sig=secret"), &lab.path("copy"));
        refused.expect(14, reason);
        assert!(refused.stderr.contains(&url) && !refused.stderr.contains("secret"), "{}", refused.stderr);
    }
    let (lab, _web, url) = served();
    let mut bytes = std::fs::read(lab.path("www/bundle.tar")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(lab.path("www/bundle.tar"), bytes).unwrap();
    pull(&lab, &url, &lab.path("copy")).expect(14, "digest-mismatch");
}
