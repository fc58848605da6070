//! The account of one instance, as data.

use std::collections::BTreeMap;

use serde::Serialize;

use super::relative::{self, Relative, Resumption};
use super::{Explainer, Link};
use crate::digest::Digest;
use crate::plan::{Instance, InstanceIndex};
use crate::record::elsewhere::Remembered;
use crate::record::event::{Change, Reason};
use crate::record::history::{End, Execution};
use crate::store::Record;
use crate::store::{Fact, Observation};
use crate::survey::{Seen, Standing};
use crate::trust::{Divergence, SignerName};
use repro_protocol::relpath::RelPath;

/// Accounts of other bits that are told.
const ACCOUNTS_MAX: usize = 5;

/// All about one instance.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Its name.
    pub instance: String,
    /// What it runs: a kind's name, or `command`.
    pub kind: String,
    /// Its state.
    pub state: Standing,
    /// Its key; `None` where a producer has no result yet.
    pub key: Option<String>,
    /// Why it would be executed; absent when cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Its inputs cannot be read, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What changed in the instance itself, where the rest of its key is not known yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_changes: Vec<Change>,
    /// Whom it waits for without taking anything from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Producers whose changed output made an input change, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<Link>,
    /// Of an instance that was never seen: the recorded result nearest to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Relative>,
    /// Where its computation would be taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumable: Option<Resumption>,
    /// How the command was confined, where that was not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What does not count in directories of its inputs, by directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored: BTreeMap<String, Vec<RelPath>>,
    /// The results recorded under the key, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ResultLine>,
    /// Executions that gave other bits than the recorded result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub divergence: Vec<OtherBits>,
    /// Who of those the project lists vouches for the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// Where the result comes from, where it was not made here: `remote lab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its bytes are on a remote only.
    pub elsewhere: bool,
    /// Who made the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// Its last execution here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_execution: Option<LastExecution>,
}

/// A result under the key.
#[derive(Debug, Serialize)]
pub struct ResultLine {
    /// Its name: of the key and the outputs.
    pub result: String,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Who made it when, and what that took.
    pub observation: Observation,
}

/// An execution that gave other bits.
#[derive(Debug, Serialize)]
pub struct OtherBits {
    /// Machine and time, as they say.
    pub origin: String,
    /// Who of those the project lists says so; `None`: nobody, or this machine without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What differs, a line for each output.
    pub outputs: Vec<String>,
}

/// Who made a result.
#[derive(Debug, Serialize)]
pub struct Made {
    /// When.
    pub at: Option<String>,
    /// Where.
    pub host: Option<String>,
    /// Seconds it took.
    pub wall_s: Option<f64>,
}

/// The last execution of an instance.
#[derive(Debug, Serialize)]
pub struct LastExecution {
    /// The run.
    pub run: String,
    /// When the run began.
    pub at: String,
    /// Why.
    pub reason: Reason,
    /// `finished`, `failed`, `unstable` or `unknown`.
    pub end: &'static str,
    /// Seconds it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// What was said of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Explainer<'_> {
    /// Why one of them is cached or will be executed.
    ///
    /// # Errors
    /// It is none of them.
    pub fn explain(&self, index: InstanceIndex) -> anyhow::Result<Explanation> {
        let instance = self.session.plan.instance(index);
        let seen = self
            .survey
            .get(index)
            .ok_or_else(|| anyhow::anyhow!("BUG: `{}` was not surveyed", instance.id))?;
        Ok(self.account(index, instance, seen))
    }

    pub(super) fn account(
        &self,
        index: InstanceIndex,
        instance: &Instance,
        seen: &Seen,
    ) -> Explanation {
        // The survey has asked already: without a hit there is a record only where its bytes are
        // lost, or where it is not believed.
        let may_have_records = seen.hit.is_some()
            || matches!(
                seen.reason,
                Some(Reason::ResultLost(_) | Reason::Disbelieved(_))
            );
        let mut records = seen
            .key
            .filter(|_| may_have_records)
            .map(|key| self.session.store.lookup(&key))
            .unwrap_or_default();
        let serving = seen
            .hit
            .as_ref()
            .and_then(|hit| self.session.remembered(instance, hit));
        if let Some(serving) = &serving {
            records.retain(|r| r.result() != serving.record.result());
            records.insert(0, serving.record.clone());
        }
        let text = |fact: Fact| Some(records.first()?.observation.text(fact)?.to_owned());
        let changes: &[Change] = match &seen.reason {
            Some(Reason::Changed(changes)) => changes,
            _ => &[],
        };
        let mut upstream = Vec::new();
        self.chain(instance, changes, &mut upstream);
        let never_seen = matches!(seen.reason, Some(Reason::NeverRun));
        let nearest = match &seen.preimage {
            Some(key) if never_seen && self.searches_left.get() > 0 => {
                self.searches_left.set(self.searches_left.get() - 1);
                relative::nearest(self.session, index, &key.preimage)
            }
            _ => None,
        };
        let resumable = match (&seen.preimage, &seen.contents) {
            (Some(key), Some(contents)) => {
                relative::resumption(self.session, instance, contents, key, nearest.as_ref())
            }
            _ => None,
        };
        Explanation {
            instance: instance.id.to_string(),
            kind: instance.kind_name().to_owned(),
            state: seen.state,
            key: seen.key.map(|k| k.hex()),
            reason: seen
                .reason
                .clone()
                .map(|reason| self.looked_into(instance, reason)),
            problem: seen.problem.clone(),
            own_changes: self.own_changes(instance, seen),
            after: self.after(instance),
            upstream,
            nearest,
            resumable,
            sandbox: text(Fact::Sandbox).filter(|s| s != "enforced" && s != "not needed"),
            ignored: self.session.ignored(instance),
            results: if records.len() > 1 {
                records.iter().map(result_line).collect()
            } else {
                Vec::new()
            },
            divergence: seen
                .key
                .map(|key| self.divergence(&key))
                .unwrap_or_default(),
            signers: match &serving {
                Some(serving) if records.len() == 1 => self.signers(serving),
                _ => Vec::new(),
            },
            origin: serving
                .as_ref()
                .and_then(|s| s.record.origin())
                .map(str::to_owned),
            elsewhere: seen.elsewhere,
            made: serving.as_ref().map(|_| Made {
                at: text(Fact::At),
                host: text(Fact::Host),
                wall_s: records.first().and_then(Record::wall_s),
            }),
            last_execution: self.executions.get(&*instance.id).map(|execution| {
                let reason = self.looked_into(instance, execution.reason.clone());
                last_execution(execution, reason)
            }),
        }
    }

    /// With the files that differ in changed inputs.
    fn looked_into(&self, instance: &Instance, reason: Reason) -> Reason {
        match reason {
            Reason::Changed(mut changes) => {
                self.session.look_inside(Some(instance), &mut changes);
                Reason::Changed(changes)
            }
            other => other,
        }
    }

    fn divergence(&self, key: &Digest) -> Vec<OtherBits> {
        let accounts = self.session.store.divergences(key);
        let accounts = accounts
            .iter()
            .filter_map(|bytes| Divergence::open(bytes, key, &self.trust));
        let told = accounts.map(|(account, signer)| OtherBits {
            origin: account.origin(),
            signer: signer.map(|s| s.as_str().to_owned()),
            outputs: account.lines(),
        });
        told.take(ACCOUNTS_MAX).collect()
    }

    fn signers(&self, serving: &Remembered) -> Vec<String> {
        let (signers, _) = self.trust.signers(&serving.record, &serving.envelopes);
        signers
            .iter()
            .map(|s: &SignerName| s.as_str().to_owned())
            .collect()
    }
}

fn result_line(record: &Record) -> ResultLine {
    ResultLine {
        result: record.result().hex(),
        outputs: record
            .outputs
            .iter()
            .map(|(name, content)| (name.clone(), content.to_string()))
            .collect(),
        observation: record.observation.clone(),
    }
}

fn last_execution(execution: &Execution, reason: Reason) -> LastExecution {
    let (end, wall_s, message) = match &execution.end {
        End::Finished { wall_s } => ("finished", Some(*wall_s), None),
        End::Failed { message } => ("failed", None, Some(message.clone())),
        End::Unstable => ("unstable", None, None),
        End::Unknown => ("unknown", None, None),
    };
    LastExecution {
        run: execution.run.clone(),
        at: execution.at.clone(),
        reason,
        end,
        wall_s,
        message,
    }
}
