//! The claims of a study: what came out of each, what it was decided on, and when it was committed.
//! Decides what is said of a claim beside its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use repro_engine::change::{changes, in_words};
use repro_engine::digest::Digest;
use repro_engine::exchange::Network;
use repro_engine::notice::Tell;
use repro_engine::plan::{self, InstanceIndex, Plan, Work};
use repro_engine::results::Results;
use repro_engine::results::claims::{ClaimState, Claims, FromFile, claims};
use repro_engine::results::given::Given;
use repro_engine::session::Session;
use repro_engine::store::Fact;
use repro_engine::verdicts::expected;
use serde_json::Value;

use super::sides;
use crate::commits;
use crate::previous::Said;
use crate::study::{Claim, Sides};

/// The parameters of the instance that decides a claim.
pub(super) fn params(plan: &Plan, claim: &plan::Claim) -> Option<Value> {
    let look = claim.looks.first()?;
    match &plan.instance(look.instance).work {
        Work::Kind { params, .. } => Some((**params).clone()),
        Work::Command(_) => None,
    }
}

/// All claims of a study, in file order, and what was judged from a file.
pub(super) fn of(
    session: &Session,
    results: &Results,
    given: Option<&Given>,
    (network, tell): (Network, Tell),
) -> anyhow::Result<(Vec<Claim>, FromFile)> {
    let plan = &session.plan;
    let Claims { states, judged } = claims(session, &[], given, network, tell)?;
    let root = &session.project.root;
    let names: Vec<String> = plan.claims.iter().map(|c| c.name.to_string()).collect();
    let file = plan.files.first().map_or(Path::new("pipeline.yaml"), |f| f);
    let file = file.strip_prefix(root).unwrap_or(file);
    let commits = commits::of_claims(root, file, &names);
    let mut told = Vec::new();
    for (claim, state) in plan.claims.iter().zip(states) {
        let mut made = Claim {
            name: claim.name.to_string(),
            source: claim.source.clone(),
            note: plan.said.of.get(&format!("claim:{}", claim.name)).cloned(),
            ..Claim::default()
        };
        let params = params(plan, claim).unwrap_or_default();
        made.bounds = bounds(&params["expect"]);
        if let ClaimState::Open(open) = &state {
            made.reason = Some(format!("It is open, because {}.", open.lacks));
        }
        if let ClaimState::Decided(result) = state {
            made.verdict = Some(result.verdict.word());
            made.estimate = result.estimate;
            made.interval = result.low.zip(result.high).map(|(low, high)| [low, high]);
            made.confidence = result.confidence;
            made.effect = result.effect_size.map(|effect| effect.to_string());
            made.n = result.n;
            made.expects = result.expectation();
            let taken = result.looks.as_ref().map_or(0, |looks| looks.taken.len());
            if let Some(evidence) = results.evidence(claim, taken) {
                made.bounds = bounds(&evidence["expect"]).or(made.bounds);
                let reason = evidence["reason"].as_str();
                made.reason = reason.map(|reason| without(reason, made.interval));
                made.values = observations(&evidence);
                made.sides = both_sides(plan, claim, &params, &evidence);
            }
        }
        if made.expects.is_empty() {
            made.expects = expected(&params["expect"]);
        }
        made.committed = commits
            .get(&made.name)
            .and_then(|commit| registered(results, plan, claim, (commit, made.verdict.is_some())));
        told.push(made);
    }
    Ok((told, judged))
}

/// A reason without the interval that is told beside it, in other digits.
fn without(reason: &str, interval: Option<[f64; 2]>) -> String {
    let said = interval.map(|[low, high]| format!(" [{low:.4}, {high:.4}]"));
    said.map_or_else(|| reason.to_owned(), |said| reason.replacen(&said, "", 1))
}

/// The bounds within which a claim holds: of the first expectation that has any.
fn bounds(expect: &Value) -> Option<[f64; 2]> {
    expect.as_object()?.iter().find_map(|(sort, e)| {
        let number = |name: &str| e.get(name).and_then(Value::as_f64);
        if let Some(margin) = number("equivalent") {
            // Of a ratio it is a factor.
            return Some(match sort.as_str() {
                "ratio" => [1.0 / margin, margin],
                _ => [-margin, margin],
            });
        }
        if let Some([low, high]) = e
            .get("between")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            return Some([low.as_f64()?, high.as_f64()?]);
        }
        let within = e.get("within");
        let end = |name: &str, at: usize| {
            let within = within?;
            within.get(name).or_else(|| within.get(at))?.as_f64()
        };
        let low = number("above").or_else(|| end("low", 0));
        let high = number("below").or_else(|| end("high", 1));
        (low.is_some() || high.is_some()).then(|| {
            [
                low.unwrap_or(f64::NEG_INFINITY),
                high.unwrap_or(f64::INFINITY),
            ]
        })
    })
}

fn values(side: &Value) -> BTreeMap<String, f64> {
    let values = side["values"].as_object().into_iter().flatten();
    values
        .filter_map(|(name, v)| Some((name.clone(), v.as_f64()?)))
        .collect()
}

/// Differences of pairs, or the values of one side.
fn observations(evidence: &Value) -> Vec<(String, f64)> {
    let (a, b) = (values(&evidence["a"]), values(&evidence["b"]));
    if evidence["b"].is_null() {
        return a.into_iter().collect();
    }
    let pairs = a.into_iter().filter_map(|(name, a)| {
        let b = b.get(&name)?;
        Some((name, a - b))
    });
    pairs.collect()
}

fn both_sides(plan: &Plan, claim: &plan::Claim, params: &Value, evidence: &Value) -> Option<Sides> {
    let instance = plan.instance(claim.looks.first()?.instance);
    let [a_name, b_name] = sides::names(plan, instance);
    Some(Sides {
        a: evidence["a"]["mean"].as_f64()?,
        b: evidence["b"]["mean"].as_f64()?,
        a_name,
        b_name,
        of: params["compare"]["of"].as_str()?.to_owned(),
    })
}

/// How long before its first result a claim was committed, or after.
fn registered(
    results: &Results,
    plan: &Plan,
    claim: &plan::Claim,
    (commit, is_decided): (&commits::Commit, bool),
) -> Option<String> {
    let at: jiff::Timestamp = commit.at.parse().ok()?;
    let day = commit.at.get(..10)?;
    let name = &commit.name;
    let runs: BTreeSet<InstanceIndex> = claim
        .looks
        .iter()
        .flat_map(|look| plan.producers(look.instance))
        .collect();
    let made = runs.into_iter().filter_map(|run| {
        let record = results.record(&plan.instance(run).id)?;
        record
            .observation
            .text(Fact::At)?
            .parse::<jiff::Timestamp>()
            .ok()
    });
    Some(match made.min() {
        None if is_decided => {
            format!("Committed {day} ({name}); when its results were made is not known here.")
        }
        None => format!("Committed {day} ({name}); it has no result yet."),
        Some(first) if at <= first => format!(
            "Committed {day} ({name}), {} before the first of its results.",
            commits::between(at, first)
        ),
        Some(first) => format!(
            "Committed as it stands {day} ({name}), {} after the first of its results.",
            commits::between(first, at)
        ),
    })
}

/// Says of each claim whose verdict is another than `before` what changed since.
pub(super) fn tell_flips(session: &Session, claims: &mut [Claim], before: &Said, now: &Said) {
    let plan = &session.plan;
    for claim in claims {
        let verdict = claim.verdict.unwrap_or("open");
        let Some(old) = before
            .verdicts
            .get(&claim.name)
            .filter(|old| **old != verdict)
        else {
            continue;
        };
        let own = plan.claims.iter().find(|c| *c.name == *claim.name);
        let mut open: Vec<InstanceIndex> = own
            .into_iter()
            .flat_map(|c| &c.looks)
            .map(|l| l.instance)
            .collect();
        let (mut seen, mut causes) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
        while let Some(index) = open.pop() {
            if !seen.insert(index) {
                continue;
            }
            open.extend(plan.producers(index));
            let instance = plan.instance(index);
            let key =
                |said: &Said| -> Option<Digest> { said.keys.get(&*instance.id)?.parse().ok() };
            let (Some(old), Some(new)) = (key(before), key(now)) else {
                continue;
            };
            if old == new {
                continue;
            }
            let preimages = session.preimage(&old).zip(session.preimage(&new));
            let Some((old, new)) = preimages else {
                continue;
            };
            for change in changes(&old, &new) {
                if !change.field.starts_with("inputs") {
                    let cause = format!("{}: {}", instance.stage, in_words(&change));
                    *causes.entry(cause).or_default() += 1;
                }
            }
        }
        let mut text = format!("In an earlier report: {old}.");
        let causes: Vec<String> = causes
            .into_iter()
            .take(4)
            .map(|(cause, n)| match n {
                1 => cause,
                n => format!("{cause} ({n} instances)"),
            })
            .collect();
        if !causes.is_empty() {
            text.push_str(&format!(" Changed since: {}.", causes.join("; ")));
        }
        claim.flipped = Some(text);
    }
}
