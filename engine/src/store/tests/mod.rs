//! Tests of the store as a whole: round trips, laws, hostile input, damage, crashes, several owners
//! at once.

mod crash;
mod damage;
mod gc;
mod round_trip;
mod together;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::digest::{Content, Digest, Domain};

/// A store in a directory of its own, beside a place to make outputs in.
struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Fixture {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let to = warnings.clone();
        let store = Store::open(&dir.path().join("store"))
            .unwrap()
            .with_warnings(move |w| to.lock().unwrap().push(w.into()));
        Fixture {
            dir,
            store,
            warnings,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A second process as far as the store can tell: nothing is shared but the disk.
    fn reopen(&self) -> Store {
        Store::open(self.store.root()).unwrap()
    }

    /// Commits one action with one output file.
    fn commit_file(&self, key: &str, bytes: &str) -> Content {
        commit_bytes(&self.store, key, bytes).unwrap()
    }

    fn warned(&self) -> String {
        self.warnings.lock().unwrap().join("\n")
    }
}

fn key(text: &str) -> Digest {
    Digest::derive(Domain::Action, text.as_bytes())
}

fn record(text: &str, outputs: &[(&str, Content)]) -> Record {
    let outputs: BTreeMap<String, Content> =
        outputs.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
    Record {
        key: key(text),
        preimage: text.to_owned(),
        outputs,
        observation: json!({"wall_s": 2.5}).into(),
    }
}

fn commit_one(store: &Store, record: Record, staged: Staged) -> Result<Committed, StoreError> {
    store.commit(vec![Pending { record, staged }]).remove(0)
}

fn commit_bytes(store: &Store, key: &str, bytes: &str) -> Result<Content, StoreError> {
    let (content, staged) = store.absorb_bytes(bytes.as_bytes())?;
    commit_one(store, record(key, &[("out", content)]), staged).map(|_| content)
}

/// Writes through the read-only mode, as root or with chmod would, and puts mtime back: only ctime
/// tells.
fn tamper(path: &Path, at: usize) {
    use std::os::unix::fs::PermissionsExt;
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(before.modified().unwrap())
        .unwrap();
    fs::set_permissions(path, before.permissions()).unwrap();
}

/// Names below a directory, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
