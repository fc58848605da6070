//! One child process from start to end: group, limits, output, timeout, cancel, usage.
//!
//! The calling thread sleeps in one `poll(2)` over the reaper's reports, the child's output and the
//! cancel switch; nothing here wakes up to look. The [`reaper`] stands between: when an end is
//! told, no process of the child is left, so nothing writes to outputs after they are looked at.
//! Knows nothing of stages, inputs or outputs.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::cancel::Cancel;
use super::reports::{Line, Order, Report};
use super::start::{Handles, Program, Start};
use super::{Usage, keeper, spawner};

/// From SIGTERM to SIGKILL, for what answers short questions.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// A process to start.
pub struct Launch {
    /// What it is.
    pub start: Start,
    /// Its standard input; empty where there is none.
    pub input: Option<File>,
    /// A Landlock ruleset to confine it.
    pub ruleset: Option<OwnedFd>,
    /// Stopped after this time.
    pub timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL, when it is stopped.
    pub grace: Duration,
    /// Standard output and error arrive apart; otherwise both as [`Heard::Err`], in the order they
    /// were written.
    pub apart: bool,
}

/// What is heard of a process while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A piece of its standard output.
    Out(&'a [u8]),
    /// A piece of its standard error, or of both.
    Err(&'a [u8]),
    /// It, or a process it started, has been stopped (SIGSTOP) for a while; its number.
    Stopped(i32),
}

/// Where a piece of output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// Standard output.
    Out,
    /// Standard error, or both.
    Err,
}

/// Why a process was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ran too long.
    TimedOut,
    /// [`super::CancelLevel::Now`].
    Cancelled,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Code or signal.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    /// Set when it was stopped from here.
    pub stopped: Option<Stop>,
    /// A process it started that could not be ended.
    pub left: Option<i32>,
}

/// What a short question to a program gave.
pub struct Said {
    /// How it ended.
    pub ended: Ended,
    /// Standard output, cut at the limit.
    pub out: Vec<u8>,
    /// Standard error, cut at the limit.
    pub err: Vec<u8>,
}

/// Runs `program` with `input` to its end, confined by `ruleset`, and keeps at most `bytes_max` of
/// each of its streams.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn ask(
    program: Program,
    input: Option<File>,
    ruleset: Option<OwnedFd>,
    timeout: Duration,
    bytes_max: usize,
) -> io::Result<Said> {
    let launch = Launch {
        start: Start {
            program,
            memory_bytes: None,
            cores: Vec::new(),
            room: None,
        },
        input,
        ruleset,
        timeout: Some(timeout),
        grace: SHORT_GRACE,
        apart: true,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = run(launch, None, &mut |heard| {
        let (text, bytes) = match heard {
            Heard::Out(bytes) => (&mut out, bytes),
            Heard::Err(bytes) => (&mut err, bytes),
            Heard::Stopped(_) => return,
        };
        text.extend_from_slice(&bytes[..bytes.len().min(bytes_max - text.len())]);
    })?;
    Ok(Said { ended, out, err })
}

/// Starts the process and waits until it and everything it started have ended; `sink` gets all
/// output in pieces.
///
/// # Errors
/// When it cannot be started (`NotFound`: no such program) or watched.
pub fn run(
    launch: Launch,
    cancel: Option<&Cancel>,
    sink: &mut dyn FnMut(Heard<'_>),
) -> io::Result<Ended> {
    let Launch {
        start,
        input,
        ruleset,
        timeout,
        grace,
        apart,
    } = launch;
    let mut pipes: Vec<(Stream, Option<PipeReader>)> = Vec::with_capacity(2);
    let (reader, err) = io::pipe()?;
    let out = if apart {
        let (out_reader, out) = io::pipe()?;
        pipes.push((Stream::Out, Some(out_reader)));
        out
    } else {
        err.try_clone()?
    };
    pipes.push((Stream::Err, Some(reader)));
    for (_, reader) in &pipes {
        if let Some(reader) = reader {
            set_nonblocking(reader)?;
        }
    }
    let (line, reapers_end) = Line::new()?;
    let handles = Handles {
        input: input.map(OwnedFd::from),
        out: out.into(),
        err: err.into(),
        line: reapers_end.into(),
        ruleset,
        keeper: keeper::handle(),
    };
    let started = Instant::now();
    spawner::spawn(start, handles)?;
    let mut family = Family { line: Some(line) };

    let mut deadline = timeout.and_then(|t| started.checked_add(t));
    let mut stopped = None;
    let mut killed = false;
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        let Some(line) = &mut family.line else {
            return Err(io::Error::other("BUG: the line to the reaper is gone"));
        };
        let mut fds = [poll_none(), poll_none(), poll_none(), poll_none()];
        fds[0].fd = line.fd();
        fds[1].fd = match (cancel, stopped) {
            (Some(cancel), None) => cancel.fd().as_raw_fd(),
            (Some(cancel), Some(_)) if !killed => cancel.kill_fd().as_raw_fd(),
            _ => -1,
        };
        for (slot, (_, reader)) in fds[2..].iter_mut().zip(&pipes) {
            slot.fd = reader.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        }
        poll(&mut fds, deadline)?;
        for (slot, (stream, reader)) in fds[2..].iter().zip(&mut pipes) {
            if slot.revents != 0 {
                drain(*stream, reader, &mut buffer, 1, sink);
            }
        }
        if fds[0].revents != 0 {
            match line.hear() {
                Ok(None) => {}
                Ok(Some(Report::Stopped { pid })) => sink(Heard::Stopped(pid)),
                Ok(Some(Report::Ended(end))) => break end,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::other(
                        "the process that watches over the stage was killed, and the stage with it",
                    ));
                }
                Err(e) => return Err(e),
            }
        }
        let late = deadline.is_some_and(|d| Instant::now() >= d);
        match stopped {
            None if late || fds[1].revents != 0 => {
                stopped = Some(if fds[1].revents != 0 {
                    Stop::Cancelled
                } else {
                    Stop::TimedOut
                });
                line.tell(Order::Terminate);
                deadline = Instant::now().checked_add(grace);
            }
            Some(_) if !killed && (late || fds[1].revents != 0) => {
                killed = true;
                deadline = None;
                line.tell(Order::Kill);
            }
            _ => {}
        }
    };
    let wall_s = started.elapsed().as_secs_f64();
    keeper::leave(end.leader);
    family.end();
    // What was in the pipes when it ended: at most their capacity, where a process could not be
    // ended.
    for (stream, reader) in &mut pipes {
        drain(*stream, reader, &mut buffer, 16, sink);
    }
    // Linux counts kibibytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Ok(Ended {
        status: ExitStatus::from_raw(end.status),
        usage: Usage {
            wall_s,
            cpu_s: end.cpu.as_secs_f64(),
            max_rss_bytes: end.max_rss * unit,
            energy: None,
        },
        stopped,
        left: end.left,
    })
}

/// An execution and its reaper. Whatever happens all of it is killed.
struct Family {
    /// Closing it kills.
    line: Option<Line>,
}

impl Family {
    /// The end was told: nothing of the family is left but the reaper, which is ending. The kernel
    /// takes its room apart before it is gone, which can take longer than the command did: network,
    /// shared memory, every mount, and then a pause until no processor can still be looking at one
    /// of them. Nobody waits for that.
    fn end(mut self) {
        self.line = None;
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.close();
        }
    }
}

/// Reads at most `rounds` buffers; at the end of the pipe, closes it.
fn drain(
    stream: Stream,
    reader: &mut Option<PipeReader>,
    buffer: &mut [u8],
    rounds: u32,
    sink: &mut dyn FnMut(Heard<'_>),
) {
    for _ in 0..rounds {
        let Some(pipe) = reader else { return };
        match pipe.read(buffer) {
            Ok(0) => *reader = None,
            Ok(n) => sink(match stream {
                Stream::Out => Heard::Out(&buffer[..n]),
                Stream::Err => Heard::Err(&buffer[..n]),
            }),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *reader = None,
        }
    }
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    Ok(())
}

fn poll_none() -> libc::pollfd {
    libc::pollfd {
        fd: -1,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Sleeps until a descriptor is ready or the deadline has passed; negative descriptors are skipped
/// by the kernel.
fn poll(fds: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<()> {
    let timeout_ms = match deadline {
        None => -1,
        // Rounded up, so that the deadline has passed on waking; longer than 24 days wakes up once
        // in between.
        Some(d) => {
            let left = d.saturating_duration_since(Instant::now());
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        }
    };
    // SAFETY: pointer and length describe a live slice.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if ready >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|f| f.revents = 0);
            Ok(())
        }
        e => Err(e),
    }
}

/// A standard input that holds `bytes` and ends.
pub fn input_of(bytes: &[u8]) -> io::Result<Option<File>> {
    use std::io::{Seek, Write};
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(Some(file))
}
