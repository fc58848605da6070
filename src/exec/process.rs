//! One child process from start to end: group, limits, output, timeout, cancel, usage.
//!
//! The calling thread sleeps in one `poll(2)` over the child's end (a pidfd), its output and the cancel switch; nothing
//! here wakes up to look. The child leads its own process group. When it has ended, what is left of the group is killed,
//! so nothing writes to outputs after they are looked at. Knows nothing of stages, inputs or outputs.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::{Usage, keeper, spawner};

/// From SIGTERM to SIGKILL.
pub const GRACE: Duration = Duration::from_secs(2);

/// A process to start.
pub struct Launch {
    /// Program, arguments, environment, directory, standard input. Output is set up here.
    pub command: Command,
    /// The memory one process may use: `RLIMIT_DATA`, which counts private writable memory. `RLIMIT_AS` would also count
    /// what is only reserved, and stop Go, Java and CUDA programs that reserve terabytes and use megabytes.
    pub memory_bytes: Option<u64>,
    /// A Landlock ruleset to confine it.
    pub ruleset: Option<OwnedFd>,
    /// Stopped after this time.
    pub timeout: Option<Duration>,
    /// Standard output and error arrive apart; otherwise both as [`Stream::Err`], in the order they were written.
    pub apart: bool,
}

/// Where a piece of output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
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

/// Runs `command` to its end, without a sandbox, and keeps at most `bytes_max` of each of its streams.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn ask(command: Command, timeout: Duration, bytes_max: usize) -> io::Result<Said> {
    let launch = Launch {
        command,
        memory_bytes: None,
        ruleset: None,
        timeout: Some(timeout),
        apart: true,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = run(launch, None, &mut |stream, bytes| {
        let text = if stream == Stream::Out {
            &mut out
        } else {
            &mut err
        };
        text.extend_from_slice(&bytes[..bytes.len().min(bytes_max - text.len())]);
    })?;
    Ok(Said { ended, out, err })
}

/// Starts the process and waits for its end; `sink` gets all output in pieces.
///
/// # Errors
/// When it cannot be started (`NotFound`: no such program) or watched.
pub fn run(
    launch: Launch,
    cancel: Option<&Cancel>,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<Ended> {
    let Launch {
        mut command,
        memory_bytes,
        ruleset,
        timeout,
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
            set_nonblocking(reader.as_raw_fd())?;
        }
    }
    command.process_group(0);
    let keeper_fd = keeper::fd();
    // SAFETY: `prepare` makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(prepare(keeper_fd, ruleset, memory_bytes)) };
    let started = Instant::now();
    let pid = spawner::spawn(command)?.id() as i32;
    let mut child = Group { pid, reaped: false };
    let exit = exit_fd(pid)?;

    let mut deadline = timeout.and_then(|t| started.checked_add(t));
    let mut stopped = None;
    let mut killed = false;
    let mut exited = false;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let open = pipes.iter().any(|(_, reader)| reader.is_some());
        // A stopped process's children may still be cleaning up: they have until the deadline, or until they close the log.
        if exited && (stopped.is_none() || killed || !open) {
            break;
        }
        let mut fds = [poll_none(), poll_none(), poll_none(), poll_none()];
        if !exited {
            fds[0].fd = exit.as_raw_fd();
        }
        if let (Some(cancel), None) = (cancel, stopped) {
            fds[1].fd = cancel.fd().as_raw_fd();
        }
        for (slot, (_, reader)) in fds[2..].iter_mut().zip(&pipes) {
            slot.fd = reader.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        }
        poll(&mut fds, deadline)?;
        for (slot, (stream, reader)) in fds[2..].iter().zip(&mut pipes) {
            if slot.revents != 0 {
                drain(*stream, reader, &mut buffer, 1, sink);
            }
        }
        exited |= fds[0].revents != 0;
        let now = Instant::now();
        if !exited && stopped.is_none() && fds[1].revents != 0 {
            stopped = Some(Stop::Cancelled);
        } else if deadline.is_some_and(|d| now >= d) {
            if stopped.is_some() {
                killed = true;
                deadline = None;
                kill_group(pid, libc::SIGKILL);
                continue;
            } else if !exited {
                stopped = Some(Stop::TimedOut);
            }
        } else {
            continue;
        }
        // Newly stopped.
        kill_group(pid, libc::SIGTERM);
        deadline = Some(now + GRACE);
    }
    let wall_s = started.elapsed().as_secs_f64();
    let (status, usage) = child.reap()?;
    // What was in the pipes when it ended: at most their capacity, for a process that escaped the group may write on.
    for (stream, reader) in &mut pipes {
        drain(*stream, reader, &mut buffer, 16, sink);
    }
    Ok(Ended {
        status,
        usage: Usage { wall_s, ..usage },
        stopped,
    })
}

/// A started group leader. Whatever happens it is killed, struck off and reaped.
struct Group {
    pid: i32,
    reaped: bool,
}

impl Group {
    /// Kills what is left of the group, then reaps the leader. While it is unreaped its number cannot be reused, so the
    /// signal and the keeper's list can mean nobody else.
    fn reap(&mut self) -> io::Result<(ExitStatus, Usage)> {
        self.reaped = true;
        kill_group(self.pid, libc::SIGKILL);
        keeper::leave(self.pid);
        let mut status = 0;
        // SAFETY: rusage is plain data for which zero is valid.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: both pointers are to live locals.
            if unsafe { libc::wait4(self.pid, &mut status, 0, &mut used) } == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
        // Linux counts kibibytes, macOS bytes.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        let usage = Usage {
            wall_s: 0.0,
            cpu_s: seconds(used.ru_utime) + seconds(used.ru_stime),
            max_rss_bytes: u64::try_from(used.ru_maxrss).unwrap_or(0) * unit,
        };
        Ok((ExitStatus::from_raw(status), usage))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap();
        }
    }
}

/// What the child does between fork and exec: system calls only.
fn prepare(
    keeper_fd: Option<RawFd>,
    ruleset: Option<OwnedFd>,
    memory_bytes: Option<u64>,
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    move || {
        // SAFETY: plain system calls on values captured by copy; all are async-signal-safe.
        unsafe {
            #[cfg(target_os = "linux")]
            {
                check(libc::prctl(
                    libc::PR_SET_PDEATHSIG,
                    libc::SIGKILL as libc::c_ulong,
                    0,
                    0,
                    0,
                ))?;
                // The parent may have died before the line above.
                if libc::getppid() != parent {
                    libc::_exit(125);
                }
            }
            if let Some(fd) = keeper_fd {
                keeper::enter(fd);
            }
            libc::umask(0o022);
            limit(libc::RLIMIT_CORE as i32, 0)?;
            if let Some(bytes) = memory_bytes {
                limit(libc::RLIMIT_DATA as i32, bytes)?;
            }
            #[cfg(target_os = "linux")]
            if let Some(ruleset) = &ruleset {
                check(libc::prctl(
                    libc::PR_SET_NO_NEW_PRIVS,
                    1 as libc::c_ulong,
                    0,
                    0,
                    0,
                ))?;
                check(
                    libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) as i32,
                )?;
            }
        }
        let _ = (&ruleset, parent);
        Ok(())
    }
}

/// Lowers a limit of the calling process. Async-signal-safe.
fn limit(resource: i32, value: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value as libc::rlim_t,
        rlim_max: value as libc::rlim_t,
    };
    // SAFETY: the pointer is to a live local.
    check(unsafe { libc::setrlimit(resource as _, &limit) })
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends a signal to every process of a group; a group that is gone is fine.
pub fn kill_group(pgid: i32, signal: i32) {
    debug_assert!(pgid > 1);
    // SAFETY: a system call on plain values.
    unsafe { libc::kill(-pgid, signal) };
}

/// A descriptor that is ready when the process has ended: a pidfd, or, on kernels without, a pipe closed by a thread
/// that waits.
fn exit_fd(pid: i32) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a system call on plain values.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd >= 0 {
            // SAFETY: the kernel just gave us this descriptor.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        }
    }
    exit_fd_by_thread(pid)
}

fn exit_fd_by_thread(pid: i32) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new()
        .name(format!("wait {pid}"))
        .spawn(move || {
            loop {
                // SAFETY: siginfo is plain data, and the pointer is to a live local. WNOWAIT leaves the reaping to `Group`.
                let result = unsafe {
                    let mut info: libc::siginfo_t = std::mem::zeroed();
                    libc::waitid(
                        libc::P_PID,
                        pid as libc::id_t,
                        &mut info,
                        libc::WEXITED | libc::WNOWAIT,
                    )
                };
                if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    break;
                }
            }
            drop(writer);
        })?;
    Ok(reader.into())
}

/// Reads at most `rounds` buffers; at the end of the pipe, closes it.
fn drain(
    stream: Stream,
    reader: &mut Option<PipeReader>,
    buffer: &mut [u8],
    rounds: u32,
    sink: &mut dyn FnMut(Stream, &[u8]),
) {
    for _ in 0..rounds {
        let Some(pipe) = reader else { return };
        match pipe.read(buffer) {
            Ok(0) => *reader = None,
            Ok(n) => sink(stream, &buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *reader = None,
        }
    }
}

fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: system calls on a descriptor the caller holds open.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        check(flags)?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))
    }
}

fn poll_none() -> libc::pollfd {
    libc::pollfd {
        fd: -1,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Sleeps until a descriptor is ready or the deadline has passed; negative descriptors are skipped by the kernel.
fn poll(fds: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<()> {
    let timeout_ms = match deadline {
        None => -1,
        // Rounded up, so that the deadline has passed on waking; longer than 24 days wakes up once in between.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_seen_without_pidfd() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let mut child = spawner::spawn(command).unwrap();
        let fd = exit_fd_by_thread(child.id() as i32).unwrap();
        let mut fds = [libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        poll(&mut fds, Some(Instant::now() + Duration::from_secs(30))).unwrap();
        assert_ne!(fds[0].revents, 0);
        assert_eq!(
            child.wait().unwrap().code(),
            Some(3),
            "looking must not reap"
        );
    }
}
