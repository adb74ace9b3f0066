//! Pushing and pulling, and what other tools see of it.

use super::common::registry::Registry;
use super::{Lab, files, noise, publish, skopeo};

#[test]
fn a_pulled_bundle_is_bit_by_bit_the_pushed_one() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let place = registry.place("ib/bundle:bundle");
    let pushed = lab.push(&place, &[]).json()["pushed"].clone();
    assert_eq!(pushed["sent"], 4, "three files and the config: {pushed}");
    let copy = lab.path("copy");
    let pulled = lab.pull(&place, &copy, &[]).json()["pulled"].clone();
    assert_eq!(pulled["new_blobs"], 4, "{pulled}");
    assert_eq!(files(&copy), files(&lab.cache()));
    // And by what the push said that it is.
    let pinned = pushed["pinned"].as_str().unwrap();
    assert_eq!(pinned, format!("{}@{}", registry.place("ib/bundle"), lab.bundle.digest));
    let other = lab.path("other");
    assert_eq!(
        lab.pull(pinned, &other, &[]).json()["pulled"]["bundle"]["digest"],
        lab.bundle.digest.to_string()
    );
}

#[test]
fn only_missing_blobs_move() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let (first, second) = (registry.place("ib:one"), registry.place("ib:two"));
    lab.push(&first, &[]).json();
    assert_eq!(lab.push(&first, &[]).json()["pushed"]["sent"], 0);
    let copy = lab.path("copy");
    lab.pull(&first, &copy, &[]).json();
    assert_eq!(lab.pull(&first, &copy, &[]).json()["pulled"]["new_bytes"], 0);
    // The next release shares its largest file.
    let packages = [("a_1_amd64.deb", noise(1, 3 << 20)), ("b_3_amd64.deb", noise(3, 2000))];
    let newer = publish(&lab.path("newer"), "two", &packages);
    let changed = 2000 + newer.size_in_all - newer.files.iter().map(|file| file.size).sum::<u64>();
    let pushed = super::cache(&lab.path("newer"), &["push", &second]).json()["pushed"].clone();
    assert_eq!((&pushed["sent"], &pushed["present"]), (&2.into(), &2.into()), "{pushed}");
    let moved = lab.pull(&second, &copy, &[]).json()["pulled"]["new_bytes"].as_u64().unwrap();
    assert!(moved < changed && moved > 2000, "{moved} bytes of {changed}");
}

#[test]
fn blobs_of_another_repository_are_mounted() {
    let (lab, registry) = (Lab::new(), Registry::open());
    lab.push(&registry.place("team/ib:v1"), &[]).json();
    let pushed =
        lab.push(&registry.place("other/ib:v1"), &["--mount-from", "team/ib"]).json()["pushed"].clone();
    assert_eq!((&pushed["sent"], &pushed["mounted"]), (&0.into(), &4.into()), "{pushed}");
    lab.pull(&registry.place("other/ib:v1"), &lab.path("copy"), &[]).json();
}

#[test]
fn a_cache_with_several_bundles_wants_to_know_which() {
    let (lab, registry) = (Lab::new(), Registry::open());
    publish(&lab.cache(), "second", &[("c_1_amd64.deb", noise(9, 100))]);
    let place = registry.place("ib:v1");
    let refused = lab.push(&place, &[]);
    refused.expect(1, "usage");
    assert!(refused.stderr.contains("bundle, second"), "{}", refused.stderr);
    lab.push(&place, &["--bundle", "nothing"]).expect(14, "cache-missing");
    assert_eq!(lab.push(&place, &["--bundle", "second"]).json()["pushed"]["bundle"]["tag"], "second");
}

#[test]
fn skopeo_inspects_copies_and_brings_bundles() {
    let (lab, registry) = (Lab::new(), Registry::open());
    lab.push(&registry.place("ib:v1"), &[]).json();
    let docker = |name: &str| format!("docker://{}/{name}", registry.host());
    let inspected: serde_json::Value =
        serde_json::from_str(&skopeo(&["inspect", "--tls-verify=false", &docker("ib:v1")])).unwrap();
    assert_eq!(inspected["Digest"], lab.bundle.digest.to_string());
    assert_eq!(inspected["Labels"]["dev.ofedctl.distro"], "debian12");
    // Copied to another place and pulled from there.
    let copy =
        ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &docker("ib:v1"), &docker("copy:v2")];
    skopeo(&copy);
    lab.pull(&registry.place("copy:v2"), &lab.path("one"), &[]).json();
    // Copied from a cache into the registry, and from the registry into a cache.
    let from = format!("oci:{}:bundle", lab.cache().display());
    skopeo(&["copy", "--dest-tls-verify=false", &from, &docker("brought:bundle")]);
    lab.pull(&registry.place("brought:bundle"), &lab.path("two"), &[]).json();
    assert_eq!(files(&lab.path("two")), files(&lab.cache()));
    let into = format!("oci:{}:bundle", lab.path("three").display());
    skopeo(&["copy", "--src-tls-verify=false", &docker("ib:v1"), &into]);
    let listed = super::cache(&lab.path("three"), &["verify"]);
    listed.expect(0, "verified");
}

#[test]
fn what_is_no_bundle_is_refused_before_its_layers_move() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let image = lab.path("image");
    somebody_elses_image(&image);
    let from = format!("oci:{}:image", image.display());
    skopeo(&["copy", "--dest-tls-verify=false", &from, &format!("docker://{}/image:v1", registry.host())]);
    let refused = lab.pull(&registry.place("image:v1"), &lab.path("copy"), &[]);
    refused.expect(14, "cache-missing");
    assert!(refused.stderr.contains("no bundle"), "{}", refused.stderr);
    assert!(std::fs::read_dir(lab.path("copy/blobs/sha256")).unwrap().next().is_none());
}

/// An image with one layer, as container tools make them.
fn somebody_elses_image(folder: &std::path::Path) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = super::common::sha256(bytes);
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "size": bytes.len(),
            "digest": format!("sha256:{digest}")})
    };
    let layer = put("layer.v1.tar", &[0; 1024]);
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put("config.v1+json", config.to_string().as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer]});
    let mut manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "image"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
