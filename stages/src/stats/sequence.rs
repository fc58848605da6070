//! An interval that stays honest however often it is looked at: the confidence sequence of a normal
//! mean of unknown variance.

use super::{Interval, Summary};

/// What the mixture takes for granted: effects, in standard deviations, are spread like a normal
/// variable of variance 1 / `PRIOR`. Fixed once for all, since a choice made after a look would not
/// be honest.
const PRIOR: f64 = 0.25;

/// The interval of the mean after n values. All intervals of a growing sample together miss the
/// mean with no more than the probability that the confidence leaves.
///
/// Of the normal mixture of t likelihood ratios (Lai 1976; Wang & Ramdas 2025, *Anytime-valid
/// t-tests and confidence sequences through Gaussian mixture*), with c = `PRIOR`, r = c/(n + c) and
/// t the statistic of Student's test that the mean is μ:
///
/// ```text
/// e(μ) = √r · ((1 + t²/(n − 1)) / (1 + r·t²/(n − 1)))^(n/2)
/// ```
///
/// Under μ its mean is 1 at every stop, so it ever reaches 1/α with probability α at most (Ville
/// 1939). The μ with e(μ) < 1/α are those with t²/(n − 1) < (k − 1)/(1 − k·r), k =
/// (1/(α²·r))^(1/n). `None` where k·r ≥ 1: no value is excluded yet.
pub fn anytime(sample: &Summary, confidence: f64) -> Option<Interval> {
    let (n, sd) = (sample.n as f64, sample.sd?);
    let (alpha, r) = (1.0 - confidence, PRIOR / (n + PRIOR));
    let k = libm::exp(-libm::log(alpha * alpha * r) / n);
    if k * r >= 1.0 {
        return None;
    }
    let half = sd * ((n - 1.0) / n * (k - 1.0) / (1.0 - k * r)).sqrt();
    Some(Interval {
        low: sample.mean - half,
        high: sample.mean + half,
    })
}

/// The evidence against the mean `x`, e(x) of [`anytime`]; 1 of one value, which says nothing.
pub fn evidence(sample: &Summary, x: f64) -> f64 {
    let Some(sd) = sample.sd.filter(|_| sample.n > 1) else {
        return 1.0;
    };
    let n = sample.n as f64;
    let r = PRIOR / (n + PRIOR);
    // Without the division by an sd of 0: t²/(n − 1) is `off` / `spread`.
    let (off, spread) = (
        n * (sample.mean - x) * (sample.mean - x),
        (n - 1.0) * sd * sd,
    );
    let ratio = (spread + off) / (spread + r * off);
    if ratio.is_nan() {
        return 1.0;
    }
    r.sqrt() * libm::exp(n / 2.0 * libm::log(ratio))
}
