//! Executing one recorded action again and comparing what it gives; leaves no trace.

use super::again::Again;
use super::again::{ReplayTerms, Replayed, replay};
use crate::digest::{Content, Digest};
use crate::exchange::{Network, bring_inputs};
use crate::exec::Cancel;
use crate::machine::Machine;
use crate::notice::Tell;
use crate::plan::{Instance, InstanceIndex};
use crate::session::{Hit, Session};
use crate::survey::Survey;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How actions are executed again.
pub struct ReplayOptions {
    /// Leave the private directory of the one execution here; it must not exist.
    pub keep: Option<PathBuf>,
    /// Cores to use; all there are when absent.
    pub jobs: Option<u32>,
    /// For inputs that are known to be elsewhere, and for the execution itself.
    pub network: Network,
    /// This program: what runs workers.
    pub executable: PathBuf,
    /// Raised by signals.
    pub cancel: Arc<Cancel>,
}

/// A second execution beside the first.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The instance.
    pub instance: String,
    /// Its key.
    pub key: Digest,
    /// No output differs.
    pub identical: bool,
    /// Seconds it took.
    pub wall_s: f64,
    /// Seconds it took the first time.
    #[serde(skip)]
    pub recorded_wall_s: f64,
    /// The outputs by name.
    pub outputs: BTreeMap<String, ComparedOutput>,
}

/// An output of both.
#[derive(Debug, Serialize)]
pub struct ComparedOutput {
    /// The bytes are the same.
    pub identical: bool,
    /// What is recorded.
    #[serde(serialize_with = "as_text")]
    pub recorded: Content,
    /// What was made now; `None`: nothing.
    #[serde(serialize_with = "as_text_of_some")]
    pub replayed: Option<Content>,
}

pub(super) fn as_text<S: Serializer>(content: &Content, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(content)
}

pub(super) fn as_text_of_some<S: Serializer>(
    content: &Option<Content>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    content.map(|c| c.to_string()).serialize(serializer)
}

/// Executes recorded actions again, outside of the cache: nothing is recorded, shown or replaced.
pub struct Replayer<'s> {
    pub(super) session: &'s Session,
    survey: Survey,
    pub(super) options: ReplayOptions,
}

/// A result that there is something to compare with.
pub(super) struct Recorded<'a> {
    pub(super) instance: &'a Instance,
    pub(super) hit: &'a Hit,
    pub(super) contents: &'a [Vec<Content>],
}

impl<'s> Replayer<'s> {
    /// For these instances; see [`Session::targets`].
    ///
    /// # Errors
    /// A directory is to be kept of several; the store cannot be read.
    pub fn of(
        session: &'s Session,
        targets: &[InstanceIndex],
        options: ReplayOptions,
    ) -> anyhow::Result<Replayer<'s>> {
        anyhow::ensure!(
            options.keep.is_none() || targets.len() == 1,
            "--keep is for one instance; {} are named",
            targets.len()
        );
        session.store.start_lease()?;
        Ok(Replayer {
            survey: Survey::of(session, targets)?,
            session,
            options,
        })
    }

    /// Executes one of them, and compares.
    ///
    /// # Errors
    /// It has no result; an input is not to be had; the store or the disk.
    pub fn replay(&self, index: InstanceIndex, tell: Tell) -> anyhow::Result<Again<Compared>> {
        let recorded = self.recorded(index)?;
        let Recorded { instance, hit, .. } = recorded;
        let network = self.options.network;
        bring_inputs(self.session, instance, recorded.contents, network, tell)?;
        let replayed = match self.execute(index, &recorded)? {
            Again::Done(replayed) => replayed,
            Again::Failed(failure) => return Ok(Again::Failed(failure)),
            Again::Cancelled => return Ok(Again::Cancelled),
        };
        let mut outputs = BTreeMap::new();
        for (spec, recorded) in instance.outputs.iter().zip(&*hit.outputs) {
            let fresh = replayed.outputs.get(&spec.name);
            let compared = ComparedOutput {
                identical: fresh.is_some_and(|f| f.has_same_bytes(recorded)),
                recorded: *recorded,
                replayed: fresh.copied(),
            };
            outputs.insert(spec.name.to_string(), compared);
        }
        Ok(Again::Done(Compared {
            instance: instance.id.to_string(),
            key: hit.key,
            identical: outputs.values().all(|o| o.identical),
            wall_s: replayed.usage.wall_s,
            recorded_wall_s: f64::from(hit.wall_s),
            outputs,
        }))
    }

    pub(super) fn recorded(&self, index: InstanceIndex) -> anyhow::Result<Recorded<'_>> {
        let instance = self.session.plan.instance(index);
        let seen = self.survey.get(index);
        let hit = seen.and_then(|s| s.hit.as_ref());
        let contents = seen.and_then(|s| s.contents.as_deref());
        let (Some(hit), Some(contents)) = (hit, contents) else {
            anyhow::bail!(
                "no result of `{0}` is recorded, so there is nothing to compare with; `repro run {0}` first",
                instance.id
            );
        };
        Ok(Recorded {
            instance,
            hit,
            contents,
        })
    }

    /// Cores that an execution of this instance gets.
    pub(super) fn cpus(&self, instance: &Instance) -> u32 {
        let cpus = self.options.jobs.unwrap_or_else(|| Machine::here().cpus);
        instance.policy.cpus.unwrap_or(cpus).min(cpus)
    }

    pub(super) fn execute(
        &self,
        index: InstanceIndex,
        recorded: &Recorded,
    ) -> anyhow::Result<Again<Replayed>> {
        let Recorded {
            instance, contents, ..
        } = recorded;
        let terms = ReplayTerms {
            keep: self.options.keep.clone(),
            cpus: self.cpus(instance),
            offline: self.options.network == Network::Off,
            executable: self.options.executable.clone(),
            lineage: self.survey.lineage(self.session, index),
        };
        replay(
            self.session,
            instance,
            contents,
            terms,
            &self.options.cancel,
        )
    }
}
