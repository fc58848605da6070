//! Where things lie: the project's directory and the files `repro` keeps in it.
//!
//! ```text
//! pipeline.yaml            the study
//! repro.lock               instances → keys and digests; committed to git
//! artifacts/<stage>/…      current outputs
//! .repro/index             what the last runs found; rebuilt when missing
//! .repro/runs/<id>.jsonl   one record per run
//! .repro/logs/<key>.log    the log of the last execution of an action
//! .repro/stats             digests of files by their stat; rebuilt when missing
//! .repro/scratch/<key>/    partial downloads and the like, kept when a worker is killed or a command fails
//! .repro/failed/<name>/    the private directory of an instance's last failure
//! ```

use std::path::{Path, PathBuf};

/// The directories of a project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The directory of the pipeline file; absolute.
    pub root: PathBuf,
    /// The pipeline file.
    pub pipeline: PathBuf,
}

/// File names `run` looks for when it is given none, in this order.
pub const PIPELINE_NAMES: [&str; 4] = ["pipeline.yaml", "pipeline.yml", "repro.yaml", "repro.yml"];

/// No pipeline file where one was looked for.
#[derive(Debug, thiserror::Error)]
pub enum NoPipeline {
    /// The file named does not exist or is no file.
    #[error("cannot read the pipeline file `{}`: {reason}", path.display())]
    Unreadable {
        /// As the user wrote it.
        path: PathBuf,
        /// From the system.
        reason: String,
    },
    /// None was named, and none was found from here upwards.
    #[error(
        "no pipeline.yaml in `{}` or above it; `repro init` makes one to begin with; `repro run FILE` runs another file, and other commands take one as `-C FILE`",
        from.display()
    )]
    NotFound {
        /// Where the search began.
        from: PathBuf,
    },
}

impl Project {
    /// The project of a pipeline file; without one, the nearest pipeline file upwards from `here`.
    pub fn find(file: Option<&Path>, here: &Path) -> Result<Project, NoPipeline> {
        let pipeline = match file {
            Some(file) => {
                let path = if file.is_dir() {
                    PIPELINE_NAMES
                        .iter()
                        .map(|n| file.join(n))
                        .find(|p| p.is_file())
                        .unwrap_or_else(|| file.join(PIPELINE_NAMES[0]))
                } else {
                    file.to_owned()
                };
                std::fs::canonicalize(here.join(&path)).map_err(|e| NoPipeline::Unreadable {
                    path,
                    reason: e.to_string(),
                })?
            }
            None => {
                let found = here.ancestors().find_map(|dir| {
                    PIPELINE_NAMES
                        .iter()
                        .map(|n| dir.join(n))
                        .find(|p| p.is_file())
                });
                let found = found.ok_or_else(|| NoPipeline::NotFound {
                    from: here.to_owned(),
                })?;
                std::fs::canonicalize(&found).map_err(|e| NoPipeline::Unreadable {
                    path: found,
                    reason: e.to_string(),
                })?
            }
        };
        let root = pipeline
            .parent()
            .map_or_else(|| PathBuf::from("/"), Path::to_owned);
        Ok(Project { root, pipeline })
    }

    /// The pipeline file, which lies in the root.
    pub fn file_name(&self) -> Option<String> {
        let name = self.pipeline.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// `artifacts/`.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// `.repro/`.
    pub fn state(&self) -> PathBuf {
        self.root.join(".repro")
    }

    /// `repro.lock`.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("repro.lock")
    }
}

/// The store's place: `REPRO_STORE`, else the user's cache directory.
pub fn store_path(env: impl Fn(&str) -> Option<String>) -> anyhow::Result<PathBuf> {
    let set = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = set("REPRO_STORE") {
        return Ok(std::path::absolute(path)?);
    }
    let cache = set("XDG_CACHE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| set("HOME").map(|h| h.join(".cache")));
    match cache {
        Some(cache) => Ok(cache.join("repro").join("v1")),
        None => anyhow::bail!(
            "no place for the store: set REPRO_STORE to a directory (neither XDG_CACHE_HOME nor HOME is set)"
        ),
    }
}
