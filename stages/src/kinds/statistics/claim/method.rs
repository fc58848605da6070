//! Which interval decides, and the p-value that belongs to it. Knows no runs and no bound.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{
    Interval, Summary, anytime, bca, evidence, hodges_lehmann, signed_rank, summarise, t_above,
};

/// What the interval is made of; without one of these it is Student's *t* interval of the mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Wilcoxon's signed ranks: the Hodges–Lehmann estimate of the median and its exact interval.
    Ranks,
    /// Resampled observations: the interval of the mean, bias-corrected and accelerated.
    Bootstrap(Resampling),
    /// A confidence sequence of the mean: it may be looked at after every seed.
    Anytime,
}

/// How often and by which numbers observations are resampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resampling {
    /// Resamples, 1,000 to 1,000,000.
    #[serde(default = "resamples")]
    #[schemars(range(min = 1_000, max = 1_000_000))]
    pub resamples: u32,
    /// The seed of the generator.
    #[serde(default)]
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Resampling {
        Resampling {
            resamples: resamples(),
            seed: 0,
        }
    }
}

fn resamples() -> u32 {
    10_000
}

/// An estimate and where it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Located {
    pub estimate: f64,
    pub interval: Option<Interval>,
}

/// The middle of the observations and its interval; `None` without observations.
pub(super) fn locate(method: Option<Method>, values: &[f64], confidence: f64) -> Option<Located> {
    let s = summarise(values, confidence)?;
    let (estimate, interval) = match method {
        None => (s.mean, s.interval),
        Some(Method::Ranks) => hodges_lehmann(values, confidence)?,
        Some(Method::Bootstrap(Resampling { resamples, seed })) => {
            (s.mean, bca(values, confidence, resamples, seed))
        }
        Some(Method::Anytime) => (s.mean, anytime(&s, confidence)),
    };
    Some(Located { estimate, interval })
}

/// The one-sided p-values against a middle of `x`: that it is larger, and that it is smaller. None
/// of a bootstrap.
pub(super) fn one_sided(
    method: Option<Method>,
    values: &[f64],
    s: &Summary,
    x: f64,
    tolerance: f64,
) -> Option<(f64, f64)> {
    match method {
        None => {
            let t = (s.mean - x) * (s.n as f64).sqrt() / s.sd?;
            let df = (s.n - 1) as f64;
            Some((t_above(t, df), t_above(-t, df)))
        }
        Some(Method::Ranks) => {
            let found = signed_rank(values, x, tolerance);
            Some((found.above, found.below))
        }
        Some(Method::Anytime) => {
            let half = 0.5 / evidence(s, x).max(1.0);
            Some(match s.mean > x {
                true => (half, 1.0),
                false => (1.0, half),
            })
        }
        Some(Method::Bootstrap(_)) => None,
    }
}
