//! The signer: the private key of this user or machine, where it is kept, and what it signs.
//!
//! | looked for in | what it is |
//! |---|---|
//! | `REPRO_SIGNING_KEY` | the PEM text itself: CI |
//! | `REPRO_SIGNING_KEY_FILE` | a file with it |
//! | `$XDG_CONFIG_HOME/repro/signing-key.pem` (`~/.config/…`) | what `repro trust init` made |
//!
//! The passphrase of an encrypted key: `REPRO_KEY_PASSPHRASE`, the file
//! `REPRO_KEY_PASSPHRASE_FILE`, else whoever uses this library is asked for it.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::dsse;
use super::key::{BadSecretKey, KeyId, Passphrase, PublicKey, SecretKey};
use super::statement::{self, Facts};
use crate::store::Record;

/// The environment variable with the PEM text.
pub const KEY_VARIABLE: &str = "REPRO_SIGNING_KEY";
const KEY_FILE_VARIABLE: &str = "REPRO_SIGNING_KEY_FILE";
const PASSPHRASE_VARIABLE: &str = "REPRO_KEY_PASSPHRASE";
const PASSPHRASE_FILE_VARIABLE: &str = "REPRO_KEY_PASSPHRASE_FILE";
/// Bytes of the largest file taken for a key or a passphrase.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Times a passphrase is asked for.
const TRIES: u32 = 3;

/// Signs results.
pub struct Signer {
    key: SecretKey,
}

/// Asks a person: gets the question, gives what was typed; `None` where nobody can be asked.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> anyhow::Result<Option<Passphrase>>;

impl Signer {
    /// The key of whoever runs this process: from its environment and its files; a passphrase is
    /// asked for. `None` where there is no key.
    ///
    /// # Errors
    /// As [`Signer::load`].
    pub fn of_user(ask: Ask<'_>) -> anyhow::Result<Option<Signer>> {
        Signer::load(&crate::credentials::var, ask)
    }

    /// The key as the module says; `None` where there is none.
    ///
    /// # Errors
    /// A key that is there and cannot be used: unreadable, not a key, open to others, a wrong
    /// passphrase or none.
    pub fn load(
        env: &dyn Fn(&str) -> Option<String>,
        ask: Ask<'_>,
    ) -> anyhow::Result<Option<Signer>> {
        let set = |name: &str| env(name).filter(|v| !v.trim().is_empty());
        let (pem, place) = match (set(KEY_VARIABLE), set(KEY_FILE_VARIABLE)) {
            (Some(pem), _) => (pem, KEY_VARIABLE.to_owned()),
            (None, Some(file)) => {
                let path = PathBuf::from(file);
                let pem = read_private(&path)?.with_context(|| {
                    format!(
                        "{KEY_FILE_VARIABLE} names {}, which does not exist",
                        path.display()
                    )
                })?;
                (pem, path.display().to_string())
            }
            (None, None) => {
                let Ok(path) = key_path(env) else {
                    return Ok(None);
                };
                match read_private(&path)? {
                    Some(pem) => (pem, path.display().to_string()),
                    None => return Ok(None),
                }
            }
        };
        let key = open(&pem, &place, env, ask)?;
        Ok(Some(Signer { key }))
    }

    /// Signs with this key.
    pub fn with_key(key: SecretKey) -> Signer {
        Signer { key }
    }

    /// A DSSE envelope that vouches for a record: a signature of its key and its outputs together.
    /// Sign only what was executed here.
    pub fn sign(&self, record: &Record, facts: &Facts) -> Vec<u8> {
        self.seal(statement::write(record, facts).as_bytes())
    }

    pub(super) fn seal(&self, statement: &[u8]) -> Vec<u8> {
        dsse::seal(&self.key, statement)
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        self.key.public().id()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }
}

fn open(
    pem: &str,
    place: &str,
    env: &dyn Fn(&str) -> Option<String>,
    ask: Ask<'_>,
) -> anyhow::Result<SecretKey> {
    let in_place = |e: BadSecretKey| anyhow::anyhow!("{place}: {e}");
    if !SecretKey::is_encrypted(pem) {
        return SecretKey::from_pem(pem, None).map_err(in_place);
    }
    if let Some(passphrase) = known_passphrase(env)? {
        return SecretKey::from_pem(pem, Some(&passphrase)).map_err(in_place);
    }
    for _ in 0..TRIES {
        let Some(passphrase) = ask(&format!("Passphrase of {place}: "))? else {
            anyhow::bail!(
                "{place} is encrypted and there is no terminal to ask for its passphrase; set {PASSPHRASE_VARIABLE}, or \
                 {PASSPHRASE_FILE_VARIABLE} to a file that holds it"
            );
        };
        match SecretKey::from_pem(pem, Some(&passphrase)) {
            Err(BadSecretKey::Passphrase) => {}
            other => return other.map_err(in_place),
        }
    }
    Err(in_place(BadSecretKey::Passphrase))
}

/// The passphrase, where the environment says it.
///
/// # Errors
/// The file with it cannot be read.
pub fn known_passphrase(
    env: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Passphrase>> {
    if let Some(text) = env(PASSPHRASE_VARIABLE).filter(|v| !v.is_empty()) {
        return Ok(Some(Passphrase::new(&text)));
    }
    let Some(file) = env(PASSPHRASE_FILE_VARIABLE).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let text = read_private(Path::new(&file))?.with_context(|| {
        format!("{PASSPHRASE_FILE_VARIABLE} names {file}, which does not exist")
    })?;
    Ok(Some(Passphrase::new(&text)))
}

/// Where the user's key lies.
///
/// # Errors
/// Neither XDG_CONFIG_HOME nor HOME is set.
pub fn key_path(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<PathBuf> {
    let set = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(file) = set(KEY_FILE_VARIABLE) {
        return Ok(file);
    }
    let config = set("XDG_CONFIG_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| set("HOME").map(|h| h.join(".config")));
    match config {
        Some(config) => Ok(config.join("repro").join("signing-key.pem")),
        None => anyhow::bail!(
            "no place for a signing key: set {KEY_FILE_VARIABLE} to a file (neither XDG_CONFIG_HOME nor HOME is set)"
        ),
    }
}

/// Reads a file that only its owner may read; `None` where there is none.
fn read_private(path: &Path) -> anyhow::Result<Option<String>> {
    let cannot = || format!("cannot read {}", path.display());
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(cannot),
    };
    anyhow::ensure!(
        meta.mode() & 0o077 == 0 || !meta.is_file(),
        "{}: others may read or write it (mode {:03o}), and it is secret; `chmod 600` it",
        path.display(),
        meta.mode() & 0o777
    );
    anyhow::ensure!(
        meta.len() <= FILE_BYTES_MAX,
        "{}: {} bytes are too many for a key or a passphrase",
        path.display(),
        meta.len()
    );
    Ok(Some(std::fs::read_to_string(path).with_context(cannot)?))
}

/// Writes a new private key where only its owner can read it. What is there stays: a key is never
/// replaced.
///
/// # Errors
/// Something is there, or it cannot be written.
pub fn keep_key(path: &Path, pem: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.as_os_str().is_empty() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(cannot)?;
    let written = file
        .write_all(pem.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is of no use to anybody.
        let _ = std::fs::remove_file(path);
    }
    written.with_context(cannot)
}
