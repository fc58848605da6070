//! Replay: executes a recorded action again, far from the cache, and compares what it gives with what is recorded.
//!
//! Nothing is published, recorded or shown: the only traces are the private directory, where it is asked for, and the answer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::flight::{self, Prepared, Terms};
use super::resources::{self, GPUS_ARE_TAKEN};
use crate::digest::Content;
use crate::exec::{self, Cancel, CancelLevel, Failure, Note, Usage};
use crate::lineage::Lineage;
use crate::plan::{Instance, Source};
use crate::record::lockfile::LockFile;
use crate::session::Session;
use crate::store::StatCache;
use repro_protocol::job::Event;
use repro_protocol::relpath::RelPath;

/// What a second execution gave.
pub struct Replayed {
    /// The new content of every output.
    pub outputs: BTreeMap<Arc<str>, Content>,
    /// Where they lie, as long as this lives.
    pub paths: BTreeMap<Arc<str>, PathBuf>,
    /// Time and memory of it.
    pub usage: Usage,
    _dirs: Dirs,
}

/// The private directory of an execution, unless somebody keeps it.
struct Dirs {
    discarded: Option<PathBuf>,
    fresh: tempfile::TempDir,
}

impl Drop for Dirs {
    fn drop(&mut self) {
        if let Some(dir) = &self.discarded {
            // What cannot be removed now is swept with the session.
            let _ = exec::discard(dir);
        }
    }
}

/// Where and how.
pub struct ReplayTerms {
    /// Leave the private directory here; it must not exist.
    pub keep: Option<PathBuf>,
    /// Cores it may use.
    pub cpus: u32,
    /// The network may not be used.
    pub offline: bool,
    /// This program.
    pub executable: PathBuf,
    /// What its inputs have in common, as it was hashed.
    pub lineage: Lineage,
}

/// A result may be known whose inputs were never here: who pulls a clone gets what is final.
pub fn check_inputs(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
) -> anyhow::Result<()> {
    for (need, contents) in instance.needs.iter().zip(contents) {
        for (item, content) in need.items.iter().zip(contents) {
            if let Source::Output { instance: from, .. } = item.source
                && !session.store.has(content)?
            {
                let from = &session.plan.instance(from).id;
                anyhow::bail!(
                    "`{}` needs the output of `{from}`, which is not in the store; `repro run --pull '{from}'` gets it or makes it again",
                    instance.id
                );
            }
        }
    }
    Ok(())
}

/// Executes an instance whose inputs have these contents.
///
/// # Errors
/// An input is not in the store; the store, the disk; a [`Failure`] where the execution failed.
pub fn replay(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    terms: ReplayTerms,
    cancel: &Cancel,
    say: &mut dyn FnMut(Note),
) -> anyhow::Result<Result<Replayed, Box<Failure>>> {
    check_inputs(session, instance, contents)?;
    let fresh = tempfile::Builder::new()
        .prefix("replay-")
        .tempdir_in(session.store.work_dir()?)?;
    let dir = match &terms.keep {
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
    let pins = LockFile::read(&session.project.lock_file())?
        .blocks
        .remove(&*instance.id)
        .map(|block| block.pins)
        .unwrap_or_default();
    let mut is_told = false;
    let (grant, _gpus) = resources::alone(&instance.policy, || {
        if !std::mem::replace(&mut is_told, true) {
            let text = GPUS_ARE_TAKEN.to_owned();
            say(Note::Event(Event::Warning { text }));
        }
        match cancel.level() {
            CancelLevel::None => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    let execution = Terms {
        policy: flight::policy_with(&instance.policy, terms.cpus),
        grant,
        dir: dir.clone(),
        scratch_dir: fresh.path().join("scratch"),
        pins,
        offline: terms.offline,
        executable: terms.executable,
        afterwards: match terms.keep {
            Some(_) => exec::Afterwards::Kept,
            None => exec::Afterwards::Discarded,
        },
        lineage: terms.lineage,
    };
    let Prepared {
        mut request,
        views,
        trees,
        ..
    } = flight::prepare(session, instance, contents, execution);
    flight::place_views(
        &session.store,
        &mut request,
        &views,
        &fresh.path().join("inputs"),
    )?;
    flight::place_trees(&mut request, &trees, &fresh.path().join("inputs"))?;
    let finished = exec::execute(&request, cancel, say);
    let dirs = Dirs {
        discarded: terms.keep.is_none().then(|| dir.clone()),
        fresh,
    };
    match finished {
        Ok(finished) => {
            // Digests only: a cache of stats that is never written.
            let root = dir.canonicalize()?;
            let stats = StatCache::load(&root, &dirs.fresh.path().join("stats"));
            let mut outputs = BTreeMap::new();
            for (name, path) in &finished.outputs {
                let relative = path
                    .strip_prefix(&root)
                    .ok()
                    .and_then(|p| RelPath::new(p.to_str()?).ok());
                let relative = relative.ok_or_else(|| {
                    anyhow::anyhow!("BUG: output `{name}` lies outside its private directory")
                })?;
                outputs.insert(name.clone(), stats.digest_path(&relative)?);
            }
            Ok(Ok(Replayed {
                outputs,
                paths: finished.outputs,
                usage: finished.usage,
                _dirs: dirs,
            }))
        }
        Err(failure) => Ok(Err(failure)),
    }
}
