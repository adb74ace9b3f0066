//! A registry on a bad day.

use super::common::program;
use super::common::registry::Registry;
use super::common::relay::Relay;
use super::common::web::{Fault, Web};
use super::{Lab, files, noise, words};

#[test]
fn a_pull_that_breaks_off_is_resumed_in_the_same_run_and_in_the_next() {
    let lab = Lab::with(&[("a_1_amd64.deb", noise(1, 8 << 20))]);
    let registry = Registry::open();
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let relay = Relay::to(&registry.host(), 0);
    let place = format!("oci://{}/ib:bundle", relay.host());
    relay.break_after(3 << 20);
    lab.pull(&place, &lab.path("one"), &[]).json();
    assert_eq!(files(&lab.path("one")), files(&lab.cache()));
    let extra = relay.bytes() - lab.bundle.size_in_all;
    assert!(extra < 1 << 20, "{extra} bytes came twice");
    // Now it breaks for good, as far as this run is patient.
    let two = lab.path("two");
    (0..3).for_each(|_| relay.break_after(3 << 20));
    (0..6).for_each(|_| relay.break_after(20 << 10));
    let broken = lab.pull(&place, &two, &["--set", "retries=0"]);
    broken.expect(14, "download-failed");
    let kept = std::fs::read_dir(two.join("blobs/sha256")).unwrap().count();
    assert!(kept > 0, "what came is kept");
    let before = relay.bytes();
    lab.pull(&registry.place("ib:bundle"), &two, &[]).json();
    assert_eq!(relay.bytes(), before);
    assert_eq!(files(&two), files(&lab.cache()));
}

#[test]
fn a_push_that_breaks_off_is_done_again() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let relay = Relay::to(&registry.host(), 0);
    let place = format!("oci://{}/ib:bundle", relay.host());
    (0..2).for_each(|_| relay.break_after(0));
    lab.push(&place, &[]).json();
    lab.pull(&place, &lab.path("copy"), &[]).json();
    assert_eq!(files(&lab.path("copy")), files(&lab.cache()));
}

#[test]
fn damage_in_the_registry_is_found_and_nothing_of_it_is_used() {
    let (lab, registry) = (Lab::new(), Registry::open());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let file = lab.bundle.file("a_1_amd64.deb").unwrap();
    let stored = registry.blob(&file.digest.hex());
    let right = std::fs::read(&stored).unwrap();
    let copy = lab.path("copy");
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    std::fs::write(&stored, &wrong).unwrap();
    let refused = lab.pull(&registry.place("ib:bundle"), &copy, &[]);
    refused.expect(14, "digest-mismatch");
    assert!(
        refused.stderr.contains(&registry.host()) && refused.stderr.contains("a_1_amd64.deb"),
        "{refused:?}"
    );
    std::fs::write(&stored, &right[..1000]).unwrap();
    lab.pull(&registry.place("ib:bundle"), &copy, &[]).expect(14, "digest-mismatch");
    std::fs::remove_file(&stored).unwrap();
    lab.pull(&registry.place("ib:bundle"), &copy, &[]).expect(14, "not-on-server");
    assert!(!copy.join("blobs/sha256").join(file.digest.hex()).exists());
    let listed = super::cache(&copy, &["list"]);
    assert_eq!(listed.json()["bundles"], serde_json::json!([]), "no half bundle is visible");
}

#[test]
fn what_is_not_there_is_said() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let nothing = lab.pull(&registry.place("ib:nothing"), &lab.path("copy"), &[]);
    nothing.expect(14, "not-on-server");
    assert!(
        nothing.stderr.contains(&format!("`nothing` at `{}`", registry.place("ib:nothing"))),
        "{nothing:?}"
    );
    let wrong = lab.pull("oci://ib:nothing", &lab.path("copy"), &[]);
    wrong.expect(1, "bad-settings");
    lab.push(&registry.place("UPPER:v1"), &[]).expect(1, "bad-settings");
}

/// Lays the bundle out as files: that is all of a registry's protocol for reading, manifests and blobs under their names.
fn lay_out(lab: &Lab) {
    let www = lab.path("www/v2/ib");
    std::fs::create_dir_all(www.join("manifests")).unwrap();
    std::fs::create_dir_all(www.join("blobs")).unwrap();
    for entry in std::fs::read_dir(lab.cache().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
        let kind = if name == lab.bundle.digest.to_string() {
            "manifests/bundle".into()
        } else {
            format!("blobs/{name}")
        };
        std::fs::copy(&path, www.join(kind)).unwrap();
    }
}

#[test]
fn a_mirror_that_is_down_keeps_nobody_from_the_registry() {
    // containerd issues 4531, 9552 and 7321, cri-o issue 5450, siderolabs/talos issue 12972.
    let (lab, registry) = (Lab::new(), Registry::open());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    lay_out(&lab);
    let rule = |host: &str| format!("mirrors=['oci://{}/=oci://{host}/']", registry.host());
    for (nth, (part, fault)) in [
        ("/v2/", Fault::Status(503)),
        ("/v2/", Fault::StatusWith(401, "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/\"\r\n".into())),
        ("/manifests/", Fault::Status(500)),
        ("/blobs/", Fault::CutAfter(0)),
        ("/blobs/", Fault::Status(403)),
    ]
    .into_iter()
    .enumerate()
    {
        let mirror = Web::serve(&lab.path("www"));
        mirror.fail(part, fault.clone(), usize::MAX);
        let (copy, host) = (lab.path(&format!("copy-{nth}")), mirror.address().replace("http://", ""));
        let ran = lab.pull(&registry.place("ib:bundle"), &copy, &["--set", &rule(&host)]);
        assert_eq!(ran.code, 0, "{part} {fault:?}: {ran:?}");
        assert_eq!(files(&copy), files(&lab.cache()), "{part} {fault:?}");
        let asked = mirror.requests();
        let most = asked.iter().map(|path| asked.iter().filter(|it| *it == path).count()).max();
        assert!(most.is_some_and(|most| most <= 2), "{part} {fault:?}: {asked:?}");
    }
    let copy = lab.path("copy");
    lab.pull(&registry.place("ib:bundle"), &copy, &["--set", &rule("mirror.invalid")]).json();
    assert_eq!(files(&copy), files(&lab.cache()));
}

#[test]
fn a_busy_registry_is_waited_for_and_a_broken_one_given_up_on() {
    let lab = Lab::new();
    lay_out(&lab);
    let pull = |faults: &[(&str, Fault, usize)]| {
        let web = Web::serve(&lab.path("www"));
        for (part, fault, times) in faults {
            web.fail(part, fault.clone(), *times);
        }
        let place = format!("oci://{}/ib:bundle", web.address().trim_start_matches("http://"));
        let copy = super::common::scratch();
        let ran = lab.pull(&place, copy.path().join("copy").as_path(), &[]);
        let right = ran.code == 0 && files(&copy.path().join("copy")) == files(&lab.cache());
        (ran, right)
    };
    let slow_down = || Fault::StatusWith(429, "Retry-After: 1\r\n".into());
    for part in ["/v2/", "/manifests/", "/blobs/"] {
        for fault in [slow_down(), Fault::Status(500), Fault::Status(503), Fault::ResetAfter(0)] {
            let (ran, right) = pull(&[(part, fault.clone(), 1)]);
            assert!(right, "{part} {fault:?}: {ran:?}");
        }
    }
    for (part, fault, reason) in [
        ("/manifests/", Fault::Status(500), "server-busy"),
        ("/manifests/", Fault::Status(403), "access-denied"),
        ("/manifests/", Fault::LoginPage, "web-page"),
        ("/manifests/", Fault::StallAfter(10), "server-slow"),
        ("/blobs/", Fault::Status(401), "access-denied"),
        ("/blobs/", Fault::Damaged, "digest-mismatch"),
        ("/blobs/", Fault::Shortened(10), "digest-mismatch"),
        ("/blobs/", Fault::LoginPage, "web-page"),
        ("/v2/ ", Fault::Status(503), "server-busy"),
    ] {
        let (ran, _) = pull(&[(part.trim(), fault.clone(), usize::MAX)]);
        ran.expect(14, reason);
        assert!(ran.stderr.contains("http://127.0.0.1:"), "{part} {fault:?}: {ran:?}");
    }
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_itself_when_it_lacks_something() {
    let (lab, registry, mirror) = (Lab::new(), Registry::open(), Registry::open());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let rule = |from: &str| format!("mirrors=['oci://{from}/=oci://{}/']", mirror.host());
    let pulled =
        lab.pull(&registry.place("ib:bundle"), &lab.path("one"), &["--set", &rule(&registry.host())]);
    pulled.json();
    lab.push(&mirror.place("ib:bundle"), &[]).json();
    let place = "oci://registry.invalid/ib:bundle";
    lab.pull(place, &lab.path("two"), &["--set", &rule("registry.invalid")]).json();
    assert_eq!(files(&lab.path("two")), files(&lab.cache()));
}

#[test]
fn a_server_that_refuses_is_told_in_one_line_before_any_pause_and_given_up_at_a_terminal() {
    let lab = Lab::new();
    let (registry, archive) = ("oci://127.0.0.1:1/ib:bundle", "http://127.0.0.1:1/ib.tar");
    for (way, place, folder) in [
        ("push", registry, lab.cache()),
        ("pull", registry, lab.path("one")),
        ("pull", archive, lab.path("two")),
    ] {
        let patient = ["--set", "retries=8"].map(str::to_owned);
        let words = [words(&folder, &[way, place]), patient.to_vec()].concat();
        let ran = program::killed_at("pause", program::program(&words));
        let told = ran.stderr.lines().filter(|line| line.contains("Connection refused")).count();
        assert_eq!(told, 1, "{way} {place}: {ran:?}");
        assert!(ran.stderr.contains("up to 8 times"), "{way} {place}: {ran:?}");
        let ran = program::at_a_terminal(&words);
        assert_eq!(ran.code, 14, "{ran:?}");
        assert!(ran.stdout.contains("gave up after 2 tries"), "{way} {place}: {ran:?}");
    }
}
