//! Softmax cross-entropy with label smoothing, and the count of right answers.

use super::path::{Path, kernel};
use crate::exact::math;

/// Writes the softmax of every row, returns the mean cross-entropy in nats.
///
/// Per row: `m` is the largest logit (NaN if there is one), `e_k = exp(l_k - m)`, `s = Σ e_k` in order from 0, `p_k = e_k / s`,
/// `log p_k = (l_k - m) - ln s`. The row's loss is `-log p_label`, with smoothing `ε > 0`
/// `(1 - ε)·(-log p_label) + (ε/K)·Σ_k(-log p_k)`, the sum in order from 0. Row losses are added in order from 0 and
/// divided by their number; without rows the mean is NaN.
///
/// # Panics
/// Lengths that disagree; a label that is no class.
pub fn forward(
    path: Path,
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    smoothing: f32,
    probabilities: &mut [f32],
) -> f32 {
    assert!(
        logits.len() == labels.len() * classes && probabilities.len() == logits.len(),
        "cross-entropy: lengths"
    );
    let mut sum = 0.0;
    for ((row, p), label) in logits
        .chunks_exact(classes)
        .zip(probabilities.chunks_exact_mut(classes))
        .zip(labels)
    {
        sum += row_loss(path, row, *label as usize, smoothing, p);
    }
    sum / labels.len() as f32
}

kernel! {
    fn row_loss<F>(row: &[f32], label: usize, smoothing: f32, p: &mut [f32]) -> f32 {
        let p = &mut p[..row.len()];
        let mut largest = row[0];
        for &l in row {
            largest = if l > largest || l.is_nan() { l } else { largest };
        }
        for k in 0..row.len() {
            p[k] = math::exp(row[k] - largest);
        }
        let mut sum = 0.0;
        for e in &*p {
            sum += *e;
        }
        for v in p.iter_mut() {
            *v /= sum;
        }
        let ln = math::ln(sum);
        let of_label = -((row[label] - largest) - ln);
        if smoothing == 0.0 {
            return of_label;
        }
        let mut all = 0.0;
        for l in row {
            all += -((l - largest) - ln);
        }
        (1.0 - smoothing) * of_label + smoothing / row.len() as f32 * all
    }
}

/// Adds to `dlogits`: `(p_k - t_k)·(dloss / rows)`, with `t_k = ε/K`, plus `1 - ε` at the label.
///
/// # Panics
/// Lengths that disagree; a label that is no class.
pub fn backward(
    path: Path,
    classes: usize,
    probabilities: &[f32],
    labels: &[u32],
    smoothing: f32,
    dloss: f32,
    dlogits: &mut [f32],
) {
    assert!(
        probabilities.len() == labels.len() * classes && dlogits.len() == probabilities.len(),
        "cross-entropy: lengths"
    );
    let scale = dloss / labels.len() as f32;
    for ((p, d), label) in probabilities
        .chunks_exact(classes)
        .zip(dlogits.chunks_exact_mut(classes))
        .zip(labels)
    {
        row_gradient(path, p, *label as usize, smoothing, scale, d);
    }
}

kernel! {
    fn row_gradient<F>(p: &[f32], label: usize, smoothing: f32, scale: f32, d: &mut [f32]) {
        let d = &mut d[..p.len()];
        let elsewhere = smoothing / p.len() as f32;
        let there = elsewhere + (1.0 - smoothing);
        for k in 0..p.len() {
            let target = if k == label { there } else { elsewhere };
            d[k] += (p[k] - target) * scale;
        }
    }
}

/// Rows whose largest logit is at the label; of equal ones the first counts, and a row with a NaN is wrong.
///
/// # Panics
/// Lengths that disagree.
pub fn count_correct(classes: usize, logits: &[f32], labels: &[u32]) -> usize {
    assert_eq!(
        logits.len(),
        labels.len() * classes,
        "count_correct: lengths"
    );
    let right = |(row, label): &(&[f32], &u32)| {
        let best = (1..classes).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        best == **label as usize && !row.iter().any(|l| l.is_nan())
    };
    logits
        .chunks_exact(classes)
        .zip(labels)
        .filter(right)
        .count()
}
