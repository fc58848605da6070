//! Pooling.

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{Backend, Image, Matrix, PoolShape};

/// The largest value of each window; the first one in row order wins a tie, and a NaN wins over
/// all.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn max_pool2d<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    shape: PoolShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("max_pool2d", &x, shape.input().features());
    let features = shape.output().features();
    let mut y = x.device().values(x.pool(), n * features)?;
    x.device().max_pool_forward(shape, x.values(), &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), (n, features), y);
    if T::OWNS_TAPE {
        let (y_slot, y_len) = (y.slot().clone(), y.len());
        record(&mut tape, &y, move |device, slots| {
            let dy = slots.take(&y_slot, y_len)?;
            let mut dx = slots.open(x.slot(), x.len())?;
            device.max_pool_backward(shape, x.values(), &dy, &mut dx)?;
            slots.close(x.slot(), dx)
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
pub fn avg_pool2d<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    shape: PoolShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("avg_pool2d", &x, shape.input().features());
    let features = shape.output().features();
    let mut y = x.device().values(x.pool(), n * features)?;
    x.device().avg_pool_forward(shape, x.values(), &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), (n, features), y);
    if T::OWNS_TAPE {
        let (x_slot, x_len) = (x.slot().clone(), x.len());
        let (y_slot, y_len) = (y.slot().clone(), y.len());
        record(&mut tape, &y, move |device, slots| {
            let dy = slots.take(&y_slot, y_len)?;
            let mut dx = slots.open(&x_slot, x_len)?;
            device.avg_pool_backward(shape, &dy, &mut dx)?;
            slots.close(&x_slot, dx)
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
pub fn global_avg_pool<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    image: Image,
) -> Result<Matrix<D, T>, D::Err> {
    let shape =
        PoolShape::global(image).unwrap_or_else(|e| panic!("global_avg_pool of {image}: {e}"));
    avg_pool2d(x, shape)
}
