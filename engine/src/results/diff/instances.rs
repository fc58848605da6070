//! Two instances side by side: what their keys have different, and what came out of both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::super::{Results, named};
use super::compare::{side_by_side, values};
use super::{LeftOut, MetricDiff};
use crate::catalog::Parts;
use crate::change;
use crate::digest::{Content, Shape};
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::InstanceIndex;
use crate::record::event::Change;
use crate::session::Session;
use repro_protocol::kind::OutputSpec;

/// Two instances.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
    /// The fields of their keys that differ.
    pub fields: Vec<Change>,
    /// The last values of all their metrics.
    pub metrics: Vec<MetricDiff>,
    /// Outputs that both have.
    pub outputs: Vec<OutputPair>,
    /// What is on a remote only and could not be compared.
    #[serde(skip)]
    pub left_out: Option<LeftOut>,
}

/// An output that both instances have.
#[derive(Debug, Serialize)]
pub struct OutputPair {
    /// Its name.
    pub output: String,
    /// Whether the bytes are the same.
    pub same: bool,
    /// How far apart its parts are, where the format has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// Compares the results of two instances of the plan.
///
/// # Errors
/// A name that stands for no instance, or for several; one of them has no result; the store cannot
/// be read.
pub fn of_instances(
    session: &Session,
    names: [&str; 2],
    network: Network,
    tell: Tell,
) -> anyhow::Result<Pair> {
    let mut found = Vec::new();
    for name in names {
        let targets = session.targets(&[name.to_owned()])?;
        found.push(session.only(name, &targets)?);
    }
    let results = Results::of_targets(session, found.clone())?;
    let mut sides = Vec::new();
    for index in found {
        let instance = session.plan.instance(index);
        let contents = instance.outputs.iter().enumerate().map(|(at, output)| {
            let content = results.content(index, at)?;
            Some((&*output.name, (output, content)))
        });
        let outputs: Option<BTreeMap<&str, (&OutputSpec, Content)>> = contents.collect();
        let Some(outputs) = outputs else {
            let id = &instance.id;
            anyhow::bail!("`{id}` has no result yet; `repro run '{id}'` makes it");
        };
        sides.push((index, outputs));
    }
    let read = |(output, content): &(&OutputSpec, Content),
                other: Option<&(&OutputSpec, Content)>| {
        let is_table = named::is_table(&output.name, Some(output.path.as_str()));
        let differs = other.is_some_and(|(_, other)| other != content);
        (is_table || differs && content.shape != Shape::Tree).then_some(*content)
    };
    let wanted = (0..2).flat_map(|i| {
        let other = &sides[1 - i].1;
        let own = sides[i].1.iter();
        own.filter_map(move |(name, output)| read(output, other.get(name)))
    });
    let absent = bring(session, wanted.collect(), network, tell)?;
    let table = |outputs: &BTreeMap<&str, (&OutputSpec, Content)>| -> BTreeMap<String, f64> {
        let tables = outputs
            .iter()
            .filter(|(name, (output, _))| named::is_table(name, Some(output.path.as_str())));
        let values = tables.flat_map(|(name, (output, content))| {
            values(session, content, (name, Some(output.path.as_str())))
        });
        without_seed(values.collect())
    };
    let preimage = |index: InstanceIndex| {
        let key = results.survey.get(index)?.key?;
        session.preimage(&key)
    };
    let mut fields = match (preimage(sides[0].0), preimage(sides[1].0)) {
        (Some(a), Some(b)) => change::changes(&a, &b),
        _ => Vec::new(),
    };
    session.look_inside(Some(session.plan.instance(sides[1].0)), &mut fields);
    let mut outputs = Vec::new();
    for (name, (_, a)) in &sides[0].1 {
        let Some((_, b)) = sides[1].1.get(name) else {
            continue;
        };
        let files = || Some((file(session, a)?, file(session, b)?));
        let parts = match a == b {
            true => None,
            false => files().and_then(|(a, b)| (session.catalog.measure_difference)(&a, &b)),
        };
        outputs.push(OutputPair {
            output: (*name).to_owned(),
            same: a == b,
            parts,
        });
    }
    let name = |i: usize| session.plan.instance(sides[i].0).id.to_string();
    Ok(Pair {
        a: name(0),
        b: name(1),
        fields,
        metrics: side_by_side(&table(&sides[0].1), &table(&sides[1].1)),
        outputs,
        left_out: absent.values().next().map(|why| LeftOut {
            tables: absent.len(),
            why: why.clone(),
        }),
    })
}

/// Where a file lies in the store, if it is one and is here.
fn file(session: &Session, content: &Content) -> Option<PathBuf> {
    if content.shape == Shape::Tree {
        return None;
    }
    session.store.open_object(&content.digest).ok()?;
    Some(session.store.object_path(&content.digest))
}

/// The values without the word for their seed, where all have the same one: the names of instances
/// say it, and the other instance may have another.
fn without_seed(values: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let is_seed = |word: &&str| word.starts_with("seed=");
    let seed = |name: &str| name.split(' ').find(is_seed).map(str::to_owned);
    let seeds: BTreeSet<Option<String>> = values.keys().map(|name| seed(name)).collect();
    if seeds.len() != 1 {
        return values;
    }
    let short = |name: &str| -> String {
        let words = name.split(' ').filter(|word| !is_seed(word));
        words.collect::<Vec<_>>().join(" ")
    };
    values
        .iter()
        .map(|(name, value)| (short(name), *value))
        .collect()
}
