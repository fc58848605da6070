//! A published file has one right content: its name, size and checksum.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::fetch::checksum::Checksum;

/// A file with one right content.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: &'static str,
}

impl Pinned {
    /// A file of this name, size and SHA-256.
    pub const fn new(name: &'static str, bytes: u64, sha256: &'static str) -> Pinned {
        Pinned {
            name,
            bytes,
            sha256,
        }
    }

    /// Checks size and checksum.
    ///
    /// # Errors
    /// Names the file, what was expected and what was found.
    pub fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let Pinned {
            name,
            bytes: expected,
            sha256,
        } = self;
        let got = bytes.len() as u64;
        // Readers stop one byte past the right size.
        ensure!(
            got <= *expected,
            "{name} has the wrong size: expected {expected} bytes, got more"
        );
        ensure!(
            got == *expected,
            "{name} has the wrong size: expected {expected} bytes, got {got}"
        );
        Checksum::Sha256((*sha256).to_owned()).check_bytes(name, bytes)
    }

    /// Reads the file at `path` and checks it.
    ///
    /// # Errors
    /// As [`Pinned::check`], and when it cannot be read.
    pub fn read(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let cannot = || format!("cannot read {}", path.display());
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .with_context(cannot)?
            .take(self.bytes + 1)
            .read_to_end(&mut bytes)
            .with_context(cannot)?;
        self.check(&bytes)?;
        Ok(bytes)
    }
}
