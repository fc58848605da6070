//! Collecting in the store: what no project needs that used it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Mode;
use crate::digest::{Digest, Shape};
use crate::executor::sweep_failed;
use crate::index::Index;
use crate::record::elsewhere::Elsewhere;
use crate::record::lockfile::LockFile;
use crate::store::{GcPlan, GcPolicy, Root, Store};

/// What of projects whose directories are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneProjects {
    /// Their needs cannot be known, so nothing is collected: they may lie on a disk that is not
    /// mounted now.
    Refuse,
    /// They are struck from the list, and their results may go.
    Forget,
}

/// Removes what no project needs and `policy` does not spare, or says what that would be.
///
/// # Errors
/// A project is not there, or cannot be asked; the store cannot be read or written.
pub fn collect(
    store: &Store,
    policy: &GcPolicy,
    gone_projects: GoneProjects,
    mode: Mode,
) -> anyhow::Result<GcPlan> {
    let roots = roots(store, gone_projects, mode)?;
    if mode == Mode::Plan {
        return Ok(store.gc_plan(&roots, policy)?);
    }
    for project in store.projects()? {
        // What failures left is looked at soon, or never.
        let state = project.join(".repro");
        sweep_failed(&state, policy.grace);
        sweep_elsewhere(&state);
    }
    Ok(store.gc(&roots, policy)?)
}

/// Of results on a remote a project remembers those that its last runs name. How many went.
pub fn sweep_elsewhere(state: &Path) -> usize {
    let index = Index::load(&state.join("index"));
    let there = index.iter().filter(|(_, known)| known.elsewhere);
    let wanted: HashSet<Digest> = there.map(|(_, known)| known.key).collect();
    Elsewhere::of(state).sweep(|key| wanted.contains(key))
}

fn roots(store: &Store, gone_projects: GoneProjects, mode: Mode) -> anyhow::Result<HashSet<Root>> {
    let mut roots = HashSet::new();
    let mut gone: Vec<PathBuf> = Vec::new();
    for project in store.projects()? {
        match (project.try_exists(), gone_projects) {
            (Ok(true), _) => add_roots(&project, &mut roots)?,
            (Ok(false), GoneProjects::Forget) if mode == Mode::Do => {
                store.forget_project(&project)?;
            }
            (Ok(false), GoneProjects::Forget) => {}
            (Ok(false), GoneProjects::Refuse) => gone.push(project),
            (Err(e), _) => anyhow::bail!(
                "cannot ask the project `{}` what it needs: {e}",
                project.display()
            ),
        }
    }
    let names: Vec<String> = gone.iter().map(|p| format!("`{}`", p.display())).collect();
    anyhow::ensure!(
        names.is_empty(),
        "these projects used the store and cannot be found now: {}; make them reachable, or add --forget-gone-projects",
        names.join(", ")
    );
    Ok(roots)
}

/// What a project names in its lock file and its index.
fn add_roots(project: &Path, roots: &mut HashSet<Root>) -> anyhow::Result<()> {
    let index = Index::load(&project.join(".repro").join("index"));
    for (_, known) in index.iter() {
        roots.insert(Root::Action(known.key));
        let outputs = known.outputs.iter();
        roots.extend(outputs.map(|c| Root::Content(c.shape, c.digest)));
    }
    let lock = LockFile::read(&project.join("repro.lock"))
        .map_err(|e| e.context("gc keeps what repro.lock names, so it must be readable"))?;
    for block in lock.blocks.values() {
        roots.insert(Root::Action(block.key));
        roots.extend(block.outputs.values().filter_map(|text| content_root(text)));
    }
    Ok(())
}

fn content_root(text: &str) -> Option<Root> {
    let (shape, hex) = text.split_once(':')?;
    let digest: Digest = hex.parse().ok()?;
    Some(Root::Content(Shape::from_word(shape)?, digest))
}
