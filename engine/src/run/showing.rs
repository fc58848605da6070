//! Shows recorded results under `artifacts/`, on a thread beside the loop: copies can be large.
//! Knows no graph.

use std::path::Path;
use std::sync::mpsc::Receiver;

use crate::digest::Content;
use crate::plan::InstanceIndex;
use crate::session::show;
use crate::store::{LinkMode, StatCache, Store, StoreError};
use crate::watched;
use repro_protocol::relpath::RelPath;

/// A recorded result.
pub struct ToShow {
    /// Whose.
    pub index: InstanceIndex,
    /// Where its outputs appear.
    pub at: Vec<(RelPath, Content)>,
}

/// Works until all senders of `results` are gone. Every result is answered once, through `done`,
/// with why something of it could not be shown; it says whether anybody still listens.
pub fn work(
    store: &Store,
    stats: &StatCache,
    root: &Path,
    link_mode: LinkMode,
    results: &Receiver<ToShow>,
    done: &dyn Fn(InstanceIndex, Option<StoreError>) -> bool,
) {
    while let Ok(ToShow { index, at }) = results.recv() {
        let mut error = None;
        for (path, content) in at {
            let shown = watched::caught(|| show(store, stats, root, &path, &content, link_mode));
            let shown =
                shown.unwrap_or_else(|what| Err(StoreError::broken_down(&path.under(root), &what)));
            error = shown.err().or(error);
        }
        if !done(index, error) {
            return;
        }
    }
}
