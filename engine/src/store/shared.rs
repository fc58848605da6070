//! A store that a group shares: its directories are set-group and the group may write there. What
//! is made in such a directory is the group's to use too, whatever the umask of who makes it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Set-group, and writable for the group.
const SHARED: u32 = 0o2020;
/// For directories: the group may do what their owner may.
const DIR: u32 = 0o2070;
/// For files: the group may read and write.
const FILE: u32 = 0o060;

fn is_in_shared(path: &Path) -> bool {
    path.parent()
        .and_then(|parent| fs::metadata(parent).ok())
        .is_some_and(|meta| meta.mode() & SHARED == SHARED)
}

/// Makes a directory and those above it.
///
/// # Errors
/// As [`fs::create_dir_all`].
pub(super) fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(parent)?;
    }
    // Whatever the umask: in a private store nobody else may write to it.
    match fs::DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => {}
        // Another process was faster, and gives it to the group.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => return Ok(()),
        Err(e) => return Err(e),
    }
    if is_in_shared(dir)
        && let Ok(meta) = fs::metadata(dir)
    {
        // Where that is refused, the next user is told so by the file system.
        let _ = fs::set_permissions(dir, Permissions::from_mode(meta.mode() & 0o7777 | DIR));
    }
    Ok(())
}

/// Lets the group write an open file that was made at `path`, if it is ours and lies in a shared
/// directory.
pub(super) fn give(file: &File, path: &Path) {
    if let Ok(meta) = file.metadata()
        && meta.mode() & FILE != FILE
        && is_in_shared(path)
    {
        // Somebody else's cannot be changed, and its maker has done so.
        let _ = file.set_permissions(Permissions::from_mode(meta.mode() & 0o777 | FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_in_a_shared_directory_is_the_groups() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let (own, shared) = (dir.path().join("own"), dir.path().join("shared"));
        for (top, bits) in [(&own, 0o755), (&shared, 0o2775)] {
            fs::create_dir(top).unwrap();
            fs::set_permissions(top, Permissions::from_mode(bits)).unwrap();
            make_dirs(&top.join("a/b")).unwrap();
            let path = top.join("a/b/lock");
            let file = File::create(&path).unwrap();
            file.set_permissions(Permissions::from_mode(0o644)).unwrap();
            give(&file, &path);
        }
        assert_eq!(mode(&own.join("a/b")) & 0o020, 0);
        assert_eq!(mode(&own.join("a/b/lock")), 0o644);
        assert_eq!(mode(&shared.join("a/b")) & SHARED, SHARED);
        assert_eq!(mode(&shared.join("a/b/lock")), 0o664);
    }
}
