//! Names of bytes: BLAKE3 digests of files, trees and keys.
//!
//! A file's digest is the plain BLAKE3 of its bytes, so `b3sum` can check a store by hand.
//! Everything structured (a tree, an action, a state) is hashed under its own derive-key context,
//! so that no file can pass for one. Knows nothing of where the bytes live.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use blake3::hazmat::{
    ChainingValue, ContextKey, HasherExt, Mode, hash_derive_key_context, left_subtree_len,
    merge_subtrees_non_root, merge_subtrees_root,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3-256 digest. Text form: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Bytes of a large file that one thread reads and hashes in one go: they stay in its core's cache
/// in between. A power of two, so that every piece but the last is a whole subtree.
const PIECE: usize = 256 << 10;

/// What a structured pre-image describes; each has a hash domain of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The sorted listing of a directory.
    Tree,
    /// The pre-image of an action key.
    Action,
    /// The pre-image of a resumable state's key.
    State,
    /// A result: the outputs of one action, content-named.
    Result,
    /// A place in a view of a tree; known to one store only.
    View,
    /// What an action does, whatever its seeds; known to one project only.
    Work,
}

impl Domain {
    fn context(self) -> &'static str {
        match self {
            Domain::Tree => "repro 2026-11 tree v1",
            Domain::Action => "repro 2026-11 action v1",
            Domain::State => "repro 2026-11 state v1",
            Domain::Result => "repro 2026-11 result v1",
            Domain::View => "repro 2026-11 view v1",
            Domain::Work => "repro 2026-11 work v1",
        }
    }
}

impl Digest {
    /// The digest of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a structured pre-image.
    pub fn derive(domain: Domain, preimage: &[u8]) -> Digest {
        let mut hasher = Digest::hasher(domain);
        Digest(*hasher.update(preimage).finalize().as_bytes())
    }

    /// For a structured pre-image that comes in pieces.
    pub(crate) fn hasher(domain: Domain) -> blake3::Hasher {
        static KEYS: [OnceLock<ContextKey>; 6] = [const { OnceLock::new() }; 6];
        let key = KEYS[domain as usize].get_or_init(|| hash_derive_key_context(domain.context()));
        blake3::Hasher::new_from_context_key(key)
    }

    /// Reads and hashes a file: its digest and the bytes read. The file is never mapped, because
    /// another process may truncate it meanwhile.
    pub fn of_file(path: &Path) -> std::io::Result<(Digest, u64)> {
        Digest::of_file_until(path, &|| false)
    }

    /// As [`Digest::of_file`], but gives up soon after `stop` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when it was stopped; otherwise the file cannot be read.
    pub fn of_file_until(path: &Path, stop: Stop<'_>) -> std::io::Result<(Digest, u64)> {
        let mut file = File::open(path)?;
        let bytes_total = file.metadata()?.len();
        if bytes_total > 4 * PIECE as u64
            && let Some(digest) = in_pieces(&file, bytes_total, stop)?
        {
            return Ok((digest, bytes_total));
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; (bytes_total as usize + 1).clamp(4096, PIECE)];
        let mut bytes_read = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((Digest(*hasher.finalize().as_bytes()), bytes_read)),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    bytes_read += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        self.with_hex(str::to_owned)
    }

    /// The first 12 hex digits: enough to tell digests apart on a screen.
    pub fn short(&self) -> String {
        self.with_hex(|hex| hex[..12].to_owned())
    }

    /// Written by hand because every instance of a run needs it several times.
    pub(crate) fn with_hex<T>(&self, then: impl FnOnce(&str) -> T) -> T {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (two, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        // Hex digits are ASCII.
        then(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

/// Whether hashing is to be given up. Asked for every piece of a large file, by many threads.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Hashes a file of more than one piece, each read and hashed by whichever thread is free. `None`
/// when the file is not (any more) of this length.
fn in_pieces(file: &File, bytes_total: u64, stop: Stop<'_>) -> std::io::Result<Option<Digest>> {
    let left = left_subtree_len(bytes_total);
    let (left, right) = rayon::join(
        || subtree(file, 0, left, stop),
        || subtree(file, left, bytes_total - left, stop),
    );
    match (left, right) {
        (Err(e), _) | (_, Err(e)) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        (Err(e), _) | (_, Err(e)) => Err(e),
        (Ok(left), Ok(right)) => {
            // One byte more than expected: it grew.
            let grew = file.read_at(&mut [0], bytes_total)? > 0;
            Ok((!grew).then(|| Digest(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())))
        }
    }
}

fn subtree(file: &File, offset: u64, bytes: u64, stop: Stop<'_>) -> std::io::Result<ChainingValue> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if bytes > PIECE as u64 {
        let left = left_subtree_len(bytes);
        let (left, right) = rayon::join(
            || subtree(file, offset, left, stop),
            || subtree(file, offset + left, bytes - left, stop),
        );
        return Ok(merge_subtrees_non_root(&left?, &right?, Mode::Hash));
    }
    if stop() {
        return Err(ErrorKind::Interrupted.into());
    }
    // Nothing in here waits for another piece, so the buffer is never borrowed twice.
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(PIECE, 0);
        let piece = &mut buffer[..bytes as usize];
        file.read_exact_at(piece, offset)?;
        Ok(blake3::Hasher::new()
            .set_input_offset(offset)
            .update(piece)
            .finalize_non_root())
    })
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|hex| f.write_str(hex))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest (64 hex digits)")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotADigest(text.to_owned()));
        }
        blake3::Hash::from_hex(text)
            .map(|h| Digest(*h.as_bytes()))
            .map_err(|_| NotADigest(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            self.with_hex(|hex| s.serialize_str(hex))
        } else {
            self.0.serialize(s)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        if d.is_human_readable() {
            std::borrow::Cow::<str>::deserialize(d)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            Ok(Digest(<[u8; 32]>::deserialize(d)?))
        }
    }
}

/// A map whose keys are digests, or parts of one: they are evenly spread already, so hashing them
/// again is waste.
pub type ByDigest<K, V> = HashMap<K, V, BuildHasherDefault<FirstBytes>>;

/// The hasher of [`ByDigest`]: the first eight bytes.
#[derive(Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of an array, the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an artifact is: it decides how its digest was made and how it is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One file; the digest is the plain BLAKE3 of its bytes.
    File,
    /// A directory; the digest is that of its listing under [`Domain::Tree`].
    Tree,
    /// One file that its owner may execute; the digest is as of [`Shape::File`]. In a tree the
    /// listing says so.
    Program,
}

impl Shape {
    /// Of a single file with these permissions.
    pub fn of_file(mode: u32) -> Shape {
        match mode & 0o100 {
            0 => Shape::File,
            _ => Shape::Program,
        }
    }

    /// Not a directory.
    pub fn is_file(self) -> bool {
        self != Shape::Tree
    }

    /// The word in keys, in `repro.lock`, and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Shape::File => "file",
            Shape::Tree => "tree",
            Shape::Program => "program",
        }
    }

    /// Reads [`Shape::word`].
    pub fn from_word(word: &str) -> Option<Shape> {
        let all = [Shape::File, Shape::Tree, Shape::Program];
        all.into_iter().find(|shape| shape.word() == word)
    }
}

/// An artifact's content: its shape, digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Content {
    /// File, tree or program.
    pub shape: Shape,
    /// The name of its bytes.
    pub digest: Digest,
    /// Bytes of the file, or of all files of the tree.
    pub bytes_total: u64,
}

impl Content {
    /// The same bytes; whether a file may be executed was not always recorded.
    pub fn has_same_bytes(&self, other: &Content) -> bool {
        self.shape.is_file() == other.shape.is_file() && self.digest == other.digest
    }
}

impl Content {
    /// What a text such as `file:<hex>` names. How many bytes that has, the text does not say.
    pub fn named(text: &str) -> Option<Content> {
        let (word, digest) = text.split_once(':')?;
        Some(Content {
            shape: Shape::from_word(word)?,
            digest: digest.parse().ok()?,
            bytes_total: 0,
        })
    }
}

impl fmt::Display for Content {
    /// `file:<hex>`, `tree:<hex>` or `program:<hex>`, the form used in keys and in `repro.lock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shape.word(), self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_what_blake3_writes() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.hex(), blake3::hash(b"x").to_hex().as_str());
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        assert_eq!(
            (digest.to_string(), digest.short()),
            (digest.hex(), digest.hex()[..12].to_owned())
        );
    }

    #[test]
    fn digests_spread_in_a_map() {
        let map: ByDigest<Digest, u32> = (0..1000u32)
            .map(|i| (Digest::of(&i.to_le_bytes()), i))
            .collect();
        assert!((0..1000u32).all(|i| map.get(&Digest::of(&i.to_le_bytes())) == Some(&i)));
        let hash =
            |i: u32| std::hash::BuildHasher::hash_one(map.hasher(), Digest::of(&i.to_le_bytes()));
        let different: std::collections::BTreeSet<u64> = (0..1000).map(hash).collect();
        assert_eq!(different.len(), 1000);
    }

    #[test]
    fn a_file_hashes_like_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..9 * PIECE as u32 + 1)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for pieces in [0, 1, 4, 5, 6, 8, 9] {
            for more in [-1025, -1, 0, 1, 1024] {
                let Ok(bytes_total) = usize::try_from((pieces * PIECE) as i64 + more) else {
                    continue;
                };
                let bytes = &bytes[..bytes_total.min(bytes.len())];
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(
                    Digest::of_file(&path).unwrap(),
                    (Digest::of(bytes), bytes.len() as u64),
                    "{} bytes",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn case_61_hashing_a_large_file_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; 6 * PIECE]).unwrap();
        let error = Digest::of_file_until(&path, &|| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }

    /// Else a file that grew would pass for what it was.
    #[test]
    fn pieces_of_another_length_than_the_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes_total = 6 * PIECE as u64;
        std::fs::write(&path, vec![7; bytes_total as usize]).unwrap();
        let file = File::open(&path).unwrap();
        assert!(in_pieces(&file, bytes_total, &|| false).unwrap().is_some());
        assert_eq!(in_pieces(&file, bytes_total - 1, &|| false).unwrap(), None);
        assert_eq!(in_pieces(&file, bytes_total + 1, &|| false).unwrap(), None);
        assert_eq!(
            in_pieces(&file, bytes_total + 2 * PIECE as u64, &|| false).unwrap(),
            None
        );
    }
}
