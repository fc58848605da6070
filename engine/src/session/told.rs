//! What was told of changed inputs before: thousands of instances have the same one, and looking
//! into it reads files.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::record::event::FileChange;

/// The files that differ between two contents.
#[derive(Default)]
pub struct Told(Mutex<HashMap<(Digest, Digest), Vec<FileChange>>>);

impl Told {
    /// What was told of these two, or what `look` finds.
    pub fn or_tell(
        &self,
        pair: (Digest, Digest),
        look: impl FnOnce() -> Vec<FileChange>,
    ) -> Vec<FileChange> {
        let mut told = self.0.lock().unwrap_or_else(|e| e.into_inner());
        told.entry(pair).or_insert_with(look).clone()
    }
}
