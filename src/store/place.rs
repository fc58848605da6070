//! Placing: making an artifact visible where people or workers look.
//!
//! What appears at the destination appears whole, by one rename (or exchange) of something built beside it; what was there
//! is removed only afterwards. Placed files are the user's own copies (shared blocks where the file system can), so
//! nothing done to them reaches the store, except with [`LinkMode::Hardlink`], which is asked for.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::digest::{Content, Digest, Shape};

use super::error::{StoreError, at};
use super::objects::{Class, copy_bytes};
use super::sys::{FileStat, exchange, rename_noreplace};
use super::tree::Node;
use super::{Store, crash_point};

/// How placed files get their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// Copies, with shared blocks where the file system can. Writable.
    #[default]
    Copy,
    /// Names of the store's own files, read-only: no space, no time, but who forces a write corrupts the object (which is
    /// found before its next use). Copies where links are impossible: executables, other file systems. A name that comes
    /// or goes changes the object's ctime, so its next use may cost a hash.
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
/// What other process-number spaces left (containers) cannot be asked after; nothing takes this long to place.
const FOREIGN_TMP_AGE_S: u64 = 24 * 3600;

impl Store {
    /// Makes the artifact appear at `dest` (whose parent directories are made), replacing what is there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Missing`] if its bytes are not right or not there; `dest` is as it was then,
    /// and after any other error too.
    pub fn place(&self, content: &Content, dest: &Path, mode: LinkMode) -> Result<(), StoreError> {
        let parent = dest
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(at(parent, "make the directory"))?;
        sweep_once(parent);
        let mut tmp = BesideTmp(parent.join(tmp_name()));
        let how = match mode {
            LinkMode::Copy => How::Copy,
            LinkMode::Hardlink => How::Hardlink,
        };
        self.build(content, &tmp.0, how, dest)?;
        crash_point("place.built");
        install(&mut tmp, dest)
    }

    /// Lets a worker see an input at `dest`, which must not exist; its parent must. Not atomic: meant for a private directory.
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
        if content.shape == Shape::File {
            let object = self.check(Class::Object, &content.digest)?;
            return self.build_file(&object, content, tmp, false, how, dest);
        }
        let listing = self.read_tree(&content.digest)?;
        fs::create_dir(tmp).map_err(at(dest, "make the directory"))?;
        for (path, node) in listing.nodes() {
            let path = path.under(tmp);
            match node {
                Node::Dir => fs::create_dir(&path).map_err(at(dest, "make a directory in it"))?,
                Node::Link { target } => {
                    symlink(target, &path).map_err(at(dest, "make a link in it"))?
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

    /// A second name changes the object's ctime, so it is sealed anew, provided nothing else about it changed.
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
        remove_any(&self.0);
    }
}

fn remove_any(path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    if !meta.is_dir() {
        let _ = fs::remove_file(path);
    } else if fs::remove_dir_all(path).is_err() {
        // Somebody made directories in it read-only.
        make_writable(path);
        let _ = fs::remove_dir_all(path);
    }
}

fn make_writable(dir: &Path) {
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

/// Gives `tmp` the name `dest`. Afterwards `tmp` holds what was there before, if that could not vanish by itself.
fn install(tmp: &mut BesideTmp, dest: &Path) -> Result<(), StoreError> {
    let error = at(dest, "put it there");
    // Again if somebody adds or removes `dest` between looking and renaming.
    for _ in 0..16 {
        let old = fs::symlink_metadata(dest);
        let new_is_dir = fs::symlink_metadata(&tmp.0).map_err(&error)?.is_dir();
        let done = match old {
            // If both are names of one inode (hard links) this does nothing, and dropping `tmp` does the rest.
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

/// `.repro-tmp.<pid space>.<pid>.<start time>.<n>`: enough to tell later whether its maker still lives.
fn tmp_name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let pid = std::process::id();
    let start = START.get_or_init(|| start_time(pid).unwrap_or(0));
    format!(
        "{TMP_PREFIX}{}.{pid}.{start}.{}",
        pid_space(),
        NAMES.fetch_add(1, Ordering::Relaxed)
    )
}

/// The boot and the process-number space, as hexadecimal digits.
fn pid_space() -> &'static str {
    static SPACE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    SPACE.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Digest::of(format!("{boot} {}", space.display()).as_bytes()).short()
    })
}

/// When a process started, in ticks since boot; `None` if there is none of that number.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start time is field 22.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// The first time this process places something in a directory, it removes what dead processes left there.
fn sweep_once(parent: &Path) {
    static SWEPT: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut swept = SWEPT.lock().unwrap_or_else(|e| e.into_inner());
    if !swept.get_or_insert_default().insert(parent.to_owned()) {
        return;
    }
    drop(swept);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().and_then(|n| n.strip_prefix(TMP_PREFIX))
            && is_left_behind(name, &entry)
        {
            remove_any(&entry.path());
        }
    }
}

fn is_left_behind(name: &str, entry: &fs::DirEntry) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [space, pid, start, ..] = parts[..] else {
        return false;
    };
    if space != pid_space() {
        let age = entry
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| t.elapsed().ok());
        return age.is_some_and(|age| age.as_secs() > FOREIGN_TMP_AGE_S);
    }
    match (pid.parse(), start.parse::<u64>()) {
        (Ok(pid), Ok(start)) => start_time(pid) != Some(start),
        _ => false,
    }
}
