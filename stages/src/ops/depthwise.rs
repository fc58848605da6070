//! Depthwise convolution.

use dfdx::prelude::{Cpu, Tape};

use super::layer::{Sizes, layer};
use super::{Activation, Backend, DepthwiseShape, InputGradient, Matrix, Param};

/// Convolves every channel of images with a window of its own, adds the bias, applies the
/// activation; `w` is laid out `[kernel_h, kernel_w, channels]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn depthwise_conv2d<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: DepthwiseShape,
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
        "depthwise_conv2d",
        sizes,
        x,
        w,
        b,
        activation,
        input,
        |device, x, y| {
            device.depthwise_forward(shape, x, w.values(), b.map(Param::values), activation, y)
        },
        move |device, from| device.depthwise_backward(shape, from),
    )
}
