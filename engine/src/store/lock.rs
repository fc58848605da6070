//! Single flight: one lock per action, so that two runs do not do the same work at once.
//!
//! Only work is at stake: results are right without it. The kernel frees the lock with its owner,
//! however that ends. Waiting asks again every 5 to 100 ms instead of sleeping in the kernel, so
//! that the caller can give up (Ctrl-C) at any time.
//!
//! The lock file appears under its name by one rename, locked and with its owner's name in it. So
//! one of several machines has it even where each is granted locks for itself, and the others know
//! whom they wait for.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;

use super::Store;
use super::dead;
use super::error::{StoreError, at};
use super::fresh::is_same_file;
use super::owner;
use super::renewal::Renewed;
use super::scratch::{is_lockless, lock_new};
use super::sys::rename_noreplace;
use crate::regular::{self, Links};

/// Held while an action runs; dropping frees it.
#[derive(Debug)]
pub struct ActionLock {
    path: PathBuf,
    file: Renewed,
}

/// Somebody else is at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The process that holds the lock, if it has said so.
    pub pid: Option<u32>,
    /// The machine it runs on, if that is another one.
    pub host: Option<String>,
}

impl Drop for ActionLock {
    fn drop(&mut self) {
        // Removed while held: who waits for this file notices that it has no name any more, and
        // takes a new one. It is another's by now if this machine slept for so long that it was
        // taken for dead.
        if is_same_file(self.file.file(), &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who holds a lock file, by what it says: owner, machine, process.
fn waiting(file: &File) -> Waiting {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 512];
    let n = file.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..n]);
    let mut lines = text.lines().skip(1);
    let host = lines.next().map(str::to_owned);
    Waiting {
        host: host.filter(|host| *host != owner::host_name()),
        pid: lines.next().and_then(|line| line.parse().ok()),
    }
}

impl Store {
    /// Takes the action's lock if it is free.
    pub fn try_lock_action(&self, key: &Digest) -> Result<Result<ActionLock, Waiting>, StoreError> {
        let path = self.lock_path(key);
        // Where a client remembers that a name was free, or somebody is faster each time, the
        // caller asks again later.
        for _ in 0..8 {
            let options = &mut File::options();
            match regular::open_with(&path, Links::Refuse, options.read(true).append(true)) {
                Ok(file) => {
                    let lock = match file.try_lock() {
                        Err(TryLockError::Error(e)) if !is_lockless(&e) => {
                            return Err(at(&path, "lock")(e));
                        }
                        other => other,
                    };
                    if !dead::is_dead(&file, &path, &lock) {
                        return Ok(Err(waiting(&file)));
                    }
                    // The name is free then for one of all who want it.
                    if is_same_file(&file, &path) {
                        match fs::remove_file(&path) {
                            Err(e) if e.kind() != ErrorKind::NotFound => {
                                return Err(at(&path, "remove the lock of a dead process")(e));
                            }
                            _ => {}
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    if let Some(lock) = self.make_lock(&path)? {
                        return Ok(Ok(lock));
                    }
                }
                Err(e) => return Err(at(&path, "open the lock file")(e)),
            }
        }
        Ok(Err(Waiting {
            pid: None,
            host: None,
        }))
    }

    /// Makes a lock file; `None` if another process is faster.
    fn make_lock(&self, path: &Path) -> Result<Option<ActionLock>, StoreError> {
        let own = self.root.join("locks").join(owner::new_name());
        let Some(mut file) = lock_new(&own)? else {
            return Ok(None);
        };
        // A full disk must not matter.
        let (host, pid) = (owner::host_name(), std::process::id());
        let _ = file.write_all(format!("{}\n{host}\n{pid}\n", owner::own()).as_bytes());
        match rename_noreplace(&own, path) {
            Ok(true) => Ok(Some(ActionLock {
                path: path.to_owned(),
                file: Renewed::new(file),
            })),
            Ok(false) => {
                let _ = fs::remove_file(&own);
                Ok(None)
            }
            Err(e) => {
                let _ = fs::remove_file(&own);
                Err(at(path, "make the lock file")(e))
            }
        }
    }

    /// The file of an action's lock.
    pub(super) fn lock_path(&self, key: &Digest) -> PathBuf {
        self.root.join("locks").join(key.hex())
    }

    /// The actions that are being executed now, by whatever process. Nobody is kept from taking a
    /// lock but for an instant.
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
                && !dead::is_dead(&file, &entry.path(), &file.try_lock_shared())
            {
                running.push((key, waiting(&file)));
            }
        }
        running
    }

    /// Takes the action's lock, waiting as long as `on_wait` (called at least every 100 ms) says
    /// `Continue`.
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
