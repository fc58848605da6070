//! `repro.lock`: every instance's key and output digests, committed to git, so that a clone knows the results.
//!
//! One block per instance, sorted by name, a blank line between blocks, no times and no hosts: two machines write the same
//! bytes, and changes to different stages merge without conflict. It is TOML; the engine reads from it only pins, i.e.
//! what an execution found out about the outside world and later executions must confirm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::digest::Digest;

/// Format history. 1: first.
const FORMAT: u32 = 1;

const HEADER: &str = "# Written by `repro run`. Commit it: it says which result every instance has.\n";

/// One block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The action key.
    pub key: Digest,
    /// `file:<hex>` or `tree:<hex>` by output name.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// What the execution found out about the outside world.
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    /// Blocks by instance.
    #[serde(default, rename = "instance")]
    pub blocks: BTreeMap<String, Block>,
}

impl Default for LockFile {
    fn default() -> LockFile {
        LockFile { version: FORMAT, blocks: BTreeMap::new() }
    }
}

impl LockFile {
    /// Reads the file; a missing one is empty. A conflict or damage is an error that names the line.
    pub fn read(path: &Path) -> anyhow::Result<LockFile> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LockFile::default()),
            Err(e) => anyhow::bail!("cannot read {}: {e}", path.display()),
        };
        if let Some(line) = text.lines().position(|l| l.starts_with("<<<<<<<") || l.starts_with(">>>>>>>")) {
            anyhow::bail!("{}:{}: an unresolved merge conflict; keep either side of each block (or delete the file: `repro run` writes it anew)", path.display(), line + 1);
        }
        let lock: LockFile = toml::from_str(&text)
            .map_err(|e| anyhow::anyhow!("{}: {e}\nIf it cannot be mended, delete it: `repro run` writes it anew.", path.display()))?;
        anyhow::ensure!(lock.version == FORMAT, "{} has format {}, this program knows {FORMAT}", path.display(), lock.version);
        Ok(lock)
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}version = {FORMAT}\n");
        for (id, block) in &self.blocks {
            let id = quoted(id);
            let _ = write!(text, "\n[instance.{id}]\nkey = \"{}\"\n", block.key);
            for (table, entries) in [("outputs", &block.outputs), ("pins", &block.pins)] {
                if !entries.is_empty() {
                    let _ = writeln!(text, "[instance.{id}.{table}]");
                    for (name, value) in entries {
                        let _ = writeln!(text, "{} = {}", quoted(name), quoted(value));
                    }
                }
            }
        }
        text
    }

    /// Writes the file by rename; an unchanged one is left alone.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = self.render();
        if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        write_atomically(path, text.as_bytes())
    }
}

/// Replaces a file: readers see the old bytes or the new ones.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    crate::canonical::write_str(text, &mut out);
    // TOML also forbids a bare DEL.
    out.replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_it_writes(ids in proptest::collection::btree_map(".{1,12}", (".{1,6}", ".{0,6}"), 0..4)) {
            let blocks = ids.into_iter().map(|(id, (name, value))| {
                let block = Block {
                    key: Digest::of(id.as_bytes()),
                    outputs: BTreeMap::from([(name.clone(), format!("file:{}", Digest::of(value.as_bytes())))]),
                    pins: BTreeMap::from([(value, name)]),
                };
                (id, block)
            }).collect();
            let lock = LockFile { version: FORMAT, blocks };
            prop_assert_eq!(toml::from_str::<LockFile>(&lock.render()).unwrap(), lock);
        }
    }

    #[test]
    fn a_merge_conflict_is_named_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repro.lock");
        std::fs::write(&path, "version = 1\n<<<<<<< ours\n").unwrap();
        let message = LockFile::read(&path).unwrap_err().to_string();
        assert!(message.contains("repro.lock:2: an unresolved merge conflict"), "{message}");
    }
}
