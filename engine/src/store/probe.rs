//! Trying out what the file system of a store can do, and whether its locks hold between machines.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use crate::digest::Digest;
use crate::dir::{self, c_path};
use crate::regular::{self, Links};

use super::dead;
use super::error::{StoreError, at};
use super::filesystem::FileSystem;
use super::fresh::new_file;
use super::lock::{ActionLock, Waiting};
use super::renewal::INTERVAL;
use super::scratch::write_new;
use super::sys::{FileStat, Renamed, rename_if_free};
use super::{Store, shared};

/// What a file system can do, tried out where the store lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its sort.
    pub file_system: FileSystem,
    /// What locks do between two processes of this machine.
    pub locks: Locks,
    /// A file can have two names.
    pub hard_links: bool,
    /// Two files can share blocks.
    pub reflinks: bool,
    /// A file can take the name of another in one step.
    pub renames_over: bool,
    /// A file can take a name in one step if it is free, and is told if it is not.
    pub renames_if_free: bool,
    /// `a` and `A` are two names.
    pub case_counts: bool,
    /// The finest step of times it keeps, in nanoseconds; `None` where it keeps none that are set.
    pub time_step_ns: Option<i64>,
}

/// What a lock is worth between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// One process has it.
    Kept,
    /// Everybody is granted it.
    Ignored,
    /// The file system has none.
    Missing,
    /// It could not be tried.
    Unknown,
}

/// What a look at the lock for trying says.
#[derive(Debug)]
pub enum LockProbe {
    /// Nobody had it: it is held while this lives, for another machine to look.
    Held(ActionLock),
    /// A process of this machine has it: nothing is learnt.
    HeldHere(Waiting),
    /// Another machine has it, and it was refused here: locks hold between the two.
    Kept(Waiting),
    /// Another machine has it and lives, and it was granted here all the same.
    Ignored(Waiting),
    /// Another machine had it, and nothing is heard of it any more.
    Gone(Waiting),
}

impl Store {
    /// Tries out the file system, in a directory of this process.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn probe(&self) -> Result<Probe, StoreError> {
        let dir = self.scratch()?.fresh_path();
        shared::make_dirs(&dir).map_err(at(&dir, "make the directory"))?;
        let probe = try_out(&dir).map_err(at(&dir, "try out the file system"));
        let _ = dir::remove_all(&dir);
        probe
    }

    /// Takes the lock for trying, or finds out what is wrong with another machine's. That takes up
    /// to three renewals where locks are granted to both.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn probe_lock(&self) -> Result<LockProbe, StoreError> {
        let key = Digest::of(b"the lock for trying");
        let by = match self.try_lock_action(&key)? {
            Ok(lock) => return Ok(LockProbe::Held(lock)),
            Err(by) => by,
        };
        let path = self.lock_path(&key);
        let options = &mut File::options();
        options.read(true).append(true);
        let begun = Instant::now();
        let mut first = None;
        loop {
            // Opened each time: then a client of a server asks it for the times.
            let Ok(file) = regular::open_with(&path, Links::Refuse, options) else {
                return Ok(LockProbe::Gone(by));
            };
            if dead::is_alive(&file, &path) == Some(true) {
                return Ok(LockProbe::HeldHere(by));
            }
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return Ok(LockProbe::Kept(by));
            }
            let meta = file.metadata().map_err(at(&path, "look at it"))?;
            let stamp = FileStat::of(&meta).mtime_ns;
            match first {
                None => first = Some(stamp),
                Some(first) if stamp != first => return Ok(LockProbe::Ignored(by)),
                Some(_) if begun.elapsed() > INTERVAL * 3 => return Ok(LockProbe::Gone(by)),
                Some(_) => {}
            }
            drop(file);
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn try_out(dir: &Path) -> std::io::Result<Probe> {
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.join(name));
    write_new(&a, b"a")?;
    write_new(&b, b"b")?;
    let hard_links = fs::hard_link(&a, &c).is_ok();
    let _ = fs::remove_file(&c);
    let reflinks = reflink_copy::reflink_file(&File::open(&a)?, &new_file(&c)?).is_ok();
    let _ = fs::remove_file(&c);
    let case_counts = fs::symlink_metadata(dir.join("A")).is_err();
    let renames_if_free = matches!(rename_if_free(&a, &b), Ok(Renamed::Taken));
    let renames_over = fs::rename(&a, &b).is_ok() && fs::read(&b).is_ok_and(|text| text == b"a");
    Ok(Probe {
        file_system: FileSystem::of(dir),
        locks: try_locks(&b)?,
        hard_links,
        reflinks,
        renames_over,
        renames_if_free,
        case_counts,
        time_step_ns: time_step_ns(&b)?,
    })
}

/// The coarsest step that a time lies on which was set to no round value.
fn time_step_ns(path: &Path) -> std::io::Result<Option<i64>> {
    const SET_NS: i64 = 1_000_000_001_123_456_789;
    let file = File::options().append(true).open(path)?;
    let set = std::time::UNIX_EPOCH + Duration::from_nanos(SET_NS.unsigned_abs());
    if file.set_modified(set).is_err() {
        return Ok(None);
    }
    let kept_ns = FileStat::of(&fs::metadata(path)?).mtime_ns;
    let steps = [
        1,
        100,
        1_000,
        1_000_000,
        10_000_000,
        1_000_000_000,
        2_000_000_000,
    ];
    Ok(steps
        .into_iter()
        .find(|step| SET_NS - SET_NS % step == kept_ns))
}

/// Locks a file here, and asks a process that is made for it whether it is granted the lock too.
fn try_locks(path: &Path) -> std::io::Result<Locks> {
    const GRANTED: i32 = 0;
    const REFUSED: i32 = 1;
    const FAILED: i32 = 2;
    let file = File::options().append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(e)) if super::scratch::is_lockless(&e) => {
            return Ok(Locks::Missing);
        }
        Err(_) => return Ok(Locks::Unknown),
    }
    let path = c_path(path)?;
    // SAFETY: the child makes system calls alone, on a string that was made before, and ends
    // without returning from here.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Ok(Locks::Unknown),
        // SAFETY: as above.
        0 => unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_APPEND);
            let answer = match fd {
                -1 => FAILED,
                fd if libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) == 0 => GRANTED,
                _ => REFUSED,
            };
            libc::_exit(answer)
        },
        child => {
            let waited = Pid::from_raw(child).and_then(|child| {
                loop {
                    match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
                        Err(Errno::INTR) => {}
                        waited => break waited.ok().flatten(),
                    }
                }
            });
            let answer = waited.and_then(|(_, status)| status.exit_status());
            Ok(match answer {
                Some(GRANTED) => Locks::Ignored,
                Some(REFUSED) => Locks::Kept,
                _ => Locks::Unknown,
            })
        }
    }
}
