//! A proxy in front of an HTTP server that misbehaves on purpose.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What it does to the next connections.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Answers `503 SlowDown`.
    Throttle,
    /// Closes at once.
    Hang,
    /// Passes this many bytes of the answer on, then closes.
    Cut(usize),
}

/// See the module. Its threads end with the process.
pub struct Proxy {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    faults: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of `to` (`http://127.0.0.1:PORT`), faultless until [`Proxy::fail_next`].
    pub fn start(to: &str, fault: Fault) -> Proxy {
        let to = to.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let faults = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (left, made) = (faults.clone(), connections.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (to, left) = (to.clone(), left.clone());
                made.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(client, &to, &left, fault));
            }
        });
        Proxy {
            url,
            faults,
            connections,
        }
    }

    /// The next `n` connections fail.
    pub fn fail_next(&self, n: usize) {
        self.faults.store(n, Ordering::SeqCst);
    }

    /// Faults that did not happen yet.
    pub fn faults_left(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
    }
}

/// Reads one request, as far as it has arrived when its head ends; bodies here are small.
fn head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match client.read(&mut buffer) {
            Ok(bytes @ 1..) => request.extend_from_slice(&buffer[..bytes]),
            _ => return None,
        }
    }
    Some(request)
}

fn serve(mut client: TcpStream, to: &str, left: &AtomicUsize, fault: Fault) -> Option<()> {
    let fails = left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok();
    let most = match (fails, fault) {
        (true, Fault::Throttle) => {
            head(&mut client)?;
            let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).ok()?;
            client.shutdown(Shutdown::Write).ok()?;
            // Let the rest of the request in, or the answer would be lost with a reset.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
            return Some(());
        }
        (true, Fault::Hang) => return None,
        (true, Fault::Cut(bytes)) => bytes as u64,
        (false, _) => u64::MAX,
    };
    let mut server = TcpStream::connect(to).ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut (&mut server).take(most), &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    Some(())
}
