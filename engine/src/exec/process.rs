//! One child process from start to end: group, limits, output, timeout, cancel, usage.
//!
//! The calling thread sleeps in one `poll(2)` over the reaper's reports, the child's output and the
//! cancel switch; nothing here wakes up to look. The [`reaper`] stands between: when an end is
//! told, no process of the child is left, so nothing writes to outputs after they are looked at.
//! Knows nothing of stages, inputs or outputs.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use super::cancel::Cancel;
use super::reaper;
use super::reports::{Line, Order, Report};
use super::room::Room;
use super::{Grant, Usage, keeper, spawner, undertaker};

/// From SIGTERM to SIGKILL, for what answers short questions.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// A process to start.
pub struct Launch {
    /// Program, arguments, environment, directory, standard input. Output is set up here.
    pub command: Command,
    /// The memory one process may use: `RLIMIT_DATA`, which counts private writable memory.
    /// `RLIMIT_AS` would also count what is only reserved, and stop Go, Java and CUDA programs that
    /// reserve terabytes and use megabytes.
    pub memory_bytes: Option<u64>,
    /// What of the machine is its own.
    pub grant: Grant,
    /// What it sees of the file system, where that is not all of it.
    pub room: Option<Room>,
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

/// Runs `command` to its end, confined by `ruleset`, and keeps at most `bytes_max` of each of its
/// streams.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn ask(
    command: Command,
    ruleset: Option<OwnedFd>,
    timeout: Duration,
    bytes_max: usize,
) -> io::Result<Said> {
    let launch = Launch {
        command,
        memory_bytes: None,
        grant: Grant::default(),
        room: None,
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
        mut command,
        memory_bytes,
        grant,
        room,
        ruleset,
        timeout,
        grace,
        apart,
    } = launch;
    let mut pipes: Vec<(Stream, Option<PipeReader>)> = Vec::with_capacity(2);
    let (reader, writer) = io::pipe()?;
    if apart {
        let (out_reader, out_writer) = io::pipe()?;
        command.stdout(out_writer).stderr(writer);
        pipes.push((Stream::Out, Some(out_reader)));
    } else {
        command.stdout(writer.try_clone()?).stderr(writer);
    }
    pipes.push((Stream::Err, Some(reader)));
    for (_, reader) in &pipes {
        if let Some(reader) = reader {
            set_nonblocking(reader)?;
        }
    }
    let (line, reapers_end) = Line::new()?;
    // The reaper's group, which the terminal's Ctrl-C does not reach.
    command.process_group(0);
    let keeper_fd = keeper::fd();
    // SAFETY: all make system calls only; they neither allocate nor lock.
    unsafe {
        // The reaper is in the room too: the kernel takes a room apart when the last process in it
        // ends, and takes its time. That is then the reaper, for which nobody waits.
        if let Some(room) = room {
            command.pre_exec(enter(room, &ruleset));
        }
        command.pre_exec(reaper::stand_between(reapers_end.as_raw_fd()));
        command.pre_exec(prepare(keeper_fd, ruleset, memory_bytes, grant));
    }
    let started = Instant::now();
    let pid = spawner::spawn(command)?.id() as i32;
    drop(reapers_end);
    let mut family = Family {
        reaper: pid,
        line: Some(line),
    };

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

/// Runs `command` with the standard streams it has been given, in the group of this process, and
/// waits for its end alone: whoever sits at the terminal watches it.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn attend(
    mut command: Command,
    room: Option<Room>,
    ruleset: Option<OwnedFd>,
    memory_bytes: Option<u64>,
) -> io::Result<ExitStatus> {
    // SAFETY: both make system calls only; they neither allocate nor lock.
    unsafe {
        if let Some(room) = room {
            command.pre_exec(enter(room, &ruleset));
        }
        command.pre_exec(prepare(None, ruleset, memory_bytes, Grant::default()));
    }
    spawner::spawn(command)?.wait()
}

/// A reaper and what it watches over. Whatever happens all of it is killed, and the reaper reaped.
struct Family {
    reaper: i32,
    /// Closing it kills.
    line: Option<Line>,
}

impl Family {
    /// The end was told: nothing of the family is left but the reaper, which is ending.
    fn end(mut self) {
        if self.line.take().is_some() {
            undertaker::bury(self.reaper);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // The closed line brings the end about.
        if self.line.take().is_some() {
            undertaker::wait_for(self.reaper);
        }
    }
}

/// Moves the process into its room, between fork and exec. `ruleset` is open until then:
/// [`prepare`] has it.
fn enter(
    mut room: Room,
    ruleset: &Option<OwnedFd>,
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    let ruleset = ruleset.as_ref().map(AsRawFd::as_raw_fd);
    // Before the ruleset is applied, which forbids mounts.
    move || room.enter(ruleset)
}

/// What the child does between fork and exec: system calls only.
fn prepare(
    keeper_fd: Option<BorrowedFd<'static>>,
    ruleset: Option<OwnedFd>,
    memory_bytes: Option<u64>,
    grant: Grant,
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    #[cfg(target_os = "linux")]
    let processors = grant.processors();
    #[cfg(not(target_os = "linux"))]
    let _ = grant;
    move || {
        // SAFETY: plain system calls on values captured by copy; all are async-signal-safe. rustix
        // sets no dispositions.
        unsafe {
            // A visitor too, who has no reaper.
            reaper::die_with_it();
            // Whoever started the program may ignore signals (`nohup`, a shell's `&`); a stage that
            // is to end must hear them.
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        if let Some(fd) = keeper_fd {
            keeper::enter(fd);
        }
        // A processor that was taken away meanwhile is no reason to fail.
        #[cfg(target_os = "linux")]
        if let Some(set) = &processors {
            let _ = rustix::thread::sched_setaffinity(None, set);
        }
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        limit(Resource::Core, 0)?;
        if let Some(bytes) = memory_bytes {
            limit(Resource::Data, bytes)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(ruleset) = &ruleset {
            rustix::thread::set_no_new_privs(true)?;
            // SAFETY: a plain system call on an open descriptor; rustix does not have it.
            check(unsafe {
                libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) as i32
            })?;
        }
        let _ = &ruleset;
        Ok(())
    }
}

/// Lowers a limit of the calling process. Async-signal-safe.
fn limit(resource: Resource, bytes: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
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
    match check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|f| f.revents = 0);
            Ok(())
        }
        other => other,
    }
}

/// A standard input that holds `bytes` and ends.
pub fn stdin_with(bytes: &[u8]) -> io::Result<Stdio> {
    use std::io::{Seek, Write};
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
