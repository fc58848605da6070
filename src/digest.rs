//! Names of bytes: BLAKE3 digests of files, trees and keys.
//!
//! A file's digest is the plain BLAKE3 of its bytes, so `b3sum` can check a store by hand.
//! Everything structured (a tree, an action, a state) is hashed under its own derive-key context,
//! so that no file can pass for one. Knows nothing of where the bytes live.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3-256 digest. Text form: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

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
}

impl Domain {
    fn context(self) -> &'static str {
        match self {
            Domain::Tree => "repro 2026-11 tree v1",
            Domain::Action => "repro 2026-11 action v1",
            Domain::State => "repro 2026-11 state v1",
            Domain::Result => "repro 2026-11 result v1",
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
        Digest(blake3::derive_key(domain.context(), preimage))
    }

    /// Reads and hashes a file in pieces of 1 MiB; the file is never mapped, because another
    /// process may truncate it meanwhile.
    pub fn of_file(path: &Path) -> std::io::Result<(Digest, u64)> {
        let mut file = std::fs::File::open(path)?;
        let bytes_total = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; (bytes_total as usize + 1).clamp(4096, 1 << 20)];
        let mut bytes_read = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((Digest(*hasher.finalize().as_bytes()), bytes_read)),
                Ok(n) => {
                    // Threads pay only on pieces that are large enough to share.
                    if n >= 256 << 10 { hasher.update_rayon(&buffer[..n]) } else { hasher.update(&buffer[..n]) };
                    bytes_read += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first 12 hex digits: enough to tell digests apart on a screen.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
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
        blake3::Hash::from_hex(text).map(|h| Digest(*h.as_bytes())).map_err(|_| NotADigest(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.serialize_str(&self.hex()) } else { self.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        if d.is_human_readable() {
            std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
        } else {
            Ok(Digest(<[u8; 32]>::deserialize(d)?))
        }
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
}

/// An artifact's content: its shape, digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Content {
    /// File or tree.
    pub shape: Shape,
    /// The name of its bytes.
    pub digest: Digest,
    /// Bytes of the file, or of all files of the tree.
    pub bytes_total: u64,
}

impl fmt::Display for Content {
    /// `file:<hex>` or `tree:<hex>`, the form used in keys and in `repro.lock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape { Shape::File => "file", Shape::Tree => "tree" };
        write!(f, "{shape}:{}", self.digest)
    }
}
