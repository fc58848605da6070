//! The two sides of a comparison: what names stand for, what runs left, and what lock files name.

use std::collections::BTreeSet;
use std::path::Path;

use super::compare::{Had, Side, bring_tables, compare};
use super::{ClaimDiff, Diff, Pair, of_instances};
use crate::digest::Content;
use crate::exchange::Network;
use crate::git;
use crate::notice::Tell;
use crate::plan::InstanceIndex;
use crate::record::event::ClaimResult;
use crate::record::history::{self, Left, Run};
use crate::record::journal;
use crate::record::lockfile::{Block, LockFile};
use crate::session::Session;
use crate::verdicts::{Document, verdicts};

/// Of two runs, each by its name, the beginning of it, `last` or `last-1`.
///
/// # Errors
/// A run that is not there; fewer than two runs; a journal or the store cannot be read.
fn of_runs(
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
    let ends = [Run::read_ends(&dir, a)?, Run::read_ends(&dir, b)?];
    let claims = |run: &Run| run.summary().map(|s| s.claims.clone()).unwrap_or_default();
    let claims = claim_diffs(&claims(&ends[0]), &claims(&ends[1]));
    let sides = (side(a)?, side(b)?);
    let left_out = bring_tables(session, &sides, network, tell)?;
    Ok(Diff {
        a: a.to_owned(),
        b: b.to_owned(),
        instances: compare(session, &sides),
        claims,
        left_out,
        others: ends.iter().filter_map(|run| other(session, run)).collect(),
    })
}

/// That a run is of another pipeline than the session's: most of what it ran says nothing of this
/// one.
fn other(session: &Session, run: &Run) -> Option<String> {
    let (name, file) = run.pipeline()?;
    let (own_name, own_file) = (&session.plan.name, session.project.file_name());
    let is_other_file = file.is_some() && file.map(str::to_owned) != own_file;
    if !is_other_file && *name == **own_name {
        return None;
    }
    let called = |name: &str, file: Option<&str>| match file {
        Some(file) => format!("`{file}` ({name})"),
        None => format!("the pipeline `{name}`"),
    };
    Some(format!(
        "{} is a run of {}, and this is {}",
        run.name,
        called(name, file),
        called(own_name, own_file.as_deref())
    ))
}

/// What two names stand for.
#[derive(Debug)]
pub enum Compared {
    /// Runs, or commits with their lock files.
    Sides(Diff),
    /// Two instances.
    Instances(Pair),
    /// Two sets of instances, of which at least one has several.
    Sets([Vec<InstanceIndex>; 2]),
}

/// Of two runs, two commits, or two instances or sets of them, whichever the names are; by default the last two
/// runs. One commit is compared with the present lock file.
///
/// # Errors
/// A name that stands for none of these, or for another thing than the other one; a journal, a lock
/// file or the store cannot be read.
pub fn of_names(
    session: &Session,
    a: Option<&str>,
    b: Option<&str>,
    network: Network,
    tell: Tell,
) -> anyhow::Result<Compared> {
    let runs = journal::list(&session.runs_dir())?;
    let is_last = |name: &str| name == "last" || name.starts_with("last-");
    let is_run = |name: &str| is_last(name) || history::named(&runs, name).is_ok();
    let Some(first) = a.filter(|name| !is_run(name)) else {
        return Ok(Compared::Sides(of_runs(session, a, b, network, tell)?));
    };
    let targets = |name: &str| session.targets(&[name.to_owned()]);
    if let Some(second) = b
        && let (Ok(one), Ok(other)) = (targets(first), targets(second))
    {
        if one.len() != 1 || other.len() != 1 {
            return Ok(Compared::Sets([one, other]));
        }
        let names = [first, second];
        let pair = of_instances(session, names, network, tell)?;
        return Ok(Compared::Instances(pair));
    }
    let old = lock_of_commit(session, first)?;
    let new = match b {
        Some(name) => lock_of_commit(session, name)?,
        None => LockFile::read(&session.project.lock_file())?,
    };
    let names = [first, b.unwrap_or("repro.lock")];
    let diff = of_locks(session, [old, new], names, network, tell)?;
    Ok(Compared::Sides(diff))
}

/// The lock file as it was committed.
fn lock_of_commit(session: &Session, commit: &str) -> anyhow::Result<LockFile> {
    let root = &session.project.root;
    // A name that begins with a dash would be an option.
    let is_name = !commit.starts_with('-');
    let show = || git::ask(root, &["show", &format!("{commit}:./repro.lock")]);
    match is_name.then(show).flatten() {
        Some(text) => LockFile::parse(Path::new(&format!("{commit}:repro.lock")), &text),
        None => anyhow::bail!(
            "`{commit}` is no run (`repro log` lists them), no commit with a repro.lock, and not beside another instance (`repro status --all`)"
        ),
    }
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
    of_locks(session, [old, new], [name, "repro.lock"], network, tell)
}

fn of_locks(
    session: &Session,
    locks: [LockFile; 2],
    [a, b]: [&str; 2],
    network: Network,
    tell: Tell,
) -> anyhow::Result<Diff> {
    let side = |lock: LockFile| -> Side {
        let of = |block: Block| Had {
            key: block.key.hex(),
            outputs: block.outputs,
        };
        lock.blocks.into_iter().map(|(id, b)| (id, of(b))).collect()
    };
    let [old, new] = locks;
    let sides = (side(old), side(new));
    let left_out = bring_tables(session, &sides, network, tell)?;
    let claims = claim_diffs(&claims_of(session, &sides.0), &claims_of(session, &sides.1));
    Ok(Diff {
        a: a.to_owned(),
        b: b.to_owned(),
        instances: compare(session, &sides),
        claims,
        left_out,
        others: Vec::new(),
    })
}

/// The verdicts that a lock file names, of claims of the present plan; those that are not here are
/// missing.
fn claims_of(session: &Session, side: &Side) -> Vec<ClaimResult> {
    let claims: Vec<_> = session.plan.claims.iter().collect();
    let decided = verdicts(&claims, |look| {
        let instance = session.plan.instance(look);
        let output = instance.outputs.first()?;
        let content = Content::named(side.get(&*instance.id)?.outputs.get(&*output.name)?)?;
        session.store.open_object(&content.digest).ok()?;
        Some(Document::Stored(&session.store, content))
    });
    // What is no verdict any more says nothing.
    decided.unwrap_or_default().into_iter().flatten().collect()
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
