//! `repro.lock`: every instance's key and output digests, committed to git, so that a clone knows
//! the results.
//!
//! One block per instance, sorted by name, a blank line between blocks, no times and no hosts: two
//! machines write the same bytes, and changes to different stages merge without conflict. It is
//! TOML; the engine reads from it only pins, i.e. what an execution found out about the outside
//! world and later executions must confirm.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::digest::Digest;
use crate::regular::{self, Links};
use crate::whole;

/// Format history. 1: first.
const FORMAT: u32 = 1;
/// Bytes of the largest file that is read: a million instances.
const BYTES_MAX: u64 = 1 << 30;

const HEADER: &str =
    "# Written by `repro run`. Commit it: it says which result every instance has.\n";

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
        Ok(LockFile::look(path)?.lock)
    }

    /// As [`LockFile::read`], to be changed later.
    pub fn look(path: &Path) -> anyhow::Result<Seen> {
        let text = text(path)?;
        let lock = match &text {
            Some(text) => LockFile::parse(path, text)?,
            None => LockFile::default(),
        };
        Ok(Seen {
            of: text.map(|text| Digest::of(text.as_bytes())),
            lock,
        })
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<LockFile> {
        let is_mark = |line: &str| line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>");
        let has_marks = text.contains("<<<<<<<") || text.contains(">>>>>>>");
        if has_marks && let Some(line) = text.lines().position(is_mark) {
            anyhow::bail!(
                "{}:{}: an unresolved merge conflict; keep either side of each block (or delete the file: `repro run` writes it again)",
                path.display(),
                line + 1
            );
        }
        if let Some(lock) = LockFile::read_own(text) {
            return Ok(lock);
        }
        let lock: LockFile = toml::from_str(text).map_err(|e| {
            anyhow::anyhow!(
                "{}: {e}\nIf it cannot be repaired, delete it: `repro run` writes it again.",
                path.display()
            )
        })?;
        anyhow::ensure!(
            lock.version == FORMAT,
            "{} has format {}, this program knows {FORMAT}",
            path.display(),
            lock.version
        );
        Ok(lock)
    }

    /// Reads what [`LockFile::render`] writes, many times faster than TOML at large; `None` for
    /// anything else.
    fn read_own(text: &str) -> Option<LockFile> {
        let mut lock = LockFile::default();
        let mut lines = text
            .strip_prefix(HEADER)?
            .lines()
            .filter(|l| !l.is_empty())
            .peekable();
        if lines.next()?.strip_prefix("version = ")?.parse() != Ok(FORMAT) {
            return None;
        }
        while let Some(line) = lines.next() {
            let (id, rest) = unquoted(line.strip_prefix("[instance.")?)?;
            let heading = line.strip_suffix(']')?;
            let (key, end) = unquoted(lines.next()?.strip_prefix("key = ")?)?;
            if rest != "]" || !end.is_empty() {
                return None;
            }
            let mut block = Block {
                key: key.parse().ok()?,
                outputs: BTreeMap::new(),
                pins: BTreeMap::new(),
            };
            for (table, entries) in [
                (".outputs]", &mut block.outputs),
                (".pins]", &mut block.pins),
            ] {
                let begins = |line: &&str| line.strip_prefix(heading) == Some(table);
                if lines.next_if(begins).is_some() {
                    while let Some(line) = lines.next_if(|l| !l.starts_with('[')) {
                        let (name, rest) = unquoted(line)?;
                        let (value, end) = unquoted(rest.strip_prefix(" = ")?)?;
                        if !end.is_empty()
                            || entries
                                .insert(name.into_owned(), value.into_owned())
                                .is_some()
                        {
                            return None;
                        }
                    }
                }
            }
            if lock.blocks.insert(id.into_owned(), block).is_some() {
                return None;
            }
        }
        Some(lock)
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}version = {FORMAT}\n");
        for (id, block) in &self.blocks {
            let id = quoted(id);
            text.push_str("\n[instance.");
            text.push_str(&id);
            text.push_str("]\nkey = \"");
            block.key.with_hex(|hex| text.push_str(hex));
            text.push_str("\"\n");
            for (table, entries) in [(".outputs", &block.outputs), (".pins", &block.pins)] {
                if !entries.is_empty() {
                    text.push_str("[instance.");
                    text.push_str(&id);
                    text.push_str(table);
                    text.push_str("]\n");
                    for (name, value) in entries {
                        text.push_str(&quoted(name));
                        text.push_str(" = ");
                        text.push_str(&quoted(value));
                        text.push('\n');
                    }
                }
            }
        }
        text
    }

    /// Changes the file: read again, changed and written by rename while no other process does the
    /// same, so that nobody's blocks are lost. What was `seen` of it before serves while it is the
    /// same. `scratch_dir` is on the same file system.
    pub fn update(
        path: &Path,
        scratch_dir: &Path,
        seen: Option<Seen>,
        change: impl FnOnce(&mut LockFile),
    ) -> anyhow::Result<()> {
        let _alone = Turn::take(scratch_dir);
        let old = text(path)?;
        let of = old.as_ref().map(|text| Digest::of(text.as_bytes()));
        let mut lock = match (seen, &old) {
            (Some(seen), _) if seen.of == of => seen.lock,
            (_, Some(text)) => LockFile::parse(path, text)?,
            (_, None) => LockFile::default(),
        };
        change(&mut lock);
        let new = lock.render();
        if old.as_ref() != Some(&new) {
            whole::write(path, scratch_dir, new.as_bytes())?;
        }
        Ok(())
    }
}

/// The file as it was when it was read.
pub struct Seen {
    of: Option<Digest>,
    /// What it says.
    pub lock: LockFile,
}

/// The text of the file, where there is one.
fn text(path: &Path) -> anyhow::Result<Option<String>> {
    match regular::read_text(path, Links::Follow, BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => anyhow::bail!("cannot read {}: {e}", path.display()),
    }
}

/// A turn at changing what a project remembers: held for as long as it takes to read, change and
/// write a file.
pub struct Turn(Option<File>);

/// Whoever holds a turn for so long has been stopped in it, or its machine is gone.
const TURN_MAX: Duration = Duration::from_secs(30);

impl Turn {
    /// Waits for the turn, a while. Where there are no locks nobody waits, and of two who write at
    /// the same moment one is first.
    pub fn take(state_dir: &Path) -> Turn {
        let path = state_dir.join("turn");
        let options = &mut File::options();
        options.create(true).append(true);
        let opened = std::fs::create_dir_all(state_dir)
            .and_then(|()| regular::open_with(&path, Links::Refuse, options));
        let Ok(file) = opened else { return Turn(None) };
        let begun = Instant::now();
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if begun.elapsed() > TURN_MAX {
                return Turn(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Turn(Some(file))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing would do it as well, unless closing fails.
            let _ = file.unlock();
        }
    }
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    crate::canonical::write_str(text, &mut out);
    // TOML also forbids a bare DEL.
    match out.contains('\u{7f}') {
        true => out.replace('\u{7f}', "\\u007f"),
        false => out,
    }
}

/// The text that begins a line in quotes, and what follows it. Only what [`quoted`] writes.
fn unquoted(line: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = line.strip_prefix('"')?;
    let mut end = inner.find('"')?;
    if inner[..end].contains('\\') {
        let mut escaped = false;
        end = inner.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
    }
    let (text, rest) = (&inner[..end], &inner[end + 1..]);
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return None;
    }
    if !text.contains('\\') {
        return Some((Cow::Borrowed(text), rest));
    }
    let written = &line[..end + 2];
    // JSON and TOML agree on the escapes that are written, not on all there are.
    let text: String = serde_json::from_str(written)
        .ok()
        .filter(|text: &String| quoted(text) == written)?;
    Some((Cow::Owned(text), rest))
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
            let text = lock.render();
            let own = LockFile::read_own(&text);
            prop_assert_eq!(own.as_ref(), Some(&lock));
            prop_assert_eq!(toml::from_str::<LockFile>(&text).unwrap(), lock);
        }

        /// The fast reader understands less than TOML, and nothing differently.
        #[test]
        fn a_changed_file_is_read_as_toml_reads_it(at in 0usize..400, with in prop_oneof![Just("\""), Just("\\"), Just("["), Just("]"), Just("\n"), Just("#"), Just("\\u0041"), Just("\\/"), Just(" "), Just("a"), Just("")], cut in 0usize..3) {
            let block = |key: &str| Block {
                key: Digest::of(key.as_bytes()),
                outputs: BTreeMap::from([("o".to_owned(), "file:\"x\"".to_owned())]),
                pins: BTreeMap::from([("p".to_owned(), "1".to_owned()), ("q\n".to_owned(), "2".to_owned())]),
            };
            let lock = LockFile { version: FORMAT, blocks: BTreeMap::from([("a[x=1]".to_owned(), block("1")), ("b".to_owned(), block("2"))]) };
            let text = lock.render();
            let at = (HEADER.len() + at).min(text.len() - cut);
            let changed = format!("{}{with}{}", &text[..at], &text[at + cut..]);
            if let Some(read) = LockFile::read_own(&changed) {
                prop_assert_eq!(toml::from_str::<LockFile>(&changed).ok(), Some(read), "{}", changed);
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
