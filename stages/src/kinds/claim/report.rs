//! What a claim writes: both sides, the interval of the observations, the verdict and its reason. Reads no table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Expect;
use super::runs::Run;
use super::verdict::{Bound, Told, Verdict, reason, verdict};
use crate::observations::Observations;
use crate::select::axes_text;
use crate::stats::{Interval, Summary, rounding, sign_test, summarise};

/// `verdict.json`; fields in alphabetical order.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    a: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<Side>,
    confidence: f64,
    /// The mean difference, the mean, or the geometric mean ratio.
    estimate: f64,
    expect: Expect,
    high: Option<f64>,
    low: Option<f64>,
    /// Independent observations.
    n: usize,
    /// One sentence for people.
    reason: String,
    /// Runs (of a side) or pairs that went in.
    runs: usize,
    /// Of the differences, values, or logarithms of ratios.
    sd: Option<f64>,
    /// Exact two-sided sign test against the bound; none for `within`.
    sign_test_p: Option<f64>,
    /// Runs of one side without a partner on the other.
    pub(super) unmatched: Vec<String>,
    verdict: Verdict,
}

/// One side of a claim.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    /// Of its independent observations.
    mean: f64,
    n: usize,
    sd: Option<f64>,
    /// The value of each run, or mean of runs within a repetition, by its axes.
    values: BTreeMap<String, f64>,
}

pub(super) fn describe<'a>(
    runs: impl Iterator<Item = &'a Run>,
    observed: &Observations,
) -> anyhow::Result<Side> {
    // The confidence matters not: no interval is shown for a side.
    let Some(Summary { n, mean, sd, .. }) = summarise(&observed.values, 0.95) else {
        anyhow::bail!("a side without runs")
    };
    Ok(Side {
        mean,
        n,
        sd,
        values: runs.map(|r| (axes_text(&r.key), r.value)).collect(),
    })
}

/// The verdict on observations made of numbers none of which is larger than `scale`; beside it what people should hear.
pub(super) fn report(
    sides: (Side, Option<Side>),
    seen: &Observations,
    scale: f64,
    expect: &Expect,
    unmatched: Vec<String>,
) -> anyhow::Result<(Report, Option<String>)> {
    let observed = &seen.values;
    let (Some((what, bound)), Some(s)) = (
        expect.bounds().next(),
        summarise(observed, expect.confidence),
    ) else {
        anyhow::bail!("a claim needs an expectation and runs");
    };
    let is_ratio = what == "ratio";
    let shown = |x: f64| if is_ratio { libm::exp(x) } else { x };
    let inner = bound.map(|x| if is_ratio { libm::log(x) } else { x });
    let scale = inner
        .ends()
        .into_iter()
        .fold(scale, |scale, x| scale.max(x.abs()));
    let tolerance = rounding(scale, s.n, expect.confidence);
    let (low, high) = observed
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        });
    let is_spread = high - low > rounding(scale, 1, expect.confidence);
    // Equal figures have no interval: a width of nothing is no certainty, but a sign that chance did not come in.
    let interval = s.interval.filter(|_| is_spread);
    let sign_test_p = match inner {
        Bound::Above(x) | Bound::Below(x) => Some(sign_test(
            observed,
            x,
            rounding(scale, 1, expect.confidence),
        )),
        Bound::Within { .. } => None,
    };
    let verdict = interval.map_or(Verdict::Inconclusive, |i| verdict(i, inner, tolerance));
    let interval = interval.map(|i| Interval {
        low: shown(i.low),
        high: shown(i.high),
    });
    let (one, many) = match what {
        "mean" => ("run", "runs"),
        _ => ("pair", "pairs"),
    };
    let told = seen.told(one, many);
    let report = Report {
        reason: reason(Told {
            what,
            one,
            many,
            bound,
            interval,
            estimate: shown(s.mean),
            n: s.n,
            runs: seen.runs,
            confidence: expect.confidence,
            verdict,
            sign_test_p,
        }),
        a: sides.0,
        b: sides.1,
        confidence: expect.confidence,
        estimate: shown(s.mean),
        expect: expect.clone(),
        high: interval.map(|i| i.high),
        low: interval.map(|i| i.low),
        n: s.n,
        runs: seen.runs,
        sd: s.sd.map(|sd| if is_spread { sd } else { 0.0 }),
        sign_test_p,
        unmatched,
        verdict,
    };
    Ok((report, told))
}
