//! A layer of long short-term memory over the rows of images (Hochreiter & Schmidhuber 1997, with
//! the forget gate of Gers, Schmidhuber & Cummins 2000), with dense layers' kernels. For the rows
//! `t` from the top, from `h[-1] = c[-1] = 0`, with `s` the logistic function:
//!
//! ```text
//! i = s(x[t]·w_i + b_i + h[t-1]·u_i)     f, o likewise
//! g = tanh(x[t]·w_g + b_g + h[t-1]·u_g)
//! c[t] = f·c[t-1] + i·g                  two products and a sum, each rounded; i·g in the first step
//! h[t] = o·tanh(c[t])
//! ```
//!
//! The output is the last `h`. Images lie in rows of a batch, all else by time:
//! `[steps][n][units]`.

use super::activation::Activation;
use super::dense;
use super::elementwise;
use super::layer::{Accumulate, Gradient};
use super::path::Path;
use super::recurrent::{by_time, from_time};
use super::scratch;
use crate::shape::RecurrentShape;

/// The gates in the order of parameters and states: input, forget, cell, output.
pub const GATES: usize = 4;

/// Blocks of `[steps][n][units]` that a pass forward leaves: the gates, `c`, `tanh(c)`, `h`.
pub const BLOCKS: usize = GATES + 3;

/// The function of each gate.
pub const FUNCTIONS: [Activation; GATES] = [
    Activation::Sigmoid,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Sigmoid,
];

/// The parameters of a gate: `[inputs, units]`, `[units]` and `[units, units]`.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    /// Of the row.
    pub w: &'a [f32],
    /// Of the sum.
    pub b: &'a [f32],
    /// Of the earlier output.
    pub u: &'a [f32],
}

/// Everything of all steps, and the last `h`. The sum of a gate is, as in the Elman layer, the
/// row's part from `b`, then from the second step on plus the earlier output's part from 0.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    shape: &RecurrentShape,
    x: &[f32],
    gates: [Gate<'_>; GATES],
    states: &mut [f32],
    y: &mut [f32],
) {
    let (inputs, units) = (shape.inputs(), shape.units());
    let block = x.len() / shape.features() * units;
    let all = shape.steps() * block;
    assert!(
        states.len() == BLOCKS * all && y.len() == block,
        "lstm forward: lengths"
    );
    let none = Activation::Identity;
    let (of_gates, rest) = states.split_at_mut(GATES * all);
    scratch::with(x.len(), |rows| {
        by_time(shape, x, rows);
        for (gate, sums) in gates.iter().zip(of_gates.chunks_exact_mut(all)) {
            dense::layer_forward(path, inputs, units, rows, gate.w, Some(gate.b), none, sums);
        }
    });
    let (cells, rest) = rest.split_at_mut(all);
    let (squashed, hidden) = rest.split_at_mut(all);
    scratch::with(block, |part| {
        for t in 0..shape.steps() {
            let here = t * block..(t + 1) * block;
            for (g, (gate, sums)) in gates.iter().zip(of_gates.chunks_exact_mut(all)).enumerate() {
                let sum = &mut sums[here.clone()];
                if t > 0 {
                    let earlier = &hidden[here.start - block..here.start];
                    dense::layer_forward(path, units, units, earlier, gate.u, None, none, part);
                    elementwise::add_into(path, part, sum);
                }
                FUNCTIONS[g].apply(path, sum);
            }
            let [input, forget, cell, output] = of_step(of_gates, all, t, block);
            let (before, now) = cells.split_at_mut(here.start);
            let now = &mut now[..block];
            for (k, c) in now.iter_mut().enumerate() {
                let fresh = input[k] * cell[k];
                *c = match t {
                    0 => fresh,
                    _ => forget[k] * before[here.start - block + k] + fresh,
                };
            }
            let squashed = &mut squashed[here.clone()];
            Activation::Tanh.forward(path, now, squashed);
            for (k, h) in hidden[here].iter_mut().enumerate() {
                *h = output[k] * squashed[k];
            }
        }
    });
    elementwise::copy(&hidden[all - block..], y);
}

/// The gates at a step.
fn of_step(gates: &[f32], all: usize, t: usize, block: usize) -> [&[f32]; GATES] {
    std::array::from_fn(|g| &gates[g * all + t * block..][..block])
}

/// Where the gradients of a gate's parameters go.
#[derive(Debug)]
pub struct GateGradients<'a> {
    /// Of [`Gate::w`].
    pub dw: Gradient<'a>,
    /// Of [`Gate::b`].
    pub db: Gradient<'a>,
    /// Of [`Gate::u`].
    pub du: Gradient<'a>,
}

/// What the gradients are made from, and where they go.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The images.
    pub x: &'a [f32],
    /// As in the forward pass.
    pub gates: [Gate<'a>; GATES],
    /// As the forward pass wrote them.
    pub states: &'a [f32],
    /// Gradient of the output.
    pub dy: &'a [f32],
    /// Of the parameters.
    pub to: [GateGradients<'a>; GATES],
    /// Of the images, where somebody needs it.
    pub dx: Option<Gradient<'a>>,
}

/// Back through time, from the last step to the first, with `dh` and `dc` from the step after it:
///
/// ```text
/// dc += dh·o·(1 - tanh(c)²)              by tanh's gradient of dh·o, then the sum
/// do = dh·tanh(c), di = dc·g, dg = dc·i, df = dc·c[t-1] (0 in the first step)
/// sums: each by its function's gradient
/// dc[t-1] = dc·f,  dh[t-1] = Σ dsum·uᵀ   in the order of the gates, from 0
/// ```
///
/// Gradients of weights and biases are dense layers' over all rows of all steps, ordered by time,
/// then by image; that of the images is the sum over the gates in their order.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, shape: &RecurrentShape, from: Backward<'_>) {
    let (steps, inputs, units) = (shape.steps(), shape.inputs(), shape.units());
    let block = from.x.len() / shape.features() * units;
    let all = steps * block;
    assert!(
        from.states.len() == BLOCKS * all && from.dy.len() == block,
        "lstm backward: lengths"
    );
    let (of_gates, rest) = from.states.split_at(GATES * all);
    let (cells, rest) = rest.split_at(all);
    let (squashed, hidden) = rest.split_at(all);
    scratch::with((GATES * steps + 3) * block, |scratch| {
        let (sums, rest) = scratch.split_at_mut(GATES * all);
        let (dh, rest) = rest.split_at_mut(block);
        let (dc, through) = rest.split_at_mut(block);
        elementwise::copy(from.dy, dh);
        dc.fill(0.0);
        for t in (0..steps).rev() {
            let here = t * block..(t + 1) * block;
            let [input, forget, cell, output] = of_step(of_gates, all, t, block);
            let squashed = &squashed[here.clone()];
            for (k, through) in through.iter_mut().enumerate() {
                *through = dh[k] * output[k];
            }
            Activation::Tanh.unapply(path, squashed, through);
            for (dc, through) in dc.iter_mut().zip(&*through) {
                *dc += through;
            }
            let before = |k: usize| match t {
                0 => 0.0,
                _ => cells[here.start - block + k],
            };
            for k in 0..block {
                let at = here.start + k;
                sums[at] = dc[k] * cell[k];
                sums[all + at] = dc[k] * before(k);
                sums[2 * all + at] = dc[k] * input[k];
                sums[3 * all + at] = dh[k] * squashed[k];
                dc[k] *= forget[k];
            }
            for (g, values) in [input, forget, cell, output].into_iter().enumerate() {
                let sum = &mut sums[g * all + here.start..][..block];
                FUNCTIONS[g].unapply(path, values, sum);
                if t > 0 {
                    let how = [Accumulate::First, Accumulate::Add][usize::from(g > 0)];
                    dense::input_gradient_to(path, units, units, from.gates[g].u, sum, dh, how);
                }
            }
        }
        scratch::with(2 * from.x.len(), |images| {
            let (rows, slopes) = images.split_at_mut(from.x.len());
            by_time(shape, from.x, rows);
            let earlier = &hidden[..all - block];
            for (g, (to, sums)) in from.to.into_iter().zip(sums.chunks_exact(all)).enumerate() {
                let (dw, db, du) = (to.dw, to.db, to.du);
                dense::weight_gradient_to(path, inputs, units, rows, sums, dw.to, dw.how);
                dense::bias_gradient_to(path, sums, db.to, db.how);
                let later = &sums[block..];
                dense::weight_gradient_to(path, units, units, earlier, later, du.to, du.how);
                if from.dx.is_some() {
                    let how = [Accumulate::First, Accumulate::Add][usize::from(g > 0)];
                    let w = from.gates[g].w;
                    dense::input_gradient_to(path, inputs, units, w, sums, slopes, how);
                }
            }
            if let Some(dx) = from.dx {
                from_time(path, shape, slopes, dx);
            }
        });
    });
}
