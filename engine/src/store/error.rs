//! What can go wrong in the store, as one typed error whose text names the place and the remedy.
//!
//! The variants are the decisions a caller has to make: go on without the cache (`Full`,
//! `ReadOnly`, `Denied`), run the action again (`Corrupt`, `Missing`), blame the stage (`Refused`,
//! `Changed`), or stop.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space, or the quota is used up.
    #[error("{}: the disk is full; free space there, run `repro gc`, or point REPRO_STORE at another disk", path.display())]
    Full {
        /// Where the write failed.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("{}: the file system is read-only; results cannot be cached there; point REPRO_STORE at a writable directory", path.display())]
    ReadOnly {
        /// Where the write failed.
        path: PathBuf,
    },
    /// The user may not do this.
    #[error("{}: permission denied; check who owns it (`ls -ld`), or point REPRO_STORE at a directory of your own", path.display())]
    Denied {
        /// What was refused.
        path: PathBuf,
    },
    /// A place of the user's, and not of the store, does not let us in.
    #[error("{}: {what}; look at its owner and mode, and at those of the directories above it (`ls -ld`)", path.display())]
    Closed {
        /// What was refused.
        path: PathBuf,
        /// `permission denied`, `the file system is read-only`.
        what: &'static str,
    },
    /// Bytes do not match their name. They are out of the way already, if that was possible.
    #[error(
        "{what} in the store is corrupt: {detail}; it is not used, and what needs it runs again (`repro fsck` checks the whole store)"
    )]
    Corrupt {
        /// What it is: `object 0123...`.
        what: String,
        /// What was found, and where the bad bytes are now.
        detail: String,
    },
    /// The store does not hold it.
    #[error("{what} is not in the store; what needs it has to run again")]
    Missing {
        /// What it is.
        what: String,
    },
    /// A file or directory that cannot be an artifact.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The offending entry.
        path: PathBuf,
        /// Why, and what to do instead.
        why: String,
    },
    /// Somebody wrote to it while it was being read or stored.
    #[error("{}: changed while it was being read; make sure that nothing (a process left in the background?) still writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It was there a moment ago, or never.
    #[error("{}: no such file or directory; it may have been removed meanwhile", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// The store was made by another version.
    #[error("{}: {why}", path.display())]
    Format {
        /// The format file.
        path: PathBuf,
        /// What it says, and what to do.
        why: String,
    },
    /// Waiting was given up at the caller's wish.
    #[error("waiting for a lock was given up")]
    Cancelled,
    /// Anything else the operating system reports.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl StoreError {
    /// Results can still be computed, but not kept: the store cannot be written.
    pub fn is_write_refused(&self) -> bool {
        matches!(
            self,
            StoreError::Full { .. } | StoreError::ReadOnly { .. } | StoreError::Denied { .. }
        )
    }

    /// The content is not there (any more): what makes it has to run again.
    pub fn is_miss(&self) -> bool {
        matches!(
            self,
            StoreError::Corrupt { .. } | StoreError::Missing { .. }
        )
    }

    /// A panic on the way.
    pub(crate) fn broken_down(path: &Path, what: &str) -> StoreError {
        StoreError::Io {
            path: path.to_owned(),
            doing: "finish",
            source: io::Error::other(format!("BUG: {what}; please report it")),
        }
    }

    /// What is at and below `place` is the user's: nothing that is done about the store helps
    /// there.
    pub(super) fn where_users(self, place: &Path) -> StoreError {
        match self {
            StoreError::Denied { path } if path.starts_with(place) => StoreError::Closed {
                path,
                what: "permission denied",
            },
            StoreError::ReadOnly { path } if path.starts_with(place) => StoreError::Closed {
                path,
                what: "the file system is read-only",
            },
            other => other,
        }
    }

    pub(crate) fn refused(path: &Path, why: impl Into<String>) -> StoreError {
        StoreError::Refused {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// As [`at`], of a place that is the user's.
pub(crate) fn at_users<'a>(
    path: &'a Path,
    doing: &'static str,
) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| at(path, doing)(source).where_users(path)
}

/// For `map_err`: gives a system error of the store its place and its meaning.
pub(crate) fn at<'a>(path: &'a Path, doing: &'static str) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => StoreError::Full { path },
            Some(libc::EROFS) => StoreError::ReadOnly { path },
            Some(libc::EACCES | libc::EPERM) => StoreError::Denied { path },
            Some(libc::ENOENT) => StoreError::Vanished { path },
            _ => StoreError::Io {
                path,
                doing,
                source,
            },
        }
    }
}
