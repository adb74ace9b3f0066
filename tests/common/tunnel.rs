//! A proxy on this machine that leads every TLS connection to one local server, so that a test can use the name of a
//! host that it must not contact. Plain HTTP requests, such as those for packages, are passed on.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy, until the test ends.
#[derive(Debug, Clone)]
pub struct Tunnel {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Leads all that it is asked for to this port of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&shared);
                std::thread::spawn(move || carry(stream, port, &asked));
            }
        });
        Self { address, asked }
    }

    /// Its address, as the setting `proxy` has it.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The hosts that protected connections were asked for, each with its port.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One connection: `CONNECT host:port`, or a request that is passed on; and what follows in both directions.
fn carry(mut client: TcpStream, port: u16, asked: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let (method, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let mut server = if method == "CONNECT" {
        asked.lock().unwrap().push(place.to_owned());
        client.write_all(b"HTTP/1.1 200 Here\r\n\r\n")?;
        TcpStream::connect(("127.0.0.1", port))?
    } else {
        let rest = place.strip_prefix("http://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        // One request a connection: the next one may be for another host.
        let keeps = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
        let head: String = head.split_inclusive('\n').filter(keeps).collect();
        let mut server = TcpStream::connect(address)?;
        write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n{head}")?;
        server
    };
    let mut to = server.try_clone()?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        match server.read(&mut buffer)? {
            0 => return client.shutdown(std::net::Shutdown::Both),
            read => client.write_all(&buffer[..read])?,
        }
    }
}
