//! Cleaning: takes files out of `artifacts/` that the store can bring back, and what has piled up
//! under `.repro`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::artifacts;
use crate::collect::local::sweep_elsewhere;
use crate::digest::{Content, Shape};
use crate::exec;
use crate::executor::sweep_failed;
use crate::project::Project;
use crate::session::Session;
use repro_protocol::relpath::RelPath;

/// Which outputs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Those of stages and instances that are no longer in the pipeline.
    Stale,
    /// All.
    All,
}

/// Files in `artifacts/`.
#[derive(Debug, Default)]
pub struct Litter {
    /// May go: the store holds their very bytes.
    pub known: Vec<Known>,
    /// Stay: somebody put or changed them.
    pub foreign: Vec<PathBuf>,
}

/// A file that may go.
#[derive(Debug)]
pub struct Known {
    /// Where it is.
    pub path: RelPath,
    /// Its size.
    pub bytes: u64,
}

/// What was removed under `.repro`.
#[derive(Debug)]
pub struct Swept {
    /// Directories that failures left.
    pub failures: usize,
    /// Scratch directories of stages.
    pub scratch: usize,
    /// Records of results on a remote.
    pub elsewhere: usize,
}

/// Sorts the files in the directories of `artifacts/`. Files right in it, links and hidden files
/// are never ours.
///
/// # Errors
/// A directory or a file cannot be read.
pub fn look(session: &Session, outputs: Outputs) -> anyhow::Result<Litter> {
    let current: HashSet<RelPath> = match outputs {
        Outputs::All => HashSet::new(),
        Outputs::Stale => {
            let outputs = session.plan.instances.iter().flat_map(|i| {
                let outputs = i.outputs.iter();
                outputs.filter_map(move |o| artifacts::path_of(i, o).ok())
            });
            outputs.collect()
        }
    };
    let root = &session.project.root;
    let mut litter = Litter::default();
    let mut open = vec![(session.project.artifacts(), true)];
    while let Some((dir, is_top)) = open.pop() {
        let entries = match crate::dir::read(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => anyhow::bail!("cannot list `{}`: {e}", dir.display()),
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let relative = path
                .strip_prefix(root)
                .ok()
                .and_then(|p| RelPath::new(p.to_str()?).ok());
            let Some(relative) = relative else {
                litter.foreign.push(path);
                continue;
            };
            if current.contains(&relative) {
                continue;
            }
            if kind.is_dir() {
                open.push((path, false));
            } else if is_top || kind.is_symlink() || relative.name().starts_with('.') {
                if !is_top {
                    litter.foreign.push(path);
                }
            } else {
                let content = session.stats.digest_path(&relative)?;
                let shape = Shape::File;
                match session.store.has(&Content { shape, ..content })? {
                    true => litter.known.push(Known {
                        path: relative,
                        bytes: content.bytes_total,
                    }),
                    false => litter.foreign.push(path),
                }
            }
        }
    }
    litter.known.sort_by(|a, b| a.path.cmp(&b.path));
    litter.foreign.sort();
    Ok(litter)
}

impl Litter {
    /// Size of what may go.
    pub fn bytes(&self) -> u64 {
        self.known.iter().map(|known| known.bytes).sum()
    }

    /// Removes what may go, and directories that are empty then.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self, project: &Project) -> anyhow::Result<()> {
        for known in &self.known {
            let path = known.path.under(&project.root);
            std::fs::remove_file(&path).map_err(|e| not_removed(&path, &e))?;
            let above = path.ancestors().skip(1);
            for dir in above.take_while(|dir| *dir != project.artifacts()) {
                // One that is not empty ends it.
                if std::fs::remove_dir(dir).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Removes what failures left, scratch directories, and records of results on a remote that no run
/// wants any more. Nobody needs these but who looks at a failure, or lets a stage go on from where
/// it stopped.
///
/// # Errors
/// A directory cannot be removed.
pub fn sweep(project: &Project) -> anyhow::Result<Swept> {
    let state = project.state();
    let failures = sweep_failed(&state, Duration::ZERO);
    let mut scratch = 0;
    let entries = crate::dir::read(state.join("scratch"));
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        exec::discard(&path).map_err(|e| not_removed(&path, &e))?;
        scratch += 1;
    }
    let elsewhere = sweep_elsewhere(&state);
    Ok(Swept {
        failures,
        scratch,
        elsewhere,
    })
}

fn not_removed(path: &Path, e: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot remove `{}`: {e}", path.display())
}
