//! Secrets: values that a process gets and nothing else does. They are taken from the environment
//! at the last moment, and masked in everything the process says before it reaches a log, a screen
//! or a journal.
//!
//! A value is masked as the bytes it is, also where a write or a buffer cut it in two; one of
//! several lines also line by line. An encoding of it (base64 and the like) is not known and not
//! masked.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Cause;

/// What stands where a secret was.
const MASK: &[u8] = b"***";
/// A single line of a longer secret is masked on its own from this length on.
const LINE_BYTES: usize = 8;
/// A shorter value is too likely to occur by chance to fail a stage whose output holds it.
const TELLING_BYTES: usize = 8;

/// The secrets of one execution.
#[derive(Default)]
pub struct Secrets {
    values: Vec<(Arc<str>, String)>,
    /// Longest first.
    patterns: Arc<[Box<[u8]>]>,
}

/// An output that holds a secret: in a file, in a name, or in where a link leads.
pub struct Spilled {
    /// Whose value.
    pub name: Arc<str>,
    /// The entry.
    pub path: PathBuf,
    /// It cannot be chance.
    pub is_certain: bool,
}

impl Secrets {
    /// The present values of these variables.
    ///
    /// # Errors
    /// [`Cause::SecretMissing`].
    pub fn of(names: &[Arc<str>]) -> Result<Secrets, Cause> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let value = std::env::var(&**name).unwrap_or_default();
            if value.is_empty() {
                return Err(Cause::SecretMissing { name: name.clone() });
            }
            values.push((name.clone(), value));
        }
        Ok(Secrets::with(values))
    }

    fn with(values: Vec<(Arc<str>, String)>) -> Secrets {
        let mut patterns: Vec<Box<[u8]>> = Vec::new();
        for (_, value) in &values {
            patterns.push(value.as_bytes().into());
            let lines = value.lines().map(str::trim);
            patterns.extend(
                lines
                    .filter(|l| l.len() >= LINE_BYTES)
                    .map(|l| l.as_bytes().into()),
            );
        }
        patterns.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        patterns.dedup();
        Secrets {
            values,
            patterns: patterns.into(),
        }
    }

    /// Names and values, for the environment of the process.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(n, v)| (&**n, v.as_str()))
    }

    /// A mask for one stream of bytes.
    pub fn mask(&self) -> Mask {
        Mask {
            patterns: self.patterns.clone(),
            held: Vec::new(),
        }
    }

    /// A whole text, masked.
    pub fn masked(&self, text: String) -> String {
        if self.patterns.is_empty() {
            return text;
        }
        let mut mask = self.mask();
        let mut bytes = mask.feed(text.as_bytes()).into_owned();
        bytes.extend(mask.finish());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The first entry at or below `root` that holds a secret: its bytes, its path below `root`, or
    /// where it leads as a link.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn spilled(&self, root: &Path) -> io::Result<Option<Spilled>> {
        if self.values.is_empty() {
            return Ok(None);
        }
        self.spilled_at(root, root)
    }

    fn spilled_at(&self, root: &Path, path: &Path) -> io::Result<Option<Spilled>> {
        // A value with a `/` in it is a way through several directories.
        let inner = path.strip_prefix(root).unwrap_or(path);
        if let Some(found) = self.spilled_in(inner.as_os_str().as_bytes(), path) {
            return Ok(Some(found));
        }
        let meta = fs::symlink_metadata(path)?;
        if meta.is_dir() {
            for entry in crate::dir::read(path)? {
                if let Some(found) = self.spilled_at(root, &entry?.path())? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        }
        if meta.is_symlink() {
            let target = fs::read_link(path)?;
            return Ok(self.spilled_in(target.as_os_str().as_bytes(), path));
        }
        if !meta.is_file() {
            return Ok(None);
        }
        self.spilled_in_file(path)
    }

    /// The first secret in these bytes of what lies at `path`.
    fn spilled_in(&self, bytes: &[u8], path: &Path) -> Option<Spilled> {
        let is_in = |value: &str| memchr::memmem::find(bytes, value.as_bytes()).is_some();
        let (name, value) = self.values.iter().find(|(_, value)| is_in(value))?;
        Some(Spilled {
            name: name.clone(),
            path: path.to_owned(),
            is_certain: value.len() >= TELLING_BYTES,
        })
    }

    fn spilled_in_file(&self, path: &Path) -> io::Result<Option<Spilled>> {
        let longest = self.values.iter().map(|(_, v)| v.len()).max().unwrap_or(0);
        let (mut file, mut buffer, mut kept) = (File::open(path)?, vec![0; (1 << 20) + longest], 0);
        loop {
            let read = file.read(&mut buffer[kept..])?;
            if read == 0 {
                return Ok(None);
            }
            let filled = kept + read;
            if let Some(found) = self.spilled_in(&buffer[..filled], path) {
                return Ok(Some(found));
            }
            // What may be the beginning of a value stays in front of what is read next.
            kept = filled.min(longest - 1);
            buffer.copy_within(filled - kept..filled, 0);
        }
    }
}

/// Replaces secrets in a stream. What may be the beginning of one is held back until it is known.
#[derive(Default)]
pub struct Mask {
    patterns: Arc<[Box<[u8]>]>,
    held: Vec<u8>,
}

impl Mask {
    /// What may be shown of the stream after these bytes.
    pub fn feed<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.patterns.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let (shown, rest) = self.replace(&all, true);
        self.held = rest;
        Cow::Owned(shown)
    }

    /// The end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        let all = std::mem::take(&mut self.held);
        self.replace(&all, false).0
    }

    /// The text with its secrets replaced; with `hold` also the end that more bytes could make one.
    fn replace(&self, all: &[u8], hold: bool) -> (Vec<u8>, Vec<u8>) {
        let mut shown = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            // A longer one that may still become whole comes before a shorter one that is.
            let begins = |p: &[u8]| p.len() > rest.len() && p.starts_with(rest);
            if hold && self.patterns.iter().any(|p| begins(p)) {
                return (shown, rest.to_vec());
            }
            match self.patterns.iter().find(|p| rest.starts_with(p)) {
                Some(pattern) => {
                    shown.extend_from_slice(MASK);
                    at += pattern.len();
                }
                None => {
                    shown.push(all[at]);
                    at += 1;
                }
            }
        }
        (shown, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::with(
            values
                .iter()
                .map(|v| ("S".into(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn case_8_masked_wherever_the_pieces_end() {
        let secrets = secrets(&["hf_abab", "hf_ababcd", "first line of two\nsecond line"]);
        let text = "a hf_ababcd b hf_abab c hf_aba d first line of two! second line\nfirst line of two\nsecond line hf_ab";
        let expected = "a *** b *** c hf_aba d ***! ***\n*** hf_ab";
        for size in 1..text.len() {
            let mut mask = secrets.mask();
            let mut shown = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                shown.extend_from_slice(&mask.feed(piece));
            }
            shown.extend(mask.finish());
            assert_eq!(
                String::from_utf8(shown).unwrap(),
                expected,
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn case_8_found_in_files_across_buffers() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let secrets = secrets(&["hf_0123456789"]);
        for before in [0, 5, (1 << 20) - 3, (1 << 20) + 11, 3 << 20] {
            let mut bytes = vec![b'h'; before];
            bytes.extend_from_slice(b"hf_0123456789x");
            fs::write(inner.join("f"), &bytes).unwrap();
            let found = secrets.spilled(dir.path()).unwrap().unwrap();
            assert!(
                found.is_certain && found.path.ends_with("a/b/f"),
                "{before}"
            );
        }
        fs::write(inner.join("f"), "hf_012345678").unwrap();
        assert!(secrets.spilled(dir.path()).unwrap().is_none());
    }
}
