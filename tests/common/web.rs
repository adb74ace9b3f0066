//! A small web server on this machine that counts what it is asked for and fails when told to.

use std::io::{BufRead, BufReader, Read, Result, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of the file.
    CutAfter(u64),
    /// Another status than 200, such as 503.
    Status(u16),
}

/// A folder, served until the test ends.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    requests: Mutex<Vec<String>>,
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
        self.state.requests.lock().unwrap().clone()
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
        let mut from = None;
        for header in lines {
            let header = header?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            let range = header.strip_prefix("range: bytes=").and_then(|range| range.split('-').next());
            from = from.or(range.and_then(|from| from.parse::<u64>().ok()));
        }
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        let fault = self.next_fault(&path);
        self.requests.lock().unwrap().push(path.clone());
        match (fault, self.open(&path)) {
            (Some(Fault::Status(status)), _) => head(stream, status, 0, ""),
            (_, None) => head(stream, 404, 0, ""),
            (fault, Some(mut file)) => {
                let size = file.metadata()?.len();
                let start = from.unwrap_or(0).min(size);
                file.seek(SeekFrom::Start(start))?;
                if from.is_some() {
                    let range = format!("Content-Range: bytes {start}-{}/{size}\r\n", size.max(1) - 1);
                    head(stream, 206, size - start, &range)?;
                } else {
                    head(stream, 200, size, "")?;
                }
                let limit = if let Some(Fault::CutAfter(bytes)) = fault { bytes } else { u64::MAX };
                if !request.starts_with("HEAD ") {
                    std::io::copy(&mut file.take(limit), &mut &*stream)?;
                }
                Ok(())
            }
        }
    }

    fn next_fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.iter_mut().find(|(part, _, times)| *times > 0 && path.contains(part))?;
        fault.2 -= 1;
        Some(fault.1)
    }

    fn open(&self, path: &str) -> Option<std::fs::File> {
        // apt writes `~` and `+` of versions as they are or as %7e and %2b.
        let path = path.replace("%7e", "~").replace("%2b", "+");
        let path = Path::new(path.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let file = std::fs::File::open(self.folder.join(path)).ok().filter(|_| plain)?;
        file.metadata().ok()?.is_file().then_some(file)
    }
}

fn head(mut stream: &TcpStream, status: u16, size: u64, more: &str) -> Result<()> {
    write!(stream, "HTTP/1.1 {status} Test\r\nContent-Length: {size}\r\n{more}Connection: close\r\n\r\n")
}
