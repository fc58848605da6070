//! What every exchange begins with: the trust file, a key to sign with; and what was not moved in
//! the end.

use crate::trust::{Ask, FILE_NAME, Signer, Trust};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// A result that could not be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotMoved {
    /// Whose it is.
    pub instance: String,
    /// Why not.
    pub why: String,
}

/// Whom the project believes.
///
/// # Errors
/// Nobody: there is no trust file; or it is wrong.
pub fn trust(project_root: &Path) -> anyhow::Result<Arc<Trust>> {
    let trust = Trust::read(project_root)?;
    anyhow::ensure!(
        trust.policy().is_some(),
        "the project has no {FILE_NAME}, so no result from a remote is trusted; `repro trust init` makes one"
    );
    Ok(Arc::new(trust))
}

/// The user's key; `ask` asks for its passphrase.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn signer(ask: Ask<'_>) -> anyhow::Result<Arc<Signer>> {
    let signer = Signer::of_user(ask)?.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no key to sign results with, and nobody trusts unsigned ones; `repro trust init` makes a key, and CI \
             finds it in REPRO_SIGNING_KEY"
        )
    })?;
    Ok(Arc::new(signer))
}
