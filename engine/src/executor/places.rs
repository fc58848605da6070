//! The directories of one execution on this machine, removed when it is over.

use std::path::{Path, PathBuf};

use super::{Order, Site};
use crate::exec::{self, Afterwards};

/// See the module. Dropping can take longer than the work did.
#[derive(Debug)]
pub struct Places {
    /// The private directory.
    pub dir: PathBuf,
    /// Where inputs are put together that cannot be used where they lie.
    pub views: PathBuf,
    /// Outlives a killed execution.
    pub scratch: PathBuf,
    /// What becomes of the private directory.
    pub afterwards: Afterwards,
    /// Where no execution can write.
    fresh: Option<tempfile::TempDir>,
}

impl Places {
    /// For a result that is to be recorded. What a killed run left is swept with its session.
    ///
    /// # Errors
    /// Of the disk.
    pub fn of_result(site: &Site, order: &Order) -> anyhow::Result<Places> {
        let key = order.key.digest.short();
        let dir = site.store.work_dir()?.join(format!("{key}-{}", order.id.0));
        Ok(Places {
            views: dir.with_extension("inputs"),
            dir,
            scratch: site.state.join("scratch").join(key),
            afterwards: Afterwards::Discarded,
            fresh: None,
        })
    }

    /// Far from everything; with `keep` the private directory stays there, which must not exist.
    ///
    /// # Errors
    /// Something is there; the disk.
    pub fn apart(site: &Site, keep: Option<&Path>) -> anyhow::Result<Places> {
        let fresh = tempfile::Builder::new()
            .prefix("replay-")
            .tempdir_in(site.store.work_dir()?)?;
        let dir = match keep {
            Some(keep) => {
                anyhow::ensure!(
                    keep.symlink_metadata().is_err(),
                    "`{}` exists; name a directory that does not",
                    keep.display()
                );
                std::path::absolute(keep)?
            }
            None => fresh.path().join("run"),
        };
        Ok(Places {
            dir,
            views: fresh.path().join("inputs"),
            scratch: fresh.path().join("scratch"),
            afterwards: match keep {
                Some(_) => Afterwards::Kept,
                None => Afterwards::Discarded,
            },
            fresh: Some(fresh),
        })
    }

    /// For somebody who looks around; all of it is the caller's to remove.
    pub fn of_visit(dir: PathBuf, views: PathBuf, scratch: PathBuf) -> Places {
        Places {
            dir,
            views,
            scratch,
            afterwards: Afterwards::Kept,
            fresh: None,
        }
    }
}

impl Places {
    /// A file that no execution can write, of places apart.
    pub fn untouched(&self, name: &str) -> Option<PathBuf> {
        Some(self.fresh.as_ref()?.path().join(name))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // What cannot be removed now is swept with the session.
        if self.afterwards == Afterwards::Discarded {
            let _ = exec::discard(&self.dir);
        }
        if self.fresh.is_none() {
            let _ = crate::dir::remove_all(&self.views);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `verify` signs is digested with a cache of stats: who could write that would decide on
    /// the digest.
    #[test]
    fn no_execution_can_write_what_is_untouched() {
        let fresh = tempfile::tempdir().unwrap();
        let at = |name: &str| fresh.path().join(name);
        let (dir, views, scratch) = (at("run"), at("inputs"), at("scratch"));
        let places = Places {
            dir: dir.clone(),
            views: views.clone(),
            scratch: scratch.clone(),
            afterwards: Afterwards::Discarded,
            fresh: Some(fresh),
        };
        let stats = places.untouched("stats").unwrap();
        for written in [dir, views, scratch] {
            assert!(!stats.starts_with(&written), "{}", written.display());
        }
        let visit = Places::of_visit(PathBuf::new(), PathBuf::new(), PathBuf::new());
        assert_eq!(visit.untouched("stats"), None);
    }
}
