//! Two machines and a bucket: one has results, the other wants them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use repro_engine::digest::{Content, Digest, Domain};
use repro_engine::lookup::{Answer, Believed, look_up};
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::layout::Scope;
use repro_engine::remote::link::Link;
use repro_engine::remote::publish::{Publication, Published, publish};
use repro_engine::store::{Pending, Record, Store};
use repro_engine::trust::{Facts, SecretKey, Signer, Trust};

use crate::support::bucket::Bucket;

pub struct Machine {
    pub dir: tempfile::TempDir,
    pub store: Arc<Store>,
    pub signer: Signer,
    pub warnings: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    pub fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"))
            .unwrap()
            .with_warnings(|_| {});
        Machine {
            dir,
            store: Arc::new(store),
            signer: Signer::with_key(SecretKey::generate().unwrap()),
            warnings: Arc::default(),
        }
    }

    pub fn link(&self, bucket: &Bucket) -> Arc<Link> {
        let warnings = self.warnings.clone();
        let warn = move |text: &str| warnings.lock().unwrap().push(text.to_owned());
        Arc::new(Link::new(
            Box::new(bucket.clone()),
            "lab",
            Scope::Shared,
            warn,
        ))
    }

    /// Executes: an action called `name` with these outputs, each a file or the files of a tree.
    pub fn made(&self, name: &str, outputs: &[(&str, Output)]) -> Record {
        let preimage = format!("{{\"name\":\"{name}\"}}");
        let mut staged = repro_engine::store::Staged::default();
        let mut named = BTreeMap::new();
        for (position, (output, bytes)) in outputs.iter().enumerate() {
            let path = self.dir.path().join(format!("{name}-{position}"));
            bytes.write(&path);
            let (content, more) = self.store.absorb(&path).unwrap();
            staged.merge(more);
            named.insert((*output).to_owned(), content);
        }
        let record = Record {
            key: Digest::derive(Domain::Action, preimage.as_bytes()),
            preimage,
            outputs: named,
            observation: serde_json::json!({"wall_s": 2.5, "host": "there"}).into(),
        };
        let pending = Pending {
            record: record.clone(),
            staged,
        };
        for committed in self.store.commit(vec![pending]) {
            committed.unwrap();
        }
        record
    }

    pub fn publication(&self, record: &Record) -> Publication {
        let signer = self.signer.id().to_string().parse().unwrap();
        let envelope = self.signer.sign(record, &Facts::of(record));
        Publication {
            record: record.clone(),
            signatures: vec![(signer, envelope)],
        }
    }

    pub fn push(&self, bucket: &Bucket, records: &[&Record]) -> Vec<Result<Published, String>> {
        let batch = records.iter().map(|r| self.publication(r)).collect();
        publish(&self.link(bucket), &self.store, batch)
    }

    /// A trust file that believes these machines.
    pub fn trust(&self, require: &str, believed: &[&Machine]) -> Arc<Trust> {
        let mut text = format!("version = 1\nrequire = \"{require}\"\n");
        for (position, machine) in believed.iter().enumerate() {
            text += &format!(
                "[signers.m{position}]\nrole = \"ci\"\nkeys = [\"{}\"]\n",
                machine.signer.public()
            );
        }
        let path = self.dir.path().join("repro.trust.toml");
        std::fs::write(&path, text).unwrap();
        Arc::new(Trust::read_file(&path).unwrap())
    }

    pub fn ask(&self, bucket: &Bucket, trust: &Arc<Trust>, key: Digest) -> Answer {
        let mut answers = Vec::new();
        look_up(&self.link(bucket), trust, vec![key], |_, a| answers.push(a));
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// What `pull` does with one result; whether it is here now.
    pub fn pull(&self, bucket: &Bucket, trust: &Arc<Trust>, key: Digest) -> Result<Record, String> {
        let believed: Believed = match self.ask(bucket, trust, key) {
            Answer::Hit(believed) => *believed,
            Answer::Miss(why) => return Err(why.to_string()),
        };
        let contents: Vec<Content> = believed.record.outputs.values().copied().collect();
        for outcome in fetch(&self.link(bucket), &self.store, &contents).unwrap() {
            outcome.map_err(|e| e.to_string())?;
        }
        let pending = Pending {
            record: believed.record.clone(),
            staged: repro_engine::store::Staged::default(),
        };
        for committed in self.store.commit(vec![pending]) {
            committed.map_err(|e| e.to_string())?;
        }
        Ok(believed.record)
    }

    pub fn has(&self, record: &Record) -> bool {
        !self.store.lookup(&record.key).is_empty()
            && record.outputs.values().all(|c| self.store.has(c).unwrap())
    }

    /// Nothing is wrong with the store, and no artifact is anything but itself.
    pub fn is_sound(&self) {
        let report = self.store.fsck(false).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }

    pub fn warned(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap())
    }
}

/// Bytes of an output.
pub enum Output {
    File(Vec<u8>),
    Tree(Vec<(String, Vec<u8>)>),
}

impl Output {
    fn write(&self, path: &Path) {
        match self {
            Output::File(bytes) => std::fs::write(path, bytes).unwrap(),
            Output::Tree(files) => {
                std::fs::create_dir(path).unwrap();
                for (name, bytes) in files {
                    let path = path.join(name);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, bytes).unwrap();
                }
            }
        }
    }
}

pub fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// One result with all there is: a small file, one that compresses, one that does not, an empty
/// one, a tree with small, large, equal and empty files.
pub fn everything() -> Vec<(&'static str, Output)> {
    let mut files: Vec<(String, Vec<u8>)> = (0..40)
        .map(|i| (format!("d{}/f{i}", i % 3), noise(100 * i, (i % 30) as u64)))
        .collect();
    files.push(("large".into(), noise(300_000, 8)));
    files.push(("even".into(), vec![1; 200_000]));
    vec![
        ("small", Output::File(b"few bytes".to_vec())),
        ("text", Output::File(b"line\n".repeat(100_000))),
        ("noise", Output::File(noise(4_300_000, 7))),
        ("empty", Output::File(Vec::new())),
        ("tree", Output::Tree(files)),
    ]
}

/// As [`everything`], without the file of many megabytes.
pub fn most() -> Vec<(&'static str, Output)> {
    let mut outputs = everything();
    outputs.retain(|(name, _)| *name != "noise");
    outputs
}
