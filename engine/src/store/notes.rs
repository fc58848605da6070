//! Notes: what is known of results beyond their records: signatures under them, and accounts of
//! executions that gave other bits. Losing one loses no result.
//!
//! ```text
//! envelopes/ab/<62 hex of the key>/<result>.<name>     a signature
//! divergence/ab/<62 hex of the key>/<digest of it>     an account of a difference
//! ```
//!
//! What they say, and whether it is true, is unknown here: what is read was bounded in size,
//! nothing more.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::digest::Digest;
use crate::regular::{self, Links};

use super::error::{StoreError, at};
use super::sys::{FileStat, now_ns};
use super::{Store, with_parent};

const ENVELOPES: &str = "envelopes";
const DIVERGENCE: &str = "divergence";
/// Notes of one action that are read.
const COUNT_MAX: usize = 256;
/// Bytes of the largest note that is read.
const BYTES_MAX: u64 = 16 << 20;

impl Store {
    /// Keeps a signature under a result. `name`, of hexadecimal digits, is the key's for one's own,
    /// which is needed once, and the digest of the envelope for others', so that a forged one
    /// cannot take the place of a true one. What is there stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep_envelope(
        &self,
        key: &Digest,
        result: &Digest,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.keep_note(ENVELOPES, key, &format!("{result}.{name}"), bytes)
    }

    /// The signatures kept under a result.
    pub fn envelopes(&self, key: &Digest, result: &Digest) -> Vec<Vec<u8>> {
        self.notes(ENVELOPES, key, &format!("{result}."))
    }

    /// Keeps an account of an execution that gave something else than what is recorded.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep_divergence(&self, key: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.keep_note(DIVERGENCE, key, &Digest::of(bytes).hex(), bytes)
    }

    /// The accounts kept under an action.
    pub fn divergences(&self, key: &Digest) -> Vec<Vec<u8>> {
        self.notes(DIVERGENCE, key, "")
    }

    fn keep_note(
        &self,
        dir: &str,
        key: &Digest,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let legal = |b: u8| b.is_ascii_hexdigit() || b == b'.';
        let path = self.named(dir, key).join(name);
        if !name.bytes().all(legal) || bytes.len() as u64 > BYTES_MAX {
            return Err(StoreError::refused(&path, "this is not a note on a result"));
        }
        let tmp = self.scratch()?.write_fresh(bytes)?;
        match with_parent(&path, || super::sys::rename_noreplace(&tmp, &path)) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let _ = fs::remove_file(&tmp);
                Ok(())
            }
            Err(e) => Err(at(&path, "keep the note")(e)),
        }
    }

    /// Notes whose names begin so, in the order of their names, each once: one's own signature may
    /// have come back from a remote. What cannot be read counts as not there.
    fn notes(&self, dir: &str, key: &Digest, begin: &str) -> Vec<Vec<u8>> {
        let dir = self.named(dir, key);
        let entries = crate::dir::read(&dir).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .map(|e| e.file_name())
            .filter(|name| name.to_str().is_some_and(|n| n.starts_with(begin)))
            .collect();
        names.sort();
        let read = |name: &std::ffi::OsString| read_bounded(&dir.join(name)).ok().flatten();
        let mut notes: Vec<Vec<u8>> = Vec::new();
        for note in names.iter().take(COUNT_MAX).filter_map(read) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// Removes the notes on actions that have no record any more. For gc.
    pub(super) fn sweep_notes(&self, grace: Duration) {
        for top in [ENVELOPES, DIVERGENCE] {
            if !self.root.join(top).is_dir() {
                continue;
            }
            for (dir, key) in self.named_dirs(top).into_iter().flatten() {
                let is_empty = |mut entries: crate::dir::Entries| entries.next().is_none();
                let has_record = match crate::dir::read(self.named("actions", &key)) {
                    Ok(entries) => !is_empty(entries),
                    Err(e) => e.kind() != io::ErrorKind::NotFound,
                };
                let is_old = fs::symlink_metadata(&dir).is_ok_and(|meta| {
                    let age_ns = now_ns().saturating_sub(FileStat::of(&meta).mtime_ns);
                    u128::try_from(age_ns).is_ok_and(|age| age > grace.as_nanos())
                });
                if !has_record && is_old {
                    let _ = crate::dir::remove_all(&dir);
                }
            }
        }
    }
}

/// `None` for what is too large or no file.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = regular::open(path, Links::Refuse)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= BYTES_MAX).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    use crate::store::{GcPolicy, Pending, Record};

    #[test]
    fn notes_stay_as_long_as_a_record_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (content, staged) = store.absorb_bytes(b"x").unwrap();
        let record = Record {
            key: Digest::of(b"key"),
            preimage: "{}".into(),
            outputs: BTreeMap::from([("out".to_owned(), content)]),
            observation: Default::default(),
        };
        let (key, result) = (record.key, record.result());
        for done in store.commit(vec![Pending { record, staged }]) {
            done.unwrap();
        }
        store.keep_envelope(&key, &result, "aa", b"one").unwrap();
        store.keep_envelope(&key, &result, "aa", b"again").unwrap();
        store.keep_envelope(&key, &result, "bb", b"two").unwrap();
        store.keep_divergence(&key, b"other bits").unwrap();
        assert!(store.keep_envelope(&key, &result, "../x", b"").is_err());
        store.keep_envelope(&key, &result, "cc", b"one").unwrap();
        assert_eq!(store.envelopes(&key, &result), [b"one", b"two"]);
        assert!(store.envelopes(&key, &key).is_empty());
        let sweep = |roots: &HashSet<_>| {
            let policy = GcPolicy {
                grace: Duration::ZERO,
                states_grace: Duration::ZERO,
            };
            std::thread::sleep(Duration::from_millis(20));
            store.gc(roots, &policy).unwrap();
        };
        sweep(&HashSet::from([super::super::Root::Action(key)]));
        assert_eq!(store.envelopes(&key, &result).len(), 2);
        sweep(&HashSet::new());
        assert!(store.envelopes(&key, &result).is_empty());
        assert!(store.divergences(&key).is_empty());
        assert!(store.fsck(false).unwrap().findings.is_empty());
    }
}
