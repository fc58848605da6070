//! What a verdict file has beside the verdict where a claim asks for it. Decides nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::method::{Method, Resampling, locate};
use crate::stats::{Interval, Summary, cohen_d, hedges_g, signed_rank};

/// What to report beside the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extra {
    /// The effect in standard deviations: Cohen's d (of pairs d_z), and Hedges' g of the two sides.
    EffectSize,
    /// The bootstrap interval of the mean.
    Bootstrap,
    /// Wilcoxon's signed-rank test, and the Hodges–Lehmann estimate with its interval.
    Ranks,
    /// The p-value of the verdict.
    PValue,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub bootstrap: Option<Resampled>,
    pub effect_size: Option<EffectSize>,
    pub ranks: Option<Ranks>,
}

/// A bootstrap interval and where it comes from.
#[derive(Debug, Serialize)]
pub(super) struct Resampled {
    high: Option<f64>,
    low: Option<f64>,
    resamples: u32,
    seed: u64,
}

/// Effects in standard deviations.
#[derive(Debug, Serialize)]
pub(super) struct EffectSize {
    d: f64,
    /// How `d` is made.
    formula: &'static str,
    high: Option<f64>,
    /// Of the two sides as if they were not paired; none of a ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    hedges_g: Option<f64>,
    low: Option<f64>,
}

/// The signed-rank test against the bound, and the median.
#[derive(Debug, Serialize)]
pub(super) struct Ranks {
    estimate: f64,
    high: Option<f64>,
    low: Option<f64>,
    /// None where the claim has two bounds.
    p: Option<f64>,
    /// The sum of the ranks above the bound.
    statistic: Option<f64>,
}

/// What extras are made of.
pub(super) struct Seen<'a> {
    pub values: &'a [f64],
    pub summary: &'a Summary,
    pub sides: Option<(Summary, Summary)>,
    /// Where effects are measured from.
    pub origin: f64,
    pub formula: &'static str,
    /// The bound, if it is one.
    pub bound: Option<f64>,
    pub confidence: f64,
    pub tolerance: f64,
    /// From the unit of observations to that of people.
    pub shown: &'a dyn Fn(f64) -> f64,
}

/// Those that are asked for.
pub(super) fn extras(asked: &[Extra], seen: &Seen) -> Extras {
    let ends = |interval: Option<Interval>| {
        let shown = interval.map(|i| ((seen.shown)(i.low), (seen.shown)(i.high)));
        (shown.map(|i| i.0), shown.map(|i| i.1))
    };
    let mut all = Extras::default();
    for extra in asked {
        match extra {
            Extra::EffectSize => {
                let effect = cohen_d(seen.summary, seen.origin, seen.confidence);
                all.effect_size = effect.map(|effect| EffectSize {
                    d: effect.size,
                    formula: seen.formula,
                    high: effect.interval.map(|i| i.high),
                    hedges_g: seen.sides.and_then(|(a, b)| hedges_g(&a, &b)),
                    low: effect.interval.map(|i| i.low),
                });
            }
            Extra::Bootstrap => {
                let Resampling { resamples, seed } = Resampling::default();
                let method = Method::Bootstrap(Resampling { resamples, seed });
                let found = locate(Some(method), seen.values, seen.confidence);
                let (low, high) = ends(found.and_then(|f| f.interval));
                all.bootstrap = Some(Resampled {
                    high,
                    low,
                    resamples,
                    seed,
                });
            }
            Extra::Ranks => {
                let Some(found) = locate(Some(Method::Ranks), seen.values, seen.confidence) else {
                    continue;
                };
                let (low, high) = ends(found.interval);
                let test = seen
                    .bound
                    .map(|x| signed_rank(seen.values, x, seen.tolerance));
                all.ranks = Some(Ranks {
                    estimate: (seen.shown)(found.estimate),
                    high,
                    low,
                    p: test.map(|t| t.p()),
                    statistic: test.map(|t| t.statistic),
                });
            }
            Extra::PValue => {}
        }
    }
    all
}
