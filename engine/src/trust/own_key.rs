//! The user's own key: made once, with its public half in a file beside it, so that showing it
//! needs no passphrase.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::key::{Passphrase, PublicKey, SecretKey};
use super::signer::{Ask, KEY_VARIABLE, Signer, keep_key, key_path};
use crate::credentials;

/// Makes the private key and, beside it, a file with the public one.
///
/// # Errors
/// Something is there, or it cannot be written.
pub fn make_key(path: &Path, passphrase: Option<&Passphrase>) -> anyhow::Result<PublicKey> {
    let key = SecretKey::generate()?;
    keep_key(path, &key.to_pem(passphrase)?)?;
    let public = key.public();
    let shown = public_path(path);
    std::fs::write(&shown, format!("{public}\n"))
        .with_context(|| format!("cannot write {}", shown.display()))?;
    Ok(public)
}

/// The public half of the user's key, without the passphrase where that is possible.
///
/// # Errors
/// The key cannot be used.
pub fn public_key(ask: Ask<'_>) -> anyhow::Result<Option<PublicKey>> {
    let set = credentials::var(KEY_VARIABLE).filter(|v| !v.trim().is_empty());
    if set.is_none() {
        let path = key_path(&credentials::var)?;
        if path.exists()
            && let Some(key) = shown_key(&path)
        {
            return Ok(Some(key));
        }
    }
    Ok(Signer::of_user(ask)?.map(|signer| signer.public()))
}

/// The public half that lies beside a private key.
pub fn shown_key(path: &Path) -> Option<PublicKey> {
    let text = std::fs::read_to_string(public_path(path)).ok()?;
    text.parse().ok()
}

fn public_path(key: &Path) -> PathBuf {
    key.with_extension("pub")
}
