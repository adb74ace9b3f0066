//! The real nginx, with one server of a test's own making, until dropped.

use super::need::need;
use super::wait;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running nginx.
pub struct Nginx {
    child: Child,
    /// The port of 127.0.0.1 it listens at.
    pub port: u16,
}

impl Nginx {
    /// Starts it with its files in `dir`; `options` follow the port in `listen`, `server` is what else the server does.
    pub fn serve(dir: &Path, options: &str, server: &str) -> Self {
        Self::serve_with(dir, options, "", server)
    }

    /// The same, with settings `http` that belong to all servers.
    pub fn serve_with(dir: &Path, options: &str, http: &str, server: &str) -> Self {
        need(&["nginx-light"]);
        // Free a moment ago; nobody else on this machine picks ports by number.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let dir_text = dir.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir_text}/{name};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; {user} pid {dir_text}/nginx.pid; worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}
             http {{ access_log off; {temporary} {http} server {{ listen 127.0.0.1:{port} {options}; {server} }} }}"
        );
        std::fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        let child = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
