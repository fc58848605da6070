//! The reaper: a process between the program and one execution, which sees to it that nothing of
//! the execution outlives it.
//!
//! ```text
//! repro ── reaper (child subreaper) ── the command, leader of its own session ── whatever it starts
//! ```
//! A process whose parent ends becomes a child of the nearest subreaper above it, so `setsid`, a
//! double fork or a new process group lead nowhere but to the reaper. When the command has ended,
//! the reaper kills its descendants until the kernel says that it has no child left, and only then
//! reports the end: no writer to an output exists any more. When the program dies, in whatever way,
//! the socket between them closes, and the reaper kills everything at once.
//!
//! It is a fork of the program that never executes another file, so it does system calls on its own
//! stack and nothing else: no allocation, no lock. Orders are single bytes ([`Order`]), answers are
//! records of fixed length ([`Report`]).

use std::io::{self};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::reports::{End, Order, RECORD, Report, encode};

/// Stopped processes are looked for after this time, then ever more rarely.
const FIRST_LOOK_MS: i32 = 3_000;
const RAREST_LOOK_MS: i32 = 60_000;
/// How often a process that was killed is killed again, and its new children with it.
const KILL_AGAIN_MS: i32 = 20;
/// A process that SIGKILL does not end in this time (one of another user, a dead disk) is left
/// alone, and told of.
const GIVE_UP_MS: i64 = 20_000;

/// Run between fork and exec: the forked process becomes the reaper and never returns from here; a
/// child of it returns, to become the command. `line` is the reaper's end of a [`Line`].
///
/// The command gets a session of its own: a question to the terminal fails instead of stopping it,
/// and no signal of the terminal reaches it.
pub fn stand_between(line: RawFd) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    move || {
        // SAFETY: plain system calls on values captured by copy, and on locals. `fork` is called in
        // a process with one thread; the child goes on like any forked child.
        unsafe {
            let reaper = libc::getpid();
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong, 0, 0, 0);
            // So that no end of a child is missed between looking and sleeping.
            let mut children: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut children);
            libc::sigaddset(&mut children, libc::SIGCHLD);
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_BLOCK, &children, &mut before);
            match libc::fork() {
                -1 => {
                    let error = io::Error::last_os_error();
                    libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
                    Err(error)
                }
                0 => {
                    libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
                    libc::setsid();
                    REAPER.store(reaper, Ordering::Relaxed);
                    die_with_it();
                    Ok(())
                }
                child => watch(child, line, &children),
            }
        }
    }
}

/// In the command's process: its reaper. Elsewhere, and in a process that has none, 0.
static REAPER: AtomicI32 = AtomicI32::new(0);

/// From here on the calling process, a command before exec, is killed when its reaper, or else its
/// parent, dies. A change of its rights (a new user namespace) undoes that, and comes before.
/// Async-signal-safe.
pub fn die_with_it() {
    #[cfg(target_os = "linux")]
    // SAFETY: plain system calls on plain values.
    unsafe {
        libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL as libc::c_ulong,
            0,
            0,
            0,
        );
        // It may have died before the line above.
        let reaper = REAPER.load(Ordering::Relaxed);
        if reaper != 0 && libc::getppid() != reaper {
            libc::_exit(125);
        }
    }
}

/// The reaper's whole life.
///
/// # Safety
/// The calling process has one thread and nothing else to do.
unsafe fn watch(child: i32, line: RawFd, children: &libc::sigset_t) -> ! {
    // SAFETY: system calls on plain values and on locals that outlive them.
    unsafe {
        for signal in [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGPIPE,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_NAME, c"stage-reaper".as_ptr(), 0, 0, 0);
        libc::chdir(c"/".as_ptr());
        // The log's pipes, the pipe by which exec's failure is told, and whatever else the program
        // had open.
        libc::dup2(line, 0);
        close_from(1);
        let ends = end_of_children(children);

        let mut status = None;
        let (mut told_to_end, mut killing, mut orphan) = (false, None, false);
        let mut look_ms = FIRST_LOOK_MS;
        let mut suspect = 0;
        loop {
            let remaining = reap(child, &mut status);
            if !remaining {
                finish(child, status, None, orphan);
            }
            if status.is_some() && !told_to_end && killing.is_none() {
                killing = Some(now_ms());
            }
            if let Some(since) = killing {
                signal_all(child, &[libc::SIGKILL]);
                if now_ms() - since > GIVE_UP_MS {
                    finish(child, status, first_descendant(), orphan);
                }
            }
            let mut fds = [
                libc::pollfd {
                    fd: if orphan { -1 } else { 0 },
                    events: libc::POLLIN,
                    revents: 0,
                },
                libc::pollfd {
                    fd: ends,
                    events: libc::POLLIN,
                    revents: 0,
                },
            ];
            let mut timeout = if killing.is_some() {
                KILL_AGAIN_MS
            } else {
                look_ms
            };
            if ends < 0 {
                timeout = timeout.min(KILL_AGAIN_MS);
            }
            let ready = libc::poll(fds.as_mut_ptr(), 2, timeout);
            if fds[1].revents != 0 {
                let mut info = [0u8; 256];
                libc::read(ends, info.as_mut_ptr().cast(), info.len());
            }
            if fds[0].revents != 0 {
                let mut order = [0u8; 1];
                match libc::read(0, order.as_mut_ptr().cast(), 1) {
                    1 if order[0] == Order::Terminate as u8 => {
                        told_to_end = true;
                        signal_all(child, &[libc::SIGTERM, libc::SIGCONT]);
                    }
                    1 => killing = killing.or(Some(now_ms())),
                    n if n == 0 || !interrupted() => {
                        orphan = true;
                        killing = killing.or(Some(now_ms()));
                    }
                    _ => {}
                }
            }
            if ready == 0 && killing.is_none() && ends >= 0 {
                let stopped = first_stopped();
                if stopped != 0 && stopped == suspect {
                    send(&encode(Report::Stopped { pid: stopped }));
                    look_ms = look_ms.saturating_mul(2).min(RAREST_LOOK_MS);
                }
                if stopped == 0 {
                    look_ms = look_ms.saturating_mul(2).min(RAREST_LOOK_MS);
                } else if stopped != suspect {
                    // Looked at again soon: it may be stopped for a moment only.
                    look_ms = FIRST_LOOK_MS;
                }
                suspect = stopped;
            }
        }
    }
}

/// Says how it ended, and ends.
unsafe fn finish(leader: i32, status: Option<i32>, left: Option<i32>, orphan: bool) -> ! {
    // SAFETY: system calls on locals.
    unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut used);
        let us = |t: libc::timeval| (t.tv_sec as u64) * 1_000_000 + t.tv_usec as u64;
        if !orphan {
            send(&encode(Report::Ended(End {
                leader,
                // Killed with the rest before its end was seen.
                status: status.unwrap_or(libc::SIGKILL),
                left,
                cpu: Duration::from_micros(us(used.ru_utime) + us(used.ru_stime)),
                max_rss: used.ru_maxrss as u64,
            })));
        }
        libc::_exit(0)
    }
}

unsafe fn send(record: &[u8; RECORD]) {
    // SAFETY: the slice is valid for its length; SIGPIPE is ignored here.
    unsafe { libc::write(0, record.as_ptr().cast(), record.len()) };
}

fn interrupted() -> bool {
    io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
}

/// Takes the end of every child that has ended; `false` when there is no child any more.
unsafe fn reap(child: i32, status: &mut Option<i32>) -> bool {
    loop {
        let mut how = 0;
        // SAFETY: the pointer is to a live local.
        match unsafe { libc::waitpid(-1, &mut how, libc::WNOHANG) } {
            0 => return true,
            -1 if interrupted() => {}
            -1 => return false,
            pid if pid == child => *status = Some(how),
            _ => {}
        }
    }
}

unsafe fn now_ms() -> i64 {
    // SAFETY: the pointer is to a live local.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time.tv_sec as i64 * 1000 + time.tv_nsec as i64 / 1_000_000
    }
}

/// A descriptor that is ready when a child has ended; -1 where there is none, and then children are
/// looked at by the clock.
unsafe fn end_of_children(children: &libc::sigset_t) -> RawFd {
    #[cfg(target_os = "linux")]
    // SAFETY: a system call on a live set.
    return unsafe { libc::signalfd(-1, children, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = children;
        -1
    }
}

unsafe fn close_from(first: RawFd) {
    // SAFETY: nothing in this process uses a descriptor but the ones it opens after this.
    unsafe {
        #[cfg(target_os = "linux")]
        if libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) == 0 {
            return;
        }
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        for fd in first..(limit.rlim_cur.min(1 << 20) as RawFd) {
            libc::close(fd);
        }
    }
}

#[cfg(target_os = "linux")]
use family::{first_descendant, first_stopped, signal_all};

/// Everything below this process, from `/proc`.
#[cfg(target_os = "linux")]
mod family {
    use super::RawFd;

    /// More processes than this on one machine are not all seen in one look; the next look sees
    /// others.
    const SEEN_MAX: usize = 16 << 10;

    #[derive(Clone, Copy)]
    struct Process {
        pid: i32,
        parent: i32,
        state: u8,
        is_ours: bool,
    }

    const NOBODY: Process = Process {
        pid: 0,
        parent: 0,
        state: 0,
        is_ours: false,
    };

    /// Sends signals to every descendant; where `/proc` shows none, to the group of `child`.
    pub unsafe fn signal_all(child: i32, signals: &[i32]) {
        let mut found = false;
        // SAFETY: system calls on plain values.
        unsafe {
            each_descendant(&mut |process| {
                found = true;
                signal_one(process, signals);
                true
            });
            for signal in signals.iter().filter(|_| !found) {
                libc::kill(-child, *signal);
            }
        }
    }

    /// Of its descendants one that still lives.
    pub unsafe fn first_descendant() -> Option<i32> {
        let mut first = None;
        // SAFETY: see below.
        unsafe {
            each_descendant(&mut |process| {
                first = Some(process.pid);
                false
            });
        };
        first
    }

    /// The first descendant that is stopped, 0 for none. One under a debugger is none.
    pub unsafe fn first_stopped() -> i32 {
        let mut first = 0;
        // SAFETY: see below.
        unsafe {
            each_descendant(&mut |process| {
                if process.state == b'T' {
                    first = process.pid;
                }
                first == 0
            });
        };
        first
    }

    /// Through a descriptor of the process, where the kernel has them: its number may have passed
    /// to another by now.
    unsafe fn signal_one(process: &Process, signals: &[i32]) {
        // SAFETY: system calls on plain values.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, process.pid, 0) as RawFd;
            let is_same = stat_of(process.pid).is_some_and(|now| now.parent == process.parent);
            for signal in signals {
                if fd >= 0 && is_same {
                    libc::syscall(libc::SYS_pidfd_send_signal, fd, *signal, 0, 0);
                } else if fd < 0 {
                    libc::kill(process.pid, *signal);
                }
            }
            if fd >= 0 {
                libc::close(fd);
            }
        }
    }

    /// Calls `each` for every living descendant until it says `false`.
    unsafe fn each_descendant(each: &mut dyn FnMut(&Process) -> bool) {
        // SAFETY: system calls on locals.
        let me = unsafe { libc::getpid() };
        let mut seen = [NOBODY; SEEN_MAX];
        // SAFETY: as above.
        let count = unsafe { look(&mut seen) };
        let seen = &mut seen[..count];
        // `/proc` lists by number; a new process may have come in between all the same.
        seen.sort_unstable_by_key(|p| p.pid);
        // Parents mostly have lower numbers than their children, so this ends after few rounds.
        loop {
            let mut changed = false;
            for at in 0..seen.len() {
                let parent = seen[at].parent;
                let is_ours = parent == me
                    || seen
                        .binary_search_by_key(&parent, |p| p.pid)
                        .is_ok_and(|i| seen[i].is_ours);
                if is_ours && !seen[at].is_ours {
                    seen[at].is_ours = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        for process in seen.iter() {
            if process.is_ours && process.state != b'Z' && process.state != b'X' && !each(process) {
                return;
            }
        }
    }

    unsafe fn look(seen: &mut [Process; SEEN_MAX]) -> usize {
        let mut count = 0;
        // SAFETY: system calls on locals; offsets come from the kernel's own records, which lie
        // inside the buffer.
        unsafe {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
            let proc = libc::open(c"/proc".as_ptr(), flags);
            if proc < 0 {
                return 0;
            }
            let mut buffer = [0u8; 16 << 10];
            loop {
                let got = libc::syscall(
                    libc::SYS_getdents64,
                    proc,
                    buffer.as_mut_ptr(),
                    buffer.len(),
                );
                if got <= 0 {
                    break;
                }
                let mut at = 0;
                while at + 19 < got as usize && count < SEEN_MAX {
                    // d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name.
                    let length = u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]) as usize;
                    if length == 0 {
                        break;
                    }
                    let name = &buffer[at + 19..(at + length).min(buffer.len())];
                    if let Some(process) = number(name).and_then(stat_of) {
                        seen[count] = process;
                        count += 1;
                    }
                    at += length;
                }
            }
            libc::close(proc);
        }
        count
    }

    /// A number that is a whole name.
    fn number(name: &[u8]) -> Option<i32> {
        let mut value: i32 = 0;
        for (at, byte) in name.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    value = value.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
                }
                0 if at > 0 => return Some(value),
                _ => return None,
            }
        }
        None
    }

    fn stat_of(pid: i32) -> Option<Process> {
        // "/proc/" + 10 digits + "/stat" + NUL
        let mut path = [0u8; 24];
        path[..6].copy_from_slice(b"/proc/");
        let mut digits = [0u8; 10];
        let (mut rest, mut n) = (pid.unsigned_abs(), 0);
        while rest > 0 || n == 0 {
            digits[n] = b'0' + (rest % 10) as u8;
            rest /= 10;
            n += 1;
        }
        for i in 0..n {
            path[6 + i] = digits[n - 1 - i];
        }
        path[6 + n..6 + n + 5].copy_from_slice(b"/stat");
        let mut text = [0u8; 512];
        // SAFETY: the path ends in NUL, since the array was zero beyond it; the buffer is valid for
        // its length.
        let got = unsafe {
            let fd = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
            if fd < 0 {
                return None;
            }
            let got = libc::read(fd, text.as_mut_ptr().cast(), text.len());
            libc::close(fd);
            got
        };
        let text = &text[..usize::try_from(got).ok()?];
        // `pid (name) S ppid ...`; the name may hold anything.
        let after = text.iter().rposition(|b| *b == b')')? + 2;
        let state = *text.get(after)?;
        let mut parent: i32 = 0;
        for byte in text.get(after + 2..)? {
            match byte {
                b'0'..=b'9' => {
                    parent = parent
                        .checked_mul(10)?
                        .checked_add(i32::from(byte - b'0'))?;
                }
                _ => break,
            }
        }
        Some(Process {
            pid,
            parent,
            state,
            is_ours: false,
        })
    }
}

/// Elsewhere nothing tells who descends from whom: the group is reached.
#[cfg(not(target_os = "linux"))]
unsafe fn signal_all(child: i32, signals: &[i32]) {
    for signal in signals {
        // SAFETY: a system call on plain values.
        unsafe { libc::kill(-child, *signal) };
    }
}
#[cfg(not(target_os = "linux"))]
unsafe fn first_stopped() -> i32 {
    0
}
#[cfg(not(target_os = "linux"))]
unsafe fn first_descendant() -> Option<i32> {
    None
}
