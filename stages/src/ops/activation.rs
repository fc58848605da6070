//! Elementwise ops: activations, dropout, sum.

use dfdx::prelude::{Cpu, Merge, Tape};

use super::slots::record;
use super::{Activation, Backend, Gelu, Matrix};
use repro_numerics::exact::rng::Stream;

/// `activation(x)`, in the memory of `x` if nobody else reads it. Layers take their activation with
/// them: this is for those that cannot.
///
/// # Errors
/// The device's.
pub fn activate<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    which: Activation,
) -> Result<Matrix<D, T>, D::Err> {
    if which == Activation::Identity {
        return Ok(x);
    }
    let (x, mut tape) = x.split_tape();
    let (device, pool, shape) = (x.device().clone(), x.pool().clone(), x.shape());
    let (x_slot, len) = (x.slot().clone(), x.len());
    let y = match x.into_unshared() {
        Ok(mut y) => {
            device.activation_in_place(which, &mut y)?;
            y
        }
        Err(x) => {
            let mut y = device.values(&pool, len)?;
            device.activation_forward(which, x.values(), &mut y)?;
            y
        }
    };
    let y = Matrix::new(&device, &pool, shape, y);
    if T::OWNS_TAPE {
        let kept = y.clone();
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(kept.slot(), len)?;
            device.activation_backward(which, Some(kept.values()), &mut dy)?;
            slots.add(&x_slot, len, dy)
        });
    }
    Ok(y.put_tape(tape))
}

/// `max(x, 0)`; NaN stays NaN; the derivative at 0 is 0.
///
/// # Errors
/// The device's.
pub fn relu<D: Backend, T: Tape<f32, Cpu>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Relu)
}

/// Hyperbolic tangent.
///
/// # Errors
/// The device's.
pub fn tanh<D: Backend, T: Tape<f32, Cpu>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Tanh)
}

/// `1 / (1 + e^-x)`.
///
/// # Errors
/// The device's.
pub fn sigmoid<D: Backend, T: Tape<f32, Cpu>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
    activate(x, Activation::Sigmoid)
}

/// GELU, in either of its forms.
///
/// # Errors
/// The device's.
pub fn gelu<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    which: Gelu,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let mut y = x.device().values(x.pool(), x.len())?;
    x.device().gelu_forward(which, x.values(), &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), x.shape(), y);
    if T::OWNS_TAPE {
        let y_slot = y.slot().clone();
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, x.len())?;
            device.gelu_backward(which, x.values(), &mut dy)?;
            slots.add(x.slot(), x.len(), dy)
        });
    }
    Ok(y.put_tape(tape))
}

/// Zeroes each element with probability `rate` (0 ≤ rate < 1), scales the rest by `1/(1 - rate)`.
/// Element `i` of the batch takes draw `i` of the stream, so give every layer and step a stream of
/// its own. At evaluation leave it out.
///
/// # Errors
/// The device's.
///
/// # Panics
/// A rate outside `[0, 1)`.
pub fn dropout<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    rate: f32,
    stream: &Stream,
) -> Result<Matrix<D, T>, D::Err> {
    assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
    let (x, mut tape) = x.split_tape();
    let (device, pool, len) = (x.device().clone(), x.pool().clone(), x.len());
    let mut y = device.values(&pool, len)?;
    device.dropout_forward(rate, stream, x.values(), &mut y)?;
    let y = Matrix::new(&device, &pool, x.shape(), y);
    if T::OWNS_TAPE {
        let (x, y_slot, stream) = (x.slot().clone(), y.slot().clone(), stream.clone());
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, len)?;
            device.dropout_backward(rate, &stream, &mut dy)?;
            slots.add(&x, len, dy)
        });
    }
    Ok(y.put_tape(tape))
}

/// `activation(a + b)`, elementwise: the end of a residual block. Branch a matrix with
/// [`Matrix::branch`]; both tapes are merged here. `a` and `b` may be one matrix.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Shapes that differ.
pub fn add<D: Backend, T: Tape<f32, Cpu> + Merge<R>, R: Tape<f32, Cpu>>(
    a: Matrix<D, T>,
    b: Matrix<D, R>,
    activation: Activation,
) -> Result<Matrix<D, T>, D::Err> {
    let ((a, tape_a), (b, tape_b)) = (a.split_tape(), b.split_tape());
    assert_eq!(a.shape(), b.shape(), "add: shapes");
    let mut tape = tape_a.merge(tape_b);
    let (device, pool, len) = (a.device().clone(), a.pool().clone(), a.len());
    let mut y = device.values(&pool, len)?;
    device.add_forward(a.values(), b.values(), activation, &mut y)?;
    let y = Matrix::new(&device, &pool, a.shape(), y);
    if T::OWNS_TAPE {
        let (a, b, y_slot) = (a.slot().clone(), b.slot().clone(), y.slot().clone());
        let kept = (activation != Activation::Identity).then(|| y.clone());
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, len)?;
            let kept = kept.as_ref().map(Matrix::values);
            device.activation_backward(activation, kept, &mut dy)?;
            slots.add_copy(&a, len, &dy)?;
            slots.add(&b, len, dy)
        });
    }
    Ok(y.put_tape(tape))
}
