//! The projects that use a store: their paths, nothing else. Gc asks each of them what it needs.
//!
//! A project enters itself whenever it runs. Nothing depends on the list between runs; an entry
//! that cannot be written (read-only store) costs at most a later re-run.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Store;
use super::error::{StoreError, at};
use crate::digest::Digest;
use crate::regular::{self, Links};

fn read(entry: &Path) -> std::io::Result<Vec<u8>> {
    regular::read(entry, Links::Refuse, libc::PATH_MAX as u64)
}

impl Store {
    fn project_entry(&self, root: &Path) -> PathBuf {
        let dir = self.root.join("projects");
        dir.join(Digest::of(root.as_os_str().as_bytes()).hex())
    }

    /// Enters the project at `root` (absolute).
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn register_project(&self, root: &Path) -> Result<(), StoreError> {
        let entry = self.project_entry(root);
        if read(&entry).is_ok_and(|text| text == root.as_os_str().as_bytes()) {
            return Ok(());
        }
        // Stores made before there was a list.
        let dir = self.root.join("projects");
        super::shared::make_dirs(&dir).map_err(at(&dir, "make the directory"))?;
        let tmp = self.scratch()?.fresh_path();
        super::scratch::write_new(&tmp, root.as_os_str().as_bytes())
            .map_err(at(&tmp, "write to the store"))?;
        fs::rename(&tmp, &entry).map_err(at(&entry, "enter the project"))
    }

    /// The projects that were entered, sorted; some may be gone by now. A torn entry is left out.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn projects(&self) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.root.join("projects");
        let entries = match crate::dir::read(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(at(&dir, "list the projects")(e)),
        };
        let mut projects = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(&dir, "list the projects"))?.path();
            // What is no entry of ours is left out.
            let Ok(text) = read(&path) else { continue };
            let project = PathBuf::from(std::ffi::OsString::from_vec(text));
            if project.is_absolute() && self.project_entry(&project) == path {
                projects.push(project);
            }
        }
        projects.sort();
        Ok(projects)
    }

    /// Strikes a project from the list.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_project(&self, root: &Path) -> Result<(), StoreError> {
        let entry = self.project_entry(root);
        match fs::remove_file(&entry) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(at(&entry, "remove the entry")(e))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_entered_once_and_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let odd = PathBuf::from(std::ffi::OsString::from_vec(b"/b \n\xff".to_vec()));
        for root in [Path::new("/a"), &odd, Path::new("/a")] {
            store.register_project(root).unwrap();
        }
        assert_eq!(
            store.projects().unwrap(),
            [PathBuf::from("/a"), odd.clone()]
        );
        fs::write(store.project_entry(&odd), "/b").unwrap();
        assert_eq!(
            store.projects().unwrap(),
            [PathBuf::from("/a")],
            "an entry that is not what its name says is torn"
        );
        store.forget_project(Path::new("/a")).unwrap();
        store.forget_project(Path::new("/a")).unwrap();
        assert!(store.projects().unwrap().is_empty());
        // A store of an earlier version has no list.
        fs::remove_dir_all(dir.path().join("store/projects")).unwrap();
        assert!(store.projects().unwrap().is_empty());
        store.register_project(Path::new("/c")).unwrap();
        assert_eq!(store.projects().unwrap(), [PathBuf::from("/c")]);
    }

    #[test]
    fn running_actions_are_those_whose_lock_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let (held, dead) = (Digest::of(b"held"), Digest::of(b"dead"));
        let lock = store.try_lock_action(&held).unwrap().unwrap();
        fs::write(store.root().join("locks").join(dead.hex()), "1\n").unwrap();
        let running: Vec<Digest> = store
            .running_actions()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(running, [held]);
        drop(lock);
        assert!(store.running_actions().is_empty());
        assert!(store.try_lock_action(&held).unwrap().is_ok());
    }
}
