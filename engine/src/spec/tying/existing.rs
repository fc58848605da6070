//! Which paths exist, and whether they are directories.
//!
//! Each is asked for once. Where many lie in one directory that directory is listed, which costs
//! less than asking for each. What the list does not settle is asked for all the same: links, and
//! names that the file system takes for others.

use foldhash::HashMap;
use std::ffi::OsString;
use std::path::Path;

use crate::similar;

/// Questions about one directory after which it is listed.
const LISTED_AFTER: u32 = 256;

/// See the module.
#[derive(Default)]
pub struct Existing {
    /// By their texts: a path is hashed part by part.
    known: HashMap<OsString, Option<bool>>,
    dirs: HashMap<OsString, Dir>,
}

enum Dir {
    Asked(u32),
    Listed(HashMap<OsString, bool>),
}

impl Existing {
    /// Whether it is a directory; `None` when there is nothing.
    pub fn is_dir(&mut self, path: &Path) -> Option<bool> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.ask(path);
        };
        let at = parent.as_os_str();
        let dir = match self.dirs.get_mut(at) {
            Some(dir) => dir,
            None => self.dirs.entry(at.to_owned()).or_insert(Dir::Asked(0)),
        };
        if let Dir::Asked(times) = dir {
            *times += 1;
            if *times == LISTED_AFTER {
                *dir = Dir::Listed(list(parent));
            }
        }
        match dir {
            Dir::Listed(entries) if entries.contains_key(name) => entries.get(name).copied(),
            _ => self.ask(path),
        }
    }

    /// A name in the same directory that is much like that of a path which does not exist.
    pub fn likest(path: &Path, is_dir: bool) -> Option<String> {
        let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
        let entries = list(parent);
        let alike = entries.iter().filter(|(_, kind)| **kind == is_dir);
        let mut names: Vec<&str> = alike.filter_map(|(name, _)| name.to_str()).collect();
        names.sort_unstable();
        similar::likest(name, &names).map(str::to_owned)
    }

    fn ask(&mut self, path: &Path) -> Option<bool> {
        if let Some(known) = self.known.get(path.as_os_str()) {
            return *known;
        }
        let found = std::fs::metadata(path).ok().map(|meta| meta.is_dir());
        self.known.insert(path.as_os_str().to_owned(), found);
        found
    }
}

/// Files and directories in a directory, and which they are; nothing where it cannot be read.
fn list(dir: &Path) -> HashMap<OsString, bool> {
    let entries = crate::dir::read(dir).into_iter().flatten().flatten();
    let kinds = entries.filter_map(|entry| Some((entry.file_name(), entry.file_type().ok()?)));
    kinds
        .filter(|(_, kind)| kind.is_dir() || kind.is_file())
        .map(|(name, kind)| (name, kind.is_dir()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_directory_says_the_same_as_asking() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("dir", at("to-dir")).unwrap();
        std::os::unix::fs::symlink("none", at("to-none")).unwrap();
        let names = ["dir", "file", "to-dir", "to-none", "none", "dir/none"];
        let asked = names.map(|name| Existing::default().is_dir(&at(name)));
        assert_eq!(
            asked,
            [Some(true), Some(false), Some(true), None, None, None]
        );
        let mut existing = Existing::default();
        for _ in 0..LISTED_AFTER {
            existing.is_dir(&at("other"));
        }
        assert!(matches!(
            existing.dirs.get(dir.path().as_os_str()),
            Some(Dir::Listed(_))
        ));
        assert_eq!(names.map(|name| existing.is_dir(&at(name))), asked);
    }
}
