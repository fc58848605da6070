//! The verdict: where an interval lies to what a claim states, and how to say so in one sentence. Knows no runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::summarise::percent;
use crate::stats::Interval;

/// A range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bound {
    /// Greater than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// Between two values, ends included: a claim that there is nothing to see.
    Within {
        /// The upper end.
        high: f64,
        /// The lower end.
        low: f64,
    },
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

/// What an interval says about a bound. An interval that touches the bound decides nothing, but for the ends of `within`,
/// which belong to it.
pub fn verdict(interval: Interval, bound: Bound) -> Verdict {
    let Interval { low, high } = interval;
    let (holds, refuted) = match bound {
        Bound::Above(x) => (low > x, high < x),
        Bound::Below(x) => (high < x, low > x),
        Bound::Within {
            low: from,
            high: to,
        } => (low >= from && high <= to, high < from || low > to),
    };
    match (holds, refuted) {
        (true, _) => Verdict::Holds,
        (_, true) => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    }
}

/// The verdict in one sentence; `interval` is absent when there is one observation only.
pub(super) fn reason(
    what: &str,
    bound: Bound,
    interval: Option<Interval>,
    n: usize,
    confidence: f64,
    verdict: Verdict,
    sign_test_p: Option<f64>,
) -> String {
    let (one, many, subject) = match what {
        "mean" => ("run", "runs", "mean"),
        "ratio" => ("pair", "pairs", "mean ratio a / b"),
        _ => ("pair", "pairs", "mean difference a − b"),
    };
    let Some(i) = interval else {
        return format!("there is one {one} only; an interval needs at least two");
    };
    let place = match (bound, verdict) {
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
            format!("lies partly outside {low} to {high}")
        }
    };
    let mut text = format!(
        "the {} % interval [{:.4}, {:.4}] of the {subject} {place} ({n} {many})",
        percent(confidence),
        i.low,
        i.high
    );
    if i.low == i.high {
        text.push_str(&format!("; all {many} gave the same figure"));
    }
    if n <= 5
        && let Some(p) = sign_test_p
    {
        text.push_str(&format!("; few {many}: sign test p = {p:.4}"));
    }
    text
}
