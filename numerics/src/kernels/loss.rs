//! Softmax cross-entropy with label smoothing, and the count of right answers.

use super::layer::{Accumulate, Gradient};
use super::parallel;
use super::path::{Path, kernel};
use super::scratch;
use super::shard::rows_per_piece;
use crate::exact::math;

/// Writes the softmax of every row, returns the mean cross-entropy in nats.
///
/// Per row: `m` is the largest logit (NaN if there is one), `e_k = exp(l_k - m)`, `s = Σ e_k` in
/// order from 0, `p_k = e_k / s`, `log p_k = (l_k - m) - ln s`. The row's loss is `-log p_label`,
/// with smoothing `ε > 0` `(1 - ε)·(-log p_label) + (ε/K)·Σ_k(-log p_k)`, the sum in order from 0.
/// Row losses are added in order from 0 and divided by their number; without rows the mean is NaN.
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
    let rows = labels.len();
    if rows == 0 {
        return f32::NAN;
    }
    scratch::with(rows, |losses| {
        let piece = rows_per_piece(rows, 64 * classes);
        let all = (probabilities, piece * classes);
        parallel::chunks_of_two(all, (&mut *losses, piece), |i, p, losses| {
            let logits = &logits[i * piece * classes..];
            let blocks = logits
                .chunks(BLOCK * classes)
                .zip(p.chunks_mut(BLOCK * classes));
            let labels = &labels[i * piece..][..losses.len()];
            let of_rows = labels.chunks(BLOCK).zip(losses.chunks_mut(BLOCK));
            for ((logits, p), (labels, losses)) in blocks.zip(of_rows) {
                row_losses(path, classes, logits, labels, smoothing, p, losses);
            }
        });
        losses.iter().fold(0.0, |sum, loss| sum + loss) / rows as f32
    })
}

/// Rows whose transcendental functions are computed together, which fills vectors.
const BLOCK: usize = 64;

kernel! {
    fn row_losses<F>(classes: usize, logits: &[f32], labels: &[u32], smoothing: f32, p: &mut [f32], losses: &mut [f32]) {
        let (mut largest, mut ln) = ([0.0f32; BLOCK], [1.0f32; BLOCK]);
        for ((row, p), largest) in logits.chunks_exact(classes).zip(p.chunks_exact_mut(classes)).zip(&mut largest) {
            let mut best = row[0];
            for &l in row {
                best = if l > best || l.is_nan() { l } else { best };
            }
            for k in 0..classes {
                p[k] = row[k] - best;
            }
            *largest = best;
        }
        for v in &mut *p {
            *v = math::exp(*v);
        }
        for (p, sum) in p.chunks_exact_mut(classes).zip(&mut ln) {
            *sum = 0.0;
            for e in &*p {
                *sum += *e;
            }
            for v in p {
                *v /= *sum;
            }
        }
        for v in &mut ln {
            *v = math::ln(*v);
        }
        for (i, (row, label)) in logits.chunks_exact(classes).zip(labels).enumerate() {
            let of_label = -((row[*label as usize] - largest[i]) - ln[i]);
            losses[i] = of_label;
            if smoothing != 0.0 {
                let mut all = 0.0;
                for l in row {
                    all += -((l - largest[i]) - ln[i]);
                }
                losses[i] = (1.0 - smoothing) * of_label + smoothing / classes as f32 * all;
            }
        }
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
    let to = Gradient {
        to: dlogits,
        how: Accumulate::Add,
    };
    gradient(path, classes, probabilities, labels, smoothing, dloss, to);
}

/// [`backward`], also into a buffer that holds nothing yet.
///
/// # Panics
/// Lengths that disagree; a label that is no class.
pub fn gradient(
    path: Path,
    classes: usize,
    probabilities: &[f32],
    labels: &[u32],
    smoothing: f32,
    dloss: f32,
    dlogits: Gradient<'_>,
) {
    let rows = labels.len();
    assert!(
        probabilities.len() == rows * classes && dlogits.to.len() == probabilities.len(),
        "cross-entropy: lengths"
    );
    let scale = dloss / rows as f32;
    let first = dlogits.how == Accumulate::First;
    let piece = rows_per_piece(rows, 4 * classes);
    parallel::chunks(dlogits.to, piece * classes, true, |i, d| {
        let p = &probabilities[i * piece * classes..][..d.len()];
        let labels = &labels[i * piece..][..d.len() / classes];
        row_gradients(path, classes, p, labels, smoothing, scale, first, d);
    });
}

kernel! {
    fn row_gradients<F>(classes: usize, p: &[f32], labels: &[u32], smoothing: f32, scale: f32, first: bool, d: &mut [f32]) {
        let elsewhere = smoothing / classes as f32;
        let there = elsewhere + (1.0 - smoothing);
        for ((p, d), label) in p.chunks_exact(classes).zip(d.chunks_exact_mut(classes)).zip(labels) {
            let at_label = if first { 0.0 } else { d[*label as usize] };
            for k in 0..classes {
                d[k] = if first { 0.0 } else { d[k] } + (p[k] - elsewhere) * scale;
            }
            d[*label as usize] = at_label + (p[*label as usize] - there) * scale;
        }
    }
}

/// Rows whose largest logit is at the label; of equal ones the first counts, and a row with a NaN
/// is wrong.
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
