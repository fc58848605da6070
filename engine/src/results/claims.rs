//! Claims: what the recorded results say about each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::Results;
use super::given::Given;
use super::judged::Judged;
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::{Claim, InstanceIndex, Look};
use crate::record::event::{ClaimResult, Verdict};
use crate::session::Session;
use crate::targets::nearest;
use crate::verdicts::{Document, verdicts};

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
    /// Metrics were given as a file, and it cannot be judged from that: which file, and why.
    NotGiven {
        /// The file.
        file: String,
        /// A clause.
        why: String,
    },
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

/// Claims, and what decided those that no result here decides.
#[derive(Debug)]
pub struct Claims {
    /// Each claim.
    pub states: Vec<ClaimState>,
    /// What was judged from a file of metrics.
    pub judged: FromFile,
}

/// How much was judged from a file of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FromFile {
    /// Verdicts.
    pub verdicts: usize,
    /// Those of which repro.lock names every byte.
    pub recorded: usize,
}

impl FromFile {
    /// As a sentence, where there is anything to say.
    pub fn told(&self) -> Option<String> {
        let verdicts = match self.verdicts {
            0 => return None,
            1 => "1 verdict is".to_owned(),
            n => format!("{n} verdicts are"),
        };
        let recorded = match self.recorded {
            0 => return Some(format!("{verdicts} computed from it.")),
            n if n == self.verdicts => "byte for byte what repro.lock names".to_owned(),
            n => format!("{n} of them byte for byte what repro.lock names"),
        };
        Some(format!("{verdicts} computed from it, {recorded}."))
    }
}

/// The verdicts on the claims of these names, on all for no name; those that are on a remote are
/// got from there. What has no result is judged from what was given, if anything was.
///
/// # Errors
/// A claim that is not there; the store cannot be read or written; a verdict that cannot be read.
pub fn claims(
    session: &Session,
    names: &[String],
    given: Option<&Given>,
    network: Network,
    tell: Tell,
) -> anyhow::Result<Claims> {
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
    let results = Results::of_targets(session, targets)?.with(given);
    let output = |look: &Look| results.content(look.instance, 0);
    let known = looks().filter_map(output).collect();
    let absent = bring(session, known, network, tell)?;
    let here = |look: InstanceIndex| {
        let content = results.content(look, 0);
        content.filter(|content| !absent.contains_key(content))
    };
    let judged: BTreeMap<InstanceIndex, Result<Judged, String>> = looks()
        .filter(|look| here(look.instance).is_none())
        .filter_map(|look| Some((look.instance, results.judged(look.instance)?)))
        .collect();
    let decided = verdicts(&read, |look| match here(look) {
        Some(content) => Some(Document::Stored(&session.store, content)),
        None => {
            let judged = judged.get(&look)?.as_ref().ok()?;
            Some(Document::Bytes(judged.bytes.clone()))
        }
    })?;
    let mut from_file = FromFile::default();
    let wanted = read
        .iter()
        .zip(decided)
        .filter(|(claim, _)| is_wanted(claim));
    let state = |(claim, decided): (&&Claim, Option<ClaimResult>)| {
        let first = claim.looks.first();
        let Some(result) = decided else {
            let lacks = first.and_then(|look| {
                let elsewhere = output(look).and_then(|content| absent.get(&content));
                let why = judged.get(&look.instance).and_then(|j| j.as_ref().err());
                match (why, given, elsewhere) {
                    (Some(why), Some(given), _) => Some(Lacking::NotGiven {
                        file: given.called(),
                        why: why.clone(),
                    }),
                    (.., Some(why)) => Some(Lacking::Elsewhere(why.clone())),
                    _ => None,
                }
            });
            return open(claim, lacks.unwrap_or_else(|| results.lacking(claim)));
        };
        let taken = result.looks.as_ref().map_or(1, |looks| looks.taken.len());
        let decisive = claim.looks.get(taken.max(1) - 1);
        if let Some(Ok(judged)) = decisive.and_then(|look| judged.get(&look.instance)) {
            from_file.verdicts += 1;
            from_file.recorded += usize::from(judged.is_recorded);
        }
        ClaimState::Decided(result)
    };
    let states = wanted.map(state).collect();
    Ok(Claims {
        states,
        judged: from_file,
    })
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Elsewhere(why) => write!(f, "the verdict is on the remote only ({why})"),
            Lacking::NotGiven { file, why } => write!(f, "{file} does not decide it: {why}"),
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
        let stored = || {
            let output = self.content(look.instance, 0)?;
            self.session.store.open_object(&output.digest).ok()
        };
        match stored() {
            Some(file) => serde_json::from_reader(std::io::BufReader::new(file)).ok(),
            None => serde_json::from_slice(&self.judged(look.instance)?.ok()?.bytes).ok(),
        }
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
