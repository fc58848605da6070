//! The bootstrap interval of a mean, bias-corrected and accelerated (Efron 1987).

use super::normal::{normal_cdf, normal_quantile};
use super::{Interval, mean};
use repro_numerics::exact::rng::Stream;

/// The means of `resamples` samples drawn with replacement from the values, as many as there are of
/// them, by the counter-based generator: the same on every machine.
pub fn resampled_means(values: &[f64], resamples: u32, seed: u64) -> Vec<f64> {
    let Ok(n) = u32::try_from(values.len()) else {
        return Vec::new();
    };
    let mut stream = Stream::new(seed, "claim bootstrap", 0, 0);
    let mut one = || {
        let drawn: Vec<f64> = (0..n).map(|_| values[stream.below(n) as usize]).collect();
        mean(&drawn)
    };
    (0..resamples).map(|_| one()).collect()
}

/// The interval: quantiles of the resampled means at Φ(z₀ + (z₀ + z)/(1 − a·(z₀ + z))) for the two
/// z of the confidence.
///
/// z₀ is the normal quantile of the share of resampled means below that of the values (equal ones
/// count half); the acceleration a = Σd³ / 6(Σd²)^1.5 is made of the values' distances d from their
/// mean, which is what leaving each out once comes to. Quantiles between two means are
/// interpolated. `None` without spread.
pub fn bca(values: &[f64], confidence: f64, resamples: u32, seed: u64) -> Option<Interval> {
    let estimate = mean(values);
    let distances = || values.iter().map(|v| v - estimate);
    let squares: f64 = distances().map(|d| d * d).sum();
    if values.len() < 2 || squares <= 0.0 {
        return None;
    }
    let cubes: f64 = distances().map(|d| d * d * d).sum();
    let acceleration = cubes / (6.0 * squares * squares.sqrt());
    let mut means = resampled_means(values, resamples, seed);
    means.sort_by(f64::total_cmp);
    let below = means.partition_point(|m| *m < estimate);
    let up_to = means.partition_point(|m| *m <= estimate);
    let bias = normal_quantile((below + up_to) as f64 / (2 * means.len()) as f64);
    let end = |p: f64| {
        let z = bias + normal_quantile(p);
        let at = normal_cdf(bias + z / (1.0 - acceleration * z)) * (means.len() - 1) as f64;
        let whole = at.floor() as usize;
        let (low, high) = (means.get(whole)?, means.get(whole + 1).or(means.last())?);
        Some(low + (high - low) * (at - whole as f64))
    };
    let tail = (1.0 - confidence) / 2.0;
    let (low, high) = (end(tail)?, end(1.0 - tail)?);
    (low.is_finite() && high.is_finite()).then_some(Interval { low, high })
}
