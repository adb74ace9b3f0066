//! A conversation with a program on another machine: one JSON document a line, over TCP. Whoever is at the other end may
//! say anything, so a line has a longest length, and every wait an end.

use super::cancel::Cancel;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Room for the facts of eight adapters with all their partition keys.
const LONGEST_LINE: u64 = 256 << 10;
const CONNECT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);

/// One end of a conversation.
#[derive(Debug)]
pub struct Conversation {
    heard: BufReader<TcpStream>,
    peer: IpAddr,
}

/// Waits for the other end.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on a port of every address of this machine; port 0 is a free one.
    pub fn on(port: u16) -> Result<Self> {
        // A machine without IPv6 has no such address.
        let socket = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
        let socket = socket.with_context(|| format!("cannot listen on TCP port {port}"))?;
        socket.set_nonblocking(true).context("cannot wait for a connection")?;
        Ok(Self(socket))
    }

    /// The port.
    pub fn port(&self) -> Result<u16> {
        Ok(self.0.local_addr().context("a listener has no address")?.port())
    }

    /// The next one who connects. Waits until the run must end.
    pub fn accept(&self, cancel: &Cancel) -> Result<Conversation> {
        loop {
            match self.0.accept() {
                Ok((stream, _)) => return Conversation::over(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => cancel.wait(POLL)?,
                // Whoever wanted to connect has gone.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("cannot wait for a connection"),
            }
        }
    }
}

impl Conversation {
    /// Connects to a port of a machine, and tries so long where nobody listens yet.
    pub fn to(machine: &str, port: u16, patience: Duration, cancel: &Cancel) -> Result<Self> {
        let begin = Instant::now();
        loop {
            match connect(machine, port) {
                Ok(stream) => return Self::over(stream),
                Err(error) if begin.elapsed() >= patience => {
                    return Err(error).with_context(|| format!("cannot reach port {port} of {machine}"));
                }
                Err(_) => cancel.wait(POLL)?,
            }
        }
    }

    fn over(stream: TcpStream) -> Result<Self> {
        let peer = stream.peer_addr().context("the other end has gone")?.ip().to_canonical();
        stream.set_nonblocking(false).context("cannot wait for the other end")?;
        stream.set_read_timeout(Some(POLL)).context("cannot wait for the other end")?;
        stream.set_write_timeout(Some(CONNECT)).context("cannot wait for the other end")?;
        Ok(Self { heard: BufReader::new(stream), peer })
    }

    /// The address of the other end.
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Says something.
    pub fn send(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.heard.get_mut().write_all(&line).context("the other end does not listen")
    }

    /// What the other end says next, if it says it within this time.
    pub fn receive<T: DeserializeOwned>(&mut self, patience: Duration, cancel: &Cancel) -> Result<T> {
        let begin = Instant::now();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            cancel.check()?;
            if begin.elapsed() >= patience {
                bail!("the other end says nothing");
            }
            let room = LONGEST_LINE.saturating_sub(u64::try_from(line.len())?);
            match (&mut self.heard).take(room).read_until(b'\n', &mut line) {
                Ok(0) if room == 0 => bail!("the other end says too much"),
                Ok(0) => bail!("the other end has gone"),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("the other end cannot be heard"),
            }
        }
        serde_json::from_slice(&line).context("what the other end says is not understood")
    }
}

fn connect(machine: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut failed = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (machine, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn pair() -> (Conversation, Conversation) {
        let listener = Listener::on(0).unwrap();
        let port = listener.port().unwrap();
        let there = Conversation::to("127.0.0.1", port, SOON, &Cancel::never()).unwrap();
        (listener.accept(&Cancel::never()).unwrap(), there)
    }

    #[test]
    fn what_one_says_the_other_hears() {
        let (mut here, mut there) = pair();
        assert_eq!(here.peer().to_string(), "127.0.0.1");
        here.send(&vec![1, 2]).unwrap();
        here.send(&"three").unwrap();
        assert_eq!(there.receive::<Vec<u32>>(SOON, &Cancel::never()).unwrap(), [1, 2]);
        assert_eq!(there.receive::<String>(SOON, &Cancel::never()).unwrap(), "three");
    }

    #[test]
    fn one_who_says_too_much_or_nothing_or_goes_away_is_not_waited_for() {
        let heard = |conversation: &mut Conversation, patience| {
            format!("{:#}", conversation.receive::<String>(patience, &Cancel::never()).unwrap_err())
        };
        let (mut here, mut there) = pair();
        assert_eq!(heard(&mut here, Duration::ZERO), "the other end says nothing");
        there.send(&1).unwrap();
        assert!(heard(&mut here, SOON).starts_with("what the other end says is not understood"));
        let talking = std::thread::spawn(move || there.send(&"x".repeat(300 << 10)).is_ok());
        assert_eq!(heard(&mut here, SOON), "the other end says too much");
        talking.join().unwrap();
        let (mut here, there) = pair();
        drop(there);
        assert_eq!(heard(&mut here, SOON), "the other end has gone");
    }

    #[test]
    fn a_machine_where_nobody_listens_is_named() {
        let port = Listener::on(0).unwrap().port().unwrap();
        let error = Conversation::to("127.0.0.1", port, Duration::ZERO, &Cancel::never()).unwrap_err();
        assert!(format!("{error:#}").starts_with(&format!("cannot reach port {port} of 127.0.0.1: ")));
    }
}
