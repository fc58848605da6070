//! Jonckheere's and Terpstra's test: do values rise from group to group?

use super::normal::normal_cdf;
use repro_numerics::exact::rng::Stream;

/// How a distribution was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Of all orders of the values, counted.
    Exact,
    /// Of so many random orders.
    Permutations(u32),
    /// The normal approximation, corrected for ties.
    Normal,
}

/// Up to so many values distributions are exact, or permuted where values are equal.
const EXACT_MAX: usize = 100;
/// Random orders beside the one that was found.
const PERMUTATIONS: u32 = 9_999;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Of all pairs of values of two groups, those whose later value is larger; equal ones count
    /// half.
    pub statistic: f64,
    /// All such pairs.
    pub pairs: usize,
    /// The probability of so large a statistic, if groups did not matter.
    pub rising: f64,
    /// The probability of so small a one.
    pub falling: f64,
    /// Where these come from.
    pub made: Made,
}

impl Trend {
    /// The share of pairs that rise less that of pairs that fall: 1 where all rise, −1 where all
    /// fall.
    pub fn concordance(&self) -> f64 {
        2.0 * self.statistic / self.pairs as f64 - 1.0
    }
}

/// The test of groups in order (Terpstra 1952; Jonckheere 1954); `None` for fewer than two groups
/// with values.
pub fn jonckheere(groups: &[Vec<f64>]) -> Option<Trend> {
    let values: Vec<f64> = groups.concat();
    let sizes: Vec<usize> = groups.iter().map(Vec::len).filter(|n| *n > 0).collect();
    let squares: usize = sizes.iter().map(|n| n * n).sum();
    let pairs = (values.len() * values.len() - squares) / 2;
    if pairs == 0 {
        return None;
    }
    // Twice the statistic, a whole number.
    let found = doubled(&values, &sizes);
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let ties: Vec<usize> = sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).collect();
    let is_tied = ties.len() < values.len();
    let (rising, falling, made) = match (values.len() <= EXACT_MAX, is_tied) {
        (true, false) => {
            let chances = counted(&sizes);
            let at = found / 2;
            let (up, down) = (&chances[at..], &chances[..=at]);
            (up.iter().sum(), down.iter().sum(), Made::Exact)
        }
        (true, true) => {
            let (rising, falling) = permuted(&values, &sizes, found);
            (rising, falling, Made::Permutations(PERMUTATIONS))
        }
        (false, _) => {
            let z = (found as f64 - pairs as f64) / (2.0 * variance(&sizes, &ties).sqrt());
            (normal_cdf(-z), normal_cdf(z), Made::Normal)
        }
    };
    Some(Trend {
        statistic: found as f64 / 2.0,
        pairs,
        rising: f64::min(rising, 1.0),
        falling: f64::min(falling, 1.0),
        made,
    })
}

/// Twice the statistic of values whose groups lie one after another.
fn doubled(values: &[f64], sizes: &[usize]) -> usize {
    let (mut found, mut start) = (0, 0);
    for size in sizes {
        let (before, group) = (&values[..start], &values[start..start + size]);
        for later in group {
            found += before
                .iter()
                .map(|earlier| usize::from(earlier < later) + usize::from(earlier <= later))
                .sum::<usize>();
        }
        start += size;
    }
    found
}

/// The chance of each value of the statistic where no two values are equal: each group against all
/// before it is a Mann–Whitney statistic, and these are independent.
fn counted(sizes: &[usize]) -> Vec<f64> {
    let mut chances = vec![1.0];
    let mut before = 0;
    for &size in sizes {
        let one = mann_whitney(before, size);
        let mut next = vec![0.0; chances.len() + one.len() - 1];
        for (i, a) in chances.iter().enumerate() {
            for (j, b) in one.iter().enumerate() {
                next[i + j] += a * b;
            }
        }
        chances = next;
        before += size;
    }
    chances
}

/// The chance of each number of pairs that rise, between `m` values and `n` later ones: of choices
/// of n ranks out of m + n by their sum.
fn mann_whitney(m: usize, n: usize) -> Vec<f64> {
    // The number of choices of k ranks whose sum lies s above the least.
    let mut ways = vec![vec![0.0; m * n + 1]; n + 1];
    ways[0][0] = 1.0;
    for rank in 1..=m + n {
        for k in (1..=n.min(rank)).rev() {
            // Taken as the k-th smallest, a rank lies rank − k above the least that it could be.
            let (fewer, these) = ways.split_at_mut(k);
            let above = rank - k;
            for s in above..=m * n {
                these[0][s] += fewer[k - 1][s - above];
            }
        }
    }
    let all: f64 = ways[n].iter().sum();
    ways[n].iter().map(|ways| ways / all).collect()
}

/// The shares of random orders, the one that was found among them, with so large and so small a
/// statistic.
fn permuted(values: &[f64], sizes: &[usize], found: usize) -> (f64, f64) {
    let mut stream = Stream::new(0, "claim trend", 0, 0);
    let (mut rising, mut falling) = (1u32, 1u32);
    for _ in 0..PERMUTATIONS {
        let order = stream.permutation(values.len() as u32);
        let order: Vec<f64> = order.into_iter().map(|i| values[i as usize]).collect();
        let one = doubled(&order, sizes);
        rising += u32::from(one >= found);
        falling += u32::from(one <= found);
    }
    let share = |count: u32| f64::from(count) / f64::from(PERMUTATIONS + 1);
    (share(rising), share(falling))
}

/// The variance of the statistic, given the sizes of groups and of sets of equal values (Hollander
/// & Wolfe 1999, 6.19).
fn variance(sizes: &[usize], ties: &[usize]) -> f64 {
    let sum =
        |sizes: &[usize], of: fn(f64) -> f64| sizes.iter().map(|n| of(*n as f64)).sum::<f64>();
    let n: f64 = sum(sizes, |n| n);
    let long = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let triples = |n: f64| n * (n - 1.0) * (n - 2.0);
    let pairs = |n: f64| n * (n - 1.0);
    (long(n) - sum(sizes, long) - sum(ties, long)) / 72.0
        + sum(sizes, triples) * sum(ties, triples) / (36.0 * triples(n))
        + sum(sizes, pairs) * sum(ties, pairs) / (8.0 * pairs(n))
}
