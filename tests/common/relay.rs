//! A wire to a server on this machine that can be slow or break, and counts what comes through it.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The wire, until the test ends.
#[derive(Debug, Clone)]
pub struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    to: String,
    bytes: AtomicU64,
    connections: AtomicU64,
    /// The next connections that break, each after so many bytes from the server.
    breaks: Mutex<Vec<u64>>,
    /// Bytes a second of all connections together; 0 for no limit.
    cap: u64,
    /// When the wire is free again.
    free: Mutex<Instant>,
}

impl Relay {
    /// A wire to `host:port`, for `cap` bytes a second, or any number when 0.
    pub fn to(target: &str, cap: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Arc::new(Wire {
            to: target.to_owned(),
            bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            breaks: Mutex::default(),
            cap,
            free: Mutex::new(Instant::now()),
        });
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&wire);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let wire = Arc::clone(&shared);
                std::thread::spawn(move || wire.carry(&stream));
            }
        });
        Self { address, wire }
    }

    /// Host and port to connect to.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Bytes from the server so far, heads of answers included.
    pub fn bytes(&self) -> u64 {
        self.wire.bytes.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.wire.connections.load(Ordering::Relaxed)
    }

    /// Lets the next connection that gets so far break after so many bytes from the server.
    pub fn break_after(&self, bytes: u64) {
        self.wire.breaks.lock().unwrap().push(bytes);
    }
}

impl Wire {
    fn carry(&self, mut client: &TcpStream) -> Result<()> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut server = TcpStream::connect(&self.to)?;
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        let mut buffer = vec![0; 16 << 10];
        let mut sent = 0;
        loop {
            let read = server.read(&mut buffer)?;
            if read == 0 {
                return client.shutdown(std::net::Shutdown::Both);
            }
            self.wait(read as u64);
            sent += read as u64;
            if self.is_to_break(sent) {
                let _ = server.shutdown(std::net::Shutdown::Both);
                return client.shutdown(std::net::Shutdown::Both);
            }
            client.write_all(&buffer[..read])?;
            self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
    }

    fn is_to_break(&self, sent: u64) -> bool {
        let mut breaks = self.breaks.lock().unwrap();
        let place = breaks.iter().position(|after| sent > *after);
        place.map(|place| breaks.remove(place)).is_some()
    }

    /// Takes a turn on the wire.
    fn wait(&self, bytes: u64) {
        if self.cap == 0 {
            return;
        }
        let until = {
            let mut free = self.free.lock().unwrap();
            *free = (*free).max(Instant::now()) + Duration::from_micros(bytes * 1_000_000 / self.cap);
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}
