//! A file whose digest nobody published: from the vendor's own host over TLS and from nowhere else, remembered from then on.
//!
//! nginx answers as content.mellanox.com, with a certificate of an authority that the settings name, behind a proxy that the
//! settings name: as in a network that looks into its own TLS.

use super::scene::Scene;
use crate::common::image;
use crate::common::need::need;
use crate::common::program::{self, Ran};
use crate::common::tunnel::Tunnel;
use crate::common::vendor;
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;
use crate::common::wait;
use ofedctl::cache::Cache;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The vendor's host: the files of a shop below `/ofed/right/`, and redirections to other places.
struct VendorHost {
    nginx: Child,
    tunnel: Tunnel,
    folder: tempfile::TempDir,
}

impl VendorHost {
    fn of(files: &Path) -> Self {
        need(&["nginx-light", "openssl"]);
        let folder = crate::common::scratch();
        let dir = folder.path();
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=vendor -addext".split(' '))
            .arg("subjectAltName=DNS:content.mellanox.com,DNS:mirror.example")
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};", dir.display()))
            .concat();
        let config = format!(
            "daemon off; master_process off; {user} pid {0}/nginx.pid; events {{}}
             http {{ access_log off; {temporary} server {{
               listen 127.0.0.1:{port} ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
               location /ofed/right/ {{ alias {1}/; }}
               location /ofed/mirror/ {{ rewrite ^/ofed/mirror/(.*) https://mirror.example/ofed/right/$1 redirect; }}
               location /ofed/open/ {{ rewrite ^/ofed/open/(.*) http://content.mellanox.com/ofed/right/$1 redirect; }}
             }} }}",
            dir.display(),
            files.display()
        );
        std::fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        let nginx = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { nginx, tunnel: Tunnel::to(port), folder }
    }

    /// Stages as its users do who sit behind the proxy.
    fn stage(&self, scene: &Scene, more: &[&str]) -> Ran {
        let proxy = format!("proxy={}", self.tunnel.address());
        let authority = format!("ca_file={}", self.folder.path().join("cert.pem").display());
        let more = [&["--set", &proxy, "--set", &authority], more].concat();
        let mut stage = program::program(&scene.arguments("stage", &more));
        stage.env("NO_PROXY", "127.0.0.1,localhost").env_remove("https_proxy").env_remove("HTTPS_PROXY");
        program::finish(stage)
    }
}

impl Drop for VendorHost {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// Lets a catalogue name no digest, and these addresses.
fn without_digests(shop: &Shop, place: &str) {
    let text = std::fs::read_to_string(shop.catalog()).unwrap();
    let is_digest = |line: &&str| line.trim_start().starts_with("sha256:");
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !is_digest(line))
        .map(|line| match line.split_once("url: ") {
            Some((before, url)) => format!("{before}url: {place}/{}", url.rsplit('/').next().unwrap()),
            None => line.to_owned(),
        })
        .collect();
    std::fs::write(shop.catalog(), lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_file_without_a_digest_comes_from_the_vendors_host_alone_and_is_the_same_ever_after() {
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &MlnxOfed::default())));
    let tgz = shop.files().remove(0);
    let sha256 = crate::common::sha256(&std::fs::read(&tgz).unwrap());
    let host = VendorHost::of(tgz.parent().unwrap());
    let mut scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));

    for (place, why) in [("mirror", "not the vendor's own place"), ("open", "not protected by TLS")] {
        without_digests(&shop, &format!("https://content.mellanox.com/ofed/{place}"));
        let ran = host.stage(&scene, &[]);
        ran.expect(14, "redirect-refused");
        assert!(ran.stdout.contains(why), "{}", ran.stdout);
    }
    assert!(
        host.tunnel.asked().iter().all(|it| it == "content.mellanox.com:443"),
        "{:?}",
        host.tunnel.asked()
    );
    // Nobody else's word is taken, whatever its certificate says.
    without_digests(&shop, "https://mirror.example/ofed/right");
    assert_ne!(host.stage(&scene, &["--driver", "mlnx_ofed"]).code, 0);
    // A list of the vendor's that names the open address, as the live extension's does, is asked over TLS.
    without_digests(&shop, "http://content.mellanox.com/ofed/right");
    host.stage(&scene, &["--set", "trust=digest", "--driver", "mlnx_ofed"]).expect(12, "image-unsupported");
    host.stage(&scene, &["--set", "trust=signed"]).expect(14, "untrusted");
    assert!(Cache::open(&scene.cache).unwrap().bundles().unwrap().is_empty());

    let ran = host.stage(&scene, &[]);
    ran.expect(0, "staged");
    let file = &ran.json()["vendor_file"];
    assert_eq!((file["trust"].as_str(), file["sha256"].as_str()), (Some("first-use"), Some(sha256.as_str())));
    let warning = format!("came over TLS from content.mellanox.com as {sha256}");
    assert!(ran.stderr.contains(&warning), "{}", ran.stderr);

    // Who gives it away is told once whose it is, and the bundle has the words.
    let out = scene.root.beside("bundles.tar").display().to_string();
    let cache = scene.cache.display().to_string();
    let ran = program::run(&["cache", "export", "--cache", &cache, "--out", &out, "--json"]);
    let notices = ran.json()["licences"].clone();
    assert_eq!(notices.as_array().map(Vec::len), Some(1), "{ran:?}");
    assert!(
        notices[0].as_str().unwrap().contains(".tgz.licence") && ran.stderr.contains("NVIDIA's"),
        "{ran:?}"
    );

    scene.bake(&[]).expect(0, "installed");
    let receipt = image::receipt(&scene.root);
    assert_eq!(
        (&receipt["vendor_file"]["sha256"], &receipt["vendor_file"]["trust"]),
        (&file["sha256"], &file["trust"])
    );
    assert!(scene.root.read("var/log/azure/ib-vmext-status").contains(&warning));

    // The vendor's host has another file of that name one day.
    mlnx_ofed::tgz(tgz.parent().unwrap(), &MlnxOfed { depends: "perl", ..MlnxOfed::default() });
    assert_ne!(crate::common::sha256(&std::fs::read(&tgz).unwrap()), sha256);
    // This root knows what it took, in whatever cache; the cache knows it, for whatever root.
    let elsewhere = scene.root.beside("other-cache");
    let taken = std::mem::replace(&mut scene.cache, elsewhere);
    host.stage(&scene, &[]).expect(0, "already-installed");
    // It lacks something again, so that there is something to stage.
    let lacking = receipt["plan"]["packages"][0].as_str().unwrap();
    assert!(scene.root.inside(&["dpkg", "--force-depends", "--remove", lacking]).status.success());
    let ran = host.stage(&scene, &[]);
    ran.expect(14, "digest-mismatch");
    assert!(ran.stdout.contains(&sha256), "{}", ran.stdout);
    scene.cache = taken;
    let second = scene.again(vendor::building_root_as("ubuntu22.04"));
    let ran = host.stage(&second, &[]);
    ran.expect(0, "staged");
    assert_eq!(ran.json()["vendor_file"]["sha256"].as_str(), Some(sha256.as_str()));
}
