//! Mirrors and proxies.

use super::Lab;
use super::common::web::{Fault, Web};
use ofedctl::outcome::Reason;

const ORIGIN: &str = "http://vendor.invalid/ofed/";

/// A second server with the same file.
fn second(lab: &Lab) -> Web {
    Web::serve(&lab.dir.path().join("www"))
}

fn rule(web: &Web) -> String {
    format!("{ORIGIN}={}/", web.address())
}

#[test]
fn mirrors_are_asked_in_order() {
    let mut lab = Lab::new();
    let far = second(&lab);
    lab.settings.mirrors = vec![rule(&lab.web), rule(&far)];
    lab.fetch_from(&format!("{ORIGIN}driver.tgz")).unwrap();
    lab.assert_whole();
    assert_eq!((lab.web.asked().len(), far.asked().len()), (1, 0));
}

#[test]
fn the_next_mirror_goes_on_where_the_first_broke_off() {
    let mut lab = Lab::new();
    let far = second(&lab);
    lab.settings.mirrors = vec![rule(&lab.web), rule(&far)];
    lab.web.fail("driver", Fault::CutAfter(1_000_000), 1);
    lab.fetch_from(&format!("{ORIGIN}driver.tgz")).unwrap();
    lab.assert_whole();
    assert_eq!(far.asked()[0].header("range"), Some("bytes=1000000-1599999"));
    assert_eq!(far.asked()[0].header("if-range"), None, "another server's tag means nothing");
}

#[test]
fn a_mirror_that_lacks_the_file_or_has_another_is_passed_over() {
    for fault in
        [Fault::Status(404), Fault::Status(403), Fault::Damaged, Fault::LoginPage, Fault::Shortened(9)]
    {
        let mut lab = Lab::new();
        let far = second(&lab);
        lab.settings.mirrors = vec![rule(&lab.web), rule(&far)];
        lab.web.fail("driver", fault.clone(), usize::MAX);
        lab.fetch_from(&format!("{ORIGIN}driver.tgz")).unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        lab.assert_whole();
        assert_eq!(lab.web.asked().len(), 1, "{fault:?}");
    }
}

#[test]
fn a_mirror_in_the_layout_of_wget_is_found_by_host_and_path() {
    let mut lab = Lab::new();
    let folder = lab.dir.path().join("www/vendor.invalid/ofed");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::rename(lab.dir.path().join("www/driver.tgz"), folder.join("driver.tgz")).unwrap();
    lab.settings.mirrors = vec![lab.web.address()];
    lab.fetch_from(&format!("{ORIGIN}driver.tgz")).unwrap();
    lab.assert_whole();
}

#[test]
fn when_nobody_has_it_every_address_is_named() {
    let mut lab = Lab::new();
    let far = second(&lab);
    lab.settings.mirrors = vec![rule(&far)];
    far.fail("driver", Fault::Status(403), usize::MAX);
    lab.web.fail("driver", Fault::Status(404), usize::MAX);
    let url = lab.url();
    lab.settings.mirrors = vec![format!("{url}={}/driver.tgz", far.address())];
    let (reason, message) = lab.fetch_from(&url).unwrap_err();
    assert_eq!(reason, Reason::NotOnServer, "what its own address says counts: {message}");
    assert!(
        message.contains("403") && message.contains("404") && message.contains(&far.address()),
        "{message}"
    );
}

#[test]
fn the_proxy_of_the_settings_is_used() {
    let mut lab = Lab::new();
    lab.settings.proxy = Some(lab.web.address().replace("http://", "http://me:secret@"));
    lab.fetch_from("http://vendor.invalid/driver.tgz").unwrap();
    lab.assert_whole();
    let asked = lab.web.asked();
    assert_eq!(asked[0].path, "http://vendor.invalid/driver.tgz");
    assert!(asked[0].header("proxy-authorization").is_some());
}
