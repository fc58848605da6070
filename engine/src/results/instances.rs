//! What is recorded for an instance: its state, its key, its outputs, and where they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::Results;
use crate::digest::{Digest, Shape};
use crate::plan::{Axes, InstanceIndex};
use crate::record::event::Reason;
use crate::session::Session;
use crate::store::Fact;
use crate::store::Record;
use crate::survey::Standing;
use repro_protocol::relpath::RelPath;

/// One instance.
#[derive(Debug, Serialize)]
pub struct InstanceResult<'s> {
    /// Its name.
    pub instance: &'s str,
    /// The stage it comes from.
    pub stage: &'s str,
    /// Its matrix values, as keys have them.
    #[serde(serialize_with = "values")]
    pub axes: &'s Axes,
    /// What it runs: a kind's name, or `command`.
    pub kind: &'s str,
    /// What a run would do about it.
    pub state: Standing,
    /// Its key; `None` where a producer has no result yet.
    pub key: Option<Digest>,
    /// Its outputs by name, each with its digest; none where it has no result.
    pub outputs: BTreeMap<&'s str, String>,
    /// Seconds its execution took.
    #[serde(skip)]
    pub wall_s: Option<f64>,
    /// Where the result comes from; `None`: it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Its bytes are on a remote only.
    pub elsewhere: bool,
    /// Why it would be executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Its inputs cannot be read, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was said when its last execution failed, where its state is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// An instance, and where its outputs can be seen.
#[derive(Debug, Serialize)]
pub struct ShownInstance<'s> {
    /// The instance.
    #[serde(flatten)]
    pub result: InstanceResult<'s>,
    /// Where `artifacts/` shows exactly its outputs, from the project's root.
    pub shown: BTreeMap<&'s str, RelPath>,
}

fn values<S: Serializer>(axes: &Axes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(axes.iter().map(|(axis, value)| (axis, &value.value)))
}

/// Where a result was made that was not made here. Said and serialized as `remote lab, signed by
/// ann`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// `remote lab`.
    pub from: String,
    /// Whose word was believed when it came.
    pub signers: Vec<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)?;
        match self.signers[..] {
            [] => Ok(()),
            _ => write!(f, ", signed by {}", self.signers.join(", ")),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Origin {
    fn of(record: &Record) -> Option<Origin> {
        let signers = record
            .observation
            .get(Fact::Signers)
            .and_then(|s| s.as_array());
        let signers = signers.into_iter().flatten().filter_map(|s| s.as_str());
        Some(Origin {
            from: record.origin()?.to_owned(),
            signers: signers.map(str::to_owned).collect(),
        })
    }
}

impl<'s> Results<'s> {
    /// The instances that were asked for.
    pub fn instances(&self) -> Vec<InstanceResult<'s>> {
        let all = self.targets.iter();
        all.filter_map(|index| self.instance(self.session, *index))
            .collect()
    }

    /// The same with the places under `artifacts/`: a look at the file of every output.
    pub fn shown_instances(&self) -> Vec<ShownInstance<'s>> {
        let session = self.session;
        let shown = |index: InstanceIndex| {
            let instance = session.plan.instance(index);
            let seen = self.survey.get(index)?;
            let contents = seen.hit.iter().flat_map(|hit| &*hit.outputs);
            let outputs = instance.outputs.iter().zip(contents);
            let places = outputs.filter_map(|(output, content)| {
                let path = session.shown_at(instance, output, content)?;
                Some((&*output.name, path))
            });
            Some(ShownInstance {
                result: self.instance(session, index)?,
                shown: places.collect(),
            })
        };
        self.targets
            .iter()
            .filter_map(|index| shown(*index))
            .collect()
    }

    /// The record behind an instance's result: what was executed, who did it when, and what that
    /// took. `None` where there is no result.
    pub fn record(&self, instance: &str) -> Option<Record> {
        let (index, _) = self.wanted().find(|(_, i)| *i.id == *instance)?;
        self.record_at(index)
    }

    /// As [`Results::record`], by place in the plan.
    pub fn record_at(&self, index: InstanceIndex) -> Option<Record> {
        let hit = self.survey.get(index)?.hit.as_ref()?;
        self.session
            .record_of(self.session.plan.instance(index), hit)
    }

    /// Where the file of an output lies in the store, to be read only; `None` where it is not here,
    /// is a directory, or has more than so many bytes.
    pub fn file(&self, instance: &str, output: &str, most: u64) -> Option<PathBuf> {
        let (index, instance) = self.wanted().find(|(_, i)| *i.id == *instance)?;
        let position = instance.outputs.iter().position(|o| *o.name == *output)?;
        let content = self.content(index, position)?;
        if content.shape == Shape::Tree || content.bytes_total > most {
            return None;
        }
        let store = &self.session.store;
        store.open_object(&content.digest).ok()?;
        Some(store.object_path(&content.digest))
    }

    fn instance(&self, session: &'s Session, index: InstanceIndex) -> Option<InstanceResult<'s>> {
        let (instance, seen) = (session.plan.instance(index), self.survey.get(index)?);
        // What was made here needs no reading of records.
        let foreign = seen.hit.as_ref().filter(|h| h.believed_under.is_some());
        let record = foreign.and_then(|hit| session.record_of(instance, hit));
        let contents = seen.hit.iter().flat_map(|hit| &*hit.outputs);
        let outputs = instance.outputs.iter().zip(contents);
        Some(InstanceResult {
            instance: &instance.id,
            stage: &instance.stage,
            axes: &instance.axes,
            kind: instance.kind_name(),
            state: seen.state,
            key: seen.key,
            outputs: outputs.map(|(o, c)| (&*o.name, c.to_string())).collect(),
            wall_s: seen.hit.as_ref().map(|hit| f64::from(hit.wall_s)),
            origin: record.as_ref().and_then(Origin::of),
            elsewhere: seen.elsewhere,
            reason: seen.reason.clone(),
            problem: seen.problem.clone(),
            failure: seen.failure.clone(),
        })
    }
}
