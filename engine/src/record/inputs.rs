//! What the inputs that no stage makes held when something was executed with them: the listing of a
//! directory, and texts that are not long. So a later change of one can be told by file and line.
//!
//! ```text
//! .repro/inputs/<hex of the digest>   a listing (as in the store), or the bytes of a file
//! ```
//!
//! The store does not keep such inputs; the project does. This is a memory for explanations:
//! nothing is computed from it, each entry proves itself by its name, and losing one costs words.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::digest::{Content, Digest, Shape};
use crate::files::Files;
use crate::regular::{self, Links};
use crate::store::{Listing, StatCache};
use crate::whole;

/// Bytes of the longest text that is kept.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the largest directory that is looked through: a data set is not walked once more.
const DIRECTORY_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the longest listing that is kept: of some ten thousand files.
const LISTING_BYTES_MAX: u64 = 1 << 20;
/// Texts of one directory that are kept.
const TEXTS_MAX: usize = 200;
/// Inputs that one process keeps. A matrix over 100,000 files is not copied.
const INPUTS_MAX: usize = 500;
/// Entries after which the oldest half goes.
const ENTRIES_MAX: usize = 4000;

/// See the module.
#[derive(Debug)]
pub struct Inputs {
    dir: PathBuf,
    looked_at: Mutex<HashSet<Digest>>,
}

impl Inputs {
    /// Of the project whose state lies here.
    pub fn of(state: &Path) -> Inputs {
        Inputs {
            dir: state.join("inputs"),
            looked_at: Mutex::default(),
        }
    }

    /// Remembers an input that has this content now. What cannot be kept is not: a later
    /// explanation says less.
    pub fn remember(&self, files: &Files, content: &Content, stats: &StatCache) {
        let is_first = {
            let mut looked_at = self.looked_at.lock().unwrap_or_else(|e| e.into_inner());
            if looked_at.len() >= INPUTS_MAX || !looked_at.insert(content.digest) {
                return;
            }
            looked_at.len() == 1
        };
        if is_first {
            self.forget_oldest();
        }
        if self.path(&content.digest).exists() {
            return;
        }
        let path = files.at.path(stats.root());
        if content.shape != Shape::Tree {
            return self.keep_text(&content.digest, &path);
        }
        if content.bytes_total > DIRECTORY_BYTES_MAX {
            return;
        }
        let Ok(Some(listing)) = stats.list_input(files) else {
            return;
        };
        let bytes = listing.to_bytes();
        if listing.content().digest != content.digest || bytes.len() as u64 > LISTING_BYTES_MAX {
            return;
        }
        self.keep(&content.digest, &bytes);
        let texts = listing
            .files()
            .filter(|(_, _, bytes, _)| *bytes <= TEXT_BYTES_MAX);
        for (inner, digest, ..) in texts.take(TEXTS_MAX) {
            self.keep_text(&digest, &inner.under(&path));
        }
    }

    /// Remembers the text of a file as it is now; its digest. `None`: it is no text, or too long.
    pub fn remember_text(&self, path: &Path) -> Option<Digest> {
        let bytes = regular::read(path, Links::Follow, TEXT_BYTES_MAX).ok()?;
        let digest = Digest::of(&bytes);
        self.keep_text(&digest, path);
        self.path(&digest).exists().then_some(digest)
    }

    /// The listing of a directory that was an input.
    pub fn listing(&self, digest: &Digest) -> Option<Listing> {
        let bytes = self.read(digest, LISTING_BYTES_MAX)?;
        let listing = Listing::parse(&bytes).ok()?;
        (listing.content().digest == *digest).then_some(listing)
    }

    /// The text of a file that was an input, or in one.
    pub fn text(&self, digest: &Digest) -> Option<String> {
        text(&self.path(digest), digest)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    fn read(&self, digest: &Digest, bytes_max: u64) -> Option<Vec<u8>> {
        regular::read(&self.path(digest), Links::Refuse, bytes_max).ok()
    }

    fn keep_text(&self, digest: &Digest, path: &Path) {
        if !self.path(digest).exists()
            && let Some(text) = text(path, digest)
        {
            self.keep(digest, text.as_bytes());
        }
    }

    /// An input may be nobody else's to read.
    fn keep(&self, digest: &Digest, bytes: &[u8]) {
        let _ = whole::write_private(&self.path(digest), &self.dir, bytes);
    }

    fn forget_oldest(&self) {
        let entries = crate::dir::read(&self.dir).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        if all.len() > ENTRIES_MAX {
            all.sort();
            for (_, path) in &all[..all.len() / 2] {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The text at a path, if it has this digest and is a text that is not long.
pub fn text(path: &Path, digest: &Digest) -> Option<String> {
    let bytes = regular::read(path, Links::Follow, TEXT_BYTES_MAX).ok()?;
    let is_it = Digest::of(&bytes) == *digest && !bytes.contains(&0);
    is_it.then(|| String::from_utf8(bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use repro_protocol::relpath::RelPath;

    #[test]
    fn a_directory_is_remembered_with_its_short_texts() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir(at("src")).unwrap();
        fs::write(at("src/a.py"), "x = 1\n").unwrap();
        fs::write(at("src/long.txt"), "y".repeat(100_000)).unwrap();
        fs::write(at("src/bin"), [0, 1, 2]).unwrap();
        let stats = StatCache::load(root.path(), &at("stats"));
        let inputs = Inputs::of(&at("state"));
        let files = Files::whole(RelPath::new("src").unwrap());
        let content = stats.digest_input(&files).unwrap();
        inputs.remember(&files, &content, &stats);
        fs::remove_dir_all(at("src")).unwrap();
        let listing = inputs.listing(&content.digest).unwrap();
        assert_eq!(listing.content(), content);
        let texts: Vec<_> = listing
            .files()
            .map(|(path, digest, ..)| (path.to_string(), inputs.text(&digest)))
            .collect();
        assert_eq!(
            texts,
            [
                ("a.py".to_owned(), Some("x = 1\n".to_owned())),
                ("bin".to_owned(), None),
                ("long.txt".to_owned(), None),
            ]
        );
        // A matrix over many files is not copied.
        for i in 0..2 * INPUTS_MAX {
            fs::write(at("x"), i.to_string()).unwrap();
            let files = Files::whole(RelPath::new("x").unwrap());
            let content = stats.digest_input(&files).unwrap();
            inputs.remember(&files, &content, &stats);
        }
        assert!(fs::read_dir(&inputs.dir).unwrap().count() <= INPUTS_MAX + 1);
        // What was written over proves nothing any more.
        fs::write(inputs.path(&content.digest), "repro tree 1\n").unwrap();
        assert_eq!(inputs.listing(&content.digest), None);
    }
}
