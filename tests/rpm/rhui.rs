//! Repositories that want a certificate of the machine that asks, as those of Red Hat's update infrastructure do on
//! Azure: the certificate and its key lie in the image. The server is the real nginx.

use crate::bake::stack;
use crate::common::image;
use crate::common::need::need;
use crate::packages::Repository;
use crate::roots::ALMA8;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority, and certificates it made for the server and for the image.
const CERTIFICATES: &str = r"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
    printf 'subjectAltName=DNS:localhost\n' >names
    for name in server content; do
        openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
        openssl x509 -req -days 2 -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out $name.crt
    done";

fn serve(folder: &Path, packages: &Path) -> (Server, u16) {
    need(&["nginx-light", "openssl"]);
    let made = Command::new("sh").args(["-euc", CERTIFICATES]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "daemon off; master_process off; user root; pid {0}/nginx.pid; events {{}} http {{ access_log {0}/access.log;
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {0}/server.crt; ssl_certificate_key {0}/server.key;
         ssl_client_certificate {0}/ca.crt; ssl_verify_client on; root {1}; }} }}",
        folder.display(),
        packages.display()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    let server = Server(nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    crate::common::wait::until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

#[test]
fn packages_come_with_the_certificate_that_the_image_has_for_its_repository() {
    let repository = Repository::of(&stack());
    let folder = crate::common::scratch();
    let (_server, port) = serve(folder.path(), repository.folder());
    let root = ALMA8.root();
    let file = |more: &str| {
        format!(
            "[rhui-rhel-8]\nname=rhui\nbaseurl=https://localhost:{port}\nenabled=1\ngpgcheck=0\nsslverify=1\n\
             sslcacert=/etc/pki/rhui/ca.crt\n{more}"
        )
    };
    for (from, to) in
        [("ca.crt", "ca.crt"), ("content.crt", "product/content.crt"), ("content.key", "private/key.pem")]
    {
        root.write(
            &format!("etc/pki/rhui/{to}"),
            &std::fs::read_to_string(folder.path().join(from)).unwrap(),
        );
    }
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let cache = root.beside("cache");
    root.write("etc/yum.repos.d/rhui.repo", &file(""));
    image::stage(&root, &cache).expect(14, "resolve-failed");
    let with =
        "sslclientcert=/etc/pki/rhui/product/content.crt\nsslclientkey=/etc/pki/rhui/private/key.pem\n";
    root.write("etc/yum.repos.d/rhui.repo", &file(with));
    image::stage_in_target(&root, &cache);
    image::bake(&root, &cache).expect(0, "installed");
    let asked = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert!(asked.contains("rdma-core-48.0-1.noarch.rpm HTTP/1.1\" 200"), "{asked}");
}
