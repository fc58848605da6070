//! Group norm (Wu & He 2018) and layer norm (Ba et al. 2016): as [`super::norm`], but of every
//! image by itself, so that training and evaluation are the same.

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{Backend, GroupNormBackward, GroupNormShape, Matrix, Param};

/// Normalises each group of channels of each image, then scales by `gamma` and shifts by `beta`, a
/// number per channel. The variance gets 1e-5 added, as in PyTorch. Layer norm is
/// [`GroupNormShape::layer`].
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn group_norm<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    shape: GroupNormShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("group_norm", &x, shape.features());
    super::assert_len("group_norm: gamma", gamma, shape.channels());
    super::assert_len("group_norm: beta", beta, shape.channels());
    let (device, pool) = (x.device(), x.pool());
    let mut mean = device.values(pool, n * shape.groups())?;
    let mut inverse_deviation = device.values(pool, n * shape.groups())?;
    let mut y = device.values(pool, x.len())?;
    device.group_norm_forward(
        shape,
        x.values(),
        gamma.values(),
        beta.values(),
        &mut mean,
        &mut inverse_deviation,
        &mut y,
    )?;
    let y = Matrix::new(device, pool, x.shape(), y);
    if T::OWNS_TAPE {
        let (gamma, beta, y_slot) = (gamma.clone(), beta.clone(), y.slot().clone());
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, x.len())?;
            let mut dgamma = slots.open_param(&gamma)?;
            let mut dbeta = slots.open_param(&beta)?;
            let from = GroupNormBackward {
                x: x.values(),
                mean: &mean,
                inverse_deviation: &inverse_deviation,
                gamma: gamma.values(),
                dy: &mut dy,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            device.group_norm_backward(shape, from)?;
            slots.add(x.slot(), x.len(), dy)?;
            slots.close(gamma.slot(), dgamma)?;
            slots.close(beta.slot(), dbeta)
        });
    }
    Ok(y.put_tape(tape))
}
