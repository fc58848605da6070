//! What two runs, or a lock file and the present one, have different: keys, the fields behind them, outputs, metrics, verdicts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::metrics;
use crate::digest::{Content, Shape};
use crate::exchange::{Network, bring};
use crate::explain;
use crate::notice::Tell;
use crate::record::event::{Change, ClaimResult, Verdict};
use crate::record::history::{self, Left, Run};
use crate::record::journal;
use crate::record::lockfile::LockFile;
use crate::session::Session;

/// What is different.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// The earlier side.
    pub a: String,
    /// The later side.
    pub b: String,
    /// Instances that differ, by name.
    pub instances: Vec<InstanceDiff>,
    /// Claims whose verdict or estimate differs.
    pub claims: Vec<ClaimDiff>,
    /// Tables of metrics that are on a remote only and are left out.
    #[serde(skip)]
    pub left_out: Option<LeftOut>,
}

/// Tables that could not be compared.
#[derive(Debug)]
pub struct LeftOut {
    /// How many.
    pub tables: usize,
    /// Why the first was not got.
    pub why: String,
}

/// An instance that differs.
#[derive(Debug, Serialize)]
pub struct InstanceDiff {
    /// Its name.
    pub instance: String,
    /// In what way.
    pub change: Difference,
    /// The fields of its key that differ.
    pub fields: Vec<Change>,
    /// Names of the outputs that differ.
    pub outputs: Vec<String>,
    /// Last values of metrics that differ.
    pub metrics: Vec<MetricDiff>,
}

/// In what way an instance differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It is on the later side only.
    New,
    /// It is on the earlier side only.
    Gone,
    /// Another key gave the same bytes.
    OtherKey,
    /// The same key gave other bytes.
    OtherOutputs,
    /// Key and outputs.
    Changed,
}

impl Difference {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Difference::New => "new",
            Difference::Gone => "gone",
            Difference::OtherKey => "other key, same outputs",
            Difference::OtherOutputs => "same key, other outputs",
            Difference::Changed => "changed",
        }
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// A value that differs; absent on the side that does not have it.
#[derive(Debug, Serialize)]
pub struct MetricDiff {
    /// Cell, group and seed, then the metric.
    pub name: String,
    /// On the earlier side.
    pub a: Option<f64>,
    /// On the later side.
    pub b: Option<f64>,
}

/// A claim that is judged otherwise; absent on the side that has no verdict.
#[derive(Debug, Serialize)]
pub struct ClaimDiff {
    /// Of the claim.
    pub name: String,
    /// The earlier verdict.
    pub a: Option<Verdict>,
    /// The later verdict.
    pub b: Option<Verdict>,
    /// The earlier estimate.
    pub estimate_a: Option<f64>,
    /// The later estimate.
    pub estimate_b: Option<f64>,
}

/// What a side has of an instance: key and outputs as texts.
struct Had {
    key: String,
    outputs: BTreeMap<String, String>,
}

/// One side, by instance.
type Side = BTreeMap<String, Had>;

/// Of two runs, each by its name, the beginning of it, `last` or `last-1`.
///
/// # Errors
/// A run that is not there; fewer than two runs; a journal or the store cannot be read.
pub fn of_runs(
    session: &Session,
    a: Option<&str>,
    b: Option<&str>,
    network: Network,
    tell: Tell,
) -> anyhow::Result<Diff> {
    let dir = session.runs_dir();
    let runs = journal::list(&dir)?;
    anyhow::ensure!(
        runs.len() >= 2 || a.is_some(),
        "{} runs are recorded here; two are needed",
        runs.len()
    );
    let a = history::named(&runs, a.unwrap_or("last-1"))?;
    let b = history::named(&runs, b.unwrap_or("last"))?;
    let side = |run: &str| -> anyhow::Result<Side> {
        let left = history::results_after(&dir, &runs, run)?.into_iter();
        Ok(left
            .map(|(id, left)| (id, recorded(session, left)))
            .collect())
    };
    let claims = |run: &str| -> anyhow::Result<Vec<ClaimResult>> {
        Ok(Run::read_ends(&dir, run)?
            .summary()
            .map(|s| s.claims.clone())
            .unwrap_or_default())
    };
    let claims = claim_diffs(&claims(a)?, &claims(b)?);
    let sides = (side(a)?, side(b)?);
    let left_out = bring_tables(session, &sides, network, tell)?;
    Ok(Diff {
        a: a.to_owned(),
        b: b.to_owned(),
        instances: compare(session, &sides),
        claims,
        left_out,
    })
}

/// Of another lock file, called `name`, and the present one.
///
/// # Errors
/// repro.lock or the store cannot be read.
pub fn of_lock(
    session: &Session,
    old: LockFile,
    name: &str,
    network: Network,
    tell: Tell,
) -> anyhow::Result<Diff> {
    let new = LockFile::read(&session.project.lock_file())?;
    let side = |lock: LockFile| -> Side {
        let of = |block: crate::record::lockfile::Block| Had {
            key: block.key.hex(),
            outputs: block.outputs,
        };
        lock.blocks.into_iter().map(|(id, b)| (id, of(b))).collect()
    };
    let sides = (side(old), side(new));
    let left_out = bring_tables(session, &sides, network, tell)?;
    Ok(Diff {
        a: name.to_owned(),
        b: "repro.lock".into(),
        instances: compare(session, &sides),
        claims: Vec::new(),
        left_out,
    })
}

fn claim_diffs(a: &[ClaimResult], b: &[ClaimResult]) -> Vec<ClaimDiff> {
    let names: BTreeSet<&str> = a.iter().chain(b).map(|c| c.name.as_str()).collect();
    let claims = names.into_iter().map(|name| {
        let of = |claims: &[ClaimResult]| {
            let claim = claims.iter().find(|c| c.name == name);
            claim.map(|c| (c.verdict, c.estimate))
        };
        let (a, b) = (of(a), of(b));
        ClaimDiff {
            name: name.to_owned(),
            a: a.map(|c| c.0),
            b: b.map(|c| c.0),
            estimate_a: a.and_then(|c| c.1),
            estimate_b: b.and_then(|c| c.1),
        }
    });
    claims
        .filter(|c| c.a != c.b || c.estimate_a != c.estimate_b)
        .collect()
}

fn recorded(session: &Session, left: Left) -> Had {
    let of_record = || Some(session.any_record(&left.key.parse().ok()?)?.outputs);
    let outputs = left.outputs.or_else(of_record).unwrap_or_default();
    Had {
        key: left.key,
        outputs: outputs
            .into_iter()
            .map(|(name, content)| (name, content.to_string()))
            .collect(),
    }
}

/// Gets the tables that differ and are known to be elsewhere.
fn bring_tables(
    session: &Session,
    (a, b): &(Side, Side),
    network: Network,
    tell: Tell,
) -> anyhow::Result<Option<LeftOut>> {
    let mut wanted = Vec::new();
    for (id, result) in a.iter().chain(b) {
        for (name, text) in &result.outputs {
            let differs = a.get(id).and_then(|s| s.outputs.get(name))
                != b.get(id).and_then(|s| s.outputs.get(name));
            if !differs || !metrics::is_table(name, path_of(session, id, name).as_deref()) {
                continue;
            }
            // With its size, by what is known of the key.
            let record = result.key.parse().ok().and_then(|k| session.any_record(&k));
            let content = record.and_then(|r| r.outputs.get(name).copied());
            wanted.extend(content.filter(|content| content.to_string() == *text));
        }
    }
    let failed = bring(session, wanted, network, tell)?;
    let why = failed.values().next().cloned();
    Ok(why.map(|why| LeftOut {
        tables: failed.len(),
        why,
    }))
}

/// Where an output of the present plan appears.
fn path_of(session: &Session, id: &str, output: &str) -> Option<String> {
    let instance = session.plan.instances.iter().find(|i| *i.id == *id)?;
    let spec = instance.outputs.iter().find(|o| *o.name == *output)?;
    Some(spec.path.to_string())
}

fn compare(session: &Session, (a, b): &(Side, Side)) -> Vec<InstanceDiff> {
    let ids: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    ids.into_iter()
        .filter_map(|id| instance_diff(session, id, a.get(id), b.get(id)))
        .collect()
}

/// `None` where nothing differs.
fn instance_diff(
    session: &Session,
    id: &str,
    old: Option<&Had>,
    new: Option<&Had>,
) -> Option<InstanceDiff> {
    let empty = BTreeMap::new();
    let old_outputs = old.map_or(&empty, |s| &s.outputs);
    let new_outputs = new.map_or(&empty, |s| &s.outputs);
    let names: BTreeSet<&String> = old_outputs.keys().chain(new_outputs.keys()).collect();
    let outputs: Vec<String> = names
        .into_iter()
        .filter(|n| old_outputs.get(*n) != new_outputs.get(*n))
        .cloned()
        .collect();
    let same_key = old.map(|s| &s.key) == new.map(|s| &s.key);
    if same_key && outputs.is_empty() {
        return None;
    }
    let change = match (old, new) {
        (None, _) => Difference::New,
        (_, None) => Difference::Gone,
        _ if outputs.is_empty() => Difference::OtherKey,
        _ if same_key => Difference::OtherOutputs,
        _ => Difference::Changed,
    };
    let preimage = |side: Option<&Had>| session.preimage(&side?.key.parse().ok()?);
    let fields = match (preimage(old), preimage(new)) {
        (Some(old), Some(new)) => explain::changes(&old, &new),
        _ => Vec::new(),
    };
    let mut metrics = Vec::new();
    for name in &outputs {
        let path = path_of(session, id, name);
        if metrics::is_table(name, path.as_deref()) {
            let sides = (old_outputs.get(name), new_outputs.get(name));
            metrics.extend(metric_diffs(session, (name, path.as_deref()), sides));
        }
    }
    Some(InstanceDiff {
        instance: id.to_owned(),
        change,
        fields,
        outputs,
        metrics,
    })
}

/// Last values that differ; a table that is no longer in the store has none.
fn metric_diffs(
    session: &Session,
    named: (&str, Option<&str>),
    (a, b): (Option<&String>, Option<&String>),
) -> Vec<MetricDiff> {
    let rows = |text: Option<&String>| {
        let (shape, hex) = text?.split_once(':')?;
        let content = Content {
            shape: Shape::from_word(shape)?,
            digest: hex.parse().ok()?,
            bytes_total: 0,
        };
        metrics::read(session, &content, named).ok()
    };
    let name = |row: &repro_protocol::table::Row| {
        let parts = [
            row.run.clone(),
            row.stage.clone(),
            row.seed.map(|s| format!("seed={s}")),
            Some(metrics::full_name(row)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let values = |text: Option<&String>| -> BTreeMap<String, f64> {
        let rows = metrics::last(rows(text).unwrap_or_default());
        rows.iter().map(|row| (name(row), row.value)).collect()
    };
    let (a, b) = (values(a), values(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let diff = |name: &String| MetricDiff {
        name: name.clone(),
        a: a.get(name).copied(),
        b: b.get(name).copied(),
    };
    names
        .into_iter()
        .filter(|n| a.get(*n).map(|x| x.to_bits()) != b.get(*n).map(|x| x.to_bits()))
        .map(diff)
        .collect()
}
