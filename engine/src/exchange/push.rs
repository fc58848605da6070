//! Pushing: results that are here are published on a remote, signed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::needed::announce;
use super::{NotMoved, Way};
use crate::digest::{Content, Digest};
use crate::graph::Graph;
use crate::notice::{RemoteUse, Tell};
use crate::plan::InstanceIndex;
use crate::remote::publish::{Publication, Published, publish};
use crate::run::publication;
use crate::session::Session;
use crate::store::Record;
use crate::survey::Survey;
use crate::trust::Signer;

/// Results that are published together: their bytes first, then what says so.
const BATCH: usize = 256;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Pushed {
    /// Results that the remote did not have.
    pub published: usize,
    /// Results that it had.
    pub known: usize,
    /// Instances of which it had another result for the same inputs; it has both now.
    pub diverged: Vec<String>,
    /// Instances whose result could not be published.
    pub failed: Vec<NotMoved>,
    /// Instances whose result is not in the store.
    pub not_here: Vec<String>,
    /// What it took.
    pub remote: RemoteUse,
}

/// Publishes the results of the instances that `names` stand for, and of what they need, as far as
/// the store has them. What the remote has is not sent again.
///
/// # Errors
/// A name that stands for nothing; the store cannot be read.
pub fn push(
    session: &Session,
    names: &[String],
    way: &Way,
    signer: &Arc<Signer>,
    tell: Tell,
) -> anyhow::Result<Pushed> {
    let targets = session.targets(names)?;
    session.store.start_lease()?;
    let survey = Survey::of(session, &targets)?;
    let wanted = Graph::new(&session.plan).wanted(&targets);
    let (mut publications, mut ids, mut not_here) = (Vec::new(), Vec::new(), Vec::new());
    for (i, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
        let index = InstanceIndex(i as u32);
        let id = session.plan.instance(index).id.to_string();
        match result_here(session, &survey, index) {
            Some(record) => {
                publications.push(publication(&session.store, Some(signer), record));
                ids.push(id);
            }
            None => not_here.push(id),
        }
    }
    let outputs = publications.iter().flat_map(|p| p.record.outputs.values());
    let contents: BTreeSet<Content> = outputs.copied().collect();
    let total = contents.iter().map(|c| c.bytes_total).sum();
    let keys: Vec<Digest> = publications.iter().map(|p| p.record.key).collect();
    announce(&way.link, &session.project, &keys);
    let outcomes = way.watch(
        total,
        |link| link.moved().sent,
        tell,
        || {
            let mut outcomes = Vec::with_capacity(publications.len());
            let mut rest = publications.into_iter();
            loop {
                let batch: Vec<Publication> = rest.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    return outcomes;
                }
                outcomes.extend(publish(&way.link, &session.store, batch));
            }
        },
    );
    let mut pushed = Pushed {
        published: 0,
        known: 0,
        diverged: Vec::new(),
        failed: Vec::new(),
        not_here,
        remote: way.used(),
    };
    for (instance, outcome) in ids.into_iter().zip(outcomes) {
        match outcome {
            Ok(Published::New) => pushed.published += 1,
            Ok(Published::Known) => pushed.known += 1,
            Ok(Published::Diverged { .. }) => pushed.diverged.push(instance),
            Err(why) => pushed.failed.push(NotMoved { instance, why }),
        }
    }
    Ok(pushed)
}

/// The record of an instance's result, if its bytes are here.
fn result_here(session: &Session, survey: &Survey, index: InstanceIndex) -> Option<Record> {
    let hit = survey.get(index)?.hit.as_ref()?;
    let instance = session.plan.instance(index);
    let is_it = |record: &Record| {
        let mut bytes = record.outputs.values();
        session.is_record_of(instance, hit, record)
            && bytes.all(|c| session.store.has(c).unwrap_or(false))
    };
    session.store.lookup(&hit.key).into_iter().find(is_it)
}
