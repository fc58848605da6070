//! A proxy in front of an HTTP server that counts requests, whatever connections they come on, and
//! cuts the connection of one of them, or of one and all that follow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// When in the life of a request its connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server never hears of it.
    Before,
    /// The server gets half of its body.
    During,
    /// The server does what it says, and nobody hears of that.
    After,
    /// The answer breaks off in its head.
    Answering,
}

/// Which requests are cut.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first one, counted from 0.
    pub from: usize,
    /// So many in a row.
    pub count: usize,
    pub moment: Moment,
}

#[derive(Default)]
struct State {
    seen: usize,
    cut: usize,
    plan: Option<Plan>,
}

/// See the module. Its threads end with the process.
pub struct Cutter {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Cutter {
    /// In front of `to` (`http://127.0.0.1:PORT`).
    pub fn start(to: &str) -> Cutter {
        let to = to.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (to, state) = (to.clone(), shared.clone());
                std::thread::spawn(move || serve(client, &to, &state));
            }
        });
        Cutter { url, state }
    }

    /// Counts anew, and cuts as planned from now on.
    pub fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state.lock().expect("its threads do not panic");
        *state = State {
            plan,
            ..State::default()
        };
    }

    /// Requests since the last plan, and how many of them were cut.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().expect("its threads do not panic");
        (state.seen, state.cut)
    }
}

/// What is to be done to the request that begins now.
fn next(state: &Mutex<State>) -> Option<Moment> {
    let mut state = state.lock().expect("its threads do not panic");
    let number = state.seen;
    state.seen += 1;
    let plan = state.plan?;
    let is_cut = number >= plan.from && number - plan.from < plan.count;
    state.cut += usize::from(is_cut);
    is_cut.then_some(plan.moment)
}

/// The head of a request with what follows of it in the buffer, and the bytes of its body.
fn head(client: &mut TcpStream) -> Option<(Vec<u8>, usize, usize)> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            assert!(!text.contains("transfer-encoding"), "bodies have a length");
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length = length.map_or(0, |l| l.trim().parse().expect("a length"));
            return Some((request, end + 4, length));
        }
        match client.read(&mut buffer) {
            Ok(bytes @ 1..) => request.extend_from_slice(&buffer[..bytes]),
            _ => return None,
        }
    }
}

fn serve(mut client: TcpStream, to: &str, state: &Mutex<State>) -> Option<()> {
    let mut server = TcpStream::connect(to).ok()?;
    // Clients wait for an answer before their next request, so whatever comes back belongs to the
    // request before.
    let muted = Arc::new(AtomicBool::new(false));
    let broken = Arc::new(AtomicBool::new(false));
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let (is_muted, is_broken) = (muted.clone(), broken.clone());
    let answers = std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(bytes @ 1..) = from_server.read(&mut buffer) {
            let whole = match (
                is_muted.load(Ordering::SeqCst),
                is_broken.load(Ordering::SeqCst),
            ) {
                (true, _) => 0,
                (_, true) => bytes.min(20),
                _ => bytes,
            };
            if to_client.write_all(&buffer[..whole]).is_err() || whole < bytes {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    while let Some((mut request, body_at, body_bytes)) = head(&mut client) {
        let moment = next(state);
        if moment == Some(Moment::Before) {
            break;
        }
        muted.store(moment == Some(Moment::After), Ordering::SeqCst);
        broken.store(moment == Some(Moment::Answering), Ordering::SeqCst);
        let mut left = (body_at + body_bytes).checked_sub(request.len());
        if moment == Some(Moment::During) {
            request.truncate(body_at + body_bytes / 2);
            left = (body_at + body_bytes / 2).checked_sub(request.len());
            if body_bytes == 0 {
                request.truncate(body_at / 2);
                left = None;
            }
        }
        server.write_all(&request).ok()?;
        if let Some(left) = left {
            std::io::copy(&mut (&mut client).take(left as u64), &mut server).ok()?;
        }
        match moment {
            None => {}
            Some(Moment::During) => break,
            Some(_) => {
                let _ = answers.join();
                return Some(());
            }
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    Some(())
}
