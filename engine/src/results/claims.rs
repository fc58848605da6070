//! Claims: what the recorded results say about each.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::Results;
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::{Claim, InstanceIndex, Look};
use crate::record::event::{ClaimResult, Verdict};
use crate::session::Session;
use crate::targets::nearest;
use crate::verdicts::verdicts;

/// What is known of a claim. Serialized, both have the same first fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ClaimState {
    /// Results decide it.
    Decided(ClaimResult),
    /// It is open.
    Open(OpenClaim),
}

/// A claim without a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenClaim {
    /// Of the claim.
    pub name: String,
    verdict: Option<Verdict>,
    n: u64,
    estimate: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    /// Who says so.
    pub source: Option<String>,
    /// What is lacking.
    #[serde(flatten)]
    pub lacks: Lacking,
}

/// What is lacking for a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lacking {
    /// The verdict is on a remote only, and was not got from there: why.
    Elsewhere(String),
    /// The last execution of something it rests on failed.
    Failed {
        /// The instance; of a claim that cannot be judged, its own: `claim:<name>`.
        instance: String,
        /// The first line of what was said.
        message: String,
    },
    /// Results that it rests on.
    Missing {
        /// How many instances have none.
        instances: usize,
        /// The first of them.
        first: String,
    },
}

/// The verdicts on the claims of these names, on all for no name; those that are on a remote are
/// got from there.
///
/// # Errors
/// A claim that is not there; the store cannot be read or written; a verdict that cannot be read.
pub fn claims(
    session: &Session,
    names: &[String],
    network: Network,
    tell: Tell,
) -> anyhow::Result<Vec<ClaimState>> {
    let claims = &session.plan.claims;
    for name in names {
        if !claims.iter().any(|c| *c.name == **name) {
            let all = claims.iter().map(|c| &*c.name);
            let hint = nearest(name, all, "`repro claims` lists all claims");
            anyhow::bail!("no claim is called `{name}`; {hint}");
        }
    }
    let is_wanted = |claim: &Claim| names.is_empty() || names.iter().any(|n| **n == *claim.name);
    // Those of their families decide with them.
    let families: Vec<_> = claims
        .iter()
        .filter(|c| is_wanted(c))
        .filter_map(|c| c.family.as_ref())
        .collect();
    let is_read = |claim: &&Claim| {
        is_wanted(claim) || claim.family.as_ref().is_some_and(|f| families.contains(&f))
    };
    let read: Vec<&Claim> = claims.iter().filter(is_read).collect();
    let looks = || read.iter().flat_map(|claim| &claim.looks);
    let targets = looks().map(|look| look.instance).collect();
    let results = Results::of_targets(session, targets)?;
    let output = |look: &Look| results.content(look.instance, 0);
    let known = looks().filter_map(output).collect();
    let absent = bring(session, known, network, tell)?;
    let decided = verdicts(&session.store, &read, |look| {
        let content = results.content(look, 0);
        content.filter(|content| !absent.contains_key(content))
    })?;
    let all = read.iter().zip(decided);
    let wanted = all.filter(|(claim, _)| is_wanted(claim));
    Ok(wanted
        .map(|(claim, decided)| match decided {
            Some(result) => ClaimState::Decided(result),
            None => {
                let first = claim.looks.first().and_then(output);
                let elsewhere = first.and_then(|content| absent.get(&content));
                let lacks = match elsewhere {
                    Some(why) => Lacking::Elsewhere(why.clone()),
                    None => results.lacking(claim),
                };
                open(claim, lacks)
            }
        })
        .collect())
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Elsewhere(why) => write!(f, "the verdict is on the remote only ({why})"),
            Lacking::Failed { instance, message } if instance.starts_with("claim:") => {
                write!(f, "it cannot be judged: {message}")
            }
            Lacking::Failed { instance, message } => write!(f, "`{instance}` failed: {message}"),
            // What it compares has results, and nobody has judged it yet.
            Lacking::Missing { instances: 0, .. } => f.write_str("it is not judged yet"),
            Lacking::Missing {
                instances: 1,
                first,
            } => write!(f, "`{first}` has no result"),
            Lacking::Missing { instances, first } => {
                write!(
                    f,
                    "{instances} instances have no result, `{first}` is the first"
                )
            }
        }
    }
}

impl Results<'_> {
    /// Why the first look at a claim has no result: a failure behind it comes before what was not
    /// executed yet.
    fn lacking(&self, claim: &Claim) -> Lacking {
        let plan = &self.session.plan;
        let mut todo: Vec<InstanceIndex> = claim.looks.iter().take(1).map(|l| l.instance).collect();
        let mut behind = BTreeSet::new();
        while let Some(index) = todo.pop() {
            if self.survey.results[index.0 as usize].is_none() && behind.insert(index) {
                todo.extend(plan.producers(index));
            }
        }
        let mut failed = behind.iter().filter_map(|index| {
            let message = self.survey.get(*index)?.failure.as_ref()?;
            Some(Lacking::Failed {
                instance: plan.instance(*index).id.to_string(),
                message: message.lines().next().unwrap_or_default().to_owned(),
            })
        });
        // Its own judgement is missing as well, but that is what is asked for.
        let is_look = |index: &InstanceIndex| claim.looks.iter().any(|l| l.instance == *index);
        let missing: Vec<&InstanceIndex> = behind.iter().filter(|i| !is_look(i)).collect();
        failed.next().unwrap_or_else(|| Lacking::Missing {
            instances: missing.len(),
            first: missing
                .first()
                .map_or_else(String::new, |i| plan.instance(**i).id.to_string()),
        })
    }

    /// The document behind a verdict: what was compared, run by run, and why it came out as it did.
    /// Of a claim that looks several times, that of look number `taken`. `None`: it is not here.
    pub fn evidence(&self, claim: &Claim, taken: usize) -> Option<serde_json::Value> {
        let look = claim.looks.get(taken.max(1) - 1)?;
        let output = self.content(look.instance, 0)?;
        let file = self.session.store.open_object(&output.digest).ok()?;
        serde_json::from_reader(std::io::BufReader::new(file)).ok()
    }
}

fn open(claim: &Claim, lacks: Lacking) -> ClaimState {
    ClaimState::Open(OpenClaim {
        name: claim.name.to_string(),
        verdict: None,
        n: 0,
        estimate: None,
        low: None,
        high: None,
        source: claim.source.clone(),
        lacks,
    })
}
