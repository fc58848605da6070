//! Directories: listing and removing them. As std does it, but that a directory which fails on
//! close (a network's, a disk's that is going) is no panic, and that removing goes through
//! directories somebody made read-only.
//!
//! Nothing here follows a symbolic link below the path that was given.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fchmod, openat, unlinkat};
use rustix::io::Errno;

/// An entry of a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    path: PathBuf,
    kind: FileType,
}

impl Entry {
    /// The directory's path and its name.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Its name.
    pub fn file_name(&self) -> OsString {
        self.path.file_name().unwrap_or_default().to_owned()
    }

    /// What it is; a symbolic link is one.
    ///
    /// # Errors
    /// It is gone, where the file system does not tell kinds in its listings.
    pub fn file_type(&self) -> io::Result<Kind> {
        if self.kind != FileType::Unknown {
            return Ok(Kind(self.kind));
        }
        let kind = self.metadata()?.file_type();
        Ok(Kind(match () {
            () if kind.is_dir() => FileType::Directory,
            () if kind.is_file() => FileType::RegularFile,
            () if kind.is_symlink() => FileType::Symlink,
            () => FileType::Unknown,
        }))
    }

    /// What the system knows of it; of a symbolic link itself.
    ///
    /// # Errors
    /// It is gone.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.path.symlink_metadata()
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(FileType);

impl Kind {
    /// A directory.
    pub fn is_dir(self) -> bool {
        self.0 == FileType::Directory
    }

    /// A regular file.
    pub fn is_file(self) -> bool {
        self.0 == FileType::RegularFile
    }

    /// A symbolic link.
    pub fn is_symlink(self) -> bool {
        self.0 == FileType::Symlink
    }
}

/// The entries of a directory; in the form of std's, so that either serves.
#[derive(Debug)]
pub struct Entries(std::vec::IntoIter<Entry>);

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        self.0.next().map(Ok)
    }
}

/// The entries of a directory in no order, without `.` and `..`. The path may lead through symbolic
/// links.
///
/// # Errors
/// It cannot be listed to its end.
pub fn read(path: impl AsRef<Path>) -> io::Result<Entries> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    let mut entries = Vec::new();
    each(fd, |name, kind| {
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        entries.push(Entry { path, kind });
    })?;
    Ok(Entries(entries.into_iter()))
}

fn each(fd: OwnedFd, mut take: impl FnMut(&CStr, FileType)) -> io::Result<()> {
    let mut dir = Dir::new(fd)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            take(name, entry.file_type());
        }
    }
    Ok(())
}

/// A path as system calls take it.
///
/// # Errors
/// It holds a NUL byte.
pub fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Removes whatever is at `path`, and all that is in it. That nothing is there is fine.
///
/// # Errors
/// Something in it cannot be removed; the rest may be gone.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    Ok(remove_at(CWD, &name)?)
}

fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the first of a directory, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(parent, name, flags, Mode::empty());
    let fd = match open() {
        Err(Errno::ACCESS) => {
            make_accessible(parent, name)?;
            open()?
        }
        other => other?,
    };
    let mut names = Vec::new();
    each(fd.try_clone().map_err(errno)?, |name, _| {
        names.push(name.to_owned());
    })
    .map_err(errno)?;
    let mut is_writable = false;
    for name in names {
        match remove_at(fd.as_fd(), &name) {
            Err(Errno::ACCESS | Errno::PERM) if !is_writable => {
                fchmod(&fd, Mode::RWXU)?;
                is_writable = true;
                remove_at(fd.as_fd(), &name)?;
            }
            other => other?,
        }
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Opens up a directory that its owner may not list.
fn make_accessible(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(parent, name, flags, Mode::empty())?;
    // By its descriptor: a link that takes its name now is not what is changed.
    chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::RWXU)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn entries_are_what_they_are() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("d")).unwrap();
        fs::write(base.path().join("f"), "1").unwrap();
        symlink("d", base.path().join("l")).unwrap();
        let mut entries: Vec<Entry> = read(base.path()).unwrap().flatten().collect();
        entries.sort_by_key(Entry::file_name);
        let kinds: Vec<_> = entries
            .iter()
            .map(|e| (e.file_name(), e.file_type().unwrap()))
            .map(|(name, k)| (name, k.is_dir(), k.is_file(), k.is_symlink()))
            .collect();
        let expected = [
            ("d".into(), true, false, false),
            ("f".into(), false, true, false),
            ("l".into(), false, false, true),
        ];
        assert_eq!(kinds, expected);
        assert!(entries[2].metadata().unwrap().is_symlink());
        assert_eq!(read(base.path().join("l")).unwrap().count(), 0);
        assert!(read(base.path().join("f")).is_err());
    }

    #[test]
    fn removing_follows_nothing_and_opens_what_is_closed() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        fs::create_dir_all(path("t/a/b")).unwrap();
        fs::create_dir(path("kept")).unwrap();
        fs::write(path("kept/file"), "").unwrap();
        fs::write(path("t/a/b/file"), "").unwrap();
        symlink(path("kept"), path("t/a/link")).unwrap();
        for (dir, mode) in [("t/a/b", 0o000), ("t/a", 0o555), ("t", 0o500)] {
            fs::set_permissions(path(dir), Permissions::from_mode(mode)).unwrap();
        }
        remove_all(&path("t")).unwrap();
        assert!(!path("t").exists() && path("kept/file").exists());
        remove_all(&path("none")).unwrap();
        symlink(path("kept"), path("link")).unwrap();
        remove_all(&path("link")).unwrap();
        assert!(path("kept/file").exists() && !path("link").is_symlink());
        remove_all(&path("kept/file")).unwrap();
        assert!(!path("kept/file").exists());
    }
}
