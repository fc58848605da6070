//! Whether the owner of a lock file is dead, by its lock, its name and its silence.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::filesystem::{FileSystem, Reach};
use super::owner::Owner;
use super::renewal::is_silent;
use crate::regular::{self, Links};

/// Whether the owner of this lock file is dead. If so the caller holds its lock, as far as there
/// are locks.
pub(crate) fn take_dead(path: &Path) -> Option<File> {
    let options = &mut File::options();
    let file = regular::open_with(path, Links::Refuse, options.read(true).append(true)).ok()?;
    let lock = file.try_lock();
    (is_dead(&file, path, &lock) && super::fresh::is_same_file(&file, path)).then_some(file)
}

/// Whether the owner of a lock file is dead, by what came of trying to lock it and by whom it
/// names.
pub(super) fn is_dead(file: &File, path: &Path, lock: &Result<(), TryLockError>) -> bool {
    match (lock, is_alive(file, path)) {
        // Locks that keep nobody out are found out by an owner that lives.
        (_, Some(true)) | (Err(TryLockError::WouldBlock), _) => false,
        // Without locks the owner's name alone tells.
        (_, Some(false)) => true,
        // Nobody else writes there, and the kernel knows all who do.
        (Ok(()), None) if FileSystem::of(path).reach == Reach::Local => true,
        (_, None) => path.parent().is_some_and(|dir| is_silent(file, dir)),
    }
}

/// Whether the process that a lock file names lives, as far as that can be known.
pub(super) fn is_alive(file: &File, path: &Path) -> Option<bool> {
    match Owner::parse(path.file_name()?.to_str()?) {
        Some(owner) => owner.is_alive(),
        None => Owner::parse(&owner_in(file)?)?.is_alive(),
    }
}

/// The first line of a lock file whose name is another: what [`own`] says of who holds it.
fn owner_in(file: &File) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 256];
    let n = file.read_at(&mut text, 0).ok()?;
    let line = text[..n].split(|b| *b == b'\n').next()?;
    String::from_utf8(line.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::owner::{new_name, own, space};
    use super::*;

    #[test]
    fn case_48_a_lock_that_keeps_nobody_out_does_not_make_its_owner_dead() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody holds their locks, as where a lock is known to one machine only.
        let alive = dir.path().join(new_name());
        let owner = Owner::parse(own()).unwrap();
        let dead = dir
            .path()
            .join(format!("{}.{}.{}.0", space(), owner.pid, owner.start + 1));
        for path in [&alive, &dead] {
            fs::write(path, "").unwrap();
        }
        assert!(take_dead(&alive).is_none());
        assert!(take_dead(&dead).is_some());
        // One of another machine: its lock decides on a disk of this one.
        let foreign = dir.path().join("000000000000.1.1.0");
        fs::write(&foreign, "").unwrap();
        assert!(take_dead(&foreign).is_some());
        let held = File::options().append(true).open(&foreign).unwrap();
        held.lock().unwrap();
        assert!(take_dead(&foreign).is_none());
        // A link is nobody's lock.
        let link = dir
            .path()
            .join(format!("{}.{}.{}.1", space(), owner.pid, owner.start + 1));
        std::os::unix::fs::symlink(&alive, &link).unwrap();
        assert!(take_dead(&link).is_none());
    }
}
