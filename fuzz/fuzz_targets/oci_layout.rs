#![no_main]
use libfuzzer_sys::fuzz_target;
use ofedctl::cache::{Cache, Digest};

// An index, a manifest and its config; each under its true digest, which the input can name by nothing but luck, so
// the index is made to name the manifest.
fuzz_target!(|input: &[u8]| {
    let dir = ofedctl_fuzz::with_files(input, &["index.json"]);
    ofedctl_fuzz::put(dir.path(), "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let _ = Cache::open(dir.path()).and_then(|cache| cache.bundles());
    let digest = Digest::of_bytes(input);
    ofedctl_fuzz::put(dir.path(), &format!("blobs/sha256/{}", digest.hex()), input);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}]}}"#,
        input.len()
    );
    ofedctl_fuzz::put(dir.path(), "index.json", index.as_bytes());
    let _ = Cache::open(dir.path()).and_then(|cache| cache.bundles());
});
