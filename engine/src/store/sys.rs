//! The few system calls that std does not offer, each in a thin wrapper with a fallback where file
//! systems lack it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::regular::Links;

/// What tells that a file is still the same one with the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileStat {
    pub dev: u64,
    pub ino: u64,
    pub bytes: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

impl FileStat {
    pub fn of(meta: &fs::Metadata) -> FileStat {
        FileStat {
            dev: meta.dev(),
            ino: meta.ino(),
            bytes: meta.size(),
            mtime_ns: meta
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.mtime_nsec()),
            ctime_ns: meta
                .ctime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.ctime_nsec()),
        }
    }

    /// The same bytes as far as a rename, link or chmod in between leaves it visible (these change
    /// ctime only).
    pub fn same_bytes(&self, other: &FileStat) -> bool {
        self.ino == other.ino && self.bytes == other.bytes && self.mtime_ns == other.mtime_ns
    }

    /// Device numbers may change from boot to boot, so what is kept for long leaves them out.
    pub fn same_but_dev(&self, other: &FileStat) -> bool {
        self.same_bytes(other) && self.ctime_ns == other.ctime_ns
    }
}

/// What the system says of a file that is named from an open directory on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub stat: FileStat,
    pub mode: u32,
}

impl Seen {
    /// Looks at what lies at `path` in `dir`.
    #[allow(clippy::unnecessary_cast)] // the types differ between systems
    pub fn at(dir: &OwnedFd, path: &str, links: Links) -> io::Result<Seen> {
        let flags = match links {
            Links::Follow => AtFlags::empty(),
            Links::Refuse => AtFlags::SYMLINK_NOFOLLOW,
        };
        let found = rustix::fs::statat(dir, path, flags)?;
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Seen {
            stat: FileStat {
                dev: found.st_dev as u64,
                ino: found.st_ino as u64,
                bytes: found.st_size as u64,
                mtime_ns: nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as i64),
                ctime_ns: nanoseconds(found.st_ctime as i64, found.st_ctime_nsec as i64),
            },
            mode: found.st_mode as u32,
        })
    }

    pub fn is_file(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode as _) == rustix::fs::FileType::RegularFile
    }
}

/// A directory, to look at things from.
pub(crate) fn open_dir(path: &Path) -> Option<OwnedFd> {
    Some(File::open(path).ok()?.into())
}

/// Nanoseconds since 1970 by the clock that stamps files.
pub(crate) fn now_ns() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// Everything written to the file system that holds `dir` is on the disk when this returns.
pub(crate) fn sync_filesystem(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests_only::SYNCED.with_borrow_mut(|synced| synced.push(dir.to_owned()));
    let file = File::open(dir)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&file)?;
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        rustix::fs::sync();
    }
    Ok(())
}

/// The bytes of a file, and its name in its directory and that one's in its own, are on the disk
/// when this returns.
pub(crate) fn sync_file_and_name(path: &Path) -> io::Result<()> {
    crate::regular::open(path, Links::Refuse)?.sync_all()?;
    for dir in path.ancestors().skip(1).take(2) {
        match File::open(dir)?.sync_all() {
            // Some file systems of networks sync no directories.
            Err(e) if is_modeless(&e) || e.kind() == io::ErrorKind::InvalidInput => {}
            other => other?,
        }
    }
    Ok(())
}

/// Lets the disk begin with these bytes of a file, so that less is left to wait for later. A hint:
/// nothing is promised, and nothing is told.
pub(crate) fn begin_writeback(file: &File, from: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    if let (Ok(from), Ok(bytes)) = (i64::try_from(from), i64::try_from(bytes)) {
        // rustix does not have the call. SAFETY: the descriptor is open for the whole call, which
        // touches no memory of ours.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, bytes);
}

/// How a name that must be free can be given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renamed {
    /// It was free, and is given.
    Done,
    /// It exists already, and nothing has changed.
    Taken,
    /// The file system can neither rename so nor link (FAT, and much of what FUSE, SMB and NFS
    /// servers show); nothing has changed.
    Impossible,
}

/// Renames a file if the new name is free, in one step.
pub(crate) fn rename_if_free(from: &Path, to: &Path) -> io::Result<Renamed> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(Renamed::Done),
        Err(Errno::EXIST) => return Ok(Renamed::Taken),
        Err(e @ Errno::NOENT) => return Err(e.into()),
        // Which errors mean that it cannot is different everywhere; if it is another, the next call
        // meets it too.
        Err(_) => {}
    }
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(|()| Renamed::Done),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Renamed::Taken),
        Err(e) if is_linkless(&e) => Ok(Renamed::Impossible),
        Err(e) => Err(e),
    }
}

/// The file system has no second names: `EPERM` is what Linux says then; servers say that access is
/// denied, or that they do not know.
fn is_linkless(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EPERM
                | libc::EACCES
                | libc::EOPNOTSUPP
                | libc::ENOSYS
                | libc::EINVAL
                | libc::EMLINK
                | libc::EIO
        )
    )
}

/// Renames a file unless the new name exists already; `false` if it does (and then nothing has
/// changed). Where the file system cannot do that in one step, it is looked first: two at once may
/// then both succeed, and the last one's bytes stay. So it is for names under which everybody
/// writes the same.
pub(crate) fn rename_noreplace(from: &Path, to: &Path) -> io::Result<bool> {
    match rename_if_free(from, to)? {
        Renamed::Done => Ok(true),
        Renamed::Taken => Ok(false),
        Renamed::Impossible if fs::symlink_metadata(to).is_ok() => Ok(false),
        Renamed::Impossible => fs::rename(from, to).map(|()| true),
    }
}

/// The kernel takes both as no times at all: whoever may write may set them.
const NOW: Timestamps = Timestamps {
    last_access: AT_ONCE,
    last_modification: AT_ONCE,
};
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// Sets the times of a file to now by the clock of its file system: a server's, not ours. Who may
/// write it may do so.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    rustix::fs::utimensat(CWD, path, &NOW, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// As [`touch`], through a handle: for a file whose name may be another's by now.
pub(crate) fn touch_open(file: &File) -> io::Result<()> {
    rustix::fs::futimens(file, &NOW)?;
    Ok(())
}

/// The file system does not keep permissions as they are set (FAT, SMB, some FUSE).
pub(crate) fn is_modeless(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}

/// Lets two names change places at once. Where the file system cannot, `to` is renamed to `aside`
/// first, and is absent for a moment; its old content is never gone before the new one has the
/// name.
pub(crate) fn exchange(from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(e @ Errno::NOENT) => return Err(e.into()),
        // As in `rename_if_free`.
        Err(_) => {}
    }
    fs::rename(to, aside)?;
    if let Err(e) = fs::rename(from, to) {
        let _ = fs::rename(aside, to);
        return Err(e);
    }
    fs::rename(aside, from)
}

/// Somebody has a file open for writing, or has mapped it so. `false` also where the file system
/// cannot tell.
pub(crate) fn is_open_for_writing(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let Ok(file) = File::open(path) else {
            return false;
        };
        // A lease for reading is given to nobody while there is a writer. It goes with the
        // descriptor. rustix does not have leases. SAFETY: system calls on a descriptor that is
        // open.
        unsafe {
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == -1
                && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Bytes a user can still write on the file system of `path`; `None` where it does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let info = rustix::fs::statvfs(path).ok()?;
    info.f_bavail.checked_mul(info.f_frsize)
}

#[cfg(test)]
pub(crate) mod tests_only {
    thread_local! {
        /// What this thread had synced.
        pub static SYNCED: std::cell::RefCell<Vec<std::path::PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_keep_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|n| dir.path().join(n));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        assert!(!rename_noreplace(&a, &b).unwrap());
        assert_eq!(fs::read(&b).unwrap(), b"b");
        assert!(rename_noreplace(&a, &c).unwrap());
        fs::create_dir(&a).unwrap();
        exchange(&a, &c, &dir.path().join("aside")).unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"a");
        assert!(c.is_dir());
        assert!(exchange(&dir.path().join("none"), &c, &dir.path().join("aside")).is_err());
    }

    #[test]
    fn case_35_a_writer_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "a").unwrap();
        assert!(!is_open_for_writing(&path));
        let writer = File::options().write(true).open(&path).unwrap();
        assert!(is_open_for_writing(&path));
        drop(writer);
        let reader = File::open(&path).unwrap();
        assert!(!is_open_for_writing(&path));
        drop(reader);
    }

    #[test]
    fn sync_answers() {
        let dir = tempfile::tempdir().unwrap();
        sync_filesystem(dir.path()).unwrap();
        assert!(sync_filesystem(&dir.path().join("none")).is_err());
    }
}
