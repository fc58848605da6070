//! The index: what the last runs of this project found, in one file, so that a run with nothing to
//! do opens two files instead of thousands.
//!
//! Only a memory: the store decides what is true. A missing, old or damaged index is an empty one
//! and costs time.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use crate::damaged;
use crate::digest::{Content, Digest};
use crate::record::turn::Turn;
use crate::regular::{self, Links};
use crate::whole;

/// Format history. 1: first. 2: results whose bytes are elsewhere. 3: whose word a result stands
/// on.
const FORMAT: u32 = 3;

/// What is known of an instance from the last time it had a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its action key then.
    pub key: Digest,
    /// Its outputs, in the order of [`crate::plan::Instance::outputs`].
    pub outputs: Arc<[Content]>,
    /// Seconds the execution took, whoever did it.
    pub wall_s: f32,
    /// The result came from a remote and was believed, and its bytes were not needed yet: they may
    /// be there only.
    pub elsewhere: bool,
    /// It was not made here: the stamp of the trust under which it was believed. `None`: made here.
    pub believed_under: Option<Box<Digest>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    known: Known,
    /// This process found it.
    #[serde(skip)]
    is_own: bool,
}

/// See the module.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    known: HashMap<Arc<str>, Entry>,
    /// Digest of what `repro.lock` was last written from.
    pub lock_written_from: Option<Digest>,
    #[serde(skip)]
    changed: bool,
    /// The beginning of the file that was read: its digest.
    #[serde(skip)]
    read: Option<Head>,
}

/// Format (4 bytes) and BLAKE3 of the rest.
type Head = [u8; 36];
/// Bytes of the largest index that is read: five million instances.
const BYTES_MAX: u64 = 1 << 30;

impl Index {
    /// Reads the index. A damaged one is moved aside with a warning, and is empty; one of another
    /// version is empty.
    pub fn load(path: &Path) -> Index {
        match Index::read(path) {
            Ok(index) => index,
            Err(why) => {
                damaged::set_aside(path, &why);
                Index::default()
            }
        }
    }

    fn read(path: &Path) -> Result<Index, String> {
        let bytes = match regular::read(path, Links::Refuse, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if damaged::is_damage(&e) => return Err(e.to_string()),
            // Missing, or the disk's fault.
            Err(_) => return Ok(Index::default()),
        };
        let Some((head, body)) = bytes.split_first_chunk::<36>() else {
            return Err("it is too short".into());
        };
        if head[4..] != Digest::of(body).0 {
            return Err("its checksum is wrong".into());
        }
        if head[..4] != FORMAT.to_le_bytes() {
            return Ok(Index::default());
        }
        let mut index: Index = postcard::from_bytes(body).map_err(|e| e.to_string())?;
        index.read = Some(*head);
        Ok(index)
    }

    /// Writes the index if it changed. What other processes have found meanwhile about other
    /// instances stays.
    pub fn save(&mut self, path: &Path) -> anyhow::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("."));
        let _alone = Turn::take(dir);
        if self.is_outdated(path) {
            let found = Index::load(path);
            for (id, entry) in found.known {
                if self.known.get(&id).is_none_or(|mine| !mine.is_own) {
                    self.known.insert(id, entry);
                }
            }
        }
        let head = FORMAT.to_le_bytes();
        let check = whole::write_checked(path, dir, &head, |file| {
            postcard::to_io(self, file).map_err(io::Error::other)?;
            Ok(())
        })?;
        let mut read: Head = [0; 36];
        read[..4].copy_from_slice(&head);
        read[4..].copy_from_slice(&check.0);
        self.read = Some(read);
        self.changed = false;
        Ok(())
    }

    /// Another process has written it since it was read.
    fn is_outdated(&self, path: &Path) -> bool {
        let mut head: Head = [0; 36];
        let read = regular::open(path, Links::Refuse).and_then(|mut f| f.read_exact(&mut head));
        read.is_ok() && self.read != Some(head)
    }

    /// What is known of an instance.
    pub fn get(&self, instance: &str) -> Option<&Known> {
        self.known.get(instance).map(|entry| &entry.known)
    }

    /// All instances that had a result, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(id, entry)| (&**id, &entry.known))
    }

    /// Remembers a result, and says whether it is that of another action than before.
    pub fn set(&mut self, instance: &Arc<str>, known: Known) -> bool {
        let before = self.get(instance);
        if before == Some(&known) {
            return false;
        }
        let is_another = before.is_none_or(|before| before.key != known.key);
        let is_own = true;
        self.known.insert(instance.clone(), Entry { known, is_own });
        self.changed = true;
        is_another
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
            &"a[seed=1]".into(),
            Known {
                key: Digest::of(b"k"),
                outputs: [content].into(),
                wall_s: 1.5,
                elsewhere: false,
                believed_under: None,
            },
        );
        index.save(&path).unwrap();
        assert_eq!(
            Vec::from_iter(Index::load(&path).iter()),
            Vec::from_iter(index.iter())
        );
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Index::load(&path), Index::default(), "byte {at}");
        }
    }

    #[test]
    fn case_12_what_two_processes_found_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let known = |key: &str| Known {
            key: Digest::of(key.as_bytes()),
            outputs: Arc::default(),
            wall_s: 1.0,
            elsewhere: false,
            believed_under: None,
        };
        let [mut a, mut b] = [(); 2].map(|()| Index::load(&path));
        a.set(&"both".into(), known("a"));
        a.set(&"a".into(), known("a"));
        b.set(&"both".into(), known("b"));
        b.set(&"b".into(), known("b"));
        a.save(&path).unwrap();
        b.save(&path).unwrap();
        // The first one goes on.
        a.set(&"c".into(), known("c"));
        a.save(&path).unwrap();
        let all = Index::load(&path);
        let key = |id: &str| all.get(id).map(|k| k.key);
        assert_eq!(key("a"), Some(Digest::of(b"a")));
        assert_eq!(key("b"), Some(Digest::of(b"b")));
        assert_eq!(key("c"), Some(Digest::of(b"c")));
    }
}
