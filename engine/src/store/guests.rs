//! Who may write to a store: its user, or a group that was declared to share it. Anybody else could
//! plant links and results. Links that somebody did plant are not followed: whatever they lead to
//! would be read, written and swept as the store's own.
//!
//! A group store is one whose directories belong to the group, are writable for it, and pass it on
//! (`chmod g+ws`).

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::{StoreError, at};

/// Refuses a store of which a directory can be written by somebody who should not, or a part that
/// is a link. What is not there is nobody's. The store as a whole may be a link: its user said so.
pub(super) fn refuse_strangers(
    root: &Path,
    dirs: &[&str],
    others: &[&str],
) -> Result<(), StoreError> {
    let looked = |path: &Path, meta: std::io::Result<Metadata>| match meta {
        Ok(meta) if meta.is_symlink() => Err(link(path)),
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(path, "look at it")(e)),
    };
    if let Some(meta) = looked(root, fs::metadata(root))? {
        refuse_stranger(root, &meta)?;
    }
    for dir in dirs {
        let path = root.join(dir);
        if let Some(meta) = looked(&path, fs::symlink_metadata(&path))? {
            refuse_stranger(&path, &meta)?;
        }
    }
    for other in others {
        let path = root.join(other);
        looked(&path, fs::symlink_metadata(&path))?;
    }
    Ok(())
}

/// Refuses links among the directories `ab/` of these directories, into which things are put under
/// their names.
pub(super) fn refuse_links_in(root: &Path, dirs: &[&str]) -> Result<(), StoreError> {
    for dir in dirs {
        let dir = root.join(dir);
        // What cannot be listed fails where it is used.
        let Ok(entries) = crate::dir::read(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                return Err(link(&entry.path()));
            }
        }
    }
    Ok(())
}

fn link(path: &Path) -> StoreError {
    let why = format!(
        "this part of the store is a link, and what it leads to would be read and written as the store's own; remove it (`rm {}`), \
         or let REPRO_STORE name a store that lies as a whole where there is room",
        path.display()
    );
    StoreError::refused(path, why)
}

fn refuse_stranger(path: &Path, meta: &Metadata) -> Result<(), StoreError> {
    let mode = meta.mode();
    let quoted = path.display();
    let why = if mode & 0o002 != 0 {
        format!(
            "every user may write to this directory of the store, and could put false results there; take that away \
             (`chmod o-w {quoted}`), or share the store with a group (docs/sharing.md)"
        )
    } else if mode & 0o020 != 0 && mode & libc::S_ISGID == 0 && meta.gid() != meta.uid() {
        // A group of the user's own number is a private one: so do systems whose umask is 002.
        format!(
            "the group {} may write to this directory of the store, and could put false results there; take that away \
             (`chmod g-w {quoted}`), or share the store with that group on purpose (`chmod g+s {quoted}`; docs/sharing.md)",
            meta.gid()
        )
    } else {
        return Ok(());
    };
    Err(StoreError::Refused {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn case_59_a_store_that_strangers_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let uid = fs::metadata(dir.path()).unwrap().uid();
        crate::store::Store::open(&root).unwrap();
        let locks = root.join("locks");
        let set = |mode| fs::set_permissions(&locks, fs::Permissions::from_mode(mode)).unwrap();
        let opened = || {
            crate::store::Store::open(&root)
                .map(drop)
                .map_err(|e| e.to_string())
        };
        assert_eq!(opened(), Ok(()));
        for mode in [0o757, 0o1777, 0o2777] {
            set(mode);
            assert!(
                opened().unwrap_err().contains("every user may write"),
                "{mode:o}"
            );
        }
        // Another group than the private one; only root can give a directory to it.
        if uid == 0 {
            std::os::unix::fs::chown(&locks, None, Some(4242)).unwrap();
            set(0o775);
            assert!(opened().unwrap_err().contains("group 4242 may write"));
            set(0o2775);
            assert_eq!(opened(), Ok(()));
        }
        set(0o755);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(opened().unwrap_err().contains("every user may write"));
    }
}
