//! Batch normalisation (Ioffe & Szegedy 2015), with PyTorch's conventions: biased variance to
//! normalise, unbiased for the running estimate.

use std::sync::Arc;

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{Activation, Backend, Matrix, NormBackward, NormShape, Param};

/// Statistics of one batch.
#[derive(Debug)]
pub struct BatchStats<D: Backend> {
    /// Per channel.
    pub mean: Arc<D::Values>,
    /// Per channel, biased (divided by `count`).
    pub variance: Arc<D::Values>,
    /// Values per channel that went in.
    pub count: usize,
}

impl<D: Backend> BatchStats<D> {
    /// `running = (1 - momentum)·running + momentum·batch`, with the variance scaled by
    /// `count/(count - 1)` as in PyTorch (its momentum is 0.1). A batch of one value per channel
    /// has no variance, and its mean is that value: it moves neither (PyTorch refuses such a
    /// batch).
    ///
    /// # Errors
    /// The device's.
    pub fn update_running(
        &self,
        device: &D,
        momentum: f32,
        running_mean: &mut Param<D>,
        running_variance: &mut Param<D>,
    ) -> Result<(), D::Err> {
        if self.count < 2 {
            return Ok(());
        }
        let unbiased = self.count as f32 / (self.count - 1) as f32;
        let keep = 1.0 - momentum;
        device.scaled_add(momentum, &self.mean, keep, running_mean.values_mut())?;
        let (scale, running) = (momentum * unbiased, running_variance.values_mut());
        device.scaled_add(scale, &self.variance, keep, running)
    }
}

/// Normalises with the statistics of the batch itself, which are returned for the running estimate;
/// gradients flow through them. The activation follows.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
#[expect(
    clippy::type_complexity,
    reason = "the output and its statistics, taken apart where it is called"
)]
pub fn batch_norm_train<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    shape: NormShape,
    activation: Activation,
) -> Result<(Matrix<D, T>, BatchStats<D>), D::Err> {
    let n = super::rows_of("batch_norm", &x, shape.channels * shape.positions);
    let mut mean = x.device().values(x.pool(), shape.channels)?;
    let mut variance = x.device().values(x.pool(), shape.channels)?;
    x.device()
        .channel_stats(shape, x.values(), &mut mean, &mut variance)?;
    let stats = BatchStats {
        mean: Arc::new(mean),
        variance: Arc::new(variance),
        count: n * shape.positions,
    };
    let y = normalize(x, gamma, beta, &stats, shape, activation, true)?;
    Ok((y, stats))
}

/// Normalises with given statistics, which are constants to the gradient. The activation follows.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn batch_norm_eval<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    mean: &Param<D>,
    variance: &Param<D>,
    shape: NormShape,
    activation: Activation,
) -> Result<Matrix<D, T>, D::Err> {
    super::assert_len("batch_norm: mean", mean, shape.channels);
    super::assert_len("batch_norm: variance", variance, shape.channels);
    let stats = BatchStats {
        mean: mean.share(),
        variance: variance.share(),
        count: 0,
    };
    normalize(x, gamma, beta, &stats, shape, activation, false)
}

fn normalize<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    stats: &BatchStats<D>,
    shape: NormShape,
    activation: Activation,
    through_stats: bool,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    super::rows_of("batch_norm", &x, shape.channels * shape.positions);
    super::assert_len("batch_norm: gamma", gamma, shape.channels);
    super::assert_len("batch_norm: beta", beta, shape.channels);
    let (mean, variance) = (Arc::clone(&stats.mean), Arc::clone(&stats.variance));
    let mut y = x.device().values(x.pool(), x.len())?;
    x.device().normalize_forward(
        shape,
        x.values(),
        &mean,
        &variance,
        gamma.values(),
        beta.values(),
        activation,
        &mut y,
    )?;
    let y = Matrix::new(x.device(), x.pool(), x.shape(), y);
    if T::OWNS_TAPE {
        let (gamma, beta, y_slot) = (gamma.clone(), beta.clone(), y.slot().clone());
        let kept = (activation != Activation::Identity).then(|| y.clone());
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, x.len())?;
            let mut dgamma = slots.open_param(&gamma)?;
            let mut dbeta = slots.open_param(&beta)?;
            let from = NormBackward {
                through_stats,
                x: x.values(),
                mean: mean.as_ref(),
                variance: variance.as_ref(),
                gamma: gamma.values(),
                y: kept.as_ref().map(Matrix::values),
                activation,
                dy: &mut dy,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            device.normalize_backward(shape, from)?;
            slots.add(x.slot(), x.len(), dy)?;
            slots.close(gamma.slot(), dgamma)?;
            slots.close(beta.slot(), dbeta)
        });
    }
    Ok(y.put_tape(tape))
}
