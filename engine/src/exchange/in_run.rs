//! What a run may do with a remote, by what was asked for and what is known.

use super::{Way, Which, signer, trust};
use crate::run::{Pull, Push, Sharing};
use crate::session::Session;
use crate::trust::Ask;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Which remote.
    pub which: Which,
    /// Its results are looked for before anything is executed.
    pub pull: bool,
    /// What is executed is published there.
    pub push: bool,
    /// The network may not be used, whatever else was asked for.
    pub offline: bool,
}

/// The remote of a run, where one is to be used; and why none is, where none is. `ask` asks for the
/// passphrase of the key that signs.
///
/// # Errors
/// There is no such remote; nobody is believed; there is no key.
pub fn in_run(
    session: &Session,
    wishes: &Wishes,
    ask: Ask<'_>,
) -> anyhow::Result<(Option<Sharing>, String)> {
    if wishes.offline {
        return Ok((None, "this run is --offline".to_owned()));
    }
    let root = &session.project.root;
    let (way, pull) = match (wishes.pull, wishes.push) {
        (true, _) => {
            let trust = trust(root)?;
            (Way::to(root, &wishes.which)?, Pull::Asked(trust))
        }
        (false, true) => (Way::to(root, &wishes.which)?, Pull::Known),
        // What was pulled once may be got from where it was pulled.
        (false, false) if session.index.iter().any(|(_, known)| known.elsewhere) => {
            match Way::back(session) {
                Ok(way) => (way, Pull::Known),
                Err(e) => return Ok((None, format!("the remote cannot be used: {e:#}"))),
            }
        }
        (false, false) => return Ok((None, "this run does not use a remote".to_owned())),
    };
    let push = match wishes.push {
        true => Some(Push {
            signer: Some(signer(ask)?),
        }),
        false => None,
    };
    let sharing = Sharing {
        link: way.link,
        pull: Some(pull),
        push,
        warnings: way.warnings,
    };
    Ok((Some(sharing), String::new()))
}
