//! Getting bytes that are known to be elsewhere, for a use case that reads them.

use std::collections::BTreeMap;

use super::Way;
use crate::digest::Content;
use crate::notice::{Notice, Tell};
use crate::plan::{Instance, InstanceIndex, Source};
use crate::remote::fetch::fetch;
use crate::session::Session;

/// What may be done to get bytes that are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// They are fetched from the remote they are known from.
    Used,
    /// Nothing.
    Off,
}

/// Gets what of these contents is known and not here; for those it could not get, why not.
///
/// # Errors
/// The store cannot be read or written.
pub fn bring(
    session: &Session,
    contents: Vec<Content>,
    network: Network,
    tell: Tell,
) -> anyhow::Result<BTreeMap<Content, String>> {
    let absent = session.absent(&contents)?;
    if absent.is_empty() {
        return Ok(BTreeMap::new());
    }
    let none_of_it = |why: &str| -> BTreeMap<Content, String> {
        absent.iter().map(|c| (*c, why.to_owned())).collect()
    };
    if network == Network::Off {
        return Ok(none_of_it("--offline"));
    }
    let way = match Way::back(session) {
        Ok(way) => way,
        Err(e) => return Ok(none_of_it(&format!("{e:#}"))),
    };
    session.store.start_lease()?;
    let total = absent.iter().map(|c| c.bytes_total).sum();
    let outcomes = way.watch(
        total,
        |link| link.moved().received,
        tell,
        || fetch(&way.link, &session.store, &absent),
    )?;
    let failed: BTreeMap<Content, String> = absent
        .iter()
        .zip(outcomes)
        .filter_map(|(content, outcome)| Some((*content, outcome.err()?.to_string())))
        .collect();
    let artifacts = absent.len() - failed.len();
    if artifacts > 0 {
        let remote = way.used();
        tell(Notice::Brought { artifacts, remote });
    }
    Ok(failed)
}

/// Makes sure that the inputs of an instance are here that other stages made.
///
/// # Errors
/// One of them is not to be had: what, why, and the command that gets it.
pub fn bring_inputs(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    network: Network,
    tell: Tell,
) -> anyhow::Result<()> {
    let made = made_inputs(instance, contents);
    let wanted = made.iter().map(|(_, content)| *content).collect();
    let failed = bring(session, wanted, network, tell)?;
    match made.iter().find_map(|(by, c)| Some((by, failed.get(c)?))) {
        Some((by, why)) => {
            let by = &session.plan.instance(*by).id;
            anyhow::bail!(
                "`{}` needs the output of `{by}`, which is on the remote only ({why}); `repro run --pull '{by}'` gets it or \
                 makes it again",
                instance.id
            )
        }
        None => Ok(()),
    }
}

/// The inputs of an instance that other stages made, and who made them.
pub fn made_inputs(
    instance: &Instance,
    contents: &[Vec<Content>],
) -> Vec<(InstanceIndex, Content)> {
    let items = instance.needs.iter().zip(contents);
    let items = items.flat_map(|(need, contents)| need.items.iter().zip(contents));
    items
        .filter_map(|(item, content)| match item.source {
            Source::Output { instance, .. } => Some((instance, *content)),
            Source::Files(_) => None,
        })
        .collect()
}
