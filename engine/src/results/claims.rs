//! Claims: what the recorded results say about each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Results;
use crate::digest::Content;
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::Claim;
use crate::record::event::{ClaimResult, Verdict};
use crate::run::verdict;
use crate::session::Session;
use crate::targets::nearest;

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
    /// The verdict is on a remote only, and why it was not got from there; `None`: results are missing.
    #[serde(skip)]
    pub elsewhere: Option<String>,
}

/// The verdicts on the claims of these names, on all for no name; those that are on a remote are got from there.
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
    let is_wanted = |claim: &&Claim| names.is_empty() || names.iter().any(|n| **n == *claim.name);
    let wanted: Vec<&Claim> = claims.iter().filter(is_wanted).collect();
    let targets = wanted.iter().map(|c| c.instance).collect();
    let results = Results::of_targets(session, targets)?;
    let outputs: Vec<Option<Content>> = wanted
        .iter()
        .map(|claim| results.content(claim.instance, 0))
        .collect();
    let known = outputs.iter().flatten().copied().collect();
    let absent = bring(session, known, network, tell)?;
    let states = wanted
        .iter()
        .zip(outputs)
        .map(|(claim, output)| state(session, claim, output, &absent));
    states.collect()
}

fn state(
    session: &Session,
    claim: &Claim,
    output: Option<Content>,
    absent: &BTreeMap<Content, String>,
) -> anyhow::Result<ClaimState> {
    let elsewhere = output.as_ref().and_then(|content| absent.get(content));
    match (&output, elsewhere) {
        (Some(content), None) => Ok(ClaimState::Decided(verdict(
            &session.store,
            claim,
            content,
        )?)),
        (_, elsewhere) => Ok(ClaimState::Open(OpenClaim {
            name: claim.name.to_string(),
            verdict: None,
            n: 0,
            estimate: None,
            low: None,
            high: None,
            source: claim.source.clone(),
            elsewhere: elsewhere.cloned(),
        })),
    }
}
