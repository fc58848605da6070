//! Comparing two sides, instance by instance.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{metrics, named};
use super::{Difference, InstanceDiff, LeftOut, MetricDiff};
use crate::change;
use crate::digest::Content;
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::Instance;
use crate::session::Session;

/// What a side has of an instance: key and outputs as texts.
pub(super) struct Had {
    pub key: String,
    pub outputs: BTreeMap<String, String>,
}

/// One side, by instance.
pub(super) type Side = BTreeMap<String, Had>;

/// Gets the tables that differ and are known to be elsewhere.
pub(super) fn bring_tables(
    session: &Session,
    (a, b): &(Side, Side),
    network: Network,
    tell: Tell,
) -> anyhow::Result<Option<LeftOut>> {
    let mut wanted = Vec::new();
    let instances = by_id(session);
    for (id, result) in a.iter().chain(b) {
        let instance = instances.get(id.as_str()).copied();
        for (name, text) in &result.outputs {
            let differs = a.get(id).and_then(|s| s.outputs.get(name))
                != b.get(id).and_then(|s| s.outputs.get(name));
            if !differs || !named::is_table(name, path_of(instance, name).as_deref()) {
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

/// The instances of the present plan.
fn by_id(session: &Session) -> HashMap<&str, &Instance> {
    let instances = session.plan.instances.iter();
    instances.map(|i| (&*i.id, i)).collect()
}

/// Where an output of the present plan appears.
fn path_of(instance: Option<&Instance>, output: &str) -> Option<String> {
    let spec = instance?.outputs.iter().find(|o| *o.name == *output)?;
    Some(spec.path.to_string())
}

pub(super) fn compare(session: &Session, (a, b): &(Side, Side)) -> Vec<InstanceDiff> {
    let instances = by_id(session);
    let ids: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    ids.into_iter()
        .filter_map(|id| {
            let instance = instances.get(id.as_str()).copied();
            instance_diff(session, (id, instance), a.get(id), b.get(id))
        })
        .collect()
}

/// `None` where nothing differs.
fn instance_diff(
    session: &Session,
    (id, instance): (&str, Option<&Instance>),
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
    let mut fields = match (preimage(old), preimage(new)) {
        (Some(old), Some(new)) => change::changes(&old, &new),
        _ => Vec::new(),
    };
    session.look_inside(instance, &mut fields);
    let mut metrics = Vec::new();
    for name in &outputs {
        let path = path_of(instance, name);
        if named::is_table(name, path.as_deref()) {
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
    let values = |text: Option<&String>| {
        let content = text.and_then(|text| Content::named(text));
        content.map_or_else(BTreeMap::new, |content| values(session, &content, named))
    };
    let (a, b) = (values(a), values(b));
    let differs = |m: &MetricDiff| m.a.map(f64::to_bits) != m.b.map(f64::to_bits);
    side_by_side(&a, &b).into_iter().filter(differs).collect()
}

/// The last values of a table of metrics, by cell, group, seed and metric; none of what is no such
/// table.
pub(super) fn values(
    session: &Session,
    content: &Content,
    named: (&str, Option<&str>),
) -> BTreeMap<String, f64> {
    let name = |row: &repro_protocol::table::Row| {
        let parts = [
            row.run.clone(),
            row.stage.clone(),
            row.seed.map(|s| format!("seed={s}")),
            Some(metrics::full_name(row)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let rows = metrics::read(session, content, named).unwrap_or_default();
    let rows = metrics::last(rows);
    rows.iter().map(|row| (name(row), row.value)).collect()
}

/// All values of both sides.
pub(super) fn side_by_side(
    a: &BTreeMap<String, f64>,
    b: &BTreeMap<String, f64>,
) -> Vec<MetricDiff> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let diff = |name: &String| MetricDiff {
        name: name.clone(),
        a: a.get(name).copied(),
        b: b.get(name).copied(),
    };
    names.into_iter().map(diff).collect()
}
