//! The private directory of one execution: its layout, and its end.
//!
//! ```text
//! DIR/work/   the working directory: inputs, outputs, and for workers job.json and outcome.json
//! DIR/tmp/    where temporary files go (`walls.rs`), and HOME of a command: one directory less to make and remove
//! DIR/states/ resumable states a worker offers
//! DIR/log     the log, out of the process's reach
//! ```
//! Knows nothing of what is placed there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A private directory that exists.
pub struct PrivateDir {
    /// See the module.
    pub work: PathBuf,
    /// See the module.
    pub tmp: PathBuf,
    /// See the module.
    pub states: PathBuf,
    /// See the module.
    pub log: PathBuf,
}

impl PrivateDir {
    /// Makes it. What a killed execution left at `dir` is removed; anything else there is an error.
    pub fn create(dir: &Path) -> io::Result<PrivateDir> {
        if let Err(e) = make(dir) {
            match e.kind() {
                io::ErrorKind::NotFound => {
                    if let Some(parent) = dir.parent() {
                        fs::create_dir_all(parent)?;
                    }
                }
                io::ErrorKind::AlreadyExists if dir.join("work").is_dir() || is_empty(dir) => {
                    discard(dir)?;
                }
                _ => return Err(e),
            }
            make(dir)?;
        }
        // Symlinks on the way (a /tmp that is one) would hide that a path the process reports lies
        // in here.
        let this = PrivateDir::at(dir.canonicalize()?);
        make(&this.work)?;
        Ok(this)
    }

    /// One that an execution left.
    pub fn open(dir: &Path) -> io::Result<PrivateDir> {
        let this = PrivateDir::at(dir.canonicalize()?);
        fs::metadata(&this.work).map(|_| this)
    }

    fn at(dir: PathBuf) -> PrivateDir {
        PrivateDir {
            work: dir.join("work"),
            tmp: dir.join("tmp"),
            states: dir.join("states"),
            log: dir.join("log"),
        }
    }

    /// Adds the directories of a command.
    pub fn for_command(&self) -> io::Result<()> {
        match make(&self.tmp) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Adds the directories of a worker.
    pub fn for_worker(&self) -> io::Result<()> {
        make(&self.tmp)?;
        make(&self.states)
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

fn is_empty(dir: &Path) -> bool {
    crate::dir::read(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Removes a private directory, also where a command left directories it made read-only. One that
/// is gone is fine.
///
/// # Errors
/// When something in it cannot be removed.
pub fn discard(dir: &Path) -> io::Result<()> {
    crate::dir::remove_all(dir)
}
