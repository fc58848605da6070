//! Depthwise convolution.

use dfdx::prelude::Tape;

use super::{Activation, Backend, DepthwiseShape, InputGradient, Matrix, Param, layer};

/// Convolves every channel of images with a window of its own, adds the bias, applies the activation; `w` is laid out
/// `[kernel_h, kernel_w, channels]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn depthwise_conv2d<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: DepthwiseShape,
    activation: Activation,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("depthwise_conv2d", &x, shape.input().features());
    super::assert_len("depthwise_conv2d: weight", w, shape.weights());
    if let Some(b) = b {
        super::assert_len("depthwise_conv2d: bias", b, shape.output().channels);
    }
    let features = shape.output().features();
    let mut y = x.device().values(x.pool(), n * features)?;
    x.device()
        .depthwise_forward(shape, x.values(), w, b, activation, &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), (n, features), y)?;
    layer::record(
        &mut tape,
        x,
        w,
        b,
        activation,
        input,
        &y,
        move |device, from| device.depthwise_backward(shape, from),
    );
    Ok(y.put_tape(tape))
}
