//! Two-dimensional convolution.

use dfdx::prelude::{Cpu, Tape};

use super::layer::{Sizes, layer};
use super::{Activation, Backend, ConvShape, InputGradient, Matrix, Param};

/// Convolves images, adds the bias, applies the activation; `w` is laid out `[kernel_h, kernel_w,
/// channels, outputs]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn conv2d<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: ConvShape,
    activation: Activation,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let sizes = Sizes {
        inputs: shape.input().features(),
        weights: shape.weights(),
        channels: shape.output().channels,
        outputs: shape.output().features(),
    };
    layer(
        "conv2d",
        sizes,
        x,
        w,
        b,
        activation,
        input,
        |device, x, y| {
            device.conv2d_forward(shape, x, w.values(), b.map(Param::values), activation, y)
        },
        move |device, from| device.conv2d_backward(shape, from),
    )
}
