//! Pooling.

use dfdx::prelude::{PutTape, SplitTape, Tape};

use super::tape::buffers;
use super::{Backend, Image, Matrix, PoolShape};

/// The largest value of each window; the first one in row order wins a tie, and a NaN wins over all.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn max_pool2d<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    shape: PoolShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("max_pool2d", &x, shape.input().features());
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(&(n, shape.output().features()))?;
    device.max_pool_forward(shape, &x, &mut y)?;
    if T::OWNS_TAPE {
        let y = y.ghost();
        tape.add_backward_op(move |g| {
            buffers!(g; dy = y, dx = x);
            device.max_pool_backward(shape, &x, dy, dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// The mean of each window.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn avg_pool2d<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    shape: PoolShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("avg_pool2d", &x, shape.input().features());
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(&(n, shape.output().features()))?;
    device.avg_pool_forward(shape, &x, &mut y)?;
    if T::OWNS_TAPE {
        let (x, y) = (x.ghost(), y.ghost());
        tape.add_backward_op(move |g| {
            buffers!(g; dy = y, dx = x);
            device.avg_pool_backward(shape, dy, dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// The mean over all positions: `[n, height·width·channels]` to `[n, channels]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `image`, or an image without positions.
pub fn global_avg_pool<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    image: Image,
) -> Result<Matrix<D, T>, D::Err> {
    let shape =
        PoolShape::global(image).unwrap_or_else(|e| panic!("global_avg_pool of {image}: {e}"));
    avg_pool2d(x, shape)
}
