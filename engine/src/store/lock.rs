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
use super::owner::{self, Owner};
use super::session::{is_lockless, is_same_file};
use crate::regular::{self, Links};

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

/// Whether the process that a lock file names lives, as far as that can be known.
fn is_owned(file: &File) -> bool {
    let owner = owner::owner_in(file);
    owner.is_some_and(|text| Owner::parse(&text).and_then(|o| o.is_alive()) == Some(true))
}

fn waiting(file: &File) -> Waiting {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 256];
    let n = file.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..n]);
    Waiting {
        pid: text.lines().last().and_then(|line| line.parse().ok()),
    }
}

impl Store {
    /// Takes the action's lock if it is free.
    pub fn try_lock_action(&self, key: &Digest) -> Result<Result<ActionLock, Waiting>, StoreError> {
        let path = self.root.join("locks").join(key.hex());
        loop {
            let options = &mut File::options();
            options.read(true).create(true).append(true);
            let mut file = regular::open_with(&path, Links::Refuse, options)
                .map_err(at(&path, "make the lock file"))?;
            super::shared::give(&file, &path);
            match file.try_lock() {
                // Where locks keep nobody out, the owner that it names may be at it all the same.
                Ok(()) if is_owned(&file) => return Ok(Err(waiting(&file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(waiting(&file))),
                Err(TryLockError::Error(e)) if is_lockless(&e) => {
                    if is_owned(&file) {
                        return Ok(Err(waiting(&file)));
                    }
                }
                Err(TryLockError::Error(e)) => return Err(at(&path, "lock")(e)),
            }
            if is_same_file(&file, &path) {
                // For those who wait; a full disk must not matter.
                let host = owner::host_name();
                let text = format!("{}\n{host}\n{}\n", owner::own(), std::process::id());
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.write_all(text.as_bytes()));
                return Ok(Ok(ActionLock { path, _file: file }));
            }
        }
    }

    /// The actions that are being executed now, by whatever process. Nobody is kept from taking a lock but for an instant.
    pub fn running_actions(&self) -> Vec<(Digest, Waiting)> {
        let mut running = Vec::new();
        for entry in crate::dir::read(self.root.join("locks"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let key = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(key), Ok(file)) = (key, regular::open(&entry.path(), Links::Refuse))
                && (matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
                    || is_owned(&file))
            {
                running.push((key, waiting(&file)));
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
