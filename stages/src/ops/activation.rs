//! Elementwise ops: activations, dropout, sum.

use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};

use super::tape::buffers;
use super::{Activation, Backend, Matrix};
use crate::exact::rng::Stream;

fn activate<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    which: Activation,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(x.shape())?;
    device.activation_forward(which, &x, &mut y)?;
    if T::OWNS_TAPE {
        let (x, y) = (x.ghost(), y.clone());
        tape.add_backward_op(move |g| {
            buffers!(g; dy = y, dx = x);
            device.activation_backward(which, &y, dy, dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// `max(x, 0)`; NaN stays NaN; the derivative at 0 is 0.
///
/// # Errors
/// The device's.
pub fn relu<D: Backend, T: Tape<f32, D>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Relu)
}

/// Hyperbolic tangent.
///
/// # Errors
/// The device's.
pub fn tanh<D: Backend, T: Tape<f32, D>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Tanh)
}

/// `1 / (1 + e^-x)`.
///
/// # Errors
/// The device's.
pub fn sigmoid<D: Backend, T: Tape<f32, D>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Sigmoid)
}

/// Zeroes each element with probability `rate` (0 ≤ rate < 1), scales the rest by `1/(1 - rate)`. Element `i` of the
/// batch takes draw `i` of the stream, so give every layer and step a stream of its own. At evaluation leave it out.
///
/// # Errors
/// The device's.
///
/// # Panics
/// A rate outside `[0, 1)`.
pub fn dropout<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    rate: f32,
    stream: &Stream,
) -> Result<Matrix<D, T>, D::Err> {
    assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(x.shape())?;
    device.dropout_forward(rate, stream, &x, &mut y)?;
    if T::OWNS_TAPE {
        let (x, y, stream) = (x.ghost(), y.ghost(), stream.clone());
        tape.add_backward_op(move |g| {
            buffers!(g; dy = y, dx = x);
            device.dropout_backward(rate, &stream, dy, dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// `a + b`, elementwise: the end of a residual block. Branch a tensor with
/// [`dfdx::prelude::WithEmptyTape::with_empty_tape`]; both tapes are merged here. `a` and `b` may be one tensor.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Shapes that differ.
pub fn add<D: Backend, T: Tape<f32, D> + Merge<R>, R: Tape<f32, D>>(
    a: Matrix<D, T>,
    b: Matrix<D, R>,
) -> Result<Matrix<D, T>, D::Err> {
    let ((a, tape_a), (b, tape_b)) = (a.split_tape(), b.split_tape());
    assert_eq!(a.shape(), b.shape(), "add: shapes");
    let mut tape = tape_a.merge(tape_b);
    let device = a.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(a.shape())?;
    device.add_forward(&a, &b, &mut y)?;
    if T::OWNS_TAPE {
        let (a, b, y) = (a.ghost(), b.ghost(), y.ghost());
        tape.add_backward_op(move |g| {
            {
                buffers!(g; dy = y, da = a);
                device.accumulate(dy, da)?;
            }
            buffers!(g; dy = y, db = b);
            device.accumulate(dy, db)
        });
    }
    Ok(y.put_tape(tape))
}
