//! Shares of repetitions: the exact interval of a probability.

use super::Interval;
use super::crossing::crossing;
use super::student::incomplete_beta;

/// The interval of the probability behind `yes` of `n` (Clopper & Pearson 1934); `n` is at least 1.
pub fn clopper_pearson(yes: usize, n: usize, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    let (yes, no) = (yes as f64, (n - yes) as f64);
    // P(X ≥ yes) rises with the probability p and is I_p(yes, no + 1).
    let above = |p: f64| incomplete_beta(yes, no + 1.0, p, 1.0 - p);
    let up_to = |p: f64| incomplete_beta(no, yes + 1.0, 1.0 - p, p);
    Interval {
        low: match yes {
            0.0 => 0.0,
            _ => crossing(0.0, 1.0, |p| above(p) < tail).0,
        },
        high: match no {
            0.0 => 1.0,
            _ => crossing(0.0, 1.0, |p| up_to(p) > tail).1,
        },
    }
}
