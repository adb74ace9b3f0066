//! TLS connections to the real nginx.

use super::Lab;
use super::common::need::need;
use super::common::nginx::Nginx;
use ofedctl::outcome::Reason;
use std::process::Command;

/// nginx with a certificate of its own making.
fn serve(lab: &Lab) -> Nginx {
    need(&["openssl"]);
    let dir = lab.dir.path();
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split(' '))
        .args(["subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let server = format!(
        "ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem; root {0}/www;
         location /open {{ return 302 {1}/driver.tgz; }}
         location /moved {{ return 302 /driver.tgz; }}
         location /round {{ return 302 /about; }} location /about {{ return 302 /round; }}",
        dir.display(),
        lab.web.address()
    );
    Nginx::serve(dir, "ssl", &server)
}

fn url(nginx: &Nginx, path: &str) -> String {
    format!("https://localhost:{}/{path}", nginx.port)
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_the_settings_name_it() {
    let mut lab = Lab::new();
    let nginx = serve(&lab);
    let (reason, message) = lab.fetch_from(&url(&nginx, "driver.tgz")).unwrap_err();
    assert_eq!(reason, Reason::ServerUntrusted, "{message}");
    lab.assert_nothing_usable();
    lab.settings.ca_file = Some(lab.dir.path().join("cert.pem").display().to_string());
    lab.fetch_from(&url(&nginx, "driver.tgz")).unwrap();
    lab.assert_whole();
}

#[test]
fn redirections_are_followed_but_not_in_circles_nor_out_of_protection() {
    let mut lab = Lab::new();
    let nginx = serve(&lab);
    lab.settings.ca_file = Some(lab.dir.path().join("cert.pem").display().to_string());
    let (reason, message) = lab.fetch_from(&url(&nginx, "open")).unwrap_err();
    assert_eq!(reason, Reason::RedirectRefused, "{message}");
    assert!(message.contains("not protected by TLS"), "{message}");
    assert!(lab.web.asked().is_empty());
    let (reason, message) = lab.fetch_from(&url(&nginx, "round")).unwrap_err();
    assert_eq!(reason, Reason::RedirectRefused, "{message}");
    lab.fetch_from(&url(&nginx, "moved")).unwrap();
    lab.assert_whole();
}
