//! Exchange: results that go to a remote and come from one, outside of a run.
//!
//! [`way`] says which remote is meant and leads there, [`push()`] and [`pull()`] move results, [`bring()`] gets what a use case is
//! about to read, [`in_run()`] decides what a run does with a remote, [`needed`] says there what this clone needs.

mod bring;
mod in_run;
pub mod needed;
mod pull;
mod push;
pub mod way;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::trust::{Ask, FILE_NAME, Signer, Trust};

pub use bring::{Network, bring, bring_inputs, made_inputs};
pub use in_run::{Wishes, in_run};
pub use pull::{Pulled, pull};
pub use push::{Pushed, push};
pub use way::{Way, Which};

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
