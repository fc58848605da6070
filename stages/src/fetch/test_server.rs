//! A tiny HTTP server for tests: answers requests from a list of scripted behaviours, one per
//! connection.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// How one request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The whole file, or the asked range.
    Good,
    /// Headers for the whole (or the asked range), then only this many bytes, then the connection
    /// is cut.
    CutAfter(usize),
    /// The whole file, whatever range was asked.
    IgnoreRange,
    /// A status without a body.
    Status(u16),
    /// Other bytes of the same length.
    Altered,
    /// `302` to this address.
    Redirect(String),
}

/// A running server; it stops with the test process.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves `file` under every path. The last answer is repeated.
    pub(crate) fn start(file: &[u8], etag: Option<&str>, answers: Vec<Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (file, etag, seen) = (file.to_vec(), etag.map(str::to_owned), log.clone());
        std::thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let mut request = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Ok(n) = reader.read_line(&mut request) {
                    if n == 0 || request.ends_with("\r\n\r\n") {
                        break;
                    }
                }
                let field = |name: &str| {
                    request.lines().find_map(|l| {
                        l.split_once(": ")
                            .filter(|(k, _)| k.eq_ignore_ascii_case(name))
                            .map(|(_, v)| v.to_owned())
                    })
                };
                let range = field("range").and_then(|r| {
                    r.strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse::<usize>()
                        .ok()
                });
                let range = range.filter(|_| field("if-range").is_none_or(|tag| Some(tag) == etag));
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock()
                    .unwrap()
                    .push(range.map_or(path.clone(), |start| format!("{path} from {start}")));
                let answer = answers.get(i).or(answers.last()).unwrap().clone();
                // A client that hangs up early is its own business.
                let _ = stream.write_all(&respond(&answer, &file, range, etag.as_deref()));
            }
        });
        Server { url, log }
    }

    /// The requests so far: path, and `from N` where a range was asked and could be granted.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn respond(answer: &Answer, file: &[u8], range: Option<usize>, etag: Option<&str>) -> Vec<u8> {
    let etag = etag.map_or(String::new(), |tag| format!("ETag: {tag}\r\n"));
    let whole = |body: &[u8]| {
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n{etag}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    };
    let good = || {
        match range {
        Some(start) if start >= file.len() => {
            format!("HTTP/1.1 416 No\r\nConnection: close\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n", file.len()).into_bytes()
        }
        Some(start) => {
            let body = &file[start..];
            let (end, total) = (file.len() - 1, file.len());
            let mut bytes = format!(
                "HTTP/1.1 206 Partial\r\nConnection: close\r\n{etag}Content-Range: bytes {start}-{end}/{total}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            bytes.extend_from_slice(body);
            bytes
        }
        None => whole(file),
    }
    };
    match answer {
        Answer::Good => good(),
        Answer::CutAfter(n) => {
            let mut bytes = good();
            let header = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            bytes.truncate(header + n);
            bytes
        }
        Answer::IgnoreRange => whole(file),
        Answer::Status(status) => {
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .into_bytes()
        }
        Answer::Altered => whole(&file.iter().map(|b| b ^ 1).collect::<Vec<_>>()),
        Answer::Redirect(to) => format!(
            "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes(),
    }
}
