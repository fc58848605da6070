//! Which change between two commits or runs flipped a verdict: plans that have some of the changes are made
//! and run, until a smallest set is known that flips it alone. Most of such a plan is cached, since
//! keys are made of contents.
//!
//! Decides what is tried in which order ([`search`]), what counts as one change ([`mod@unit`]), and
//! what a mixed plan is made of ([`tree`]; of runs, [`state`]). Keys, runs and verdicts are those of any run.

mod search;
mod state;
mod tree;
mod unit;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::open::Opening;
use crate::record::event::{Event, Verdict};
use crate::run::{self, RunOptions};

use self::search::Outcome;
use self::state::State;
use self::tree::Mixed;
use self::unit::Unit;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The claim.
    pub claim: String,
    /// The commit or run with the first verdict.
    pub before: String,
    /// The commit or run with the other one; `None`: the files as they are now.
    pub after: Option<String>,
}

/// The claim in one plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A verdict.
    Verdict(Verdict),
    /// None, and why: the plan has a mistake, or a stage failed.
    Nothing(String),
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// What the claim was.
    pub before: Verdict,
    /// What it is with these changes.
    pub after: Verdict,
    /// A smallest set that makes the difference: without any of them it does not. In words.
    pub changes: Vec<String>,
    /// How many changes there are in all.
    pub all: usize,
    /// Mixed plans that were run.
    pub tried: usize,
    /// Actions that were executed for them.
    pub executed: u64,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Step<'a> {
    /// There are so many changes.
    Changes(usize),
    /// A plan is being run, with so many of the changes.
    Trying(usize),
    /// Of a run.
    Of(&'a Event),
    /// The plan was run.
    Tried {
        /// How many of the changes it has.
        changes: usize,
        /// What the claim is there.
        told: &'a Told,
        /// Actions executed.
        executed: u64,
        /// Actions cached.
        cached: u64,
    },
}

/// Answers the question. Nothing of the project is changed: plans lie in `.repro/bisect` until the
/// answer is known. The same store is used, so what was executed once is not executed again.
///
/// # Errors
/// The project is in no git repository, a commit is not there, a run cannot be put together, the
/// claim has no verdict on one of
/// the two sides or the same on both, the run was interrupted, or the file system's.
pub fn bisect(
    opening: &Opening,
    options: &RunOptions,
    question: &Question,
    tell: &mut dyn FnMut(Step),
) -> anyhow::Result<Answer> {
    let project = opening.project()?;
    let after = question.after.as_ref();
    let sides = [
        State::named(&project, &question.before)?,
        after.map_or(Ok(State::Now), |name| State::named(&project, name))?,
    ];
    let mut mixed = Mixed::new(opening, &project, &sides)?;
    let units = mixed.units()?;
    tell(Step::Changes(units.len()));
    let mut trials = Trials {
        opening: opening.clone(),
        options,
        claim: &question.claim,
        tried: 0,
        executed: 0,
    };
    let names = sides.each_ref().map(ToString::to_string);
    let mut try_with = |chosen: &[usize]| {
        let own: Vec<&Unit> = chosen.iter().filter_map(|i| units.get(*i)).collect();
        mixed.set(&units, &own)?;
        if let Some(options) = mixed.options(&own) {
            trials.opening.sets = options.sets();
            trials.opening.profiles = options.profiles;
        }
        trials.run(&mixed.pipeline(), chosen.len(), tell)
    };
    let all: Vec<usize> = (0..units.len()).collect();
    let [before, after] = {
        let mut verdicts = [Verdict::Inconclusive; 2];
        for (verdict, (chosen, name)) in verdicts
            .iter_mut()
            .zip([&[][..], &all].into_iter().zip(&names))
        {
            match try_with(chosen)? {
                Told::Verdict(found) => *verdict = found,
                Told::Nothing(why) => {
                    anyhow::bail!("`{}` has no verdict {name}: {why}", question.claim)
                }
            }
        }
        verdicts
    };
    anyhow::ensure!(
        before != after,
        "`{}` is {} {} and {}: there is no flip to explain",
        question.claim,
        before.word(),
        names[0],
        names[1]
    );
    let found = search::smallest(units.len(), |chosen| {
        Ok(match try_with(chosen)? {
            Told::Verdict(v) if v == before => Outcome::Before,
            Told::Verdict(v) if v == after => Outcome::After,
            _ => Outcome::Neither,
        })
    })?;
    Ok(Answer {
        before,
        after,
        changes: found.iter().map(|i| units[*i].to_string()).collect(),
        all: units.len(),
        tried: trials.tried,
        executed: trials.executed,
    })
}

struct Trials<'a> {
    opening: Opening,
    options: &'a RunOptions,
    claim: &'a str,
    tried: usize,
    executed: u64,
}

impl Trials<'_> {
    fn run(
        &mut self,
        pipeline: &Path,
        changes: usize,
        tell: &mut dyn FnMut(Step),
    ) -> anyhow::Result<Told> {
        tell(Step::Trying(changes));
        self.opening.file = Some(PathBuf::from(pipeline));
        self.tried += 1;
        // A plan that some changes alone do not make whole is told as one without a verdict.
        let (told, executed, cached) = match self.opening.session_to_run() {
            Err(e) => {
                let why = format!("{e:#}");
                let why = why.strip_prefix("error: ").unwrap_or(&why).trim_end();
                (Told::Nothing(why.to_owned()), 0, 0)
            }
            Ok(session) if !session.plan.claims.iter().any(|c| *c.name == *self.claim) => (
                Told::Nothing("there is no claim of this name".to_owned()),
                0,
                0,
            ),
            Ok(mut session) => {
                let options = RunOptions {
                    targets: vec![self.claim.to_owned()],
                    ..self.options.clone()
                };
                let report = run::run(&mut session, &options, &mut |event| tell(Step::Of(event)))?;
                let summary = report.summary;
                anyhow::ensure!(
                    !summary.interrupted,
                    "it was interrupted; what was executed is kept"
                );
                anyhow::ensure!(!report.store_broken, "the store failed");
                let own = summary.claims.iter().find(|c| c.name == self.claim);
                let failed = || Told::Nothing("a stage it needs failed".to_owned());
                let told = own.map_or_else(failed, |c| Told::Verdict(c.verdict));
                (told, summary.executed, summary.cached)
            }
        };
        self.executed += executed;
        tell(Step::Tried {
            changes,
            told: &told,
            executed,
            cached,
        });
        Ok(told)
    }
}
