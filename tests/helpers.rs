//! Tests of the tests' own helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::deb::{Deb, Repository};
use common::{root, status, tree, web};
use std::io::{Read, Write};
use tree::Tree;

fn get(web: &web::Web, path: &str, header: &str) -> String {
    let mut stream = std::net::TcpStream::connect(web.address().trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{header}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_tree_differs_where_content_mode_or_target_does() {
    let folder = common::scratch();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("etc")).unwrap();
    for name in ["etc/same", "etc/edited", "etc/opened", "etc/gone"] {
        std::fs::write(at(name), name).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", at("etc/link")).unwrap();
    let before = Tree::of(folder.path());
    std::fs::write(at("etc/edited"), "other").unwrap();
    std::fs::set_permissions(at("etc/opened"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::remove_file(at("etc/gone")).unwrap();
    std::fs::remove_file(at("etc/link")).unwrap();
    std::os::unix::fs::symlink("somewhere", at("etc/link")).unwrap();
    std::fs::write(at("new"), "").unwrap();
    let difference = tree::diff(&before, &Tree::of(folder.path()));
    let wanted = "+ new\n- etc/gone\n~ etc/edited (content, 10 -> 5 bytes)\n~ etc/link (nowhere -> somewhere)\n\
        ~ etc/opened (mode 644 -> 600)\n";
    assert_eq!(difference.to_string(), wanted);
    let quiet = |tree: Tree| tree.without(|path| path.starts_with("etc/"));
    assert_eq!(tree::diff(&quiet(before), &quiet(Tree::of(folder.path()))).to_string(), "+ new\n");
}

#[test]
fn the_web_server_resumes_fails_and_remembers() {
    let folder = common::scratch();
    std::fs::write(folder.path().join("a+b"), "0123456789").unwrap();
    let web = web::Web::serve(folder.path());
    assert!(get(&web, "/a%2bb", "").ends_with("\r\n\r\n0123456789"));
    let rest = get(&web, "/a+b", "Range: bytes=7-\r\n");
    assert!(rest.starts_with("HTTP/1.1 206") && rest.ends_with("\r\n\r\n789"), "{rest}");
    web.fail("a+b", web::Fault::CutAfter(3), 1);
    assert!(get(&web, "/a+b", "").ends_with("\r\n\r\n012"));
    web.fail("a+b", web::Fault::Status(503), 1);
    assert!(get(&web, "/a+b", "").starts_with("HTTP/1.1 503"));
    assert!(get(&web, "/../Cargo.toml", "").starts_with("HTTP/1.1 404"));
    assert_eq!(web.requests(), ["/a%2bb", "/a+b", "/a+b", "/a+b", "/../Cargo.toml"]);
}

#[test]
fn a_status_document_is_judged_as_the_agent_would() {
    let good = r#"[{"version":"1.0","timestampUTC":"2026-01-02T03:04:05Z","status":{"status":"success","code":0,
        "formattedMessage":{"lang":"en-US","message":"done"},"substatus":[{"name":"plan","status":"warning",
        "code":0,"formattedMessage":{"lang":"en-US","message":"old"}}]}}]"#;
    let status = status::read(good.as_bytes()).unwrap();
    assert!(status.is_terminal());
    assert_eq!(status.step_names(), ["plan"]);
    let long = format!("\"{}\"", "m".repeat(1001));
    for (from, to) in [
        ("[{\"version", "{\"version"),
        ("\"success\"", "\"Success\""),
        ("\"warning\"", "\"ok\""),
        ("\"lang\"", "\"Lang\""),
        ("\"old\"", "null"),
        ("\"plan\"", "null"),
        ("\"done\"", &long),
        ("[{\"version", "\u{feff}[{\"version"),
    ] {
        assert!(status::read(good.replacen(from, to, 1).as_bytes()).is_err(), "{from} -> {to}");
    }
    assert!(
        status::read(b"[null]").is_err() && status::read(b"[]").is_err() && status::read(b"\xff").is_err()
    );
}

#[test]
fn a_debian_root_is_whole_and_every_file_in_it_is_accounted_for() {
    let root = root::debian_root("bookworm");
    assert_eq!(root.dpkg_verify(), "");
    assert!(root.installed("linux-image-amd64").is_some() && root.installed("rdma-core").is_none());
    let owned = tree::owned_by_packages(root.path());
    let modules: Vec<_> = owned.iter().filter(|path| path.contains("/drivers/infiniband/hw/mlx5/")).collect();
    assert_eq!(modules.len(), 1, "{modules:?}");
    assert!(
        owned
            .iter()
            .filter(|path| path.starts_with("usr/bin/"))
            .all(|path| { root.path().join(path).symlink_metadata().is_ok() })
    );
}

#[test]
fn apt_installs_a_test_package_from_the_test_repository() {
    let root = root::debian_root("bookworm");
    let script = ("postinst", "#!/bin/sh\ntouch /ran\n");
    let deb = Deb { name: "hello-test", version: "1.0~a+b", scripts: vec![script], ..Deb::default() };
    let repository = Repository::of(&[Deb { files: vec![("/usr/share/hello", "text\n")], ..deb }]);
    root.add_source(&repository.source_line());
    root.write("etc/apt/sources.list", "");
    let at = |path: &str| root.path().join(path).display().to_string();
    let chroot = |args: &[&str]| {
        let output = std::process::Command::new("chroot").arg(root.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    chroot(&["apt-get", "update"]);
    chroot(&["apt-get", "install", "-y", "hello-test"]);
    assert_eq!(root.installed("hello-test").unwrap(), "1.0~a+b");
    assert!(std::path::Path::new(&at("ran")).exists());
    assert_eq!(root.read("usr/share/hello"), "text\n");
    assert!(repository.web.requests().iter().any(|path| path.contains("/hello-test_")));
}
