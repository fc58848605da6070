//! Records: which result an action had. One file per distinct result, so that two results of one
//! key are both kept and nondeterminism is seen instead of overwritten.
//!
//! A record is one line of JSON and one line with the BLAKE3 of the first: a torn or altered record
//! is a miss. What a key means and which of several results to use is the caller's business.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{Content, Digest, Domain};
use crate::regular::{self, Links};

use super::error::{StoreError, at};
use super::observation::{Fact, Observation};
use super::{Root, Store, with_parent};

const VERSION: u32 = 1;
/// A record larger than this is not one of ours, and is not read into memory.
const RECORD_BYTES_MAX: u64 = 256 << 20;

/// One result of one action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The action's key.
    pub key: Digest,
    /// What the key is the digest of, for people and for `replay`.
    pub preimage: String,
    /// The artifacts by output name.
    pub outputs: BTreeMap<String, Content>,
    /// Who made it, when, in what time: no part of the result.
    pub observation: Observation,
}

impl Record {
    /// Where it came from (`remote lab`); `None` for what was executed here. Anything in its place
    /// that is no text came from elsewhere too.
    pub fn origin(&self) -> Option<&str> {
        let origin = self.observation.get(Fact::Origin)?;
        Some(origin.as_str().unwrap_or("elsewhere"))
    }

    /// Says that it was not made here.
    pub fn set_origin(&mut self, origin: &str) {
        self.observation = std::mem::take(&mut self.observation).with(Fact::Origin, origin);
    }

    /// Seconds the execution took, if the observation says so.
    pub fn wall_s(&self) -> Option<f64> {
        self.observation.number(Fact::WallS)
    }

    /// The name of the result: the same on every machine that gets the same outputs.
    pub fn result(&self) -> Digest {
        let mut text = String::new();
        for (name, content) in &self.outputs {
            text += &format!("{} {name} {content} {}\n", name.len(), content.bytes_total);
        }
        Digest::derive(Domain::Result, text.as_bytes())
    }

    /// The form in which it is kept and shared.
    ///
    /// # Errors
    /// An observation that is no JSON (a number that is none).
    pub fn to_text(&self) -> Result<String, String> {
        encode(self)
    }

    /// Reads what [`Record::to_text`] wrote, about this action and with this result.
    ///
    /// # Errors
    /// Why it is not that, in words.
    pub fn parse(text: &[u8], key: &Digest, result: &Digest) -> Result<Record, String> {
        decode(text, key, &result.hex())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    version: u32,
    key: Digest,
    preimage: String,
    outputs: BTreeMap<String, Content>,
    observation: Observation,
}

/// `<json>\nblake3 <hex of the json>\n`.
pub(super) fn with_checksum(json: &str) -> String {
    format!("{json}\nblake3 {}\n", Digest::of(json.as_bytes()))
}

/// The JSON, if the checksum is right.
pub(super) fn checked(text: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let (json, check) = text.split_once('\n').ok_or("it is cut off")?;
    if check
        .strip_prefix("blake3 ")
        .and_then(|c| c.strip_suffix('\n'))
        == Some(&Digest::of(json.as_bytes()).hex())
    {
        Ok(json)
    } else {
        Err("its checksum is wrong".into())
    }
}

fn encode(record: &Record) -> Result<String, String> {
    let file = RecordFile {
        version: VERSION,
        key: record.key,
        preimage: record.preimage.clone(),
        outputs: record.outputs.clone(),
        observation: record.observation.clone(),
    };
    serde_json::to_string(&file)
        .map(|json| with_checksum(&json))
        .map_err(|e| e.to_string())
}

/// `name` is the file's name; `key` what its directory says.
fn decode(text: &[u8], key: &Digest, name: &str) -> Result<Record, String> {
    let file: RecordFile = serde_json::from_str(checked(text)?).map_err(|e| e.to_string())?;
    if file.version != VERSION {
        return Err(format!("it has version {}, not {VERSION}", file.version));
    }
    let RecordFile {
        key: found,
        preimage,
        outputs,
        observation,
        ..
    } = file;
    let record = Record {
        key: found,
        preimage,
        outputs,
        observation,
    };
    if record.key != *key {
        return Err(format!("it is about another action, {}", record.key));
    }
    if record.result().hex() != name {
        return Err("its name is not the digest of its outputs".into());
    }
    Ok(record)
}

/// A record as found on the disk.
pub(super) struct FoundRecord {
    pub path: PathBuf,
    pub meta: fs::Metadata,
    pub record: Result<Record, String>,
}

/// All records in the directory of one key. No directory is no records.
pub(super) fn read_records(dir: &Path, key: &Digest) -> io::Result<Vec<FoundRecord>> {
    let entries = match crate::dir::read(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let read = entry.metadata().and_then(|meta| {
            if !meta.is_file() || meta.len() > RECORD_BYTES_MAX {
                return Ok((meta, Err("it is not a record".to_owned())));
            }
            let text = regular::read(&path, Links::Refuse, RECORD_BYTES_MAX)?;
            Ok((meta, decode(&text, key, &name)))
        });
        match read {
            Ok((meta, record)) => found.push(FoundRecord { path, meta, record }),
            // Removed by a gc between listing and reading.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    // The same order on every machine and at every time.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

impl Store {
    /// The keys with a record whose hexadecimal digits begin with `prefix` (two digits or more),
    /// sorted.
    pub fn keys_with_prefix(&self, prefix: &str) -> Vec<Digest> {
        let Some((head, tail)) = prefix.split_at_checked(2) else {
            return Vec::new();
        };
        if !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Vec::new();
        }
        let names = crate::dir::read(self.root.join("actions").join(head))
            .into_iter()
            .flatten()
            .flatten();
        let key = |entry: crate::dir::Entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            name.starts_with(tail)
                .then(|| format!("{head}{name}").parse().ok())?
        };
        let mut keys: Vec<Digest> = names.filter_map(key).collect();
        keys.sort();
        keys
    }

    /// The known results of an action, in the order of their digests. Trouble with a record is a
    /// warning and a miss. Nothing is said of whether the outputs are there: see [`Store::has`].
    pub fn lookup(&self, key: &Digest) -> Vec<Record> {
        // With a lease, no gc may come between finding a record and being known to use it.
        let lease = self.lease.get();
        let _gc_held_off = lease
            .filter(|lease| !lease.is_in_pass())
            .and_then(|_| self.hold_gc_off().ok());
        let dir = self.named("actions", key);
        let found = match read_records(&dir, key) {
            Ok(found) => found,
            Err(e) => {
                self.warning(&format!(
                    "{}: cannot read the records there: {e}; the action counts as never run",
                    dir.display()
                ));
                return Vec::new();
            }
        };
        let mut records = Vec::with_capacity(found.len());
        for FoundRecord { path, meta, record } in found {
            match record {
                Ok(record) => {
                    if let Some(lease) = lease {
                        lease.add(Root::Action(*key));
                        super::freshen::freshen(&path, &meta);
                    }
                    records.push(record);
                }
                Err(why) => {
                    let aside = self.quarantine_path(&format!("action-{key}"));
                    let where_ = match fs::rename(&path, &aside) {
                        Ok(()) => format!("moved to {}", aside.display()),
                        Err(e) => format!("it could not be moved aside: {e}"),
                    };
                    self.warning(&format!(
                        "record {} is corrupt: {why}; {where_}; the action counts as never run",
                        path.display()
                    ));
                }
            }
        }
        records
    }

    /// Writes a record; `false` if the result was known already. The first observation stays, but
    /// what is executed here takes the place of what was only heard of it: from then on nobody
    /// else's word is needed.
    pub(super) fn write_record(&self, record: &Record) -> Result<bool, StoreError> {
        let dir = self.named("actions", &record.key);
        let name = record.result().hex();
        let path = dir.join(&name);
        let text = encode(record).map_err(|why| {
            StoreError::refused(&path, format!("the record cannot be written: {why}"))
        })?;
        let tmp = self.scratch()?.write_fresh(text.as_bytes())?;
        super::crash_point("record.written");
        let is_new = with_parent(&path, || super::sys::rename_noreplace(&tmp, &path))
            .map_err(at(&path, "publish the record"))?;
        if is_new {
            return Ok(true);
        }
        let old = regular::read(&path, Links::Refuse, RECORD_BYTES_MAX)
            .ok()
            .and_then(|old| decode(&old, &record.key, &name).ok());
        let is_good = old
            .as_ref()
            .is_some_and(|old| old.origin().is_none() || record.origin().is_some());
        if is_good {
            if let Ok(meta) = fs::symlink_metadata(&path) {
                super::freshen::freshen(&path, &meta);
            }
            let _ = fs::remove_file(&tmp);
        } else {
            fs::rename(&tmp, &path).map_err(at(&path, "replace the record"))?;
        }
        Ok(old.is_none())
    }

    /// The other results known for the key.
    pub(super) fn other_results(&self, record: &Record) -> Vec<Digest> {
        let own = record.result();
        let Ok(entries) = crate::dir::read(self.named("actions", &record.key)) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok());
        let mut others: Vec<Digest> = names.filter(|digest| *digest != own).collect();
        others.sort();
        others
    }
}
