//! `claim`: decides whether runs bear out what a study states.
//!
//! Reads tables, pairs runs, hands numbers to [`crate::stats`] and the interval to [`verdict`]. A refuted claim is a
//! successful job: the verdict is the result.

use std::collections::BTreeMap;

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod verdict;

pub use verdict::{Bound, Verdict, verdict};

use super::summarise::{check_at, check_confidence, confidence, problem};
use crate::job::Event;
use crate::kind::{Failure, InputSpec, Kind, OutputSpec, ParamProblem, Task};
use crate::select::{At, Names, Series, axes_text, compare_axes, read_series};
use crate::stats::{Interval, Summary, sign_test, summarise};
use verdict::reason;

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
    /// Where on the way the value is read.
    #[serde(default)]
    pub at: At,
}

/// What is claimed; exactly one of `difference`, `mean` and `ratio`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The confidence of the two-sided interval that decides, above 0 and below 1.
    #[serde(default = "confidence")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// Where the mean of a − b lies (with `compare`), in units of the value: accuracies are fractions of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Bound>,
    /// Where the mean lies (with `measure`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Bound>,
    /// Where the geometric mean of a / b lies (with `compare`); all values must be positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Bound>,
}

fn by_seed() -> Names {
    Names(vec!["seed".to_owned()])
}

/// `verdict.json`; fields in alphabetical order.
#[derive(Debug, Serialize)]
struct Report {
    a: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<Side>,
    confidence: f64,
    /// The mean difference, the mean, or the geometric mean ratio.
    estimate: f64,
    expect: Expect,
    high: Option<f64>,
    low: Option<f64>,
    n: usize,
    /// One sentence for people.
    reason: String,
    /// Of the differences, values, or logarithms of ratios.
    sd: Option<f64>,
    /// Exact two-sided sign test against the bound; none for `within`.
    sign_test_p: Option<f64>,
    /// Runs of one side without a partner on the other.
    unmatched: Vec<String>,
    verdict: Verdict,
}

/// One side of a claim.
#[derive(Debug, Serialize)]
struct Side {
    mean: f64,
    n: usize,
    sd: Option<f64>,
    /// The value of each run by its axes.
    values: BTreeMap<String, f64>,
}

impl Kind for Claim {
    type Params = Params;
    const NAME: &'static str = "claim";
    const REVISION: u32 = 1;
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

Everything else is *inconclusive*, and so is a claim with fewer than two observations. The verdict also names the exact
two-sided sign test against the bound, which assumes nothing about the distribution: with 5 pairs it cannot go
below 0.0625.

```yaml
claims:
  warm-start-hurts:
    source: "Ash & Adams 2020, Table 1"
    compare: {of: test_accuracy, a: scratch, b: warm, paired_by: seed}
    expect: {difference: {above: 0.0}, confidence: 0.95}
  learns:
    measure: {of: test_accuracy, in: scratch}
    expect: {mean: {above: 0.7}}
```

Runs without a partner are listed in the verdict and reported; no pair at all is an error."#;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec {
            name: "a",
            required: false,
            many: true,
            observes_only: false,
            doc: "Tables of the first side of `compare`.",
        },
        InputSpec {
            name: "b",
            required: false,
            many: true,
            observes_only: false,
            doc: "Tables of the second side of `compare`.",
        },
        InputSpec {
            name: "in",
            required: false,
            many: true,
            observes_only: false,
            doc: "Tables of `measure`; `a` will do too.",
        },
    ];

    fn outputs(_: &Params) -> Vec<OutputSpec> {
        vec![OutputSpec {
            name: "verdict".to_owned(),
            path: "verdict.json".to_owned(),
        }]
    }

    fn validate(params: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let expect = &params.expect;
        let given = |name: &str| needs.iter().any(|n| n == name);
        match (&params.compare, &params.measure) {
            (Some(compare), None) => {
                problems.extend(check_at(compare.at, &["compare", "at"]));
                if compare.paired_by.0.is_empty() {
                    problems.push(problem(
                        &["compare", "paired_by"],
                        "it names no axis",
                        "e.g. `paired_by: seed`",
                    ));
                }
                if !(given("a") && given("b")) {
                    problems.push(problem(
                        &["compare"],
                        "a comparison needs two sides",
                        "name stages: `a: scratch, b: warm`",
                    ));
                }
                if expect.mean.is_some() {
                    problems.push(problem(
                        &["expect", "mean"],
                        "a comparison has no mean of its own",
                        "use `difference` or `ratio`",
                    ));
                }
            }
            (None, Some(measure)) => {
                problems.extend(check_at(measure.at, &["measure", "at"]));
                if !(given("in") || given("a")) {
                    problems.push(problem(
                        &["measure"],
                        "there is nothing to measure",
                        "name a stage: `in: scratch`",
                    ));
                }
                for (name, bound) in [("difference", expect.difference), ("ratio", expect.ratio)] {
                    if bound.is_some() {
                        problems.push(problem(
                            &["expect", name],
                            format!("one side has no {name}"),
                            "use `mean`, or `compare` two stages",
                        ));
                    }
                }
            }
            _ => problems.push(problem(
                &[],
                "a claim has either `compare` or `measure`",
                "give exactly one of them",
            )),
        }
        problems.extend(check_confidence(
            expect.confidence,
            &["expect", "confidence"],
        ));
        if expect.bounds().count() != 1 {
            problems.push(problem(
                &["expect"],
                "it must state one thing",
                "give exactly one of `difference`, `mean` and `ratio`",
            ));
        }
        for (name, bound) in expect.bounds() {
            if let Bound::Within { low, high } = bound
                && low > high
            {
                problems.push(problem(
                    &["expect", name, "within"],
                    format!("low ({low}) is above high ({high})"),
                    "swap them",
                ));
            }
            let ends = match bound {
                Bound::Above(x) | Bound::Below(x) => [x, x],
                Bound::Within { low, high } => [low, high],
            };
            if name == "ratio" && ends.iter().any(|x| *x <= 0.0) {
                problems.push(problem(
                    &["expect", name],
                    "a ratio of positive values is above 0",
                    "equal sides have the ratio 1",
                ));
            }
        }
        problems
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let report = match (&params.compare, &params.measure) {
            (Some(compare), _) => compared(compare, &params.expect, task)?,
            (None, Some(measure)) => measured(measure, &params.expect, task)?,
            (None, None) => anyhow::bail!("a claim has either `compare` or `measure`"),
        };
        for text in &report.unmatched {
            task.send(&Event::Warning {
                text: format!("no partner for {text}: the run is left out"),
            });
        }
        let path = task.output("verdict")?;
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Expect {
    fn bounds(&self) -> impl Iterator<Item = (&'static str, Bound)> {
        let all = [
            ("difference", self.difference),
            ("mean", self.mean),
            ("ratio", self.ratio),
        ];
        all.into_iter()
            .filter_map(|(name, bound)| Some((name, bound?)))
    }
}

fn compared(compare: &Compare, expect: &Expect, task: &Task) -> anyhow::Result<Report> {
    let side = |name| side(name, task, &compare.paired_by.0, &compare.of, compare.at);
    let (a, b) = (side("a")?, side("b")?);
    let without = |one: &[Run], other: &[Run], name: &str| {
        let alone = one.iter().filter(|r| !other.iter().any(|o| o.key == r.key));
        alone
            .map(|r| format!("{name}: {}", axes_text(&r.key)))
            .collect::<Vec<_>>()
    };
    let unmatched = [without(&a, &b, "a"), without(&b, &a, "b")].concat();
    let pairs: Vec<(&Run, &Run)> = a
        .iter()
        .filter_map(|r| Some((r, b.iter().find(|o| o.key == r.key)?)))
        .collect();
    if pairs.is_empty() {
        anyhow::bail!(
            Failure::new(format!(
                "no pair of runs agrees on {}: {}",
                compare.paired_by.0.join(", "),
                unmatched.join("; ")
            ))
            .hint("both stages need the same values on the axes of `paired_by`")
        );
    }
    let values = |pick: fn(&(&Run, &Run)) -> f64| pairs.iter().map(pick).collect::<Vec<f64>>();
    let (a_values, b_values) = (values(|p| p.0.value), values(|p| p.1.value));
    let keys: Vec<String> = pairs.iter().map(|p| axes_text(&p.0.key)).collect();
    let observed: Vec<f64> = if expect.ratio.is_some() {
        if let Some(i) = (0..pairs.len()).find(|i| a_values[*i] <= 0.0 || b_values[*i] <= 0.0) {
            let (a, b) = (a_values[i], b_values[i]);
            anyhow::bail!(
                Failure::new(format!(
                    "`ratio` needs positive values; at {}: a is {a}, b is {b}",
                    keys[i]
                ))
                .hint("use `difference`")
            );
        }
        a_values
            .iter()
            .zip(&b_values)
            .map(|(a, b)| libm::log(*a) - libm::log(*b))
            .collect()
    } else {
        a_values.iter().zip(&b_values).map(|(a, b)| a - b).collect()
    };
    let sides = (
        describe(&keys, &a_values)?,
        Some(describe(&keys, &b_values)?),
    );
    report(sides, &observed, expect, unmatched)
}

fn measured(measure: &Measure, expect: &Expect, task: &Task) -> anyhow::Result<Report> {
    let name = if task.inputs("in").is_empty() {
        "a"
    } else {
        "in"
    };
    let series = read_series(task.inputs(name))?;
    let axes: Vec<String> = series.iter().flat_map(|s| s.axes.keys().cloned()).collect();
    let runs = side(name, task, &axes, &measure.of, measure.at)?;
    let values: Vec<f64> = runs.iter().map(|r| r.value).collect();
    let keys: Vec<String> = runs.iter().map(|r| axes_text(&r.key)).collect();
    report(
        (describe(&keys, &values)?, None),
        &values,
        expect,
        Vec::new(),
    )
}

/// One run of a side.
struct Run {
    /// The axes that identify it.
    key: BTreeMap<String, Value>,
    value: f64,
}

/// The runs of a side, in the order of their keys, which are unique.
fn side(name: &str, task: &Task, by: &[String], of: &str, at: At) -> anyhow::Result<Vec<Run>> {
    let mut series: Vec<(BTreeMap<String, Value>, Series)> = Vec::new();
    for one in read_series(task.inputs(name))? {
        let mut key = one.axes.clone();
        key.retain(|axis, _| by.contains(axis));
        if let Some((_, twin)) = series.iter().find(|(k, _)| *k == key) {
            let (key, mine, other) = (axes_text(&key), axes_text(&one.axes), axes_text(&twin.axes));
            let message = format!(
                "side `{name}` has two runs with {}: [{other}] and [{mine}]",
                if key.is_empty() { "no axis" } else { &key }
            );
            anyhow::bail!(Failure::new(message).hint("pick one of them (`stage[axis=value]`) or add the axis that tells them apart to `paired_by`"));
        }
        series.push((key, one));
    }
    if series.is_empty() {
        anyhow::bail!(Failure::new(format!(
            "side `{name}` holds no runs: its tables are empty"
        )));
    }
    series.sort_by(|a, b| compare_axes(&a.0, &b.0));
    series
        .into_iter()
        .map(|(key, one)| {
            Ok(Run {
                value: one.value(of, at)?,
                key,
            })
        })
        .collect()
}

fn describe(keys: &[String], values: &[f64]) -> anyhow::Result<Side> {
    // The confidence matters not: no interval is shown for a side.
    let Some(Summary { n, mean, sd, .. }) = summarise(values, 0.95) else {
        anyhow::bail!("a side without runs")
    };
    Ok(Side {
        mean,
        n,
        sd,
        values: keys.iter().cloned().zip(values.iter().copied()).collect(),
    })
}

fn report(
    sides: (Side, Option<Side>),
    observed: &[f64],
    expect: &Expect,
    unmatched: Vec<String>,
) -> anyhow::Result<Report> {
    let (Some((what, bound)), Some(s)) = (
        expect.bounds().next(),
        summarise(observed, expect.confidence),
    ) else {
        anyhow::bail!("a claim needs an expectation and runs");
    };
    let is_ratio = what == "ratio";
    let shown = |x: f64| if is_ratio { libm::exp(x) } else { x };
    let threshold = match bound {
        Bound::Above(x) | Bound::Below(x) => Some(if is_ratio { libm::log(x) } else { x }),
        Bound::Within { .. } => None,
    };
    let sign_test_p = threshold.map(|x| sign_test(observed, x));
    let interval = s.interval.map(|i| Interval {
        low: shown(i.low),
        high: shown(i.high),
    });
    let verdict = interval.map_or(Verdict::Inconclusive, |i| verdict(i, bound));
    Ok(Report {
        reason: reason(
            what,
            bound,
            interval,
            s.n,
            expect.confidence,
            verdict,
            sign_test_p,
        ),
        a: sides.0,
        b: sides.1,
        confidence: expect.confidence,
        estimate: shown(s.mean),
        expect: expect.clone(),
        high: interval.map(|i| i.high),
        low: interval.map(|i| i.low),
        n: s.n,
        sd: s.sd,
        sign_test_p,
        unmatched,
        verdict,
    })
}

#[cfg(test)]
mod tests;
