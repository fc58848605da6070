//! The local store: objects named by their bytes, results named by their keys, shared by all
//! projects of a user.
//!
//! This file decides the layout on the disk and what opening does. What a stage is, what a key is
//! made of, and what a remote holds is unknown here. Three rules carry everything else:
//!
//! 1. A name appears by one rename of finished bytes, so nobody ever sees half an object or half a
//!    record.
//! 2. A record is written after the objects it names are durable ([`Store::commit`]).
//! 3. No lock guards correctness between runs; only [`Store::gc`] keeps committers out while it
//!    sweeps.
//!
//! ```text
//! format                 "repro store 1\n"
//! objects/ab/<62 hex>    files, mode 0444; the name is the plain BLAKE3 of the bytes
//! trees/ab/<62 hex>      listings of directories
//! actions/ab/<62 hex of the key>/<result digest>   one record per distinct result
//! envelopes/  divergence/    signatures under results, and accounts of other bits (`notes.rs`)
//! states/ab/<62 hex>     where computations can be resumed
//! pins/  leases/         what gc must keep: at the user's wish, or because a process uses it
//! locks/                 single flight per action
//! projects/              which projects use the store, so that gc of one keeps the results of the others
//! tmp/<scratch>/         work in progress of one process (`shared.rs`: a whole group may share a store)
//! quarantine/            corrupt bytes, out of the way
//! seals  gc.lock         see `seals.rs`, `gc.rs`
//! ```

mod actions;
mod commit;
mod copy;
mod dead;
mod error;
mod evict;
mod filesystem;
mod fresh;
mod freshen;
mod fsck;
mod gc;
mod guests;
mod input;
mod lease;
mod lock;
mod manifest;
mod notes;
mod objects;
mod observation;
mod owner;
mod place;
mod probe;
mod projects;
mod receive;
mod renewal;
mod scratch;
mod seals;
mod shared;
mod stat;
mod stat_file;
mod states;
mod sys;
#[cfg(test)]
mod tests;
mod tree;
mod views;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, OnceLock};

pub use actions::Record;
pub use commit::{Committed, Pending};
pub use copy::{copy_contents, copy_file};
pub use error::StoreError;
pub use filesystem::{FileSystem, Reach};
pub use fsck::{Finding, FsckReport, Remedy};
pub use gc::{GcPlan, GcPolicy, GoneAction, Root};
pub use input::{InputTree, Parts};
pub use lease::Lease;
pub use lock::{ActionLock, Waiting};
pub use objects::Staged;
pub use observation::{Fact, Observation};
pub use owner::host_name;
pub use place::{LinkMode, ViewMode};
pub use probe::{LockProbe, Locks, Probe};
pub use receive::Receiving;
pub use stat::{Look, StatCache};
pub use tree::{BadEntry, BadListing, Listing, Node, Part};

use crate::digest::Digest;
use crate::regular::{self, Links};
pub(crate) use sys::{Renamed, rename_if_free, touch};

use error::at;
use scratch::Scratch;

/// What this version reads and writes.
const FORMAT: &str = "repro store 1\n";
const DIRS: [&str; 12] = [
    "objects",
    "trees",
    "actions",
    "states",
    "pins",
    "leases",
    "locks",
    "tmp",
    "quarantine",
    "projects",
    "envelopes",
    "divergence",
];
/// Made when they are needed.
const OTHERS: [&str; 4] = ["format", "seals", "gc.lock", "views"];
/// Those with a directory for each beginning of a name.
const NAMED: [&str; 7] = [
    "objects",
    "trees",
    "actions",
    "states",
    "envelopes",
    "divergence",
    "views",
];

/// An open store. Cheap to share by reference between threads; any number of processes may have the
/// same one open.
pub struct Store {
    root: PathBuf,
    /// The same, open.
    dir: Option<OwnedFd>,
    seals: seals::Seals,
    scratch: OnceLock<Scratch>,
    /// Makes concurrent first writes make one scratch directory, not two.
    starting: Mutex<()>,
    lease: OnceLock<Lease>,
    /// What changed before this is on the disk.
    synced_ns: AtomicI64,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

impl Store {
    /// Opens the store at `root`, making it if there is none. A store that cannot be written
    /// (read-only mount, full disk, somebody else's) opens all the same and serves what it has; the
    /// first write then fails with an error for which [`StoreError::is_write_refused`] holds.
    ///
    /// # Errors
    /// There is no store and none can be made, or it is of another format.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let root = std::path::absolute(root).map_err(at(root, "find the store"))?;
        let format = root.join("format");
        guests::refuse_strangers(&root, &DIRS, &OTHERS)?;
        match regular::read(&format, Links::Refuse, 4096) {
            Ok(text) if text == FORMAT.as_bytes() => {}
            Ok(text) => {
                let found = String::from_utf8_lossy(&text[..text.len().min(40)])
                    .trim()
                    .escape_debug()
                    .to_string();
                let why = format!(
                    "the store says it is `{found}`, this program needs `{}`; use the version of `repro` that made it, or \
                     point REPRO_STORE at another directory",
                    FORMAT.trim()
                );
                return Err(StoreError::Format { path: format, why });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(&root, &format)?,
            Err(e) => return Err(at(&format, "read the format")(e)),
        }
        Ok(Store {
            dir: sys::open_dir(&root),
            seals: seals::Seals::new(root.join("seals")),
            root,
            scratch: OnceLock::new(),
            starting: Mutex::new(()),
            lease: OnceLock::new(),
            synced_ns: AtomicI64::new(i64::MIN),
            warn: Box::new(|text| log::warn!("{text}")),
        })
    }

    /// Sends warnings (a corrupt record that was skipped, an object moved aside) somewhere else
    /// than the log.
    pub fn with_warnings(mut self, warn: impl Fn(&str) + Send + Sync + 'static) -> Store {
        self.warn = Box::new(warn);
        self
    }

    /// Where it is, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says whether results can be kept, by starting to: the error is the one every write would
    /// give.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.scratch().map(|_| ())
    }

    /// Bytes that can still be written to its disk, where that is known.
    pub fn free_bytes(&self) -> Option<u64> {
        sys::free_bytes(&self.root)
    }

    fn warning(&self, text: &str) {
        (self.warn)(text);
    }

    /// `<root>/<dir>/ab/<62 hex>`.
    fn named(&self, dir: &str, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.root.join(dir);
        path.push(&hex[..2]);
        path.push(&hex[2..]);
        path
    }

    fn scratch(&self) -> Result<&Scratch, StoreError> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        let _starting = self.starting.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        // Once for all that this process will write.
        guests::refuse_links_in(&self.root, &NAMED)?;
        let tmp = self.root.join("tmp");
        scratch::sweep(&tmp);
        let scratch = Scratch::start(&tmp)?;
        Ok(self.scratch.get_or_init(|| scratch))
    }

    /// A directory of this process on the store's file system, for private directories: what is
    /// made there can become an object by a rename. Swept when the process is gone.
    pub fn work_dir(&self) -> Result<PathBuf, StoreError> {
        let dir = self.scratch()?.dir().join("work");
        shared::make_dirs(&dir).map_err(at(&dir, "make the directory"))?;
        Ok(dir)
    }

    /// The directories links to artifacts point into.
    pub fn object_roots(&self) -> std::sync::Arc<[PathBuf]> {
        [self.root.join("objects"), self.root.join("states")].into()
    }

    /// Held shared by whoever adds names, exclusively by gc while it removes some.
    fn gc_lock(&self) -> Result<File, StoreError> {
        let path = self.root.join("gc.lock");
        let options = &mut File::options();
        let lock = regular::open_with(&path, Links::Refuse, options.create(true).append(true))
            .map_err(at(&path, "open the lock"))?;
        shared::give(&lock, &path);
        Ok(lock)
    }
}

/// Lays out a new store; `format` comes last, so that a half-made store is completed by the next
/// open.
fn create(root: &Path, format: &Path) -> Result<(), StoreError> {
    if let Ok(mut entries) = crate::dir::read(root)
        && entries.any(|e| {
            e.is_ok_and(|e| {
                !DIRS.iter().any(|d| e.file_name() == **d) && !is_format_tmp(&e.file_name())
            })
        })
        && !format.exists()
    {
        let why = "the directory is not a store and not empty; point REPRO_STORE at an empty or new directory";
        return Err(StoreError::Format {
            path: root.to_owned(),
            why: why.into(),
        });
    }
    for dir in DIRS {
        let dir = root.join(dir);
        shared::make_dirs(&dir).map_err(at(&dir, "make the directory"))?;
    }
    let tmp = root.join(format!("format.{}", owner::new_name()));
    scratch::write_new(&tmp, FORMAT.as_bytes()).map_err(at(&tmp, "write the format"))?;
    fs::rename(&tmp, format).map_err(at(format, "write the format"))
}

fn is_format_tmp(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|n| n.starts_with("format."))
}

/// Makes the parent of `path` if it is missing: most two-digit directories exist after a few runs.
fn with_parent<T>(
    path: &Path,
    mut action: impl FnMut() -> std::io::Result<T>,
) -> std::io::Result<T> {
    match action() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                shared::make_dirs(parent)?;
            }
            action()
        }
        other => other,
    }
}

/// A place where tests stop the process dead, to see what a crash there leaves behind.
#[cfg(test)]
fn crash_point(name: &str) {
    if std::env::var_os("REPRO_TEST_CRASH").is_some_and(|v| v == name) {
        std::process::abort();
    }
}
#[cfg(not(test))]
#[inline(always)]
fn crash_point(_name: &str) {}
