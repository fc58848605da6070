//! Placing: making an artifact visible where people or workers look.
//!
//! What appears at the destination appears whole, by one rename (or exchange) of something built
//! beside it; what was there is removed only afterwards. Placed files are the user's own copies
//! (shared blocks where the file system can), so nothing done to them reaches the store, except
//! with [`LinkMode::Hardlink`], which is asked for.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use rayon::prelude::*;

use crate::digest::{Content, Digest, Shape};

use super::error::{StoreError, at};
use super::objects::{Class, copy_bytes};
use super::sys::{FileStat, exchange, rename_noreplace};
use super::tree::Node;
use super::{Store, crash_point, owner};

/// How placed files get their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// Copies, with shared blocks where the file system can. Writable.
    #[default]
    Copy,
    /// Names of the store's own files, read-only: no space, no time, but who forces a write
    /// corrupts the object (which is found before its next use). Copies where links are impossible:
    /// executables, other file systems. A name that comes or goes changes the object's ctime, so
    /// its next use may cost a hash.
    Hardlink,
}

/// How a worker sees an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewMode {
    /// Links into the store; executables are copied, because objects have no exec bit.
    Symlink,
    /// Copies of its own.
    Copy,
}

#[derive(Clone, Copy)]
enum How {
    Copy,
    Hardlink,
    Symlink,
}

const TMP_PREFIX: &str = ".repro-tmp.";
/// What other process-number spaces left (containers) cannot be asked after; nothing takes this
/// long to place.
const FOREIGN_TMP_AGE: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Makes the artifact appear at `dest` (whose parent directories are made), replacing what is
    /// there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Missing`] if its bytes are not right or not there;
    /// `dest` is as it was then, and after any other error too.
    pub fn place(&self, content: &Content, dest: &Path, mode: LinkMode) -> Result<(), StoreError> {
        let parent = dest
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        self.place_in(parent, content, dest, mode)
            .map_err(|e| e.where_users(parent))
    }

    fn place_in(
        &self,
        parent: &Path,
        content: &Content,
        dest: &Path,
        mode: LinkMode,
    ) -> Result<(), StoreError> {
        fs::create_dir_all(parent).map_err(at(parent, "make the directory"))?;
        sweep_once(parent);
        let mut tmp = BesideTmp(parent.join(format!("{TMP_PREFIX}{}", owner::new_name())));
        let how = match mode {
            LinkMode::Copy => How::Copy,
            LinkMode::Hardlink => How::Hardlink,
        };
        self.build(content, &tmp.0, how, dest)?;
        crash_point("place.built");
        install(&mut tmp, dest)
    }

    /// Lets a worker see an input at `dest`, which must not exist; its parent must. Not atomic:
    /// meant for a private directory.
    pub fn view(&self, content: &Content, dest: &Path, mode: ViewMode) -> Result<(), StoreError> {
        let how = match mode {
            ViewMode::Symlink => How::Symlink,
            ViewMode::Copy => How::Copy,
        };
        self.build(content, dest, how, dest)
    }

    /// Builds at `tmp`; errors about writing name `dest`.
    fn build(
        &self,
        content: &Content,
        tmp: &Path,
        how: How,
        dest: &Path,
    ) -> Result<(), StoreError> {
        if content.shape.is_file() {
            let object = self.check(Class::Object, &content.digest)?;
            let executable = content.shape == Shape::Program;
            return self.build_file(&object, content, tmp, executable, how, dest);
        }
        let listing = self.read_tree(&content.digest)?;
        fs::create_dir(tmp).map_err(at(dest, "make the directory"))?;
        for (path, node) in listing.nodes() {
            let path = path.under(tmp);
            match node {
                Node::Dir => fs::create_dir(&path).map_err(at(dest, "make a directory in it"))?,
                Node::Link { target } => {
                    symlink(target, &path).map_err(at(dest, "make a link in it"))?;
                }
                Node::File { .. } => {}
            }
        }
        let files: Vec<_> = listing.files().collect();
        files
            .par_iter()
            .try_for_each(|(path, digest, bytes, executable)| {
                let object = self.check(Class::Object, digest)?;
                let content = Content {
                    shape: Shape::File,
                    digest: *digest,
                    bytes_total: *bytes,
                };
                self.build_file(&object, &content, &path.under(tmp), *executable, how, dest)
            })
    }

    fn build_file(
        &self,
        object: &Path,
        content: &Content,
        to: &Path,
        executable: bool,
        how: How,
        dest: &Path,
    ) -> Result<(), StoreError> {
        match how {
            How::Symlink if !executable => {
                return symlink(object, to).map_err(at(dest, "make a link there"));
            }
            How::Hardlink if !executable && self.link_sealed(object, &content.digest, to) => {
                return Ok(());
            }
            _ => {}
        }
        copy_bytes(object, to, if executable { 0o777 } else { 0o666 }, dest)
    }

    /// A second name changes the object's ctime, so it is sealed anew, provided nothing else about
    /// it changed.
    pub(super) fn link_sealed(&self, object: &Path, digest: &Digest, to: &Path) -> bool {
        let stat = |path: &Path| fs::symlink_metadata(path).map(|m| FileStat::of(&m));
        let Ok(before) = stat(object) else {
            return false;
        };
        if !self.seals.match_stat(digest, &before) || fs::hard_link(object, to).is_err() {
            return false;
        }
        if let Ok(after) = stat(object)
            && after.same_bytes(&before)
        {
            self.seals.add(&[(*digest, after)]);
        }
        true
    }
}

/// Something half-built beside a destination; removed when dropped, whatever it is by then.
struct BesideTmp(PathBuf);

impl Drop for BesideTmp {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next who places something here.
        let _ = crate::dir::remove_all(&self.0);
    }
}

/// Gives `tmp` the name `dest`. Afterwards `tmp` holds what was there before, if that could not
/// vanish by itself.
fn install(tmp: &mut BesideTmp, dest: &Path) -> Result<(), StoreError> {
    let error = at(dest, "put it there");
    // Again if somebody adds or removes `dest` between looking and renaming.
    for _ in 0..16 {
        let old = fs::symlink_metadata(dest);
        let new_is_dir = fs::symlink_metadata(&tmp.0).map_err(&error)?.is_dir();
        let done = match old {
            // If both are names of one inode (hard links) this does nothing, and dropping `tmp`
            // does the rest.
            Ok(old) if !old.is_dir() && !new_is_dir => fs::rename(&tmp.0, dest).map(|()| true),
            Ok(_) => exchange(&tmp.0, dest, &tmp.0.with_extension("old")).map(|()| true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && new_is_dir => {
                fs::rename(&tmp.0, dest).map(|()| true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => rename_noreplace(&tmp.0, dest),
            Err(e) => return Err(error(e)),
        };
        match done {
            Ok(true) => {
                crash_point("place.installed");
                return Ok(());
            }
            Ok(false) => {}
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR)
                ) => {}
            Err(e) => return Err(error(e)),
        }
    }
    Err(StoreError::Changed {
        path: dest.to_owned(),
    })
}

/// The first time this process places something in a directory, it removes what dead processes left
/// there.
fn sweep_once(parent: &Path) {
    // Hashes of paths: of 100,000 directories the paths took 10 MB. If two are equal, a sweep is
    // left to the next process.
    static SWEPT: LazyLock<(RandomState, Mutex<HashSet<u64>>)> = LazyLock::new(Default::default);
    let (hasher, swept) = &*SWEPT;
    let hash = hasher.hash_one(parent);
    if !swept.lock().unwrap_or_else(|e| e.into_inner()).insert(hash) {
        return;
    }
    for entry in crate::dir::read(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().and_then(|n| n.strip_prefix(TMP_PREFIX))
            && is_left_behind(name, &entry)
        {
            let _ = crate::dir::remove_all(&entry.path());
        }
    }
}

/// Whether its maker is gone.
fn is_left_behind(name: &str, entry: &crate::dir::Entry) -> bool {
    let modified = entry.metadata().and_then(|m| m.modified()).ok();
    let age = modified.and_then(|time| time.elapsed().ok());
    owner::is_left_behind(name, age, FOREIGN_TMP_AGE)
}
