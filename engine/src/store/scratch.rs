//! Work in progress of one process: `tmp/<owner>/`.
//!
//! The owner holds a flock on `<owner>.lock` beside its directory. The kernel drops it when the
//! owner dies, which also holds across containers that share a store but not their process numbers.
//! Where locks keep nobody out, the name and the time tell (`owner.rs`, `renewal.rs`).

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::dead::take_dead;
use super::error::{StoreError, at};
use super::fresh::{is_same_file, new_file};
use super::owner;
use super::renewal::Renewed;
use crate::dir;
use crate::regular::{self, Links};

/// A private directory in the store, removed when dropped or, after a crash, by the next process.
pub(crate) struct Scratch {
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: Renewed,
    names: AtomicU64,
}

/// Makes and locks a file nobody else has; `None` if somebody does.
pub(crate) fn lock_new(path: &Path) -> Result<Option<File>, StoreError> {
    let options = &mut File::options();
    let file = regular::open_with(path, Links::Refuse, options.create(true).append(true))
        .map_err(at(path, "make the lock file"))?;
    super::shared::give(&file, path);
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        // Without locks the owner's name tells who is dead.
        Err(TryLockError::Error(e)) if is_lockless(&e) => return Ok(Some(file)),
        Err(TryLockError::Error(e)) => return Err(at(path, "lock")(e)),
    }
    Ok(is_same_file(&file, path).then_some(file))
}

/// Writes a file that must not exist.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    new_file(path)?.write_all(bytes)
}

/// The file system has no locks.
pub(crate) fn is_lockless(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM)
    )
}

impl Scratch {
    pub fn start(tmp: &Path) -> Result<Scratch, StoreError> {
        loop {
            let name = owner::new_name();
            let lock_path = tmp.join(format!("{name}.lock"));
            let Some(mut lock) = lock_new(&lock_path)? else {
                continue;
            };
            // For human eyes.
            let _ = lock.write_all(format!("{}\n", owner::host_name()).as_bytes());
            let dir = tmp.join(&name);
            // A dead process of the same number may have left one that was not swept.
            let _ = dir::remove_all(&dir);
            // Nobody else has business in there.
            let private = fs::DirBuilder::new().mode(0o700).create(&dir);
            private.map_err(at(&dir, "make the directory"))?;
            return Ok(Scratch {
                dir,
                lock_path,
                _lock: Renewed::new(lock),
                names: AtomicU64::new(0),
            });
        }
    }

    /// A path in it that was never used.
    pub fn fresh_path(&self) -> PathBuf {
        self.dir
            .join(self.names.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Writes a new file; nothing stays when the disk is full in the middle.
    pub fn write_fresh(&self, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.fresh_path();
        let write = || {
            let mut file = new_file(&path)?;
            file.write_all(bytes)?;
            // What it becomes is made young by whoever uses it.
            super::shared::give(&file, &self.dir);
            Ok(())
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&path);
            at(&self.dir, "write to the store")(e)
        })?;
        Ok(path)
    }
}

impl Scratch {
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Directory first: a directory without a live lock is fair game for anybody's sweep.
        if dir::remove_all(&self.dir).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// Removes what dead processes left. Never fails: at worst space is freed later.
pub(crate) fn sweep(tmp: &Path) {
    let Ok(entries) = dir::read(tmp) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "lock") {
            continue;
        }
        if let Some(_held) = take_dead(&path) {
            let dir = path.with_extension("");
            let _ = dir::remove_all(&dir);
            // Another user's work is swept by that user: without the lock file nobody would look
            // for it any more.
            if !dir.exists() {
                let _ = fs::remove_file(&path);
            }
        }
    }
}
