//! Wilcoxon's signed ranks: a test and an interval that assume symmetry, and nothing about the
//! shape.

use super::normal::{normal_cdf, normal_quantile};
use super::{Interval, difference};

/// Up to so many values distributions are exact; beyond, normal.
const EXACT_MAX: usize = 500;

/// What the ranks of the distances from a threshold say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// The sum of the ranks of values above the threshold.
    pub statistic: f64,
    /// Values that do not lie on it.
    pub n: usize,
    /// The probability of so large a sum, if values were symmetric about the threshold.
    pub above: f64,
    /// The probability of so small a sum.
    pub below: f64,
}

impl SignedRank {
    /// The two-sided p-value.
    pub fn p(&self) -> f64 {
        (2.0 * self.above.min(self.below)).min(1.0)
    }
}

/// The signed-rank test (Wilcoxon 1945). Values that are `tolerance` or less from the threshold are
/// left out; equal distances share the mean of their ranks, and the distribution is that of all
/// choices of signs for the ranks as they are.
pub fn signed_rank(values: &[f64], threshold: f64, tolerance: f64) -> SignedRank {
    let mut distances: Vec<f64> = values
        .iter()
        .map(|v| difference(*v, threshold))
        .filter(|d| d.abs() > tolerance)
        .collect();
    distances.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the ranks, so that the mean of neighbours is a whole number.
    let mut doubled = Vec::with_capacity(distances.len());
    let ties = distances.chunk_by(|a, b| b.abs() - a.abs() <= tolerance);
    ties.for_each(|tie| {
        let before = doubled.len();
        doubled.extend(std::iter::repeat_n(2 * before + tie.len() + 1, tie.len()));
    });
    let signed = doubled.iter().zip(&distances);
    let sum: usize = signed.filter(|(_, d)| **d > 0.0).map(|(r, _)| r).sum();
    let n = doubled.len();
    let (below, above) = if n <= EXACT_MAX {
        let chances = sums(&doubled);
        (
            chances[..=sum].iter().sum::<f64>().min(1.0),
            chances[sum..].iter().sum::<f64>().min(1.0),
        )
    } else {
        let squares: f64 = doubled.iter().map(|r| (r * r) as f64).sum();
        let middle = (n * (n + 1) / 2) as f64;
        let z = (sum as f64 - middle) / (squares.sqrt() / 2.0);
        (normal_cdf(z), normal_cdf(-z))
    };
    SignedRank {
        statistic: sum as f64 / 2.0,
        n,
        above,
        below,
    }
}

/// The chance of each sum of a random half of these ranks.
fn sums(ranks: &[usize]) -> Vec<f64> {
    let mut chances = vec![1.0];
    for &rank in ranks {
        let mut next = vec![0.0; chances.len() + rank];
        for (sum, chance) in chances.iter().enumerate() {
            next[sum] += chance / 2.0;
            next[sum + rank] += chance / 2.0;
        }
        chances = next;
    }
    chances
}

/// The Hodges–Lehmann estimate of the middle, the median of the means of all pairs (each value with
/// itself too), and its exact interval: its ends are the k-th smallest and k-th largest of these
/// means, k the largest whose two tails are no more than the confidence leaves (Hollander & Wolfe
/// 1999, 3.3). The interval is closed, so it also holds for values with ties. It is `None` where no
/// k will do: two values of a thousand choices of signs are more than one in a thousand.
pub fn hodges_lehmann(values: &[f64], confidence: f64) -> Option<(f64, Option<Interval>)> {
    let n = values.len();
    let mut means = Vec::with_capacity(n * (n + 1) / 2);
    for (i, a) in values.iter().enumerate() {
        means.extend(values[..=i].iter().map(|b| match a == b {
            true => *a,
            false => (a + b) / 2.0,
        }));
    }
    means.sort_by(f64::total_cmp);
    let count = means.len();
    let middle = match count {
        0 => return None,
        _ if count % 2 == 1 => means[count / 2],
        _ => (means[count / 2 - 1] + means[count / 2]) / 2.0,
    };
    let tail = (1.0 - confidence) / 2.0;
    let k = if n <= EXACT_MAX {
        let chances = sums(&Vec::from_iter(1..=n));
        let mut total = 0.0;
        let within = chances.iter().take_while(|chance| {
            total += **chance;
            total <= tail
        });
        within.count()
    } else {
        let n = n as f64;
        let sd = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        (n * (n + 1.0) / 4.0 + normal_quantile(tail) * sd).max(0.0) as usize
    };
    let interval = (k > 0).then(|| Interval {
        low: means[k - 1],
        high: means[count - k],
    });
    Some((middle, interval))
}
