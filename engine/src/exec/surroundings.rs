//! What surrounds a command beside its inputs: environments of packages, caches. Said by whoever
//! knows them; applied here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::searched;

/// What a process needs to use what surrounds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Directories in front of `PATH`.
    pub path_first: Vec<PathBuf>,
    /// Variables of the environment.
    pub vars: BTreeMap<String, OsString>,
    /// Programs whose installations it reads.
    pub programs: Vec<PathBuf>,
    /// Directories it reads.
    pub read: Vec<PathBuf>,
    /// Directories it reads and writes.
    pub write: Vec<PathBuf>,
}

impl Surroundings {
    /// Adds what something else needs.
    pub fn merge(&mut self, other: Surroundings) {
        self.path_first.extend(other.path_first);
        self.vars.extend(other.vars);
        self.programs.extend(other.programs);
        self.read.extend(other.read);
        self.write.extend(other.write);
    }

    /// `PATH` for the process.
    pub fn path(&self) -> OsString {
        let rest = searched::path();
        let all = self
            .path_first
            .iter()
            .cloned()
            .chain(std::env::split_paths(&rest));
        // A directory whose name holds the separator cannot be in a `PATH`.
        std::env::join_paths(all).unwrap_or(rest)
    }

    /// Makes its directories, where missing, that it may write.
    ///
    /// # Errors
    /// The directory that cannot be made.
    pub fn make_caches(&self) -> Result<(), (PathBuf, std::io::Error)> {
        for dir in &self.write {
            std::fs::create_dir_all(dir).map_err(|e| (dir.clone(), e))?;
        }
        Ok(())
    }

    /// Lets a command find an environment of the project by the path it has in the project, where
    /// nothing else is.
    pub fn link_into(&self, work: &Path, project_root: &Path) -> std::io::Result<()> {
        for (dir, inner) in self.inside(project_root) {
            let to = work.join(inner);
            if to.symlink_metadata().is_err() {
                if let Some(parent) = to.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::os::unix::fs::symlink(dir, to)?;
            }
        }
        Ok(())
    }

    /// Directories of the project among what it reads, with their paths in it.
    pub fn inside<'a>(
        &'a self,
        project_root: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, &'a Path)> {
        let inner =
            move |dir: &'a PathBuf| Some((dir.as_path(), dir.strip_prefix(project_root).ok()?));
        self.read.iter().filter_map(inner)
    }
}
