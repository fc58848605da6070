//! The dense (fully connected) layer.

use dfdx::prelude::{PutTape, SplitTape, Tape};

use super::tape::{buffers, layer_buffers};
use super::{Backend, DenseShape, InputGradient, Matrix, Param};

/// `x·w + b`: `[n, inputs]` to `[n, outputs]`; `w` is laid out `[inputs, outputs]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn dense<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: DenseShape,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("dense", &x, shape.inputs());
    super::assert_len("dense: weight", w, shape.weights());
    if let Some(b) = b {
        super::assert_len("dense: bias", b, shape.outputs());
    }
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(&(n, shape.outputs()))?;
    device.dense_forward(shape, &x, w, b, &mut y)?;
    if T::OWNS_TAPE {
        let (w, b, y) = (w.clone(), b.cloned(), y.ghost());
        tape.add_backward_op(
            move |g| layer_buffers!(g; y, x, w, b, input => |dy, to| device.dense_backward(shape, &x, &w, dy, to)),
        );
    }
    Ok(y.put_tape(tape))
}
