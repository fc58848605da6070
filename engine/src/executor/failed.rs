//! The directory of the last failure of an instance: kept for people to look at, one per instance.
//!
//! It lies in `.repro/failed/` of the project; where that is another file system than the store's,
//! it lies in the store, and a link in the project leads there. A disk that is nearly full keeps
//! none. The next failure replaces it, success drops it, `repro clean --failed` removes all, and
//! `repro gc` those that are old.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
use crate::exec;
use crate::filename::file_name;

const DIR: &str = "failed";
/// What stays free beside as much as a directory takes.
const FREE_AT_LEAST: u64 = 64 << 20;
const KEY_FILE: &str = "key";

/// Where the directory of one instance is, or would be.
#[derive(Clone, Debug)]
pub struct FailedDir {
    in_project: PathBuf,
    in_store: PathBuf,
}

/// One that is there.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The private directory.
    pub dir: PathBuf,
    /// The key of the action that failed.
    pub key: Option<Digest>,
}

impl FailedDir {
    /// The one of an instance, by the state directory of its project and the root of the store.
    pub fn of(id: &str, state: &Path, store: &Path) -> FailedDir {
        let in_project = state.join(DIR).join(file_name(id));
        let name = Digest::of(in_project.as_os_str().as_encoded_bytes()).short();
        FailedDir {
            in_store: store.join(DIR).join(name),
            in_project,
        }
    }

    /// Keeps a private directory in place of the one before, and says where.
    ///
    /// # Errors
    /// Of the disk; the directory is still where it was then.
    pub fn keep(&self, dir: &Path, key: &Digest) -> io::Result<PathBuf> {
        self.discard()?;
        fs::write(dir.join(KEY_FILE), key.hex())?;
        make_parent(&self.in_project)?;
        match fs::rename(dir, &self.in_project) {
            Err(e) if e.raw_os_error() == Some(libc::EXDEV) => {
                make_parent(&self.in_store)?;
                fs::rename(dir, &self.in_store)?;
                symlink(&self.in_store, &self.in_project)?;
                Ok(self.in_store.clone())
            }
            other => other.map(|()| self.in_project.clone()),
        }
    }

    /// The directory, if there is one.
    pub fn find(&self) -> Option<Kept> {
        let dir = self.in_project.canonicalize().ok()?;
        exec::work_in(&dir).is_dir().then(|| Kept {
            key: fs::read_to_string(dir.join(KEY_FILE))
                .ok()
                .and_then(|hex| hex.parse().ok()),
            dir,
        })
    }

    /// Removes it, if there is one.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn discard(&self) -> io::Result<()> {
        discard(&self.in_project)?;
        exec::discard(&self.in_store)
    }
}

/// The free bytes a disk must have for a directory to be kept on it: a failure must not be what
/// fills it for the rest.
pub fn room_for(dir: &Path) -> u64 {
    fn bytes(dir: &Path) -> u64 {
        let entries = crate::dir::read(dir).into_iter().flatten().flatten();
        let of = |entry: crate::dir::Entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes(&entry.path()),
            Ok(meta) => meta.blocks().saturating_mul(512),
            Err(_) => 0,
        };
        entries.map(of).fold(0, u64::saturating_add)
    }
    bytes(dir).saturating_add(FREE_AT_LEAST)
}

/// Removes those of a project that are older, and what a store keeps for projects that have none
/// any more; says how many.
pub fn sweep(state: &Path, older_than: Duration) -> usize {
    let mut gone = 0;
    for entry in crate::dir::read(state.join(DIR))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        let age = fs::metadata(&path)
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| t.elapsed().ok());
        // A link that leads nowhere is of no use.
        let is_old = age.is_none_or(|age| age >= older_than);
        if is_old && discard(&path).is_ok() {
            gone += 1;
        }
    }
    gone
}

/// Removes what is kept at a path of the project, there and in the store.
fn discard(path: &Path) -> io::Result<()> {
    if let Ok(target) = fs::read_link(path) {
        fs::remove_file(path)?;
        return exec::discard(&target);
    }
    exec::discard(path)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
