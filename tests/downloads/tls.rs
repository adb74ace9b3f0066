//! TLS connections to the real nginx.

use super::Lab;
use super::common::need::need;
use super::common::wait;
use ofedctl::outcome::Reason;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// nginx with a certificate of its own making, until dropped.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn serve(lab: &Lab) -> Self {
        need(&["nginx-light", "openssl"]);
        let dir = lab.dir.path();
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split(' '))
            .args(["subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // Free a moment ago; nobody else on this machine picks ports by number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(dir.join("nginx.conf"), config(dir, port, &lab.web.address())).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        let child = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, port: u16, plain: &str) -> String {
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};", dir.display()))
        .concat();
    format!(
        "daemon off; master_process off; {user} pid {0}/nginx.pid; events {{}}
         http {{ access_log off; {temporary} server {{
           listen 127.0.0.1:{port} ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
           root {0}/www;
           location /open {{ return 302 {plain}/driver.tgz; }}
           location /moved {{ return 302 /driver.tgz; }}
           location /round {{ return 302 /about; }} location /about {{ return 302 /round; }}
         }} }}",
        dir.display()
    )
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_the_settings_name_it() {
    let mut lab = Lab::new();
    let nginx = Nginx::serve(&lab);
    let (reason, message) = lab.fetch_from(&nginx.url("driver.tgz")).unwrap_err();
    assert_eq!(reason, Reason::ServerUntrusted, "{message}");
    lab.assert_nothing_usable();
    lab.settings.ca_file = Some(lab.dir.path().join("cert.pem").display().to_string());
    lab.fetch_from(&nginx.url("driver.tgz")).unwrap();
    lab.assert_whole();
}

#[test]
fn redirections_are_followed_but_not_in_circles_nor_out_of_protection() {
    let mut lab = Lab::new();
    let nginx = Nginx::serve(&lab);
    lab.settings.ca_file = Some(lab.dir.path().join("cert.pem").display().to_string());
    let (reason, message) = lab.fetch_from(&nginx.url("open")).unwrap_err();
    assert_eq!(reason, Reason::RedirectRefused, "{message}");
    assert!(message.contains("not protected by TLS"), "{message}");
    assert!(lab.web.asked().is_empty());
    let (reason, message) = lab.fetch_from(&nginx.url("round")).unwrap_err();
    assert_eq!(reason, Reason::RedirectRefused, "{message}");
    lab.fetch_from(&nginx.url("moved")).unwrap();
    lab.assert_whole();
}
