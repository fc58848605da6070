//! Two-dimensional convolution.

use dfdx::prelude::{PutTape, SplitTape, Tape};

use super::tape::{buffers, layer_buffers};
use super::{Backend, ConvShape, InputGradient, Matrix, Param};

/// Convolves images; `w` is laid out `[kernel_h, kernel_w, channels, outputs]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn conv2d<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    shape: ConvShape,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("conv2d", &x, shape.input().features());
    super::assert_len("conv2d: weight", w, shape.weights());
    if let Some(b) = b {
        super::assert_len("conv2d: bias", b, shape.output().channels);
    }
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(&(n, shape.output().features()))?;
    device.conv2d_forward(shape, &x, w, b, &mut y)?;
    if T::OWNS_TAPE {
        let (w, b, y) = (w.clone(), b.cloned(), y.ghost());
        tape.add_backward_op(
            move |g| layer_buffers!(g; y, x, w, b, input => |dy, to| device.conv2d_backward(shape, &x, &w, dy, to)),
        );
    }
    Ok(y.put_tape(tape))
}
