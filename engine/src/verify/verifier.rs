//! Verifying: what agrees is signed, what does not is kept as an account; both may go to a remote.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use super::again::Replayed;
use super::{Again, Recorded, Replayer};
use crate::difference;
use crate::digest::{Content, Digest};
use crate::exchange::{Way, bring, bring_inputs, made_inputs};
use crate::lookup::{Answer, look_up};
use crate::notice::Tell;
use crate::plan::{Instance, InstanceIndex};
use crate::remote::divergence;
use crate::remote::fetch::fetch;
use crate::remote::publish::{Publication, publish};
use crate::run::keep_envelopes;
use crate::session::Hit;
use crate::store::{Fact, Observation};
use crate::store::{Pending, Record, Staged, host_name};
use crate::trust::{Differing, Divergence, Facts, Signer, SignerName, Trust};

/// Who says what came of it, and to whom.
pub struct Witness<'a> {
    /// Whom the project believes.
    pub trust: &'a Arc<Trust>,
    /// Signs; nothing is signed without.
    pub signer: Option<&'a Signer>,
    /// The remote where is heard who else vouches, and which has what nothing here knows of.
    pub way: Option<&'a Way>,
    /// The remote is to hear of it.
    pub push: bool,
}

/// A verified result.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The instance.
    pub instance: String,
    /// Its key.
    pub key: Digest,
    /// No output differs.
    pub identical: bool,
    /// The signature was added.
    pub signed: bool,
    /// Who of those the project lists vouches for the result now.
    pub signers: Vec<String>,
    /// The outputs that differ.
    pub differing: Vec<Differing>,
    /// Seconds it took.
    pub wall_s: f64,
    /// Seconds it took the first time.
    #[serde(skip)]
    pub recorded_wall_s: f64,
    /// How many outputs were compared.
    #[serde(skip)]
    pub outputs: usize,
}

/// Verifies one instance after the other.
pub struct Verifier<'a> {
    replayer: Replayer<'a>,
    witness: Witness<'a>,
}

impl<'a> Verifier<'a> {
    /// What `replayer` executes is told as `witness` says.
    pub fn new(replayer: Replayer<'a>, witness: Witness<'a>) -> Verifier<'a> {
        Verifier { replayer, witness }
    }

    /// Executes one of the instances, compares, and signs or keeps an account.
    ///
    /// # Errors
    /// As [`Replayer::replay`]; a signature could not be kept or published.
    pub fn verify(&self, index: InstanceIndex, tell: Tell) -> anyhow::Result<Again<Verified>> {
        let recorded = self.replayer.recorded(index)?;
        let Recorded { instance, hit, .. } = recorded;
        self.prepare(&recorded, tell)?;
        // Better now than after hours of work.
        let record = self.record(instance, hit)?;
        let started = jiff::Timestamp::now().to_string();
        let replayed = match self.replayer.execute(index, &recorded)? {
            Again::Done(replayed) => replayed,
            Again::Failed(failure) => return Ok(Again::Failed(failure)),
            Again::Cancelled => return Ok(Again::Cancelled),
        };
        let facts = Facts {
            invocation: None,
            started: Some(started),
            finished: Some(jiff::Timestamp::now().to_string()),
            host: Some(host_name()),
            threads: Some(self.replayer.cpus(instance).into()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        let differing = self.differing(instance, hit, &replayed, tell)?;
        let mut signed = false;
        if differing.is_empty() {
            signed = self.agree(&record, &replayed, &facts)?;
        } else {
            self.disagree(&record, &replayed, &facts, differing.clone())?;
        }
        let signers = self.hear(&record)?;
        if let Some(way) = self.witness.way {
            way.tell_warnings(tell);
        }
        Ok(Again::Done(Verified {
            instance: instance.id.to_string(),
            key: hit.key,
            identical: differing.is_empty(),
            signed,
            signers,
            differing,
            wall_s: replayed.usage.wall_s,
            recorded_wall_s: f64::from(hit.wall_s),
            outputs: hit.outputs.len(),
        }))
    }

    /// Gets the inputs that are not here.
    fn prepare(&self, recorded: &Recorded, tell: Tell) -> anyhow::Result<()> {
        let (session, network) = (self.replayer.session, self.replayer.options.network);
        let Recorded {
            instance, contents, ..
        } = recorded;
        let Some(way) = self.witness.way else {
            return bring_inputs(session, instance, contents, network, tell);
        };
        let mut wanted = Vec::new();
        for (_, content) in made_inputs(instance, contents) {
            if !session.store.has(&content).unwrap_or(false) {
                wanted.push(content);
            }
        }
        for outcome in fetch(&way.link, &session.store, &wanted)? {
            outcome.with_context(|| format!("an input of `{}` cannot be obtained", instance.id))?;
        }
        Ok(())
    }

    /// The outputs are the recorded ones. Whether that was signed.
    fn agree(&self, record: &Record, replayed: &Replayed, facts: &Facts) -> anyhow::Result<bool> {
        self.keep(record, replayed, facts)?;
        let Some(signer) = self.witness.signer else {
            return Ok(false);
        };
        let id = signer.id().to_string();
        let envelope = signer.sign(record, facts);
        let store = &self.replayer.session.store;
        store.keep_envelope(&record.key, &record.result(), &id, &envelope)?;
        let Some(way) = self.witness.way.filter(|_| self.witness.push) else {
            return Ok(true);
        };
        let publication = Publication {
            record: record.clone(),
            signatures: vec![(id.parse()?, envelope)],
        };
        for published in publish(&way.link, store, vec![publication]) {
            published.map_err(|why| {
                anyhow::anyhow!(
                    "the signature was not published on `{}`: {why}",
                    way.link.name()
                )
            })?;
        }
        Ok(true)
    }

    /// A result whose bytes are elsewhere has them here now: they were just made.
    fn keep(&self, record: &Record, replayed: &Replayed, facts: &Facts) -> anyhow::Result<()> {
        let store = &self.replayer.session.store;
        for (name, content) in &record.outputs {
            if !store.has(content)?
                && let Some(path) = replayed.aside.paths.get(name.as_str())
            {
                let (made, staged) = store.absorb_copy(path)?;
                store.keep(&made, staged)?;
            }
        }
        let mut record = record.clone();
        // It was executed here now, so here it needs nobody else's word.
        record.observation = Observation::default()
            .with(Fact::At, facts.started.clone())
            .with(Fact::Host, facts.host.clone())
            .with(Fact::Threads, facts.threads)
            .with(Fact::Version, facts.version.clone());
        record.observation = replayed.usage.noted(record.observation);
        let pending = Pending {
            record,
            staged: Staged::default(),
        };
        for committed in store.commit(vec![pending]) {
            committed?;
        }
        Ok(())
    }

    /// The outputs are others: an account says so.
    fn disagree(
        &self,
        record: &Record,
        replayed: &Replayed,
        facts: &Facts,
        differing: Vec<Differing>,
    ) -> anyhow::Result<()> {
        let account = Divergence {
            action_key: record.key,
            recorded_result: record.result(),
            differing,
            host: None,
            finished: None,
            version: None,
        };
        let found = replayed.outputs.iter();
        let found: BTreeMap<String, Content> = found
            .map(|(name, content)| (name.to_string(), *content))
            .collect();
        let account = account.with_facts(facts).seal(&found, self.witness.signer);
        let store = &self.replayer.session.store;
        store.keep_divergence(&record.key, &account)?;
        if let Some(way) = self.witness.way.filter(|_| self.witness.push) {
            divergence::tell(&way.link, &record.key, &account)?;
        }
        Ok(())
    }

    /// What others say on the remote is kept; who vouches then.
    fn hear(&self, record: &Record) -> anyhow::Result<Vec<String>> {
        let (key, store) = (&record.key, &self.replayer.session.store);
        let trust = self.witness.trust;
        if let Some(way) = self.witness.way {
            // For who else vouches.
            let _ = self.on_the_remote(key);
            for account in divergence::heard(&way.link, key) {
                if Divergence::open(&account, key, trust).is_some() {
                    store.keep_divergence(key, &account)?;
                }
            }
        }
        let (signers, _) = trust.signers(record, &store.envelopes(key, &record.result()));
        Ok(signers
            .iter()
            .map(|s: &SignerName| s.as_str().to_owned())
            .collect())
    }

    fn differing(
        &self,
        instance: &Instance,
        hit: &Hit,
        replayed: &Replayed,
        tell: Tell,
    ) -> anyhow::Result<Vec<Differing>> {
        let session = self.replayer.session;
        let mut differing = Vec::new();
        for (spec, recorded) in instance.outputs.iter().zip(&*hit.outputs) {
            let found = replayed.outputs.get(&spec.name);
            if found.is_some_and(|f| f.has_same_bytes(recorded)) {
                continue;
            }
            let first = match replayed.aside.paths.get(&spec.name) {
                Some(path) if self.is_here(recorded, tell)? => difference::first(
                    &session.store,
                    recorded,
                    path,
                    session.catalog.describe_difference,
                )?,
                _ => None,
            };
            differing.push(Differing {
                output: spec.name.to_string(),
                recorded: recorded.to_string(),
                found: found.map(ToString::to_string),
                first,
            });
        }
        Ok(differing)
    }

    /// Whether the recorded bytes are here, or can be had.
    fn is_here(&self, recorded: &Content, tell: Tell) -> anyhow::Result<bool> {
        let (session, network) = (self.replayer.session, self.replayer.options.network);
        match self.witness.way {
            Some(way) => drop(fetch(&way.link, &session.store, &[*recorded])?),
            None => drop(bring(session, vec![*recorded], network, tell)?),
        }
        Ok(session.store.has(recorded)?)
    }

    /// The result the remote has, if it is believed; its signatures are kept here.
    fn on_the_remote(&self, key: &Digest) -> Option<Record> {
        let way = self.witness.way?;
        let mut found = None;
        look_up(&way.link, self.witness.trust, vec![*key], |_, answer| {
            if let Answer::Hit(believed) = answer {
                keep_envelopes(&self.replayer.session.store, &believed);
                found = Some(believed.record);
            }
        });
        found
    }

    /// The record the hit is of; one whose bytes are elsewhere may be there as well.
    fn record(&self, instance: &Instance, hit: &Hit) -> anyhow::Result<Record> {
        let session = self.replayer.session;
        if let Some(record) = session.record_of(instance, hit) {
            return Ok(record);
        }
        let found = self.on_the_remote(&hit.key);
        let of_hit = |record: &Record| session.is_record_of(instance, hit, record);
        found.filter(of_hit).with_context(|| {
            format!(
                "the result of `{}` is not here, only what it should be; --pull looks for it on the remote",
                instance.id
            )
        })
    }
}
