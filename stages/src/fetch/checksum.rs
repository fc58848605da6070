//! Checksums as users and publishers write them: SHA-256, BLAKE3 or MD5, in hex.

use std::fmt;
use std::io::Read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The checksum of a file, `{sha256: <hex>}` in a pipeline, `sha256:<hex>` in text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// SHA-256, 64 hex digits.
    Sha256(String),
    /// BLAKE3, 64 hex digits.
    Blake3(String),
    /// MD5, 32 hex digits: finds damage, not malice.
    Md5(String),
}

/// Computes a [`Checksum`].
pub enum Hasher {
    /// See [`Checksum::Sha256`].
    Sha256(Box<sha2::Sha256>),
    /// See [`Checksum::Blake3`].
    Blake3(Box<blake3::Hasher>),
    /// See [`Checksum::Md5`].
    Md5(Box<md5::Md5>),
}

impl Checksum {
    /// What is wrong with the text: a wrong length or a character that is no hex digit.
    pub fn problem(&self) -> Option<String> {
        let digits = if matches!(self, Checksum::Md5(_)) {
            32
        } else {
            64
        };
        let (name, hex) = self.parts();
        let good = hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit());
        (!good).then(|| format!("`{hex}` is not a {name} checksum ({digits} hex digits)"))
    }

    /// Name and hex digits.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Checksum::Sha256(hex) => ("sha256", hex),
            Checksum::Blake3(hex) => ("blake3", hex),
            Checksum::Md5(hex) => ("md5", hex),
        }
    }

    /// Understands `sha256:<hex>`, `blake3:<hex>` and `md5:<hex>`.
    pub fn parse(text: &str) -> Option<Checksum> {
        let (name, hex) = text.split_once(':')?;
        let hex = hex.to_owned();
        let sum = match name {
            "sha256" => Checksum::Sha256(hex),
            "blake3" => Checksum::Blake3(hex),
            "md5" => Checksum::Md5(hex),
            _ => return None,
        };
        sum.problem().is_none().then_some(sum)
    }

    /// A hasher of the same sort.
    pub fn hasher(&self) -> Hasher {
        match self {
            Checksum::Sha256(_) => Hasher::Sha256(Box::default()),
            Checksum::Blake3(_) => Hasher::Blake3(Box::default()),
            Checksum::Md5(_) => Hasher::Md5(Box::default()),
        }
    }

    /// Checks the checksum `got` of `what` against this one; hex digits in either case are equal.
    ///
    /// # Errors
    /// Names the file, what was expected and what was found.
    pub fn check(&self, what: &str, got: &Checksum) -> anyhow::Result<()> {
        let same =
            self.parts().0 == got.parts().0 && self.parts().1.eq_ignore_ascii_case(got.parts().1);
        anyhow::ensure!(
            same,
            "{what} has the wrong checksum: expected {self}, got {got}"
        );
        Ok(())
    }

    /// [`Checksum::check`] for bytes at hand.
    ///
    /// # Errors
    /// As [`Checksum::check`].
    pub fn check_bytes(&self, what: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        self.check(what, &hasher.finish())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, hex) = self.parts();
        write!(f, "{name}:{hex}")
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(h) => h.update(bytes),
            Hasher::Blake3(h) => {
                h.update(bytes);
            }
            Hasher::Md5(h) => h.update(bytes),
        }
    }

    /// Takes everything `from` has, writing it to `to` on the way; returns the number of bytes.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn copy(
        &mut self,
        from: &mut dyn Read,
        to: &mut dyn std::io::Write,
    ) -> std::io::Result<u64> {
        let mut buffer = vec![0; 1 << 18];
        let mut bytes_total = 0;
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(bytes_total),
                Ok(n) => {
                    self.update(&buffer[..n]);
                    to.write_all(&buffer[..n])?;
                    bytes_total += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The checksum of all bytes taken.
    pub fn finish(self) -> Checksum {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self {
            Hasher::Sha256(h) => Checksum::Sha256(hex(&h.finalize())),
            Hasher::Blake3(h) => Checksum::Blake3(h.finalize().to_hex().to_string()),
            Hasher::Md5(h) => Checksum::Md5(hex(&h.finalize())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The three checksums of `abc`, from sha256sum, b3sum and md5sum.
    const ABC: [&str; 3] = [
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        "md5:900150983cd24fb0d6963f7d28e17f72",
    ];

    #[test]
    fn known_answers() {
        for text in ABC {
            let sum = Checksum::parse(text).unwrap();
            sum.check_bytes("abc", b"abc").unwrap();
            let error = sum.check_bytes("x.gz", b"abd").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!(
                    "x.gz has the wrong checksum: expected {text}, got "
                )),
                "{error}"
            );
            Checksum::parse(
                &text
                    .to_uppercase()
                    .replacen("SHA", "sha", 1)
                    .replacen("BLAKE", "blake", 1)
                    .replacen("MD", "md", 1),
            )
            .unwrap()
            .check_bytes("abc", b"abc")
            .unwrap();
        }
    }

    #[test]
    fn malformed_checksums() {
        assert!(Checksum::parse("sha256:12").is_none());
        assert!(Checksum::parse("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709").is_none());
        assert_eq!(
            Checksum::Md5("xyz".into()).problem().unwrap(),
            "`xyz` is not a md5 checksum (32 hex digits)"
        );
    }
}
