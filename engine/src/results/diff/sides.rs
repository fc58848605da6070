//! The two sides of a comparison: what runs left, and what lock files name.

use std::collections::BTreeSet;

use super::compare::{Had, Side, bring_tables, compare};
use super::{ClaimDiff, Diff};
use crate::exchange::Network;
use crate::notice::Tell;
use crate::record::event::ClaimResult;
use crate::record::history::{self, Left, Run};
use crate::record::journal;
use crate::record::lockfile::{Block, LockFile};
use crate::session::Session;

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
        let of = |block: Block| Had {
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
