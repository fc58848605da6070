//! `claim`: decides whether runs bear out what a study states.
//!
//! Reads tables, pairs runs, lets [`crate::observations`] say what counts, hands numbers to [`crate::stats`] and the interval to
//! [`verdict`]. A refuted claim is a successful job: the verdict is the result.

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod along;
mod expect;
mod extra;
mod method;
mod report;
mod runs;
mod verdict;

pub use along::{Best, Direction};
pub use expect::Expect;
pub use extra::Extra;
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
    /// Compares two sides, run by run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// Looks at one side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// What is claimed.
    pub expect: Expect,
    /// The family of claims for whose number the verdict is corrected; the verdict file then has its p-value.
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
    /// Those of the axes of `paired_by` that repeat the experiment; pairs that agree on them are averaged first. By default `seed`
    /// where it is among several, else the one axis there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Names>,
    /// Axes over which each side is averaged before runs are paired: runs within a repetition.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub within: Names,
    /// Where on the way the value is read.
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
    /// Axes over which runs are averaged first: runs within a repetition.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub within: Names,
    /// Where on the way the value is read.
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
    const DOC: &'static str = r#"Claims are written under `claims:`, not under `stages:`; this kind decides them.

`compare` takes two stages. Runs that agree on the axes of `paired_by` are pairs, and the difference `a − b` of each pair is
one observation (with `ratio`: the logarithm of `a / b`). `measure` takes one stage, and each run is one observation. The
verdict follows from the two-sided Student *t* interval of the mean observation:

| claim | holds | refuted |
|---|---|---|
| `above: x` | the whole interval lies above x | the whole interval lies below x |
| `below: x` | the whole interval lies below x | the whole interval lies above x |
| `within: {low, high}` | the interval lies inside | the interval lies outside |
| `equivalent: x` | the interval of confidence 2c − 1 lies inside −x to x | the whole interval lies outside |

Everything else is *inconclusive*: an interval that touches a bound, ends of `within` included; fewer than two independent
observations; observations that all give the same figure, since without spread there is no interval. A bound is touched by what is no
further away than rounding could move it, and differences are taken of the numbers as written: 0.85 − 0.86 is −0.01.
The verdict also names the exact two-sided sign test against the bound, which assumes nothing about the distribution: with 5 pairs it
cannot go below 0.0625.

**What counts.** `over` names the axes that repeat the experiment (by default `seed`), `within` those of runs inside one repetition,
which are averaged first. In a comparison both sides are averaged over `within`, then paired; of several axes in `paired_by`, `over` says
which repeat, and pairs are averaged over the others. Runs that differ in an axis nobody named are an error: a sweep over learning rates
is no repetition. Whatever the axes say, instances that are one action, rounds made from one another, and
runs made from one producer that others are not made from count as one, and the run warns.

```yaml
claims:
  warm-start-hurts:
    source: "Ash & Adams 2020, Table 1"
    compare: {of: test_accuracy, a: scratch, b: warm, paired_by: seed}
    expect: {difference: {above: 0.0}, confidence: 0.95}
  learns:
    measure: {of: test_accuracy, in: scratch}
    expect: {mean: {above: 0.7}}
  branches-agree:
    compare: {of: test_accuracy, a: branch, b: scratch, paired_by: seed, within: order}
    expect: {difference: {within: {low: -0.01, high: 0.01}}}
  more-helps:
    measure: {of: test_accuracy, in: train, over: seed, along: share}
    expect: {trend: increasing}
  the-middle-is-best:
    measure: {of: test_accuracy, in: perturb, over: seed, along: lambda}
    expect: {best: {between: [0.2, 0.8]}}
```

`interval` chooses what decides in place of Student's *t*: `ranks` (median), `{bootstrap: {}}` (mean) or `anytime` (mean; may be looked at
after every seed). `trend` is Jonckheere's and Terpstra's test; `best` is a vote of the repetitions. `family` corrects verdicts for the
number of claims, where they are shown. `report` adds effect sizes and more to the file. docs/claims.md has formulas and sources.

Runs without a partner are listed in the verdict and reported; no pair at all is an error."#;
    const COUNTS: &'static [&'static str] = &["a", "b", "in"];
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::optional("a", "Tables of the first side of `compare`.").many(),
        InputSpec::optional("b", "Tables of the second side of `compare`.").many(),
        InputSpec::optional("in", "Tables of `measure`; `a` will do too.").many(),
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

/// A report as text, and what is said aloud: that fewer observations count than were gathered, and which runs are left out.
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
            &format!(
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
