//! Whether a recorded result serves: asked of the index, the store, and what is known of remotes.

use super::opened::Session;
use crate::change;
use crate::digest::{Content, Digest};
use crate::index::Known;
use crate::key::Key;
use crate::plan::Instance;
use crate::record::elsewhere::Remembered;
use crate::record::event::Reason;
use crate::record::lockfile::LockFile;
use crate::store::{Record, Root};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A result that serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The action key.
    pub key: Digest,
    /// In the order of [`Instance::outputs`].
    pub outputs: Arc<[Content]>,
    /// Seconds the execution took.
    pub wall_s: f32,
    /// Other results are recorded under the same key.
    pub ambiguous: bool,
    /// It was not made here: the stamp of the trust under which it is believed. `None`: made here.
    pub believed_under: Option<Digest>,
}

/// No result serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// The action key.
    pub key: Key,
    /// Why.
    pub reason: Reason,
}

/// What the store has under a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LookedUp {
    /// A result that serves.
    pub hit: Option<Hit>,
    /// What is missing of one that would.
    pub lost: Option<String>,
    /// Why one that was made elsewhere does not serve.
    pub disbelieved: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A result serves.
    Hit(Hit),
    /// A result serves that came from a remote; some of its bytes are not in the store.
    Elsewhere(Hit),
    /// It must be executed.
    Miss(Miss),
}

impl Session {
    /// Whether a result serves for this key. Warnings about damage go to the store's warning sink.
    pub fn find(&self, instance: &Instance, key: Key) -> anyhow::Result<Found> {
        let known = self.index.get(&instance.id);
        let same = known.filter(|known| {
            known.key == key.digest && known.outputs.len() == instance.outputs.len()
        });
        let of_known = |known: &Known| Hit {
            key: known.key,
            outputs: known.outputs.clone(),
            wall_s: known.wall_s,
            ambiguous: false,
            believed_under: known.believed_under.as_deref().copied(),
        };
        // That a stage without outputs has succeeded is nowhere but in its record.
        let has_outputs = |known: &&Known| !known.outputs.is_empty();
        let in_store = same.filter(has_outputs);
        if let Some(known) = in_store.filter(|known| self.is_believed_still(known)) {
            let look = || self.all_present(&known.outputs);
            if self.store.look_leased(Root::Action(known.key), look)? {
                return Ok(Found::Hit(of_known(known)));
            }
        }
        let LookedUp {
            hit,
            lost,
            disbelieved,
        } = self.look_up(instance, &key.digest);
        if let Some(hit) = hit {
            return Ok(Found::Hit(hit));
        }
        if let Some(known) = same.filter(|known| known.elsewhere) {
            if self.is_believed_still(known) {
                return Ok(Found::Elsewhere(of_known(known)));
            }
            let believed = self
                .elsewhere
                .get(&known.key)
                .filter(|r| outputs_of(instance, &r.record).as_ref() == Some(&known.outputs))
                .filter(|r| self.believer.believes(&r.record, &r.envelopes).is_ok());
            if believed.is_some() {
                return Ok(Found::Elsewhere(Hit {
                    believed_under: Some(self.believer.stamp()),
                    ..of_known(known)
                }));
            }
        }
        let reason = match (disbelieved, lost) {
            (Some(why), _) => Reason::Disbelieved(why),
            (None, Some(lost)) => Reason::ResultLost(lost),
            (None, None) => self.reason(known, &key),
        };
        Ok(Found::Miss(Miss { key, reason }))
    }

    /// Who vouched for it then suffices now.
    fn is_believed_still(&self, known: &Known) -> bool {
        let under = known.believed_under.as_deref();
        under.is_none_or(|stamp| *stamp == self.believer.stamp())
    }

    /// Asks the store; also what was lost if a record is there whose objects are not, and why one
    /// that is whole is not believed. What was made here comes before what was made elsewhere.
    pub fn look_up(&self, instance: &Instance, key: &Digest) -> LookedUp {
        let records = self.store.lookup(key);
        let (own, others): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|r| r.origin().is_none());
        let mut found = LookedUp::default();
        let mut serving = 0;
        for record in own.into_iter().chain(others) {
            let Some(outputs) = outputs_of(instance, record) else {
                continue;
            };
            if let Err(reason) = self.believer.believes_recorded(&self.store, record) {
                let origin = record.origin().unwrap_or("elsewhere");
                found.disbelieved =
                    Some(format!("a result from {origin} is not trusted: {reason}"));
                continue;
            }
            serving += 1;
            if found.hit.is_some() {
                continue;
            }
            match outputs
                .iter()
                .zip(instance.outputs.iter())
                .find(|(content, _)| !self.store.has(content).unwrap_or(false))
            {
                None => {
                    found.hit = Some(Hit {
                        key: *key,
                        outputs,
                        wall_s: record.wall_s().unwrap_or(0.0) as f32,
                        ambiguous: false,
                        believed_under: record.origin().map(|_| self.believer.stamp()),
                    });
                }
                Some((content, output)) => {
                    found.lost = Some(format!(
                        "output `{}` ({content}) is missing from the store or damaged",
                        output.name
                    ));
                }
            }
        }
        if let Some(hit) = &mut found.hit {
            hit.ambiguous = serving > 1;
        }
        found
    }

    /// The record that is the source of a hit, with the signatures that are known under it.
    pub fn remembered(&self, instance: &Instance, hit: &Hit) -> Option<Remembered> {
        let is_it = |record: &Record| self.is_record_of(instance, hit, record);
        if let Some(record) = self.store.lookup(&hit.key).into_iter().find(is_it) {
            let envelopes = self.store.envelopes(&record.key, &record.result());
            return Some(Remembered { record, envelopes });
        }
        self.elsewhere.get(&hit.key).filter(|r| is_it(&r.record))
    }

    /// The record that is the source of a hit; its bytes need not be here.
    pub fn record_of(&self, instance: &Instance, hit: &Hit) -> Option<Record> {
        Some(self.remembered(instance, hit)?.record)
    }

    /// Whether a record has the outputs of a hit.
    pub fn is_record_of(&self, instance: &Instance, hit: &Hit, record: &Record) -> bool {
        let mut outputs = instance.outputs.iter().zip(&*hit.outputs);
        outputs.all(|(spec, content)| record.outputs.get(&*spec.name) == Some(content))
    }

    /// Those of the contents whose bytes are not here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn absent<'a>(
        &self,
        contents: impl IntoIterator<Item = &'a Content>,
    ) -> anyhow::Result<Vec<Content>> {
        let mut absent = Vec::new();
        for content in contents.into_iter().collect::<BTreeSet<_>>() {
            if !self.store.has(content)? {
                absent.push(*content);
            }
        }
        Ok(absent)
    }

    fn all_present(&self, outputs: &[Content]) -> anyhow::Result<bool> {
        for content in outputs {
            if !self.store.has(content)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an action without a result gave, where repro.lock names this very action. Nobody
    /// vouches for it, so it stands for no result; but who only looks can say what follows if the
    /// action gives the same again.
    pub fn foreseen(&self, instance: &Instance, key: &Digest) -> Option<Arc<[Content]>> {
        let read = || LockFile::read(&self.project.lock_file()).unwrap_or_default();
        let block = self.lock.get_or_init(read).blocks.get(&*instance.id)?;
        let of = |name: &str| Content::named(block.outputs.get(name)?);
        let outputs = instance.outputs.iter().map(|o| of(&o.name));
        (block.key == *key).then(|| outputs.collect())?
    }

    fn reason(&self, known: Option<&Known>, key: &Key) -> Reason {
        let old = known.and_then(|k| self.preimage(&k.key));
        match old {
            Some(old) => Reason::Changed(change::changes(&old, &key.preimage)),
            None => Reason::NeverRun,
        }
    }

    /// A record under this key, whatever it gave and whoever made it.
    pub fn any_record(&self, key: &Digest) -> Option<Record> {
        let here = self.store.lookup(key).into_iter().next();
        here.or_else(|| Some(self.elsewhere.get(key)?.record))
    }

    /// The text a key was made from, if a result of it is known here.
    pub fn preimage(&self, key: &Digest) -> Option<String> {
        Some(self.any_record(key)?.preimage)
    }
}

/// A record's outputs in the order of the instance's, if it has all of them.
pub fn outputs_of(instance: &Instance, record: &Record) -> Option<Arc<[Content]>> {
    let of = |name: &str| record.outputs.get(name).copied();
    instance.outputs.iter().map(|o| of(&o.name)).collect()
}
