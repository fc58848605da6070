//! An Elman layer over the rows of images (Elman 1990), with dense layers' kernels:
//! `h[t] = tanh(x[t]·w_in + b + h[t-1]·w_rec)` for the rows `t` from the top, `h[-1] = 0`; the
//! output is the last state. Weights are laid out `[inputs, units]` and `[units, units]`.
//!
//! Images lie in rows of a batch, states by time: `[steps][n][units]`, so that the states of a step
//! are the rows of a matrix.

use super::activation::Activation;
use super::dense;
use super::elementwise;
use super::layer::{Accumulate, Gradient};
use super::path::Path;
use super::scratch;
use crate::shape::RecurrentShape;

/// Copies images `[n][steps][inputs]` to `[steps][n][inputs]`.
pub(super) fn by_time(shape: &RecurrentShape, x: &[f32], to: &mut [f32]) {
    let (n, inputs) = (x.len() / shape.features(), shape.inputs());
    for (t, rows) in to.chunks_exact_mut((n * inputs).max(1)).enumerate() {
        for (image, row) in x
            .chunks_exact(shape.features())
            .zip(rows.chunks_exact_mut(inputs))
        {
            row.copy_from_slice(&image[t * inputs..][..inputs]);
        }
    }
}

/// The states of all steps, and the last ones as the output. Per element of a state: the input's
/// part as [`dense::layer_forward`] computes it, from `b`; from the second step on plus the part of
/// the earlier state, computed in the same way from 0; then tanh.
///
/// # Panics
/// Lengths that disagree.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    path: Path,
    shape: &RecurrentShape,
    x: &[f32],
    w_in: &[f32],
    b: &[f32],
    w_rec: &[f32],
    states: &mut [f32],
    y: &mut [f32],
) {
    let (inputs, units) = (shape.inputs(), shape.units());
    let n = x.len() / shape.features();
    let block = n * units;
    assert!(
        states.len() == shape.steps() * block && y.len() == block,
        "recurrent forward: lengths"
    );
    let none = Activation::Identity;
    scratch::with(x.len(), |rows| {
        by_time(shape, x, rows);
        dense::layer_forward(path, inputs, units, rows, w_in, Some(b), none, states);
    });
    scratch::with(block, |part| {
        for t in 0..shape.steps() {
            let (earlier, states) = states.split_at_mut(t * block);
            let state = &mut states[..block];
            if t > 0 {
                let earlier = &earlier[(t - 1) * block..];
                dense::layer_forward(path, units, units, earlier, w_rec, None, none, part);
                elementwise::add_into(path, part, state);
            }
            Activation::Tanh.apply(path, state);
        }
    });
    elementwise::copy(&states[(shape.steps() - 1) * block..], y);
}

/// What the gradients are made from, and where they go.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The images.
    pub x: &'a [f32],
    /// As in the forward pass.
    pub w_in: &'a [f32],
    /// As in the forward pass.
    pub w_rec: &'a [f32],
    /// As the forward pass wrote them.
    pub states: &'a [f32],
    /// Gradient of the output.
    pub dy: &'a [f32],
    /// Of the weight of the input.
    pub dw_in: Gradient<'a>,
    /// Of the bias.
    pub db: Gradient<'a>,
    /// Of the weight of the earlier state.
    pub dw_rec: Gradient<'a>,
    /// Of the images, where somebody needs it.
    pub dx: Option<Gradient<'a>>,
}

/// Back through time: from the last step to the first, the gradient of the sums is that of the
/// state times tanh's derivative, and that of the earlier state is dense layers' input gradient of
/// it. Weights and bias are dense layers' gradients over all rows of all steps, ordered by time,
/// then by image; the first step has no part in `dw_rec`.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, shape: &RecurrentShape, from: Backward<'_>) {
    let (steps, inputs, units) = (shape.steps(), shape.inputs(), shape.units());
    let n = from.x.len() / shape.features();
    let block = n * units;
    assert!(
        from.states.len() == steps * block && from.dy.len() == block,
        "recurrent backward: lengths"
    );
    scratch::with(steps * block, |sums| {
        elementwise::copy(from.dy, &mut sums[(steps - 1) * block..]);
        for t in (0..steps).rev() {
            let (earlier, here) = sums.split_at_mut(t * block);
            let here = &mut here[..block];
            Activation::Tanh.unapply(path, &from.states[t * block..][..block], here);
            if t > 0 {
                let earlier = &mut earlier[(t - 1) * block..];
                dense::input_gradient_to(
                    path,
                    units,
                    units,
                    from.w_rec,
                    here,
                    earlier,
                    Accumulate::First,
                );
            }
        }
        let dw_rec = from.dw_rec;
        dense::weight_gradient_to(
            path,
            units,
            units,
            &from.states[..(steps - 1) * block],
            &sums[block..],
            dw_rec.to,
            dw_rec.how,
        );
        dense::bias_gradient_to(path, sums, from.db.to, from.db.how);
        scratch::with(from.x.len(), |rows| {
            by_time(shape, from.x, rows);
            let dw_in = from.dw_in;
            dense::weight_gradient_to(path, inputs, units, rows, sums, dw_in.to, dw_in.how);
            if let Some(dx) = from.dx {
                // The rows are used up.
                let first = Accumulate::First;
                dense::input_gradient_to(path, inputs, units, from.w_in, sums, rows, first);
                from_time(path, shape, rows, dx);
            }
        });
    });
}

/// Adds what lies by time to images.
pub(super) fn from_time(path: Path, shape: &RecurrentShape, from: &[f32], mut dx: Gradient<'_>) {
    let dx = dx.zeroed();
    let (n, inputs) = (dx.len() / shape.features(), shape.inputs());
    for (t, rows) in from.chunks_exact((n * inputs).max(1)).enumerate() {
        for (image, row) in dx
            .chunks_exact_mut(shape.features())
            .zip(rows.chunks_exact(inputs))
        {
            elementwise::add_piece(path, row, &mut image[t * inputs..][..inputs]);
        }
    }
}
