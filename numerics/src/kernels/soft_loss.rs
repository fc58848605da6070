//! Softmax cross-entropy against a distribution per row: PyTorch's `CrossEntropyLoss` with class
//! probabilities.

use super::layer::{Accumulate, Gradient};
use super::parallel;
use super::path::{Path, kernel};
use super::scratch;
use super::shard::rows_per_piece;
use crate::exact::math;

/// Writes the softmax of every row, returns the mean cross-entropy in nats.
///
/// `p_k` and `log p_k` are those of [`super::loss::forward`]. A row's loss is a chain `fma(t_k,
/// -log p_k, ·)` from 0 over the classes, so that a target of 0 against a probability of 0 is NaN,
/// as in PyTorch. Row losses are added in order from 0 and divided by their number; without rows
/// the mean is NaN.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    classes: usize,
    logits: &[f32],
    targets: &[f32],
    probabilities: &mut [f32],
) -> f32 {
    assert!(
        logits.len().is_multiple_of(classes)
            && targets.len() == logits.len()
            && probabilities.len() == logits.len(),
        "soft cross-entropy: lengths"
    );
    let rows = logits.len() / classes;
    let piece = rows_per_piece(rows, 32 * classes);
    scratch::with(rows, |losses| {
        let all = (probabilities, piece * classes);
        parallel::chunks_of_two(all, (&mut *losses, piece), |i, p, losses| {
            let here = i * piece * classes..i * piece * classes + p.len();
            let (logits, targets) = (&logits[here.clone()], &targets[here]);
            row_losses(path, classes, logits, targets, p, losses);
        });
        let mut sum = 0.0;
        for loss in &*losses {
            sum += loss;
        }
        sum / rows as f32
    })
}

kernel! {
    fn row_losses<F>(classes: usize, logits: &[f32], targets: &[f32], probabilities: &mut [f32], losses: &mut [f32]) {
        let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
        for ((row, t), (p, loss)) in rows.zip(probabilities.chunks_exact_mut(classes).zip(losses)) {
            let mut largest = row[0];
            for &l in row {
                largest = if l > largest || l.is_nan() { l } else { largest };
            }
            for k in 0..classes {
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
            *loss = 0.0;
            for k in 0..classes {
                *loss = F::fma(t[k], -((row[k] - largest) - ln), *loss);
            }
        }
    }
}

/// The gradient of the logits: `(p_k·s - t_k)·(dloss / rows)` with `s = Σ t_k`, additions in order
/// from 0.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(
    path: Path,
    classes: usize,
    probabilities: &[f32],
    targets: &[f32],
    dloss: f32,
    dlogits: Gradient<'_>,
) {
    assert!(
        probabilities.len().is_multiple_of(classes)
            && targets.len() == probabilities.len()
            && dlogits.to.len() == probabilities.len(),
        "soft cross-entropy: lengths"
    );
    let rows = probabilities.len() / classes;
    let (scale, add) = (dloss / rows as f32, dlogits.how == Accumulate::Add);
    let piece = rows_per_piece(rows, 4 * classes) * classes;
    parallel::chunks(dlogits.to, piece, true, |i, d| {
        let here = i * piece..i * piece + d.len();
        let (p, t) = (&probabilities[here.clone()], &targets[here]);
        row_gradients(path, classes, p, t, scale, add, d);
    });
}

kernel! {
    fn row_gradients<F>(classes: usize, p: &[f32], t: &[f32], scale: f32, add: bool, d: &mut [f32]) {
        let rows = p.chunks_exact(classes).zip(t.chunks_exact(classes));
        for ((p, t), d) in rows.zip(d.chunks_exact_mut(classes)) {
            let mut sum = 0.0;
            for t in t {
                sum += *t;
            }
            for k in 0..classes {
                let before = if add { d[k] } else { 0.0 };
                d[k] = before + (p[k] * sum - t[k]) * scale;
            }
        }
    }
}
