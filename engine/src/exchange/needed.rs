//! What this clone needs, said on a remote, so that a collection started elsewhere spares it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::index::Index;
use crate::project::Project;
use crate::record::lockfile::LockFile;
use crate::remote::lease;
use crate::remote::link::Link;

/// A lease that says the same is not written again sooner.
const LEASE_AGE_MAX: Duration = Duration::from_secs(86_400);

/// The keys of a clone's lock file and of its last runs.
///
/// # Errors
/// The lock file cannot be read.
pub fn known_keys(project: &Project) -> anyhow::Result<HashSet<Digest>> {
    let lock = LockFile::read(&project.lock_file())?;
    let index = Index::load(&project.state().join("index"));
    let blocks = lock.blocks.values().map(|block| block.key);
    let runs = index.iter().map(|(_, known)| known.key);
    Ok(blocks.chain(runs).collect())
}

/// Says on the remote what this clone needs: its lock file, its last runs, and `more`. Where that
/// fails, results may be collected when they are old: a warning.
pub fn announce(link: &Arc<Link>, project: &Project, more: &[Digest]) {
    let mut keys: Vec<Digest> = match known_keys(project) {
        Ok(keys) => keys.into_iter().chain(more.iter().copied()).collect(),
        Err(e) => {
            return link.warning(&format!(
                "the remote was not told what this clone needs: {e:#}"
            ));
        }
    };
    keys.sort_unstable();
    keys.dedup();
    let all: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
    let said = format!("{} {}\n", Digest::of(&all), link.describe());
    let stamp = project.state().join("leases").join(link.name());
    let is_recent = std::fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < LEASE_AGE_MAX));
    if link.given_up().is_some()
        || is_recent && std::fs::read_to_string(&stamp).is_ok_and(|text| text == said)
    {
        return;
    }
    match lease::begin(link, &lease::client(&project.root), keys) {
        Ok(()) => {
            // Only spares a request.
            let _ = stamp.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(&stamp, said);
        }
        Err(_) if link.given_up().is_some() => {}
        Err(e) => link.warning(&format!(
            "the remote could not be told what this clone needs: {e}"
        )),
    }
}
