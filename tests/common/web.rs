//! A small web server on this machine that counts what it is asked for and fails when told to.

use std::io::{BufRead, BufReader, Read, Result, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of the file.
    CutAfter(u64),
    /// The connection is reset after so many bytes of the file.
    ResetAfter(u64),
    /// Nothing more comes after so many bytes of the file.
    StallAfter(u64),
    /// A byte at a time, some in a second.
    Drip,
    /// Another status than 200, such as 503.
    Status(u16),
    /// Another status, with further header lines, each with its line end.
    StatusWith(u16, String),
    /// The file ends early, and the server says that it is whole.
    Shortened(u64),
    /// A bit of the file is another one.
    Damaged,
    /// A page to log in comes in the file's place.
    LoginPage,
    /// The whole file, whatever part was asked for.
    NoRanges,
    /// A part that is asked for without its end is refused, as go-containerregistry's own registry does.
    ClosedRanges,
    /// A part begins so many bytes before what was asked for, as that of a cache of whole blocks does.
    EarlierBy(u64),
    /// A part comes under the status of the whole file.
    PartAsWhole,
}

/// A folder, served until the test ends.
#[derive(Debug, Clone)]
pub struct Web {
    address: SocketAddr,
    state: Arc<State>,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, with its leading slash; the whole address when it was asked as a proxy.
    pub path: String,
    /// All lines of the head, names in lower case.
    pub head: Vec<String>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    requests: Mutex<Vec<Request>>,
    sent: AtomicU64,
    /// A part of the path, the fault, and how many more times it happens.
    faults: Mutex<Vec<(String, Fault, usize)>>,
}

impl Web {
    /// Serves a folder at a free port.
    pub fn serve(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            folder: folder.to_owned(),
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
            faults: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.answer(&stream));
            }
        });
        Self { address, state }
    }

    /// Its address, without a slash at the end.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The paths asked for so far, each with its leading slash.
    pub fn requests(&self) -> Vec<String> {
        self.asked().into_iter().map(|request| request.path).collect()
    }

    /// All that was asked for so far.
    pub fn asked(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The bytes of files sent so far.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// Lets the next `times` answers for paths that contain `part` go wrong.
    pub fn fail(&self, part: &str, fault: Fault, times: usize) {
        self.state.faults.lock().unwrap().push((part.to_owned(), fault, times));
    }
}

impl State {
    fn answer(&self, stream: &TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut head = Vec::new();
        for header in lines {
            let header = header?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(": ").unwrap_or((&header, ""));
            head.push(format!("{}: {value}", name.to_ascii_lowercase()));
        }
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        let fault = self.next_fault(&path);
        let request = Request { path: path.clone(), head };
        self.requests.lock().unwrap().push(request.clone());
        let range = request.header("range").and_then(|it| it.strip_prefix("bytes=")?.split_once('-'));
        let from = range.and_then(|(from, _)| from.parse::<u64>().ok());
        let from = from.filter(|_| fault != Some(Fault::NoRanges));
        let is_open = range.is_some_and(|(_, to)| to.is_empty());
        match (fault, self.open(&path)) {
            (Some(Fault::Status(status)), _) => send_head(stream, status, 0, ""),
            (Some(Fault::StatusWith(status, more)), _) => send_head(stream, status, 0, &more),
            (Some(Fault::LoginPage), _) => {
                let page = "<html><form>who are you?</form></html>";
                send_head(stream, 200, page.len() as u64, "Content-Type: text/html; charset=utf-8\r\n")?;
                (&*stream).write_all(page.as_bytes())
            }
            (_, None) => send_head(stream, 404, 0, ""),
            (Some(Fault::ClosedRanges), _) if is_open => send_head(stream, 416, 0, ""),
            (fault, Some(file)) => self.send(stream, file, from, &request, fault.as_ref()),
        }
    }

    fn send(
        &self,
        stream: &TcpStream,
        mut file: std::fs::File,
        from: Option<u64>,
        request: &Request,
        fault: Option<&Fault>,
    ) -> Result<()> {
        let mut size = file.metadata()?.len();
        if let Some(Fault::Shortened(length)) = fault {
            size = size.min(*length);
        }
        let mut whole = Vec::new();
        Read::take(&mut file, 64 << 10).read_to_end(&mut whole)?;
        let tag = format!("\"{}-{size}\"", &super::sha256(&whole)[..12]);
        let same = request.header("if-range").is_none_or(|wanted| wanted == tag);
        let before = if let Some(Fault::EarlierBy(bytes)) = fault { *bytes } else { 0 };
        let from = from.filter(|_| same).map(|from| from - before);
        let start = from.unwrap_or(0).min(size);
        file.seek(SeekFrom::Start(start))?;
        let parts = if fault == Some(&Fault::NoRanges) { "" } else { "Accept-Ranges: bytes\r\n" };
        let tag = format!("ETag: {tag}\r\n{parts}");
        if from.is_some() {
            let range = format!("{tag}Content-Range: bytes {start}-{}/{size}\r\n", size.max(1) - 1);
            let status = if fault == Some(&Fault::PartAsWhole) { 200 } else { 206 };
            send_head(stream, status, size - start, &range)?;
        } else {
            send_head(stream, 200, size, &tag)?;
        }
        let limit = match fault {
            Some(Fault::CutAfter(bytes) | Fault::ResetAfter(bytes) | Fault::StallAfter(bytes)) => *bytes,
            Some(Fault::Drip) => 0,
            _ => size - start,
        };
        let mut first = [0];
        if fault == Some(&Fault::Damaged) && file.read(&mut first)? == 1 {
            (&*stream).write_all(&[first[0] ^ 1])?;
        }
        let sent = std::io::copy(&mut Read::take(&mut file, limit), &mut &*stream)?;
        self.sent.fetch_add(sent, Ordering::Relaxed);
        match fault {
            Some(Fault::ResetAfter(_)) => reset(stream),
            Some(Fault::StallAfter(_)) => wait_for_the_end(stream),
            Some(Fault::Drip) => {
                while file.read(&mut first)? == 1 {
                    (&*stream).write_all(&first)?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn next_fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.iter_mut().find(|(part, _, times)| *times > 0 && path.contains(part.as_str()))?;
        fault.2 -= 1;
        Some(fault.1.clone())
    }

    fn open(&self, path: &str) -> Option<std::fs::File> {
        // A proxy is asked for whole addresses.
        let path =
            path.strip_prefix("http://").map_or(path, |rest| rest.split_once('/').map_or("", |it| it.1));
        let path = path.split('?').next().unwrap_or_default();
        // apt writes `~` and `+` of versions as they are or as %7e and %2b.
        let path = path.replace("%7e", "~").replace("%2b", "+");
        let path = Path::new(path.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let file = std::fs::File::open(self.folder.join(path)).ok().filter(|_| plain)?;
        file.metadata().ok()?.is_file().then_some(file)
    }
}

fn send_head(mut stream: &TcpStream, status: u16, size: u64, more: &str) -> Result<()> {
    write!(stream, "HTTP/1.1 {status} Test\r\nContent-Length: {size}\r\n{more}Connection: close\r\n\r\n")
}

/// Closes with a reset instead of an orderly end.
fn reset(stream: &TcpStream) -> Result<()> {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}

fn wait_for_the_end(mut stream: &TcpStream) -> Result<()> {
    stream.read(&mut [0]).map(drop)
}
