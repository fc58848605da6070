//! The verdict: where an interval lies to what a claim states, and how to say so in one sentence.
//! Knows no runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::kinds::statistics::asked::percent;
use crate::stats::Interval;

/// A range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bound {
    /// Greater than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// Between two values: a claim that there is nothing to see.
    Within {
        /// The upper end.
        high: f64,
        /// The lower end.
        low: f64,
    },
    /// No further from nothing than this, by two one-sided tests: between −x and x, of a ratio
    /// between 1/x and x.
    Equivalent(f64),
}

/// What an interval says about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies where the claim says.
    Holds,
    /// The whole interval lies outside.
    Refuted,
    /// The interval lies across a bound, or there is none.
    Inconclusive,
}

impl Bound {
    /// The same bound in other units; `change` must rise with its argument. Equivalence becomes the
    /// range that it means.
    pub fn map(self, change: impl Fn(f64) -> f64, is_ratio: bool) -> Bound {
        match self {
            Bound::Above(x) => Bound::Above(change(x)),
            Bound::Below(x) => Bound::Below(change(x)),
            Bound::Within { low, high } => Bound::Within {
                low: change(low),
                high: change(high),
            },
            Bound::Equivalent(x) => Bound::Within {
                low: change(if is_ratio { 1.0 / x } else { -x }),
                high: change(x),
            },
        }
    }

    /// Whether two one-sided tests decide.
    pub fn is_equivalence(self) -> bool {
        matches!(self, Bound::Equivalent(_))
    }

    /// The lower and the upper end, which may be the same.
    pub fn ends(self) -> [f64; 2] {
        match self {
            Bound::Above(x) | Bound::Below(x) => [x, x],
            Bound::Within { low, high } => [low, high],
            Bound::Equivalent(x) => [-x, x],
        }
    }
}

/// What an interval says about a bound. An interval that touches the bound decides nothing, and it
/// touches what is no further away than rounding can move it.
pub fn verdict(interval: Interval, bound: Bound, rounding: f64) -> Verdict {
    let Interval { low, high } = interval;
    let is_above = |x: f64| low > x + rounding;
    let is_below = |x: f64| high < x - rounding;
    let (holds, refuted) = match bound {
        Bound::Above(x) => (is_above(x), is_below(x)),
        Bound::Below(x) => (is_below(x), is_above(x)),
        Bound::Within {
            low: from,
            high: to,
        } => (
            is_above(from) && is_below(to),
            is_below(from) || is_above(to),
        ),
        // Made a range before: see `Bound::map`.
        Bound::Equivalent(x) => (is_above(-x) && is_below(x), is_below(-x) || is_above(x)),
    };
    match (holds, refuted) {
        (true, _) => Verdict::Holds,
        (_, true) => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    }
}

/// The least levels at which an interval of two equal tails would bear a bound out and would refute
/// it, given the one-sided p-values that the middle is larger and smaller than a number. That
/// something is equivalent is tested at the whole level on each side.
pub(super) fn p_values(
    bound: Bound,
    is_equivalence: bool,
    one_sided: impl Fn(f64) -> Option<(f64, f64)>,
) -> Option<(f64, f64)> {
    let [low, high] = bound.ends();
    let ((above_low, below_low), (above_high, below_high)) = (one_sided(low)?, one_sided(high)?);
    let (holds, refuted) = match bound {
        Bound::Above(_) => (2.0 * above_low, 2.0 * below_low),
        Bound::Below(_) => (2.0 * below_high, 2.0 * above_high),
        Bound::Within { .. } | Bound::Equivalent(_) => {
            let sides = if is_equivalence { 1.0 } else { 2.0 };
            (
                sides * above_low.max(below_high),
                2.0 * below_low.min(above_high),
            )
        }
    };
    Some((holds.min(1.0), refuted.min(1.0)))
}

/// What a reason is made of.
pub(super) struct Told<'a> {
    /// `difference`, `mean` or `ratio`.
    pub what: &'a str,
    /// What the interval is made of.
    pub method: Option<Method>,
    /// Observations differ.
    pub is_spread: bool,
    /// Of equivalence: the p-value of the two tests.
    pub equivalence: Option<f64>,
    /// What an observation is made of.
    pub one: &'a str,
    /// Several of them.
    pub many: &'a str,
    /// What is claimed.
    pub bound: Bound,
    /// Absent where there is one observation only, or no spread.
    pub interval: Option<Interval>,
    /// The middle.
    pub estimate: f64,
    /// Independent observations.
    pub n: usize,
    /// What went in.
    pub runs: usize,
    /// Of the interval.
    pub confidence: f64,
    /// What follows.
    pub verdict: Verdict,
    /// See the report.
    pub sign_test_p: Option<f64>,
}

/// The verdict in one sentence.
pub(super) fn reason(told: Told<'_>) -> String {
    let Told {
        one,
        many,
        n,
        runs,
        interval,
        ..
    } = told;
    let counted = match (n, runs) {
        (n, runs) if n == runs => format!("{n} {many}"),
        (n, runs) => format!("{n} independent means of {runs} {many}"),
    };
    let (kind, middle) = match told.method {
        None => ("", "mean"),
        Some(Method::Ranks) => ("rank ", "median"),
        Some(Method::Bootstrap(_)) => ("bootstrap ", "mean"),
        Some(Method::Anytime) => ("anytime ", "mean"),
    };
    let Some(i) = interval else {
        return match n {
            1 if runs > 1 => format!(
                "the {runs} {many} are one observation; an interval needs at least two independent ones"
            ),
            1 => format!("there is one {one} only; an interval needs at least two"),
            _ if told.is_spread => format!(
                "{counted} are too few for a {} % {kind}interval",
                percent(told.confidence)
            ),
            _ => format!(
                "all give the same figure, {} ({counted}): without spread there is no interval",
                told.estimate
            ),
        };
    };
    let subject = match told.what {
        "mean" => "",
        "ratio" => " ratio a / b",
        _ => " difference a − b",
    };
    let place = match (told.bound, told.verdict) {
        (Bound::Above(x), Verdict::Holds) | (Bound::Below(x), Verdict::Refuted) => {
            format!("lies above {x}")
        }
        (Bound::Above(x), Verdict::Refuted) | (Bound::Below(x), Verdict::Holds) => {
            format!("lies below {x}")
        }
        (Bound::Above(x) | Bound::Below(x), Verdict::Inconclusive) => {
            format!("does not exclude {x}")
        }
        (Bound::Within { low, high }, Verdict::Holds) => format!("lies within {low} to {high}"),
        (Bound::Within { low, high }, Verdict::Refuted) => format!("lies outside {low} to {high}"),
        (Bound::Within { low, high }, Verdict::Inconclusive) => {
            format!("does not lie strictly within {low} to {high}")
        }
        (Bound::Equivalent(_), _) => String::new(),
    };
    let mut text = format!(
        "the {} % {kind}interval [{:.4}, {:.4}] of the {middle}{subject} {place} ({counted})",
        percent(told.confidence),
        i.low,
        i.high
    );
    if let Some(p) = told.equivalence {
        text.push_str(&format!("; two one-sided tests: p = {p:.4}"));
    }
    if n <= 5
        && let Some(p) = told.sign_test_p
    {
        text.push_str(&format!("; few {many}: sign test p = {p:.4}"));
    }
    text
}
