//! What a claim writes: both sides, the interval of the observations, the verdict and its reason.
//! Reads no table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::extra::{EffectSize, Extra, Ranks, Resampled, Seen, extras};
use super::method::{locate, one_sided};
use super::verdict::{Bound, Told, Verdict, p_values, reason, verdict};
use super::{Expect, Params};
use crate::observations::Observations;
use crate::stats::{Interval, Summary, difference, rounding, sign_test, summarise};

/// `verdict.json`; fields in alphabetical order.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    a: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Resampled>,
    confidence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect_size: Option<EffectSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    equivalence: Option<Equivalence>,
    /// The mean difference, the mean, or the geometric mean ratio.
    estimate: f64,
    expect: Expect,
    /// The family whose number of claims corrects the verdict, where verdicts are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    high: Option<f64>,
    low: Option<f64>,
    /// Independent observations.
    n: usize,
    /// The least level at which the interval would decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranks: Option<Ranks>,
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

/// Two one-sided tests: the interval that leaves the whole of what the confidence leaves on either
/// side.
#[derive(Debug, Serialize)]
struct Equivalence {
    confidence: f64,
    high: Option<f64>,
    low: Option<f64>,
    p: Option<f64>,
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

pub(super) fn describe(
    values: impl Iterator<Item = (String, f64)>,
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
        values: values.collect(),
    })
}

impl Side {
    fn summary(&self) -> Summary {
        Summary {
            n: self.n,
            mean: self.mean,
            sd: self.sd,
            interval: None,
        }
    }
}

/// The verdict on observations made of numbers none of which is larger than `scale`; beside it what
/// people should hear.
pub(super) fn report(
    sides: (Side, Option<Side>),
    seen: &Observations,
    scale: f64,
    params: &Params,
    unmatched: Vec<String>,
) -> anyhow::Result<(Report, Option<String>)> {
    let observed = &seen.values;
    let Params { expect, .. } = params;
    let (method, confidence) = (expect.interval, expect.confidence);
    let (Some((what, bound)), Some(s), Some(located)) = (
        expect.bounds().next(),
        summarise(observed, confidence),
        locate(method, observed, confidence),
    ) else {
        anyhow::bail!("a claim needs an expectation and runs");
    };
    let is_ratio = what == "ratio";
    let shown = |x: f64| if is_ratio { libm::exp(x) } else { x };
    let change = |x: f64| if is_ratio { libm::log(x) } else { x };
    let inner = bound.map(change, is_ratio);
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
    // Equal figures have no interval: a width of nothing is no certainty, but a sign that chance
    // did not come in.
    let interval = located.interval.filter(|_| is_spread);
    let sign_test_p = match inner {
        Bound::Above(x) | Bound::Below(x) => Some(sign_test(
            observed,
            x,
            rounding(scale, 1, expect.confidence),
        )),
        Bound::Within { .. } | Bound::Equivalent(_) => None,
    };
    let in_words = |i: Interval| Interval {
        low: shown(i.low),
        high: shown(i.high),
    };
    let close = rounding(scale, 1, confidence);
    let p = || {
        let sides = |x| one_sided(method, observed, &s, x, close);
        p_values(inner, bound.is_equivalence(), sides).filter(|_| is_spread)
    };
    let decide =
        |i: Option<Interval>| i.map_or(Verdict::Inconclusive, |i| verdict(i, inner, tolerance));
    let mut decided = decide(interval);
    let mut deciding = (interval.map(in_words), confidence);
    let mut equivalence = None;
    if bound.is_equivalence() {
        // Each of the two tests has the whole level, so what both leave is the interval of 1 − 2α.
        // That the effect is larger is still a two-sided finding.
        let inner_confidence = difference(2.0 * confidence, 1.0);
        let narrow = locate(method, observed, inner_confidence).and_then(|l| l.interval);
        let narrow = narrow.filter(|_| is_spread);
        if decided != Verdict::Refuted {
            decided = decide(narrow);
            if decided == Verdict::Refuted {
                decided = Verdict::Inconclusive;
            }
            deciding = (narrow.map(in_words), inner_confidence);
        }
        let shown = narrow.map(in_words);
        equivalence = Some(Equivalence {
            confidence: inner_confidence,
            high: shown.map(|i| i.high),
            low: shown.map(|i| i.low),
            p: p().map(|(holds, _)| holds),
        });
    }
    let verdict = decided;
    let interval = interval.map(in_words);
    let side = match (is_ratio, &sides.1) {
        (false, Some(b)) => Some((sides.0.summary(), b.summary())),
        _ => None,
    };
    let (origin, formula) = match (what, inner) {
        ("mean", Bound::Above(x) | Bound::Below(x)) => (x, "(mean − bound) / sd"),
        ("mean", _) => (0.0, "mean / sd"),
        ("ratio", _) => (0.0, "mean of ln(a / b) / its sd"),
        _ => (0.0, "d_z: mean of a − b / its sd"),
    };
    let extras = extras(
        if is_spread {
            params.report.as_slice()
        } else {
            &[]
        },
        &Seen {
            values: observed,
            summary: &s,
            sides: side,
            origin,
            formula,
            bound: match inner {
                Bound::Above(x) | Bound::Below(x) => Some(x),
                _ => None,
            },
            confidence,
            tolerance: close,
            shown: &shown,
        },
    );
    let is_p_wanted = params.family.is_some() || params.report.contains(&Extra::PValue);
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
            method,
            is_spread,
            equivalence: equivalence.as_ref().and_then(|e| e.p),
            bound: match bound.is_equivalence() {
                true => bound.map(|x| x, is_ratio),
                false => bound,
            },
            interval: deciding.0,
            estimate: shown(located.estimate),
            n: s.n,
            runs: seen.runs,
            confidence: deciding.1,
            verdict,
            sign_test_p,
        }),
        a: sides.0,
        b: sides.1,
        bootstrap: extras.bootstrap,
        confidence: expect.confidence,
        effect_size: extras.effect_size,
        equivalence,
        estimate: shown(located.estimate),
        expect: expect.clone(),
        family: params.family.clone(),
        high: interval.map(|i| i.high),
        low: interval.map(|i| i.low),
        n: s.n,
        p: is_p_wanted
            .then(p)
            .flatten()
            .map(|(holds, refuted)| holds.min(refuted)),
        ranks: extras.ranks,
        runs: seen.runs,
        sd: s.sd.map(|sd| if is_spread { sd } else { 0.0 }),
        sign_test_p,
        unmatched,
        verdict,
    };
    Ok((report, told))
}
