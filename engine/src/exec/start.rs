//! What a process is to be, as data; and the fork that makes it one.
//!
//! [`Start`] and the open files that go with it ([`Handles`]) say everything: a process made of
//! them here, or in the [`starter`](super::starter) to which they were sent, is the same. Knows
//! nothing of output, limits of time, or ends.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use super::room::Room;
use super::{Grant, keeper, reaper};

/// A program with its arguments, its whole environment and its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// A path, or a name that is looked for in the `PATH` of `env`.
    path: OsString,
    /// What the program takes for its own name, where it is not `path`.
    called: Option<OsString>,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: OsString,
}

impl Program {
    /// Without arguments and with an empty environment.
    pub fn new(path: impl AsRef<OsStr>, dir: impl AsRef<OsStr>) -> Program {
        Program {
            path: path.as_ref().to_owned(),
            called: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: dir.as_ref().to_owned(),
        }
    }

    /// Lets the program take this for its own name.
    pub fn called(&mut self, name: impl AsRef<OsStr>) -> &mut Program {
        self.called = Some(name.as_ref().to_owned());
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Program {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Program {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Program {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.insert(name, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Program {
        for (name, value) in pairs {
            self.env(name, value);
        }
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(name) = &self.called {
            command.arg0(name);
        }
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.dir);
        command
    }
}

/// A process to be.
#[derive(Serialize, Deserialize)]
pub struct Start {
    /// What it runs.
    pub program: Program,
    /// The memory one process may use: `RLIMIT_DATA`, which counts private writable memory.
    /// `RLIMIT_AS` would also count what is only reserved, and stop Go, Java and CUDA programs that
    /// reserve terabytes and use megabytes.
    pub memory_bytes: Option<u64>,
    /// The processors it runs on; any where there is none.
    pub cores: Vec<u32>,
    /// What it sees of the file system, where that is not all of it.
    pub room: Option<Room>,
}

/// The open files of a process to be.
pub struct Handles {
    /// Standard input; empty where there is none.
    pub input: Option<OwnedFd>,
    /// Standard output.
    pub out: OwnedFd,
    /// Standard error.
    pub err: OwnedFd,
    /// The reaper's end of its line.
    pub line: OwnedFd,
    /// A Landlock ruleset to confine it.
    pub ruleset: Option<OwnedFd>,
    /// The socket to the keeper.
    pub keeper: Option<OwnedFd>,
}

impl Start {
    /// Makes it a process, below a reaper. That is what is returned; it ends when the line is
    /// closed.
    ///
    /// # Errors
    /// What [`Command::spawn`] says.
    pub fn begin(self, handles: Handles) -> io::Result<Child> {
        let Handles {
            input,
            out,
            err,
            line,
            ruleset,
            keeper,
        } = handles;
        let mut command = self.program.command();
        command
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(out)
            .stderr(err)
            // The reaper's group, which the terminal's Ctrl-C does not reach.
            .process_group(0);
        // SAFETY: all make system calls only; they neither allocate nor lock.
        unsafe {
            // The reaper is in the room too: the kernel takes a room apart when the last process in
            // it ends, and takes its time. That is then the reaper, for which nobody waits.
            if let Some(room) = self.room {
                command.pre_exec(enter(room, &ruleset));
            }
            command.pre_exec(reaper::stand_between(line.as_raw_fd()));
            command.pre_exec(prepare(keeper, ruleset, self.memory_bytes, &self.cores));
        }
        let child = command.spawn();
        drop(line);
        child
    }

    /// Runs it with the terminal of this process, in its group and without a reaper, and waits for
    /// its end alone: whoever sits at the terminal watches it.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub fn attend(self, ruleset: Option<OwnedFd>) -> io::Result<ExitStatus> {
        let mut command = self.program.command();
        // SAFETY: both make system calls only; they neither allocate nor lock.
        unsafe {
            if let Some(room) = self.room {
                command.pre_exec(enter(room, &ruleset));
            }
            command.pre_exec(prepare(None, ruleset, self.memory_bytes, &self.cores));
        }
        command.status()
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
    keeper: Option<OwnedFd>,
    ruleset: Option<OwnedFd>,
    memory_bytes: Option<u64>,
    cores: &[u32],
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    #[cfg(target_os = "linux")]
    let processors = Grant::processors(cores);
    #[cfg(not(target_os = "linux"))]
    let _ = cores;
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
        if let Some(fd) = &keeper {
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
            let result =
                unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
            if result == -1 {
                return Err(io::Error::last_os_error());
            }
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

/// The reapers that were started and not yet waited for. Each is waited for some time after its
/// end, when the next one is started.
#[derive(Default)]
pub struct Nursery {
    reapers: Vec<Child>,
}

impl Nursery {
    /// [`Start::begin`].
    ///
    /// # Errors
    /// As there.
    pub fn begin(&mut self, start: Start, handles: Handles) -> io::Result<()> {
        self.reapers
            .retain_mut(|reaper| matches!(reaper.try_wait(), Ok(None)));
        self.reapers.push(start.begin(handles)?);
        Ok(())
    }
}
