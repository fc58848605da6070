//! Mean squared error of several numbers per row: PyTorch's `MSELoss`.

use super::layer::{Accumulate, Gradient};
use super::parallel;
use super::path::{Path, kernel};
use super::scratch;
use super::shard::rows_per_piece;

/// The mean over rows and targets of `(y - t)²`.
///
/// A row's error is a chain `fma(d_k, d_k, ·)` from 0 over its targets in order, with `d_k = y_k -
/// t_k` rounded. Row errors are added in order from 0, and their sum is divided by the number of
/// rows times targets, rounded to f32; without rows the mean is NaN.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(path: Path, width: usize, outputs: &[f32], targets: &[f32]) -> f32 {
    assert!(
        outputs.len().is_multiple_of(width) && targets.len() == outputs.len(),
        "squared error: lengths"
    );
    let rows = outputs.len() / width;
    let piece = rows_per_piece(rows, 2 * width);
    scratch::with(rows, |errors| {
        parallel::chunks(&mut *errors, piece, true, |i, errors| {
            let here = i * piece * width..(i * piece + errors.len()) * width;
            let (outputs, targets) = (&outputs[here.clone()], &targets[here]);
            row_errors(path, width, outputs, targets, errors);
        });
        let mut sum = 0.0;
        for error in &*errors {
            sum += error;
        }
        sum / (rows * width) as f32
    })
}

kernel! {
    fn row_errors<F>(width: usize, outputs: &[f32], targets: &[f32], errors: &mut [f32]) {
        let rows = outputs.chunks_exact(width).zip(targets.chunks_exact(width));
        for ((y, t), error) in rows.zip(errors) {
            *error = 0.0;
            for k in 0..width {
                let d = y[k] - t[k];
                *error = F::fma(d, d, *error);
            }
        }
    }
}

/// The gradient of the outputs: `(y_k - t_k)·(2·dloss / (rows·targets))`.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, outputs: &[f32], targets: &[f32], dloss: f32, doutputs: Gradient<'_>) {
    assert!(
        targets.len() == outputs.len() && doutputs.to.len() == outputs.len(),
        "squared error: lengths"
    );
    let (scale, add) = (
        2.0 * dloss / outputs.len() as f32,
        doutputs.how == Accumulate::Add,
    );
    let piece = rows_per_piece(outputs.len(), 2);
    parallel::chunks(doutputs.to, piece, true, |i, d| {
        let here = i * piece..i * piece + d.len();
        let (y, t) = (&outputs[here.clone()], &targets[here]);
        gradients(path, y, t, scale, add, d);
    });
}

kernel! {
    fn gradients<F>(y: &[f32], t: &[f32], scale: f32, add: bool, d: &mut [f32]) {
        for ((y, t), d) in y.iter().zip(t).zip(d) {
            let before = if add { *d } else { 0.0 };
            *d = before + (y - t) * scale;
        }
    }
}

/// `Σ |y - t|` in f64, in order.
///
/// # Panics
/// Lengths that disagree.
pub fn absolute(outputs: &[f32], targets: &[f32]) -> f64 {
    assert_eq!(outputs.len(), targets.len(), "absolute error: lengths");
    let errors = outputs.iter().zip(targets);
    errors.fold(0.0, |sum, (y, t)| {
        sum + (f64::from(*y) - f64::from(*t)).abs()
    })
}
