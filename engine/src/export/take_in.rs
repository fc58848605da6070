//! Taking a bundle in: whom a project believes, and what it then accepts.

use std::path::Path;

use super::import::{Belief, Imported, import};
use crate::open::Opening;
use crate::trust::{Trust, accept};

/// Whose results are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those of signers that the project here lists.
    Signers,
    /// All that whoever made the bundle put in. They serve this project (or the new one), and no
    /// other.
    Makers,
}

/// Takes the results of a bundle into the store. With `into`, the project's files are put there
/// too.
///
/// # Errors
/// As [`import`]; an unsigned bundle is taken without a project.
pub fn take_in(
    opening: &Opening,
    bundle: &Path,
    into: Option<&Path>,
    whose: Whose,
) -> anyhow::Result<Imported> {
    let store = opening.store()?;
    let project = opening.project();
    let trust = match &project {
        Ok(project) => Trust::read(&project.root)?,
        Err(_) => Trust::read(&std::env::current_dir()?)?,
    };
    let belief = match whose {
        Whose::Signers => return import(&store, bundle, &Belief::Signers(&trust), into),
        Whose::Makers => Belief::Maker,
    };
    let state = match (into, &project) {
        (Some(into), _) => into.join(".repro"),
        (None, Ok(project)) => project.state(),
        (None, Err(_)) => anyhow::bail!(
            "--unsigned applies to one project, and there is none here: change to it, or add --into DIR"
        ),
    };
    let imported = import(&store, bundle, &belief, into)?;
    accept(&state, &imported.taken)?;
    Ok(imported)
}
