//! `claim`: decides whether runs bear out what a study states.
//!
//! Reads tables, pairs runs, lets [`crate::observations`] say what counts, hands numbers to
//! [`crate::stats`] and the interval to [`verdict`]. A refuted claim is a successful job: the
//! verdict is the result.

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod along;
mod expect;
mod extra;
mod judge;
mod method;
mod report;
mod runs;
mod verdict;

pub use expect::{Best, Direction, Expect};
pub use extra::Extra;
pub use judge::judge;
pub use method::{Method, Resampling};
pub use verdict::{Bound, Verdict, verdict};

use super::asked::check_at;
use super::values::check_asked;
use crate::facts::{Findings, Known};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::names::Names;
use crate::series::At;
use crate::task::Task;
use repro_protocol::job::Event;

/// See the module.
pub struct Claim;

/// The parameters of a claim; one of `compare` and `measure`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Two sides to compare, run by run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// One side to measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// What is claimed.
    pub expect: Expect,
    /// The family of claims for whose number the verdict is corrected; the verdict file then has
    /// its p-value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// What the verdict file has beside the verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<Extra>,
}

/// A comparison of the inputs `a` and `b`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The value compared, e.g. `test_accuracy`.
    pub of: String,
    /// The axes on which two runs must agree to be a pair.
    #[serde(default = "by_seed")]
    pub paired_by: Names,
    /// The axes of `paired_by` that repeat the experiment; pairs that agree on them are averaged
    /// first. By default `seed` if `paired_by` has several axes, else the one axis there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Names>,
    /// Axes of runs within one repetition. Each side is averaged over them before runs are paired.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub within: Names,
    /// Which of the values over the training is read.
    #[serde(default)]
    pub at: At,
}

/// A measurement of the input `in`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The value measured, e.g. `test_accuracy`.
    pub of: String,
    /// The axes that repeat the experiment.
    #[serde(default = "by_seed")]
    pub over: Names,
    /// The axis, of numbers, along which `trend` and `best` look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub along: Option<String>,
    /// Axes of runs within one repetition. They are averaged first.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub within: Names,
    /// Which of the values over the training is read.
    #[serde(default)]
    pub at: At,
}

fn by_seed() -> Names {
    Names(vec!["seed".to_owned()])
}

impl Kind for Claim {
    type Params = Params;
    const NAME: &'static str = "claim";
    const REVISION: u32 = 2;
    const SUMMARY: &'static str =
        "Decides whether runs bear out a claim: holds, refuted or inconclusive.";
    const DOC: &'static str = include_str!("claim/guide.md");
    const COUNTS: &'static [&'static str] = &["a", "b", "in"];
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::optional("a", "Tables of the first side of `compare`.").many(),
        InputSpec::optional("b", "Tables of the second side of `compare`.").many(),
        InputSpec::optional("in", "Tables of `measure`; `a` works too.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("verdict", "verdict.json")?])
    }

    fn validate(params: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let expect = &params.expect;
        let given = |name: &str| needs.iter().any(|n| n == name);
        match (&params.compare, &params.measure) {
            (Some(compare), None) => {
                problems.extend(check_at(compare.at, &["compare", "at"]));
                if compare.paired_by.0.is_empty() {
                    problems.push(ParamProblem::new(
                        &["compare", "paired_by"],
                        "it names no axis",
                        "e.g. `paired_by: seed`",
                    ));
                }
                problems.extend(check_axes(compare));
                if !(given("a") && given("b")) {
                    problems.push(ParamProblem::new(
                        &["compare"],
                        "a comparison needs two sides",
                        "name stages: `a: scratch, b: warm`",
                    ));
                }
            }
            (None, Some(measure)) => {
                problems.extend(check_at(measure.at, &["measure", "at"]));
                if let Some(axis) = measure.over.0.iter().find(|a| measure.within.0.contains(a)) {
                    problems.push(ParamProblem::new(
                        &["measure", "within"],
                        format!(
                            "`{axis}` cannot both repeat the experiment and be averaged over first"
                        ),
                        "name it once",
                    ));
                }
                if let Some(axis) = &measure.along
                    && (measure.over.0.contains(axis) || measure.within.0.contains(axis))
                {
                    problems.push(ParamProblem::new(
                        &["measure", "along"],
                        format!("`{axis}` cannot also repeat the experiment or be averaged over"),
                        "name it once",
                    ));
                }
                if !(given("in") || given("a")) {
                    problems.push(ParamProblem::new(
                        &["measure"],
                        "there is nothing to measure",
                        "name a stage: `in: scratch`",
                    ));
                }
            }
            _ => problems.push(ParamProblem::new(
                &[],
                "a claim has either `compare` or `measure`",
                "give exactly one of them",
            )),
        }
        problems.extend(expect.check(params));
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let sides = ["a", "b", "in"].map(|input| known.tables(input, &mut found));
        let (word, of, at) = match (&params.compare, &params.measure) {
            (Some(compare), _) => ("compare", &compare.of, compare.at),
            (_, Some(measure)) => ("measure", &measure.of, measure.at),
            _ => return found,
        };
        let tables = sides.concat();
        check_asked(&tables, of, at, &[word, "of"], &[word, "at"], &mut found);
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let (text, warnings) = match (&params.compare, &params.measure) {
            (Some(compare), _) => told(runs::compared(compare, params, task)?)?,
            (None, Some(measure)) => match &measure.along {
                Some(axis) => along::decide(measure, axis, params, task)?,
                None => told(runs::measured(measure, params, task)?)?,
            },
            (None, None) => anyhow::bail!("a claim has either `compare` or `measure`"),
        };
        for text in warnings {
            task.send(&Event::Warning { text });
        }
        let path = task.output("verdict")?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A report as text, and what is said aloud: that fewer observations count than were gathered, and
/// which runs are left out.
fn told(
    (report, fewer): (report::Report, Option<String>),
) -> anyhow::Result<(String, Vec<String>)> {
    let alone = report.unmatched.iter();
    let alone = alone.map(|text| format!("no partner for {text}: the run is left out"));
    let warnings = fewer.into_iter().chain(alone).collect();
    Ok((json(&report)?, warnings))
}

fn json(report: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// What the axes of a comparison contradict.
fn check_axes(compare: &Compare) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let paired = &compare.paired_by.0;
    if let Some(axis) = compare.within.0.iter().find(|axis| paired.contains(axis)) {
        problems.push(ParamProblem::new(
            &["compare", "within"],
            format!("`{axis}` cannot both tell pairs apart and be averaged over before"),
            "name it once",
        ));
    }
    match &compare.over {
        Some(over) => {
            if let Some(axis) = over.0.iter().find(|axis| !paired.contains(axis)) {
                problems.push(ParamProblem::new(
                    &["compare", "over"],
                    format!("`{axis}` is none of the axes of `paired_by`"),
                    "runs are paired first; what repeats the experiment is said of the pairs",
                ));
            }
        }
        None if paired.len() > 1 && compare.repeated().is_none() => problems.push(ParamProblem::new(
            &["compare", "paired_by"],
            "it names several axes, and none of them is `seed`: which one repeats the experiment?",
            format!(
                "say `over: {}`, or `over: [{}]`",
                paired[0],
                paired.join(", ")
            ),
        )),
        None => {}
    }
    problems
}

impl Compare {
    /// The axes that repeat the experiment, where they are said or plain.
    fn repeated(&self) -> Option<Vec<String>> {
        match (&self.over, &self.paired_by.0[..]) {
            (Some(over), _) => Some(over.0.clone()),
            (None, [one]) => Some(vec![one.clone()]),
            (None, paired) => paired
                .iter()
                .find(|a| *a == "seed")
                .map(|a| vec![a.clone()]),
        }
    }
}

#[cfg(test)]
mod tests;
