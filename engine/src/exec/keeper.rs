//! The keeper: one tiny process per run that kills what is left when a run and its reapers were
//! killed at one stroke.
//!
//! Each execution has a [`reaper`](super::reaper) that kills it when the program dies. Whoever
//! kills both (`pkill -9 -f repro`) ends the command itself too (`PR_SET_PDEATHSIG`), but not what
//! that started. The keeper reads lines `+PGID` and `-PGID` from its standard input, a socket whose
//! other end only the program holds. When the program ends, in whatever way, the socket closes, and
//! the keeper kills every process group still on its list and exits. A child enters itself between
//! fork and exec, so no moment is unguarded.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use rustix::net::SendFlags;
use rustix::process::{Pid, Signal};

static LINE: OnceLock<UnixStream> = OnceLock::new();

/// Starts the keeper of this process: `command` must end up in [`main`] (`EXECUTABLE keeper`). Once
/// per process; later calls do nothing. Executions work without it, less safely.
///
/// # Errors
/// When the process cannot be started.
pub fn start(mut command: Command) -> io::Result<()> {
    if LINE.get().is_some() {
        return Ok(());
    }
    let (ours, theirs) = UnixStream::pair()?;
    // Its own group: Ctrl-C on the terminal goes to the program alone. Root directory: it holds no
    // mount busy.
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()?;
    // A second caller lost the race: its keeper sees the end of its socket and exits.
    let _ = LINE.set(ours);
    Ok(())
}

/// The keeper's whole life; what the hidden subcommand runs.
pub fn main() -> ExitCode {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // rustix sets no dispositions. SAFETY: setting a disposition to SIG_IGN runs no code of
        // ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Some((sign, pgid)) = line.split_at_checked(1) else {
            continue;
        };
        match (sign, pgid.parse::<i32>()) {
            ("+", Ok(pgid)) if pgid > 1 => drop(groups.insert(pgid)),
            ("-", Ok(pgid)) => drop(groups.remove(&pgid)),
            _ => {}
        }
    }
    for pgid in groups {
        if let Some(group) = Pid::from_raw(pgid) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
    ExitCode::SUCCESS
}

/// The socket to the keeper, for [`enter`]. Executions work without it, less safely.
pub(super) fn handle() -> Option<OwnedFd> {
    let line = LINE.get()?.try_clone().ok()?;
    Some(OwnedFd::from(line))
}

/// Enters the calling process, a group leader, in the list. Async-signal-safe: called between fork
/// and exec.
pub(super) fn enter(fd: impl AsFd) {
    tell(fd, b'+', rustix::process::getpid().as_raw_pid());
}

/// Strikes a group off the list: it is dead, and its number not yet free for another.
pub(super) fn leave(pgid: i32) {
    if let Some(line) = LINE.get() {
        tell(line, b'-', pgid);
    }
}

/// Sends one line with no allocation. A dead keeper is ignored: it only ever makes things safer.
fn tell(fd: impl AsFd, sign: u8, pgid: i32) {
    let mut line = [0u8; 16];
    line[15] = b'\n';
    let mut at = 15;
    let mut rest = pgid.unsigned_abs();
    loop {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    at -= 1;
    line[at] = sign;
    // A dead keeper must not kill us by SIGPIPE.
    let _ = rustix::net::send(fd, &line[at..], SendFlags::NOSIGNAL);
}
