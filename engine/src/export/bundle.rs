//! Bundles: one file with everything a machine without network needs to have the results and to
//! check them.
//!
//! A tar archive, compressed with zstd, whose first entry says exactly which entries follow, in
//! which order and how large:
//!
//! ```text
//! bundle.json
//! records/0 …       results, as in a store
//! envelopes/0 …     signatures under them
//! trees/<64 hex>    listings of directories
//! objects/<64 hex>  files
//! ```
//!
//! Project files are named by their contents, as everything else. The same results give the same
//! bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{ProjectPath, Selection};
use crate::digest::{Content, Digest, Shape};
use crate::store::Store;
use repro_protocol::relpath::RelPath;

/// Format history. 1: first.
pub const FORMAT: u32 = 1;
/// The first entry.
pub const MANIFEST: &str = "bundle.json";
/// Of zstd: artifacts hardly shrink, texts do with any.
const LEVEL: i32 = 3;

/// `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub bundle: u32,
    /// Name of the study.
    pub name: String,
    /// The pipeline file.
    pub pipeline: RelPath,
    /// Files and directories of the project.
    pub project: BTreeMap<RelPath, ProjectEntry>,
    /// Results.
    pub records: Vec<RecordEntry>,
    /// Signatures.
    pub envelopes: Vec<EnvelopeEntry>,
    /// Listings of directories.
    pub trees: Vec<BytesEntry>,
    /// Files.
    pub objects: Vec<BytesEntry>,
}

/// A path of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectEntry {
    /// What is there.
    pub content: Content,
    /// A file that its owner may execute.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordEntry {
    /// What the project calls it.
    pub instance: String,
    /// The action.
    pub key: Digest,
    /// The result.
    pub result: Digest,
    /// Size of the entry.
    pub bytes: u64,
}

/// A signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeEntry {
    /// Position among the records.
    pub record: u32,
    /// Size of the entry.
    pub bytes: u64,
}

/// Bytes by their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BytesEntry {
    /// Their name.
    pub digest: Digest,
    /// Size of the entry.
    pub bytes: u64,
}

impl Manifest {
    /// Names and sizes of the entries that follow, in order.
    pub fn entries(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let records = (0..).zip(&self.records);
        let envelopes = (0..).zip(&self.envelopes);
        let named =
            |dir: &'static str| move |e: &BytesEntry| (format!("{dir}/{}", e.digest), e.bytes);
        records
            .map(|(i, e): (u32, _)| (format!("records/{i}"), e.bytes))
            .chain(envelopes.map(|(i, e): (u32, _)| (format!("envelopes/{i}"), e.bytes)))
            .chain(self.trees.iter().map(named("trees")))
            .chain(self.objects.iter().map(named("objects")))
    }

    /// Bytes of all entries together; `None` for more than can be counted.
    pub fn bytes_total(&self) -> Option<u64> {
        self.entries()
            .try_fold(0u64, |sum, (_, bytes)| sum.checked_add(bytes))
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Results.
    pub results: usize,
    /// Signatures.
    pub envelopes: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes a bundle, whole or not at all; what is at `path` is replaced.
///
/// # Errors
/// The store lacks something, or the disk.
pub fn write(selection: &Selection<'_>, path: &Path) -> anyhow::Result<Written> {
    let store = &selection.session.store;
    let mut texts = Vec::new();
    let mut manifest = Manifest {
        bundle: FORMAT,
        name: selection.session.plan.name.clone(),
        pipeline: selection.pipeline()?,
        project: BTreeMap::new(),
        records: Vec::new(),
        envelopes: Vec::new(),
        trees: Vec::new(),
        objects: Vec::new(),
    };
    let mut contents = Vec::new();
    for (
        path,
        ProjectPath {
            content,
            executable,
        },
    ) in &selection.project
    {
        let entry = ProjectEntry {
            content: *content,
            executable: *executable,
        };
        manifest.project.insert(path.clone(), entry);
        contents.push(*content);
    }
    let mut envelopes = Vec::new();
    for (position, piece) in (0..).zip(&selection.pieces) {
        let record = &piece.record;
        let text = record.to_text().map_err(anyhow::Error::msg)?;
        manifest.records.push(RecordEntry {
            instance: selection.instance(piece).id.to_string(),
            key: record.key,
            result: record.result(),
            bytes: text.len() as u64,
        });
        texts.push(text.into_bytes());
        contents.extend(record.outputs.values());
        for envelope in &piece.envelopes {
            manifest.envelopes.push(EnvelopeEntry {
                record: position,
                bytes: envelope.len() as u64,
            });
            envelopes.push(envelope.clone());
        }
    }
    let found = found(store, &contents)?;
    manifest.trees = found.trees;
    manifest.objects = found.objects;

    let cannot = || format!("cannot write {}", path.display());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .prefix(".repro-bundle-")
        .tempfile_in(parent)
        .with_context(cannot)?;
    let encoder = zstd::Encoder::new(file, LEVEL).with_context(cannot)?;
    let mut archive = tar::Builder::new(encoder);
    let text = serde_json::to_vec(&manifest)?;
    append(&mut archive, MANIFEST, text.len() as u64, &text[..]).with_context(cannot)?;
    let mut entries = manifest.entries();
    let mut next = |archive: &mut _, body: &mut dyn Read| -> anyhow::Result<()> {
        let (name, bytes) = entries.next().context("BUG: more entries than listed")?;
        append(archive, &name, bytes, body).with_context(cannot)
    };
    for text in texts.iter().chain(&envelopes) {
        next(&mut archive, &mut &text[..])?;
    }
    for (shape, bytes) in [
        (Shape::Tree, &manifest.trees),
        (Shape::File, &manifest.objects),
    ] {
        for entry in bytes {
            let path = store.path_of(shape, &entry.digest)?;
            let mut file = std::fs::File::open(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            next(&mut archive, &mut file)?;
        }
    }
    let encoder = archive.into_inner().with_context(cannot)?;
    let file = encoder.finish().with_context(cannot)?;
    use std::os::unix::fs::PermissionsExt;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    let bytes = file.as_file().metadata()?.len();
    file.persist(path)
        .map_err(|e| e.error)
        .with_context(cannot)?;
    Ok(Written {
        results: manifest.records.len(),
        envelopes: manifest.envelopes.len(),
        bytes,
    })
}

struct Found {
    trees: Vec<BytesEntry>,
    objects: Vec<BytesEntry>,
}

/// Everything these contents are made of, each once.
fn found(store: &Store, contents: &[Content]) -> anyhow::Result<Found> {
    let (mut trees, mut objects) = (BTreeMap::new(), BTreeMap::new());
    for content in contents {
        match content.shape {
            Shape::File | Shape::Program => {
                objects.insert(content.digest, content.bytes_total);
            }
            Shape::Tree => {
                let listing = store.read_tree(&content.digest)?;
                trees.insert(content.digest, listing.to_bytes().len() as u64);
                objects.extend(listing.files().map(|(_, digest, bytes, _)| (digest, bytes)));
            }
        }
    }
    let list = |map: BTreeMap<Digest, u64>| {
        let entries = map.into_iter();
        entries
            .map(|(digest, bytes)| BytesEntry { digest, bytes })
            .collect()
    };
    Ok(Found {
        trees: list(trees),
        objects: list(objects),
    })
}

/// Adds an entry that says nothing of time or user.
fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    bytes: u64,
    body: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut counted = Counted { body, bytes: 0 };
    archive.append(&header, &mut counted)?;
    if counted.bytes != bytes {
        return Err(std::io::Error::other(format!(
            "`{name}` has {} bytes and should have {bytes}",
            counted.bytes
        )));
    }
    Ok(())
}

struct Counted<R> {
    body: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.body.read(buffer)?;
        self.bytes += n as u64;
        Ok(n)
    }
}
