//! Collecting on a remote: what this clone needs of it, on every branch; other clones say so there.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::{DAY, Mode};
use crate::digest::Digest;
use crate::exchange::Way;
use crate::exchange::needed::known_keys;
use crate::git;
use crate::project::Project;
use crate::remote::gc::{self, Ages, Collected, GRACE_MIN};
use crate::store::{Root, Store};

/// Branches and tags that are asked, the newest first.
const REFS_MAX: usize = 2000;

/// Marks what nobody needs, and removes what was marked a day ago; or says what that would be. What
/// is younger than `grace` stays.
///
/// # Errors
/// The grace is shorter than writers count on; what this clone needs cannot be read; the remote is
/// broken.
pub fn collect(
    project: &Project,
    store: &Store,
    way: &Way,
    grace: Option<Duration>,
    mode: Mode,
) -> anyhow::Result<Collected> {
    let mut policy = Ages::default();
    policy.grace = grace.unwrap_or(policy.grace);
    anyhow::ensure!(
        mode == Mode::Plan || policy.grace >= GRACE_MIN,
        "--keep-days must be {} or more for a remote: writers rely on everything younger",
        GRACE_MIN.as_secs() / DAY.as_secs()
    );
    let keys = needed_here(project, store)?;
    Ok(gc::collect(&way.link, &keys, &policy, mode)?)
}

/// What this clone needs: its lock file, here and on every branch and tag; its last runs; pins.
fn needed_here(project: &Project, store: &Store) -> anyhow::Result<HashSet<Digest>> {
    let mut keys = known_keys(project)?;
    keys.extend(store.pins()?.into_iter().filter_map(|root| match root {
        Root::Action(key) => Some(key),
        Root::Content(..) => None,
    }));
    keys.extend(keys_of_git(&project.root));
    Ok(keys)
}

/// The keys of repro.lock on every branch and tag. No git, no repository, no keys: leases of other
/// clones count anyway.
fn keys_of_git(root: &Path) -> HashSet<Digest> {
    let places = ["refs/heads", "refs/remotes", "refs/tags"];
    let list = ["for-each-ref", "--sort=-creatordate", "--format=%(refname)"];
    let refs = git::ask(root, &[&list[..], &places].concat()).unwrap_or_default();
    let mut keys = HashSet::new();
    for name in refs.lines().take(REFS_MAX) {
        let text = git::ask(root, &["show", &format!("{name}:./repro.lock")]).unwrap_or_default();
        // `key = "<64 hex>"`, whatever the version of the file.
        keys.extend(text.lines().filter_map(|line| {
            let value = line
                .trim()
                .strip_prefix("key")?
                .trim_start()
                .strip_prefix('=')?;
            value.trim().trim_matches('"').parse::<Digest>().ok()
        }));
    }
    keys
}
