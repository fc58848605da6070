//! `repro.lock`: every instance's key and output digests, committed to git, so that a clone knows
//! the results.
//!
//! One block per instance, sorted by name, a blank line between blocks, no times and no hosts: two
//! machines write the same bytes, and changes to different stages merge without conflict. It is
//! TOML; the engine reads from it only pins, i.e. what an execution found out about the outside
//! world and later executions must confirm.

mod blocks;
mod written;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::blocks::Checked;
pub use self::blocks::{Blocks, Made};
use self::written::Table;
use super::turn::Turn;
use crate::digest::{Content, Digest};
use crate::regular::{self, Links};
use crate::whole;

/// Format history. 1: first.
const FORMAT: u32 = 1;
/// Bytes of the largest file that is read: a million instances.
const BYTES_MAX: u64 = 1 << 30;

const HEADER: &str =
    "# Written by `repro run`. Commit it: it says which result every instance has.\n";

/// What can be done about a file that cannot be read.
const AGAIN: &str = "If it cannot be repaired, delete it: `repro run` writes it again. What downloads \
                     without a checksum found is written when they are executed again.";

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
        LockFile {
            version: FORMAT,
            blocks: BTreeMap::new(),
        }
    }
}

impl LockFile {
    /// Reads the file; a missing one is empty. A conflict or damage is an error that names the
    /// line.
    pub fn read(path: &Path) -> anyhow::Result<LockFile> {
        match text(path)? {
            Some(text) => LockFile::parse(path, &text),
            None => Ok(LockFile::default()),
        }
    }

    /// Checks the file, which will be changed later.
    pub fn look(path: &Path) -> anyhow::Result<Seen> {
        let text = text(path)?;
        let blocks = match &text {
            Some(text) => Blocks::of(path, text, Checked::No)?,
            None => Blocks::default(),
        };
        Ok(Seen {
            of: text.as_ref().map(|text| Digest::of(text.as_bytes())),
            pins: blocks.pins(),
        })
    }

    /// Reads a text that stands for the file at `path`.
    ///
    /// # Errors
    /// A conflict or damage, with its line.
    pub fn parse(path: &Path, text: &str) -> anyhow::Result<LockFile> {
        let is_mark = |line: &str| line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>");
        let has_marks = text.contains("<<<<<<<") || text.contains(">>>>>>>");
        if has_marks && let Some(line) = text.lines().position(is_mark) {
            anyhow::bail!(
                "{}:{}: an unresolved merge conflict; keep either side of each block. {AGAIN}",
                path.display(),
                line + 1
            );
        }
        if let Some(lock) = LockFile::read_own(text) {
            return Ok(lock);
        }
        let lock: LockFile = toml::from_str(text)
            .map_err(|e| anyhow::anyhow!("{}: {e}\n{AGAIN}", path.display()))?;
        let at = |is_it: &dyn Fn(&str) -> bool| {
            let line = text.lines().position(is_it).map_or(1, |line| line + 1);
            format!("{}:{line}", path.display())
        };
        anyhow::ensure!(
            lock.version == FORMAT,
            "{}: the file has format {}, this program knows {FORMAT}",
            at(&|line| line.trim_start().starts_with("version")),
            lock.version
        );
        for (id, block) in &lock.blocks {
            for (name, value) in &block.outputs {
                anyhow::ensure!(
                    Content::named(value).is_some(),
                    "{}: `{value}` is no content, of the output `{name}` of {id}; it is `file:`, `tree:` or `program:` and 64 hexadecimal digits. {AGAIN}",
                    at(&|line| line.contains(&**value)),
                );
            }
        }
        Ok(lock)
    }

    /// Reads what is written here, many times faster than TOML at large; `None` for anything else.
    fn read_own(text: &str) -> Option<LockFile> {
        let mut lock = LockFile::default();
        for block in written::blocks(text)? {
            let (mut outputs, mut pins) = (BTreeMap::new(), BTreeMap::new());
            let key = written::walk(block, |table, name, value| {
                let entries = match table {
                    Table::Outputs => &mut outputs,
                    Table::Pins => &mut pins,
                };
                entries.insert(name.into_owned(), value.into_owned());
                true
            })?;
            let id = written::instance(block)?.into_owned();
            let block = Block { key, outputs, pins };
            if lock.blocks.insert(id, block).is_some() {
                return None;
            }
        }
        Some(lock)
    }
}

impl Block {
    /// As it stands in the file, without the end of the last line.
    fn text(&self, quoted_id: &str) -> String {
        let mut text = String::new();
        written::begin(&mut text, quoted_id, &self.key);
        written::table(&mut text, quoted_id, Table::Outputs, &self.outputs);
        written::table(&mut text, quoted_id, Table::Pins, &self.pins);
        text
    }
}

/// A change of the file: read, changed and written by rename while no other process does the same,
/// so that nobody's blocks are lost.
pub struct Change {
    path: PathBuf,
    scratch_dir: PathBuf,
    old: Option<String>,
    checked: Checked,
    _alone: Turn,
}

impl Change {
    /// Reads the file again. What was `seen` of it before is not checked again while it is the same.
    /// `scratch_dir` is on the same file system.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin(path: &Path, scratch_dir: &Path, seen: Option<Seen>) -> anyhow::Result<Change> {
        let alone = Turn::take(scratch_dir);
        let old = text(path)?;
        let of = old.as_ref().map(|text| Digest::of(text.as_bytes()));
        let checked = match seen.is_some_and(|seen| seen.of == of) {
            true => Checked::Yes,
            false => Checked::No,
        };
        Ok(Change {
            path: path.to_owned(),
            scratch_dir: scratch_dir.to_owned(),
            old,
            checked,
            _alone: alone,
        })
    }

    /// What the file says.
    ///
    /// # Errors
    /// A conflict or damage.
    pub fn blocks(&self) -> anyhow::Result<Blocks<'_>> {
        match &self.old {
            Some(text) => Blocks::of(&self.path, text, self.checked),
            None => Ok(Blocks::default()),
        }
    }

    /// Writes what it is to say, unless it says that already.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, blocks: &Blocks) -> anyhow::Result<()> {
        if self.old.as_ref().is_some_and(|old| blocks.are_in(old)) {
            return Ok(());
        }
        whole::write_in_pieces(&self.path, &self.scratch_dir, |file| {
            blocks.tell(|piece| file.write_all(piece.as_bytes()))
        })?;
        Ok(())
    }
}

/// The file as it was when it was checked.
pub struct Seen {
    /// Its text, where there was one.
    of: Option<Digest>,
    /// Of the instances that have any.
    pub pins: BTreeMap<String, BTreeMap<String, String>>,
}

/// The text of the file, where there is one.
fn text(path: &Path) -> anyhow::Result<Option<String>> {
    match regular::read_text(path, Links::Follow, BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => anyhow::bail!("cannot read {}: {e}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use repro_protocol::kind::OutputSpec;
    use repro_protocol::relpath::RelPath;

    fn block(key: &str) -> Block {
        Block {
            key: Digest::of(key.as_bytes()),
            outputs: BTreeMap::from([("o".to_owned(), format!("file:{}", Digest::of(b"o")))]),
            pins: BTreeMap::from([
                ("p".to_owned(), "\"1\"".to_owned()),
                ("q\n".to_owned(), "2".to_owned()),
            ]),
        }
    }

    fn text_of(blocks: &Blocks) -> String {
        let mut text = String::new();
        let told = blocks.tell(|piece| {
            text += piece;
            Ok::<(), ()>(())
        });
        told.unwrap();
        text
    }

    fn written_of(lock: &LockFile) -> String {
        let mut text = format!("{HEADER}version = {FORMAT}\n");
        for (id, block) in &lock.blocks {
            text += &format!("\n{}\n", block.text(&written::quoted(id)));
        }
        text
    }

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
            let text = written_of(&lock);
            let own = LockFile::read_own(&text);
            prop_assert_eq!(own.as_ref(), Some(&lock));
            prop_assert_eq!(toml::from_str::<LockFile>(&text).unwrap(), lock);
            let unchanged = Blocks::of(Path::new("repro.lock"), &text, Checked::No).unwrap();
            prop_assert!(unchanged.are_in(&text));
            prop_assert_eq!(text_of(&unchanged), text);
        }

        /// The fast reader understands less than TOML, and nothing differently.
        #[test]
        fn a_changed_file_is_read_as_toml_reads_it(at in 0usize..520, with in prop_oneof![Just("\""), Just("\\"), Just("["), Just("]"), Just("\n"), Just("#"), Just("\\u0041"), Just("\\/"), Just(" "), Just("a"), Just("")], cut in 0usize..3) {
            let lock = LockFile { version: FORMAT, blocks: BTreeMap::from([("a[x=1]".to_owned(), block("1")), ("b".to_owned(), block("2"))]) };
            let text = written_of(&lock);
            let at = (HEADER.len() + at).min(text.len() - cut);
            let changed = format!("{}{with}{}", &text[..at], &text[at + cut..]);
            if let Some(read) = LockFile::read_own(&changed) {
                prop_assert_eq!(toml::from_str::<LockFile>(&changed).ok(), Some(read), "{}", changed);
            }
            // What is changed block by block is as whole, or refused, as what is read whole.
            let path = Path::new("repro.lock");
            let blocks = Blocks::of(path, &changed, Checked::No);
            let read = LockFile::parse(path, &changed);
            prop_assert_eq!(blocks.is_ok(), read.is_ok());
            if let (Ok(blocks), Ok(read)) = (blocks, read) {
                prop_assert_eq!(LockFile::parse(path, &text_of(&blocks)).unwrap(), read);
            }
        }

        /// Blocks that are set are those of a map that is written whole.
        #[test]
        fn setting_blocks_is_changing_a_map(
            old in proptest::collection::btree_map("[ab]", (0u8..3, 0u8..3, 0u8..2), 0..3),
            new in proptest::collection::btree_map("[abc]", (0u8..3, 0u8..3, proptest::option::of(0u8..2)), 0..4),
            is_own: bool,
        ) {
            let content = |n: u8| Content::named(&format!("file:{}", Digest::of(&[n]))).unwrap();
            let pins = |n: u8| (0..n).map(|n| (format!("p{n}"), "1".to_owned())).collect::<BTreeMap<_, _>>();
            let outputs = |n: u8| (0..n).rev().map(|i| (format!("o{i}"), content(n + i))).collect::<Vec<_>>();
            let written_outputs = |n: u8| outputs(n).into_iter().map(|(name, c)| (name, c.to_string())).collect();
            let mut lock = LockFile::default();
            for (id, (key, n, pinned)) in old {
                let block = Block { key: Digest::of(&[key]), outputs: written_outputs(n), pins: pins(pinned) };
                lock.blocks.insert(id, block);
            }
            // A text of somebody else is understood too.
            let text = match is_own {
                true => written_of(&lock),
                false => written_of(&lock).replace("\n\n", "\n# theirs\n\n"),
            };
            let mut blocks = Blocks::of(Path::new("repro.lock"), &text, Checked::No).unwrap();
            let made: Vec<_> = new.into_iter().map(|(id, (key, n, pinned))| {
                let (names, contents): (Vec<_>, Vec<_>) = outputs(n).into_iter().unzip();
                let specs = names.iter().map(|name| OutputSpec { name: (**name).into(), path: RelPath::new(name).unwrap() });
                (id, Digest::of(&[key]), specs.collect::<Vec<_>>(), contents, n, pinned)
            }).collect();
            for (id, key, outputs, contents, n, pinned) in &made {
                blocks.set(id, Made { key, outputs, contents }, pinned.map(pins));
                let kept = lock.blocks.remove(id).map(|block| block.pins).unwrap_or_default();
                let pins = pinned.map_or(kept, pins);
                lock.blocks.insert(id.clone(), Block { key: *key, outputs: written_outputs(*n), pins });
            }
            let new = written_of(&lock);
            prop_assert_eq!(text_of(&blocks), new.as_str());
            let longer = format!("{new} ");
            prop_assert!(blocks.are_in(&new) && !blocks.are_in(&longer) && !blocks.are_in(&new[1..]));
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_line() {
        let path = Path::new("repro.lock");
        let key = Digest::of(b"k");
        let said = |text: &str| LockFile::parse(path, text).unwrap_err().to_string();
        let block = format!("[instance.\"a\"]\nkey = \"{key}\"\n[instance.\"a\".outputs]\n");
        for head in [HEADER, ""] {
            let lines = head.lines().count();
            let message = said(&format!("{head}version = 7\n"));
            let wanted = format!("repro.lock:{}: the file has format 7", lines + 1);
            assert!(message.starts_with(&wanted), "{message}");
            for wrong in ["file:12", "12", "file:", &format!("leaf:{key}")] {
                let message = said(&format!(
                    "{head}version = 1\n\n{block}\"o\" = \"{wrong}\"\n"
                ));
                let wanted = format!("repro.lock:{}: `{wrong}` is no content", lines + 6);
                assert!(message.starts_with(&wanted), "{message}");
            }
        }
    }

    #[test]
    fn a_merge_conflict_is_named_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repro.lock");
        std::fs::write(&path, "version = 1\n<<<<<<< ours\n").unwrap();
        let message = LockFile::read(&path).unwrap_err().to_string();
        assert!(
            message.contains("repro.lock:2: an unresolved merge conflict"),
            "{message}"
        );
    }
}
