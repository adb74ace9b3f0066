//! A restricted network for a program: a relay between its network namespace and that of this machine. In the program's
//! network namespace every address is local (`ip route add local 0.0.0.0/0 dev lo`), so each connection ends at a
//! listener of this process, which reads the intended address from the connection itself. This process then connects
//! there for the program, unless the address belongs to the machine's cloud platform, which hands out credentials.
//! Names are resolved by this machine's name servers. The machine's own network configuration is not changed.

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Azure's instance metadata service, and the server that hands out a VM's goal state and certificates
/// (azure-docs, `instance-metadata-service.md` and `what-is-ip-address-168-63-129-16.md`).
const PLATFORM: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(168, 63, 129, 16)];
/// The usual ports of package repositories and proxies: the web, squid, apt-cacher-ng, SOCKS.
const PORTS: [u16; 10] = [80, 443, 1080, 3128, 3142, 8000, 8080, 8081, 8443, 8888];
const NAMES: u16 = 53;
const CONNECT: Duration = Duration::from_secs(20);
/// How long one name server may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// The longest message of DNS over UDP with EDNS.
const LONGEST_MESSAGE: usize = 4096;

/// The side of the relay that stays in this machine's network.
pub(super) struct Relay {
    sockets: Sender<Socket>,
    knows_ipv6: bool,
}

enum Socket {
    Connections(TcpListener),
    Names(UdpSocket),
}

/// The rules for every connection.
struct Policy {
    metadata: bool,
    name_servers: Vec<IpAddr>,
    said: Mutex<HashSet<String>>,
}

/// Starts the threads that connect. They must start before this thread leaves the machine's network namespace.
pub(super) fn start(metadata: bool) -> Result<Relay> {
    let (sockets, received) = channel();
    let name_servers = name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let policy = Arc::new(Policy { metadata, name_servers, said: Mutex::default() });
    let started = std::thread::Builder::new().spawn(move || serve(&received, &policy));
    started.context("cannot start a thread")?;
    // Connecting a UDP socket sends nothing; it fails where there is no route to such addresses.
    let reaches = |to: &str| UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(to));
    Ok(Relay { sockets, knows_ipv6: reaches("[2000::1]:53").is_ok() })
}

impl Relay {
    /// Makes every address local in this thread's present network namespace, and listens there.
    pub(super) fn listen(&self, ports: &[u16]) -> Result<()> {
        let doing = "cannot set up a network for the root";
        netlink(&loopback_up()).context(doing)?;
        netlink(&all_local(nix::libc::AF_INET)).context(doing)?;
        if self.knows_ipv6 {
            // Where this fails, the program has IPv4 only.
            let _ = netlink(&all_local(nix::libc::AF_INET6));
        }
        let ports: BTreeSet<u16> = PORTS.iter().chain(ports).copied().chain([NAMES]).collect();
        for port in ports {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
            let listener = listener.with_context(|| format!("cannot listen for port {port}"))?;
            let _ = self.sockets.send(Socket::Connections(listener));
        }
        let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, NAMES)).context("cannot listen for names")?;
        let _ = self.sockets.send(Socket::Names(names));
        Ok(())
    }
}

/// A `resolv.conf` that points to the relay, with the search list and options of this machine.
pub(super) fn resolver_file() -> String {
    let ours = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let kept =
        ours.lines().filter(|line| ["search", "domain", "options"].iter().any(|word| line.starts_with(word)));
    kept.fold("nameserver 127.0.0.1\n".to_owned(), |file, line| file + line + "\n")
}

fn name_servers(file: &str) -> Vec<IpAddr> {
    let named = file.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    let named: Vec<IpAddr> = named.collect();
    if named.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { named }
}

fn serve(sockets: &Receiver<Socket>, policy: &Arc<Policy>) {
    for socket in sockets {
        let policy = Arc::clone(policy);
        std::thread::spawn(move || match socket {
            Socket::Connections(listener) => {
                for stream in listener.incoming().flatten() {
                    let policy = Arc::clone(&policy);
                    std::thread::spawn(move || policy.carry(&stream));
                }
            }
            Socket::Names(socket) => policy.answer_names(&Arc::new(socket)),
        });
    }
}

impl Policy {
    /// Connects to the address that the program wanted, and passes data in both directions.
    fn carry(&self, inner: &TcpStream) {
        let Ok(wanted) = inner.local_addr() else { return };
        let mut to = SocketAddr::new(wanted.ip().to_canonical(), wanted.port());
        if to.port() == NAMES && to.ip().is_loopback() {
            to.set_ip(self.name_servers[0]);
        } else if !self.metadata && is_platform(to.ip()) {
            self.say(&format!("the image's programs asked `{to}`, the machine's own platform, which is out of their reach; the setting `allow_metadata` lets them"));
            return;
        }
        let outer = match TcpStream::connect_timeout(&to, CONNECT) {
            Ok(outer) => outer,
            Err(error) => return self.say(&format!("Could not connect to {to}: {error}")),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| pass_on(inner, &outer));
            pass_on(&outer, inner);
        });
    }

    fn answer_names(self: &Arc<Self>, socket: &Arc<UdpSocket>) {
        let mut buffer = [0; LONGEST_MESSAGE];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let (policy, socket, question) =
                (Arc::clone(self), Arc::clone(socket), buffer[..length].to_vec());
            std::thread::spawn(move || {
                let answer = policy.forward(&question).unwrap_or_else(|| no_answer(question));
                let _ = socket.send_to(&answer, from);
            });
        }
    }

    fn forward(&self, question: &[u8]) -> Option<Vec<u8>> {
        let one = |server: &IpAddr| {
            let any: IpAddr =
                if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((*server, NAMES))?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.send(question)?;
            let mut answer = vec![0; LONGEST_MESSAGE];
            let length = socket.recv(&mut answer)?;
            answer.truncate(length);
            Ok(answer)
        };
        self.name_servers.iter().find_map(|server| {
            let asked: std::io::Result<Vec<u8>> = one(server);
            asked
                .map_err(|error| self.say(&format!("the name server {server} does not answer: {error}")))
                .ok()
        })
    }

    /// Prints a message once, to the output that the run quotes. The program itself only sees its connection end.
    fn say(&self, what: &str) {
        let is_new = self.said.lock().is_ok_and(|mut said| said.insert(what.to_owned()));
        if is_new {
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }
}

/// Whether an address belongs to the cloud platform, also where IPv4 is embedded in IPv6 (RFC 6052).
fn is_platform(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => PLATFORM.contains(&address),
        IpAddr::V6(address) => {
            let [start @ .., a, b, c, d] = address.octets();
            start == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]
                && PLATFORM.contains(&Ipv4Addr::new(a, b, c, d))
        }
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Turns a query into the answer SERVFAIL (RFC 1035, 4.1.1), so that the program does not wait for a timeout.
fn no_answer(mut question: Vec<u8>) -> Vec<u8> {
    if let [_, _, flags, code, ..] = question.as_mut_slice() {
        *flags |= 0x80;
        *code = 0x82;
    }
    question
}

/// Sends one request to the kernel (`rtnetlink(7)`) and waits until it is done.
fn netlink(request: &[u8]) -> Result<()> {
    let kernel =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(kernel.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // A header of 16 bytes, and the error's number, negative, 0 when there is none.
    let number =
        answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if number == 0 { Ok(()) } else { Err(nix::Error::from_raw(-number).into()) }
}

/// A netlink message of this type: its header and its payload.
fn message(kind: u16, flags: i32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let flags = u16::try_from(nix::libc::NLM_F_REQUEST | nix::libc::NLM_F_ACK | flags).unwrap_or_default();
    let length = u32::try_from(16 + body.len()).unwrap_or_default();
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &[0; 4],
        &body,
    ]
    .concat()
}

/// The index of the loopback interface, which is the first one in a namespace.
const LOOPBACK: u32 = 1;

fn loopback_up() -> Vec<u8> {
    let up = u32::try_from(nix::libc::IFF_UP).unwrap_or_default().to_ne_bytes();
    message(nix::libc::RTM_NEWLINK, 0, &[&[0; 4], &LOOPBACK.to_ne_bytes(), &up, &up])
}

/// A route that makes every address of a family local.
fn all_local(family: i32) -> Vec<u8> {
    let family = u8::try_from(family).unwrap_or_default();
    let (table, scope) = (nix::libc::RT_TABLE_LOCAL, nix::libc::RT_SCOPE_HOST);
    let (protocol, kind) = (nix::libc::RTPROT_BOOT, nix::libc::RTN_LOCAL);
    let route = [family, 0, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    let attribute =
        [&8_u16.to_ne_bytes()[..], &nix::libc::RTA_OIF.to_ne_bytes(), &LOOPBACK.to_ne_bytes()].concat();
    let flags = nix::libc::NLM_F_CREATE | nix::libc::NLM_F_EXCL;
    message(nix::libc::RTM_NEWROUTE, flags, &[&route, &attribute])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_known_in_every_form_of_its_address() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "168.63.129.16"] {
            assert!(is_platform(address.parse().unwrap()), "{address}");
        }
        assert!(!is_platform("169.254.169.253".parse().unwrap()) && !is_platform("::1".parse().unwrap()));
    }

    #[test]
    fn name_servers_are_those_that_this_machine_asks() {
        assert_eq!(name_servers("search x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n").len(), 1);
        assert_eq!(name_servers("# none\n"), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert_eq!(no_answer(vec![7, 7, 1, 0, 9]), [7, 7, 0x81, 0x82, 9]);
    }
}
