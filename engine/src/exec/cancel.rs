//! `Cancel`: one switch that stops many executions, in three steps.
//!
//! A waiting execution sleeps in `poll(2)`, so the switch has file descriptors: read ends of pipes whose write ends are
//! closed at the second and at the third step. Knows nothing of signals or terminals.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CancelLevel {
    /// Nothing.
    None,
    /// What runs may finish; nothing new starts.
    Graceful,
    /// What runs is ended: SIGTERM, then SIGKILL when its `grace:` is over.
    Now,
    /// What runs is killed.
    Kill,
}

/// The switch. It only goes up.
pub struct Cancel {
    level: AtomicU8,
    now: Hangup,
    kill: Hangup,
}

/// A pipe that hangs up once.
struct Hangup {
    reader: PipeReader,
    writer: Mutex<Option<PipeWriter>>,
}

impl Hangup {
    fn new() -> std::io::Result<Hangup> {
        let (reader, writer) = std::io::pipe()?;
        let writer = Mutex::new(Some(writer));
        Ok(Hangup { reader, writer })
    }

    fn hang_up(&self) {
        drop(
            self.writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl Cancel {
    /// A switch at [`CancelLevel::None`].
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> std::io::Result<Cancel> {
        Ok(Cancel {
            level: AtomicU8::new(0),
            now: Hangup::new()?,
            kill: Hangup::new()?,
        })
    }

    /// Raises the level; a lower one is ignored.
    pub fn raise(&self, level: CancelLevel) {
        self.level.fetch_max(level as u8, Ordering::SeqCst);
        if level >= CancelLevel::Now {
            self.now.hang_up();
        }
        if level == CancelLevel::Kill {
            self.kill.hang_up();
        }
    }

    /// The level.
    pub fn level(&self) -> CancelLevel {
        match self.level.load(Ordering::SeqCst) {
            0 => CancelLevel::None,
            1 => CancelLevel::Graceful,
            2 => CancelLevel::Now,
            _ => CancelLevel::Kill,
        }
    }

    /// Hangs up at [`CancelLevel::Now`].
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.now.reader.as_fd()
    }

    /// Hangs up at [`CancelLevel::Kill`].
    pub(super) fn kill_fd(&self) -> BorrowedFd<'_> {
        self.kill.reader.as_fd()
    }
}
