//! `Cancel`: one switch that stops many executions, in three steps. Each execution has a switch of
//! its own, which goes up with the one it is made from.
//!
//! A waiting execution sleeps in `poll(2)`, so the switch has file descriptors: read ends of pipes
//! whose write ends are closed at the second and at the third step. Knows nothing of signals or
//! terminals.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
    /// Those that go up with it.
    parts: Mutex<Vec<Weak<Cancel>>>,
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
            parts: Mutex::default(),
        })
    }

    /// A switch for a part of what this one stops: it goes up with this one, and by itself.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn part(&self) -> std::io::Result<Arc<Cancel>> {
        let part = Arc::new(Cancel::new()?);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(&part));
        drop(parts);
        // Whoever raises this one from here on finds the part in the list.
        part.raise(self.level());
        Ok(part)
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
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts.iter().filter_map(Weak::upgrade) {
            part.raise(level);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_up_with_the_whole_and_not_the_other_way() {
        let whole = Cancel::new().unwrap();
        let (one, other) = (whole.part().unwrap(), whole.part().unwrap());
        one.raise(CancelLevel::Now);
        assert_eq!(whole.level(), CancelLevel::None);
        assert_eq!(other.level(), CancelLevel::None);
        whole.raise(CancelLevel::Graceful);
        assert_eq!(one.level(), CancelLevel::Now);
        assert_eq!(other.level(), CancelLevel::Graceful);
        whole.raise(CancelLevel::Kill);
        assert_eq!(whole.part().unwrap().level(), CancelLevel::Kill);
        assert_eq!(one.level(), CancelLevel::Kill);
    }
}
