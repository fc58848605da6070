//! Results under `artifacts/`: whether they are shown, and showing them.

use super::opened::Session;
use crate::artifacts;
use crate::digest::{Content, Shape};
use crate::plan::Instance;
use crate::store::{LinkMode, StatCache, Store, StoreError};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;
use std::path::Path;

impl Session {
    /// Whether every output of an instance shows its content under `artifacts/`.
    pub fn shown(&self, instance: &Instance, outputs: &[Content]) -> bool {
        let mut outputs = instance.outputs.iter().zip(outputs);
        outputs.all(|(output, content)| self.shown_at(instance, output, content).is_some())
    }

    /// Where under `artifacts/` an output shows this very content, if it does.
    pub fn shown_at(
        &self,
        instance: &Instance,
        output: &OutputSpec,
        content: &Content,
    ) -> Option<RelPath> {
        let path = artifacts::path_of(instance, output).ok()?;
        is_current(&self.stats, &path, content).then_some(path)
    }

    /// Puts the outputs of an instance under `artifacts/`.
    ///
    /// # Errors
    /// What the store says; earlier artifacts then stand as they were.
    pub fn show(&self, instance: &Instance, outputs: &[Content]) -> anyhow::Result<()> {
        for (output, content) in instance.outputs.iter().zip(outputs) {
            show(
                &self.store,
                &self.stats,
                &self.project.root,
                &artifacts::path_of(instance, output)?,
                content,
                self.link_mode,
            )?;
        }
        Ok(())
    }
}

pub(super) fn is_current(stats: &StatCache, path: &RelPath, content: &Content) -> bool {
    stats.shows(path, content)
}

/// Makes `path` show `content`, unless it does already.
pub fn show(
    store: &Store,
    stats: &StatCache,
    root: &Path,
    path: &RelPath,
    content: &Content,
    mode: LinkMode,
) -> Result<(), StoreError> {
    if !is_current(stats, path, content) {
        clear_way(root, path);
        store.place(content, &path.under(root), mode)?;
        let listing = match content.shape {
            Shape::Tree => Some(store.read_tree(&content.digest)?),
            Shape::File | Shape::Program => None,
        };
        stats.remember_placed(path, content, listing.as_ref());
    }
    Ok(())
}

/// Directories below `artifacts/` are ours: a file in the place of one would bar the way, and a
/// link would lead the outputs out of the project, over whatever lies there. `artifacts/` itself
/// may be a link, to another disk.
pub(super) fn clear_way(root: &Path, path: &RelPath) {
    let mut way = root.to_owned();
    let parts: Vec<&str> = path.as_str().split('/').collect();
    for (depth, part) in parts[..parts.len() - 1].iter().enumerate() {
        way.push(part);
        if depth > 0 && std::fs::symlink_metadata(&way).is_ok_and(|m| !m.is_dir()) {
            // What cannot be removed is told of by the placing that follows.
            let _ = std::fs::remove_file(&way);
        }
    }
}
