//! A TLS server on loopback with an expired certificate.

use crate::common::scratch;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const CA: &str = "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\n\
    default_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n";
const MAKE: &str = "touch index; \
    openssl req -newkey rsa:2048 -nodes -keyout key -out request -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1; \
    openssl ca -batch -config ca -selfsign -keyfile key -in request -out certificate \
    -startdate 20200101000000Z -enddate 20200201000000Z";
const SERVE: &str = "import http.server, ssl
server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('certificate', 'key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()";

pub(super) struct Expired {
    folder: TempDir,
    server: Child,
    port: String,
}

impl Expired {
    pub(super) fn serve() -> Self {
        let folder = scratch();
        std::fs::write(folder.path().join("ca"), CA).unwrap();
        let made = Command::new("sh").args(["-ec", MAKE]).current_dir(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Command::new("/usr/bin/python3");
        server.args(["-c", SERVE]).current_dir(&folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { folder, server, port: port.trim().to_owned() }
    }

    pub(super) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its own authority.
    pub(super) fn certificate(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("certificate")).unwrap()
    }
}

impl Drop for Expired {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
