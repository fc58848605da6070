//! The dense (fully connected) layer.

use dfdx::prelude::{Cpu, Tape};

use super::layer::{Sizes, layer};
use super::{Activation, Backend, DenseShape, InputGradient, Matrix, Param};

/// `activation(x·w + b)`: `[n, inputs]` to `[n, outputs]`; `w` is laid out `[inputs, outputs]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn dense<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: DenseShape,
    activation: Activation,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let sizes = Sizes {
        inputs: shape.inputs(),
        weights: shape.weights(),
        channels: shape.outputs(),
        outputs: shape.outputs(),
    };
    layer(
        "dense",
        sizes,
        x,
        w,
        b,
        activation,
        input,
        |device, x, y| {
            device.dense_forward(shape, x, w.values(), b.map(Param::values), activation, y)
        },
        move |device, from| device.dense_backward(shape, from),
    )
}
