//! What a claim expects, and what of it contradicts itself or the rest of the claim. Knows no runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;
use super::extra::Extra;
use super::method::{Method, Resampling};
use super::verdict::Bound;
use crate::kind::ParamProblem;
use crate::kinds::statistics::asked::{check_confidence, confidence};
use crate::series::Extreme;

/// What is claimed; exactly one of `difference`, `mean`, `ratio`, `trend` and `best`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Where the best value lies on the axis of `along` (with `measure`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// The confidence of the two-sided interval that decides, above 0 and below 1.
    #[serde(default = "confidence")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// Where the mean of a − b lies (with `compare`), in units of the value: accuracies are
    /// fractions of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Bound>,
    /// What the interval is made of, if it is not Student's *t* interval of the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Method>,
    /// Where the mean lies (with `measure`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Bound>,
    /// Where the geometric mean of a / b lies (with `compare`); all values must be positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Bound>,
    /// Which way values go along the axis of `along` (with `measure`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<Direction>,
}

/// Which way values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Up, as the axis goes up.
    Increasing,
    /// Down, as the axis goes up.
    Decreasing,
}

/// Where the best value lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Two numbers of the axis, ends included.
    pub between: [f64; 2],
    /// What is better.
    #[serde(default = "larger")]
    pub is: Extreme,
}

fn larger() -> Extreme {
    Extreme::Max
}

impl Expect {
    pub(super) fn bounds(&self) -> impl Iterator<Item = (&'static str, Bound)> {
        let all = [
            ("difference", self.difference),
            ("mean", self.mean),
            ("ratio", self.ratio),
        ];
        all.into_iter()
            .filter_map(|(name, bound)| Some((name, bound?)))
    }

    /// What is wrong with it, also beside what is compared or measured.
    pub(super) fn check(&self, params: &Params) -> Vec<ParamProblem> {
        let mut problems =
            Vec::from_iter(check_confidence(self.confidence, &["expect", "confidence"]));
        let along = [
            ("best", self.best.is_some()),
            ("trend", self.trend.is_some()),
        ];
        let along = || along.iter().filter(|(_, is_given)| *is_given);
        if self.bounds().count() + along().count() != 1 {
            problems.push(ParamProblem::new(
                &["expect"],
                "it must state one thing",
                "give exactly one of `difference`, `mean`, `ratio`, `trend` and `best`",
            ));
        }
        for (name, bound) in self.bounds() {
            problems.extend(self.check_bound(name, bound));
        }
        let axis = params.measure.as_ref().map(|m| m.along.is_some());
        match axis {
            None if params.compare.is_some() => {
                for (name, hint) in [
                    ("mean", "use `difference` or `ratio`"),
                    ("best", "use `measure`"),
                    ("trend", "use `measure`"),
                ] {
                    if (name == "mean" && self.mean.is_some()) || along().any(|(n, _)| *n == name) {
                        let text = format!("a comparison has no {name} of its own");
                        problems.push(ParamProblem::new(&["expect", name], text, hint));
                    }
                }
            }
            None => {}
            Some(has_axis) => {
                for (name, bound) in [("difference", self.difference), ("ratio", self.ratio)] {
                    if bound.is_some() {
                        problems.push(ParamProblem::new(
                            &["expect", name],
                            format!("one side has no {name}"),
                            "use `mean`, or `compare` two stages",
                        ));
                    }
                }
                for (name, _) in along().filter(|_| !has_axis) {
                    problems.push(ParamProblem::new(
                        &["expect", *name],
                        "along which axis?",
                        "say it where values are measured, e.g. `measure: {along: lambda}`",
                    ));
                }
                if has_axis && self.mean.is_some() {
                    problems.push(ParamProblem::new(
                        &["measure", "along"],
                        "a mean looks along no axis",
                        "use `trend` or `best`, or leave it out",
                    ));
                }
            }
        }
        if let Some((name, _)) = along().next() {
            let given = [
                ("expect.interval", self.interval.is_some()),
                ("report", !params.report.is_empty()),
            ];
            for (field, _) in given.iter().filter(|(_, is_given)| *is_given) {
                problems.push(ParamProblem::new(
                    &Vec::from_iter(field.split('.')),
                    format!("`{name}` has a test of its own"),
                    "leave it out",
                ));
            }
        }
        if let Some(Best {
            between: [low, high],
            ..
        }) = self.best
            && (low > high || low.is_nan() || high.is_nan())
        {
            problems.push(ParamProblem::new(
                &["expect", "best", "between"],
                format!("{low} is above {high}"),
                "swap them",
            ));
        }
        problems.extend(self.check_method(params));
        problems
    }

    fn check_method(&self, params: &Params) -> Option<ParamProblem> {
        let path = ["expect", "interval"];
        match self.interval {
            Some(Method::Bootstrap(Resampling { resamples, .. }))
                if !(1_000..=1_000_000).contains(&resamples) =>
            {
                Some(ParamProblem::new(
                    &["expect", "interval", "bootstrap", "resamples"],
                    format!("{resamples} resamples"),
                    "give 1,000 to 1,000,000",
                ))
            }
            Some(Method::Bootstrap(_))
                if params.family.is_some() || params.report.contains(&Extra::PValue) =>
            {
                Some(ParamProblem::new(
                    &path,
                    "a bootstrap interval has no p-value",
                    "use `interval: ranks` in a family, or leave it out",
                ))
            }
            Some(Method::Anytime) if self.bounds().any(|(_, b)| b.is_equivalence()) => {
                Some(ParamProblem::new(
                    &path,
                    "two one-sided tests need a fixed number of observations",
                    "use `within` in place of `equivalent`",
                ))
            }
            _ => None,
        }
    }

    fn check_bound(&self, name: &str, bound: Bound) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if let Bound::Within { low, high } = bound
            && low > high
        {
            problems.push(ParamProblem::new(
                &["expect", name, "within"],
                format!("low ({low}) is above high ({high})"),
                "swap them",
            ));
        }
        if let Bound::Equivalent(x) = bound {
            let path = ["expect", name, "equivalent"];
            let least = if name == "ratio" { 1.0 } else { 0.0 };
            if name == "mean" {
                let hint = "use `within: {low, high}`";
                problems.push(ParamProblem::new(
                    &path,
                    "equivalent to what? A mean has one side",
                    hint,
                ));
            } else if x.is_nan() || x <= least {
                let text = format!("{x} leaves no room");
                let hint = match name {
                    "ratio" => "give a ratio above 1: `1.05` means between 1/1.05 and 1.05",
                    _ => "give a number above 0: `0.01` means between -0.01 and 0.01",
                };
                problems.push(ParamProblem::new(&path, text, hint));
            }
            if self.confidence <= 0.5 {
                problems.push(ParamProblem::new(
                    &["expect", "confidence"],
                    "two one-sided tests need a confidence above 0.5",
                    "e.g. 0.95",
                ));
            }
        } else if name == "ratio" && bound.ends().iter().any(|x| *x <= 0.0) {
            problems.push(ParamProblem::new(
                &["expect", name],
                "a ratio of positive values is above 0",
                "equal sides have the ratio 1",
            ));
        }
        problems
    }
}
