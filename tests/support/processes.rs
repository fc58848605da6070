//! Processes of a test: signals, and who of them is still alive.
//!
//! A process belongs to a test when the directory of its [`TestSpace`] occurs in its command line
//! or environment.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use super::TestSpace;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its arguments, separated by spaces.
    pub args: String,
}

/// Sends a signal; a process that is gone is fine.
pub fn signal(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: a system call on plain values.
    unsafe { libc::kill(pid, signal) };
}

/// Kills a child as `kill -9` does, and reaps it.
pub fn kill_dead(child: &mut Child) {
    let _ = child.kill();
    child.wait().expect("a child");
}

impl TestSpace {
    /// All living processes that belong to this space, workers and commands and what these started.
    /// Zombies do not count.
    pub fn processes(&self) -> Vec<Process> {
        let mark = self
            .project
            .parent()
            .expect("a parent")
            .to_string_lossy()
            .into_owned();
        let numbers = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter(|pid| *pid as u32 != std::process::id())
            .filter_map(|pid| process(pid, &mark))
            .collect()
    }

    /// Waits until no process of this space lives; fails, naming them, when they do not go.
    #[track_caller]
    pub fn expect_no_processes(&self) {
        let started = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "still alive: {left:#?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn process(pid: i32, mark: &str) -> Option<Process> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let text = |name: &str| {
        Some(String::from_utf8_lossy(&fs::read(dir.join(name)).ok()?).replace('\0', " "))
    };
    let (args, environment) = (text("cmdline")?, text("environ").unwrap_or_default());
    let stat = text("stat")?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    let is_ours = args.contains(mark) || environment.contains(mark);
    (is_ours && state != "Z").then_some(Process { pid, parent, args })
}
