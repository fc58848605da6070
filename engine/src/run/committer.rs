//! The committer: makes staged results durable and visible, many at a time.
//!
//! Stages that end while a commit is under way share the next one, so a thousand tiny stages cost a few syncs. Order: objects,
//! sync, records (the store's part), then `artifacts/`. Knows no graph.

use std::path::Path;
use std::sync::mpsc::Receiver;

use crate::digest::Content;
use crate::plan::InstanceIndex;
use crate::session::show;
use crate::store::{ActionLock, Committed, LinkMode, Pending, StatCache, Store, StoreError};
use crate::watched;
use repro_protocol::relpath::RelPath;

/// A result on its way.
pub struct Landing {
    /// Whose.
    pub index: InstanceIndex,
    /// What to commit.
    pub pending: Pending,
    /// Where its outputs appear.
    pub shown_at: Vec<(RelPath, Content)>,
    /// Released once the result is recorded.
    pub lock: Option<ActionLock>,
}

/// What became of it.
pub struct CommitResult {
    /// Whose.
    pub index: InstanceIndex,
    /// Recorded, or why not.
    pub committed: Result<Committed, StoreError>,
    /// Recorded, but not shown under `artifacts/`, and why.
    pub show_error: Option<StoreError>,
}

/// Largest number of results that share a commit.
const BATCH_LIMIT: usize = 256;

/// Works until all senders of `landings` are gone. Every landing is answered once, through `done`, which says whether
/// anybody still listens.
pub fn work(
    store: &Store,
    stats: &StatCache,
    root: &Path,
    link_mode: LinkMode,
    landings: Receiver<Landing>,
    done: &dyn Fn(CommitResult) -> bool,
) {
    while let Ok(first) = landings.recv() {
        let mut batch = vec![first];
        batch.extend(landings.try_iter().take(BATCH_LIMIT - 1));
        let (mut pending, mut rest) = (
            Vec::with_capacity(batch.len()),
            Vec::with_capacity(batch.len()),
        );
        for landing in batch {
            pending.push(landing.pending);
            rest.push((landing.index, landing.shown_at, landing.lock));
        }
        let committed = watched::caught(|| store.commit(pending)).unwrap_or_else(|what| {
            let broken = || Err(StoreError::broken_down(store.root(), &what));
            rest.iter().map(|_| broken()).collect()
        });
        for ((index, shown_at, lock), committed) in rest.into_iter().zip(committed) {
            drop(lock);
            let mut show_error = None;
            if committed.is_ok() {
                for (path, content) in shown_at {
                    let shown =
                        watched::caught(|| show(store, stats, root, &path, &content, link_mode));
                    let shown = shown.unwrap_or_else(|what| {
                        Err(StoreError::broken_down(&path.under(root), &what))
                    });
                    show_error = shown.err().or(show_error);
                }
            }
            let is_heard = done(CommitResult {
                index,
                committed,
                show_error,
            });
            if !is_heard {
                return;
            }
        }
    }
}
