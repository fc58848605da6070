//! The noncentral t distribution, and the interval of its parameter: what intervals of effect sizes
//! are made of.
//!
//! Sums a smooth integrand over evenly spaced points, which for one that falls off at both ends is
//! as exact as f64 allows.

use super::Interval;
use super::crossing::crossing;
use super::normal::normal_cdf;

/// Beyond this a statistic has no interval here: the sum would grow with it.
const FAR: f64 = 1e4;

/// P(T ≤ t) of T = (Z + δ) / W, Z standard normal, W² the mean of `df` squares of such: the mean of
/// Φ(t·W − δ).
///
/// W is taken as eᵘ; the density of u is 2·(df/2)^(df/2) / Γ(df/2) · exp(df·(u − e²ᵘ/2)).
pub fn noncentral_t_cdf(t: f64, df: f64, delta: f64) -> f64 {
    let half = df / 2.0;
    let log_front = std::f64::consts::LN_2 + half * libm::log(half) - libm::lgamma(half);
    let log_density = |u: f64| log_front + df * (u - libm::exp(2.0 * u) / 2.0);
    // A third of the smallest width that anything in the integrand has. For few degrees of freedom
    // the error of the sum is some exp(−π²/2 / step), since e²ᵘ turns at π/4 from the axis.
    let step = 0.3 / (2.0 * df).sqrt().max(delta.abs()).max(2.5);
    // e⁻⁴⁵ of the peak and what lies further out count nothing.
    let floor = log_density(0.0) - 45.0;
    let term = |i: f64| {
        let u = i * step;
        let log = log_density(u);
        (log > floor).then(|| libm::exp(log) * normal_cdf(t * libm::exp(u) - delta))
    };
    let mut sum = 0.0;
    for direction in [1.0, -1.0] {
        // The middle belongs to one side only.
        let mut i = if direction > 0.0 { 0.0 } else { -1.0 };
        while let Some(term) = term(i) {
            sum += term;
            i += direction;
        }
    }
    (sum * step).clamp(0.0, 1.0)
}

/// The two-sided interval of δ given a t statistic: its ends are the δ under which the statistic
/// would lie in either tail with half of what the confidence leaves. `None` for a statistic beyond
/// 10,000.
pub fn noncentrality(t: f64, df: f64, confidence: f64) -> Option<Interval> {
    if t.is_nan() || t.abs() > FAR {
        return None;
    }
    let tail = (1.0 - confidence) / 2.0;
    // The distribution function falls as δ grows.
    let end = |p: f64| {
        let is_below = |delta: f64| noncentral_t_cdf(t, df, delta) > p;
        let (mut low, mut high) = (t - 1.0, t + 1.0);
        while !is_below(low) && low > -4.0 * FAR {
            low -= high - low;
        }
        while is_below(high) && high < 4.0 * FAR {
            high += high - low;
        }
        crossing(low, high, is_below).0
    };
    Some(Interval {
        low: end(1.0 - tail),
        high: end(tail),
    })
}

#[cfg(test)]
mod tests {
    use super::super::student::t_cdf;
    use super::*;

    #[test]
    fn central_where_delta_is_nothing() {
        for df in [1.0, 4.0, 39.0, 1000.0] {
            for t in [-30.0, -1.5, 0.0, 0.3, 2.0, 12.0] {
                let (a, b) = (noncentral_t_cdf(t, df, 0.0), t_cdf(t, df));
                assert!((a - b).abs() < 2e-13, "{t} {df}: {a} {b}");
            }
        }
    }

    #[test]
    fn an_interval_ends_where_its_tails_do() {
        for (t, df) in [(0.0, 4.0), (3.25, 4.0), (-40.0, 2.0), (9000.0, 9.0)] {
            let Interval { low, high } = noncentrality(t, df, 0.95).unwrap();
            for (delta, p) in [(low, 0.975), (high, 0.025)] {
                let found = noncentral_t_cdf(t, df, delta);
                assert!((found - p).abs() < 1e-9, "{t} {df} {delta}: {found}");
            }
        }
        assert_eq!(noncentrality(1e5, 4.0, 0.95), None);
    }
}
