//! The dense (fully connected) layer.

use dfdx::prelude::Tape;

use super::{Activation, Backend, DenseShape, InputGradient, Matrix, Param, layer};

/// `activation(x·w + b)`: `[n, inputs]` to `[n, outputs]`; `w` is laid out `[inputs, outputs]`.
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
    activation: Activation,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("dense", &x, shape.inputs());
    super::assert_len("dense: weight", w, shape.weights());
    if let Some(b) = b {
        super::assert_len("dense: bias", b, shape.outputs());
    }
    let mut y = x.device().values(x.pool(), n * shape.outputs())?;
    x.device()
        .dense_forward(shape, x.values(), w, b, activation, &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), (n, shape.outputs()), y)?;
    layer::record(
        &mut tape,
        x,
        w,
        b,
        activation,
        input,
        &y,
        move |device, from| device.dense_backward(shape, from),
    );
    Ok(y.put_tape(tape))
}
