//! Real servers for tests of remotes, each on a loopback port of its own and gone with its value.
//!
//! S3 is served by a thread of the test; nginx and sshd are the system's, and a test that needs one
//! of them says that it was skipped where it is not installed.

pub mod cutter;
pub mod nginx;
pub mod proxy;
pub mod s3;
pub mod slurm;
pub mod sshd;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with its value.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: the process is a child of ours that was not waited for, so the number is still
        // its own.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is: on the path, or where system programs are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Starts a server and waits until it answers on its port; its log is shown when it does not.
fn start(command: &mut Command, port: u16, log: &Path) -> Running {
    let file = std::fs::File::create(log).expect("a log");
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("the log"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let mut running = Running(child);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = running.0.try_wait().expect("a child");
        if ended.is_some() || started.elapsed() > PATIENCE {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            panic!("{command:?} does not answer ({ended:?}):\n{said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

fn is_root() -> bool {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
