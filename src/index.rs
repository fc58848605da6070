//! The index: what the last runs of this project found, in one file, so that a run with nothing to do opens two files
//! instead of thousands.
//!
//! Only a memory: the store decides what is true. A missing, old or damaged index is an empty one and costs time.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::{Content, Digest};
use crate::record::lockfile::write_atomically;

/// Format history. 1: first. 2: results whose bytes are elsewhere. 3: whose word a result stands on.
const FORMAT: u32 = 3;

/// What is known of an instance from the last time it had a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its action key then.
    pub key: Digest,
    /// Its outputs, in the order of [`crate::plan::Instance::outputs`].
    pub outputs: Vec<Content>,
    /// Seconds the execution took, whoever did it.
    pub wall_s: f32,
    /// The result came from a remote and was believed, and its bytes were not needed yet: they may be there only.
    pub elsewhere: bool,
    /// It was not made here: the stamp of the trust under which it was believed. `None`: made here.
    pub believed_under: Option<Digest>,
}

/// See the module.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    known: HashMap<Box<str>, Known>,
    /// Digest of what `repro.lock` was last written from.
    pub lock_written_from: Option<Digest>,
    #[serde(skip)]
    changed: bool,
}

impl Index {
    /// Reads the index; anything but a whole one is empty.
    pub fn load(path: &Path) -> Index {
        let read = || -> Option<Index> {
            let bytes = std::fs::read(path).ok()?;
            let (head, body) = bytes.split_at_checked(36)?;
            let whole = head[..4] == FORMAT.to_le_bytes() && head[4..] == Digest::of(body).0;
            if whole {
                postcard::from_bytes(body).ok()
            } else {
                None
            }
        };
        read().unwrap_or_default()
    }

    /// Writes the index if it changed.
    pub fn save(&mut self, path: &Path) -> anyhow::Result<()> {
        if self.changed {
            let body = postcard::to_stdvec(self)?;
            let mut bytes = FORMAT.to_le_bytes().to_vec();
            bytes.extend_from_slice(&Digest::of(&body).0);
            bytes.extend_from_slice(&body);
            write_atomically(path, path.parent().unwrap_or(Path::new(".")), &bytes)?;
            self.changed = false;
        }
        Ok(())
    }

    /// What is known of an instance.
    pub fn get(&self, instance: &str) -> Option<&Known> {
        self.known.get(instance)
    }

    /// All instances that had a result, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(id, known)| (&**id, known))
    }

    /// Remembers a result.
    pub fn set(&mut self, instance: &str, known: Known) {
        if self.known.get(instance) != Some(&known) {
            self.known.insert(instance.into(), known);
            self.changed = true;
        }
    }

    /// Notes what `repro.lock` was written from.
    pub fn set_lock_written_from(&mut self, digest: Digest) {
        if self.lock_written_from != Some(digest) {
            self.lock_written_from = Some(digest);
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Shape;

    #[test]
    fn damage_is_an_empty_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut index = Index::default();
        let content = Content {
            shape: Shape::File,
            digest: Digest::of(b"x"),
            bytes_total: 1,
        };
        index.set(
            "a[seed=1]",
            Known {
                key: Digest::of(b"k"),
                outputs: vec![content],
                wall_s: 1.5,
                elsewhere: false,
                believed_under: None,
            },
        );
        index.save(&path).unwrap();
        assert_eq!(Index::load(&path), index);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Index::load(&path), Index::default(), "byte {at}");
        }
    }
}
