//! Single flight: one lock per action, so that two runs do not do the same work at once.
//!
//! Only work is at stake: results are right without it. The kernel frees the lock with its owner, however that ends. Waiting
//! asks again every 5 to 100 ms instead of sleeping in the kernel, so that the caller can give up (Ctrl-C) at any time.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;

use super::Store;
use super::error::{StoreError, at};
use super::session::{is_lockless, is_same_file};

/// Held while an action runs; dropping frees it.
#[derive(Debug)]
pub struct ActionLock {
    path: PathBuf,
    _file: File,
}

/// Somebody else is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The process that holds the lock, if it has said so; on a shared file system it may be one of another machine.
    pub pid: Option<u32>,
}

impl Drop for ActionLock {
    fn drop(&mut self) {
        // Removed while held: who waits for this file notices that it has no name any more, and takes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Takes the action's lock if it is free.
    pub fn try_lock_action(&self, key: &Digest) -> Result<Result<ActionLock, Waiting>, StoreError> {
        let path = self.root.join("locks").join(key.hex());
        loop {
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(at(&path, "make the lock file"))?;
            super::shared::give(&file, &path);
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let pid = fs::read_to_string(&path)
                        .ok()
                        .and_then(|text| text.lines().last()?.parse().ok());
                    return Ok(Err(Waiting { pid }));
                }
                Err(TryLockError::Error(e)) if is_lockless(&e) => {}
                Err(TryLockError::Error(e)) => return Err(at(&path, "lock")(e)),
            }
            if is_same_file(&file, &path) {
                // For the eyes of those who wait; a full disk must not matter.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
                return Ok(Ok(ActionLock { path, _file: file }));
            }
        }
    }

    /// The actions that are being executed now, by whatever process. Nobody is kept from taking a lock but for an instant.
    pub fn running_actions(&self) -> Vec<(Digest, Waiting)> {
        let mut running = Vec::new();
        for entry in fs::read_dir(self.root.join("locks"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let key = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(key), Ok(file)) = (key, File::open(entry.path()))
                && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
            {
                let pid = fs::read_to_string(entry.path())
                    .ok()
                    .and_then(|text| text.lines().last()?.parse().ok());
                running.push((key, Waiting { pid }));
            }
        }
        running
    }

    /// Takes the action's lock, waiting as long as `on_wait` (called at least every 100 ms) says `Continue`.
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] after `Break`; otherwise trouble with the lock file.
    pub fn lock_action(
        &self,
        key: &Digest,
        mut on_wait: impl FnMut(Waiting) -> ControlFlow<()>,
    ) -> Result<ActionLock, StoreError> {
        let mut pause = Duration::from_millis(5);
        loop {
            match self.try_lock_action(key)? {
                Ok(lock) => return Ok(lock),
                Err(waiting) => {
                    if on_wait(waiting).is_break() {
                        return Err(StoreError::Cancelled);
                    }
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}
