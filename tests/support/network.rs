//! A network of one's own, as another machine has: from it nothing can be reached but one server,
//! through a relay that counts.

use super::skipped::skipped;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// See the module.
pub struct Network {
    work: Sender<Box<dyn FnOnce() + Send>>,
    /// Where the server is, seen from inside: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    connections: Arc<AtomicUsize>,
}

impl Network {
    /// A network with a way to `server` (`http://127.0.0.1:PORT`, seen from outside). `None`, told
    /// on standard error, where the system does not allow it.
    pub fn new(server: &str) -> Option<Network> {
        let server = server.trim_start_matches("http://").to_owned();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let (to_relay, clients) = channel::<TcpStream>();
        std::thread::spawn(move || relay(&clients, &server, &counted));
        let (work, jobs) = channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = channel();
        std::thread::spawn(move || match enter() {
            Ok(listener) => {
                let address = listener.local_addr().expect("its address");
                std::thread::spawn(move || {
                    for client in listener.incoming().flatten() {
                        let _ = to_relay.send(client);
                    }
                });
                let _ = tell.send(Ok(address));
                jobs.into_iter().for_each(|job| job());
            }
            Err(e) => drop(tell.send(Err(e))),
        });
        match told.recv().expect("an answer") {
            Ok(address) => Some(Network {
                work,
                endpoint: format!("http://{address}"),
                connections,
            }),
            Err(e) => {
                skipped(format_args!("networks of one's own: {e}"));
                None
            }
        }
    }

    /// Does something inside; processes that are started are inside too.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let job = Box::new(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = tell.send(done);
        });
        self.work.send(job).expect("the thread inside");
        match told.recv().expect("the thread inside") {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Connections made through the relay so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Moves this thread into a new network and listens there.
fn enter() -> io::Result<TcpListener> {
    // SAFETY: concerns this thread only, which does nothing else.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    up_loopback()?;
    TcpListener::bind("127.0.0.1:0")
}

fn up_loopback() -> io::Result<()> {
    // SAFETY: plain system calls on a socket and a structure of our own.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request);
        let error = io::Error::last_os_error();
        libc::close(socket);
        if done == 0 { Ok(()) } else { Err(error) }
    }
}

fn relay(clients: &Receiver<TcpStream>, server: &str, connections: &AtomicUsize) {
    for client in clients {
        connections.fetch_add(1, Ordering::SeqCst);
        let Ok(upstream) = TcpStream::connect(server) else {
            continue;
        };
        let pump = |from: &TcpStream, to: &TcpStream| {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        };
        pump(&client, &upstream);
        pump(&upstream, &client);
    }
}
