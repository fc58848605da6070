//! `Cancel`: one switch that stops many executions, in two steps.
//!
//! A waiting execution sleeps in `poll(2)`, so the switch has a file descriptor: the read end of a pipe whose write end
//! is closed at the second step. Knows nothing of signals or terminals.

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
    /// What runs is ended: SIGTERM, then SIGKILL after two seconds.
    Now,
}

/// The switch. It only goes up.
pub struct Cancel {
    level: AtomicU8,
    reader: PipeReader,
    writer: Mutex<Option<PipeWriter>>,
}

impl Cancel {
    /// A switch at [`CancelLevel::None`].
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> std::io::Result<Cancel> {
        let (reader, writer) = std::io::pipe()?;
        Ok(Cancel {
            level: AtomicU8::new(0),
            reader,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Raises the level; a lower one is ignored.
    pub fn raise(&self, level: CancelLevel) {
        self.level.fetch_max(level as u8, Ordering::SeqCst);
        if level == CancelLevel::Now {
            drop(
                self.writer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
        }
    }

    /// The level.
    pub fn level(&self) -> CancelLevel {
        match self.level.load(Ordering::SeqCst) {
            0 => CancelLevel::None,
            1 => CancelLevel::Graceful,
            _ => CancelLevel::Now,
        }
    }

    /// Hangs up at [`CancelLevel::Now`].
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
