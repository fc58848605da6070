//! Batch normalisation (Ioffe & Szegedy 2015), with PyTorch's conventions: biased variance to normalise, unbiased for
//! the running estimate.

use dfdx::prelude::{PutTape, SplitTape, Tape};

use super::tape::buffers;
use super::{Backend, Matrix, Param};

/// What is normalised, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormShape {
    /// Channels; each is normalised over the batch and all positions.
    pub channels: usize,
    /// Positions of an image; 1 after a dense layer.
    pub positions: usize,
    /// Added to the variance; PyTorch has 1e-5.
    pub eps: f32,
}

impl NormShape {
    /// With `eps` of 1e-5.
    pub fn new(channels: usize, positions: usize) -> NormShape {
        NormShape {
            channels,
            positions,
            eps: 1e-5,
        }
    }
}

/// Statistics of one batch.
#[derive(Debug, Clone)]
pub struct BatchStats<D: Backend> {
    /// Per channel.
    pub mean: Param<D>,
    /// Per channel, biased (divided by `count`).
    pub variance: Param<D>,
    /// Values per channel that went in.
    pub count: usize,
}

impl<D: Backend> BatchStats<D> {
    /// `running = (1 - momentum)·running + momentum·batch`, with the variance scaled by `count/(count - 1)` as in PyTorch
    /// (its momentum is 0.1). A batch of one value per channel leaves the running variance as if its own were 0.
    ///
    /// # Errors
    /// The device's.
    pub fn update_running(
        &self,
        momentum: f32,
        running_mean: &mut Param<D>,
        running_variance: &mut Param<D>,
    ) -> Result<(), D::Err> {
        let device = self.mean.device();
        let unbiased = self.count as f32 / self.count.saturating_sub(1).max(1) as f32;
        device.running_update(momentum, &self.mean, 1.0, running_mean)?;
        device.running_update(momentum, &self.variance, unbiased, running_variance)
    }
}

/// Normalises with the statistics of the batch itself, which are returned for the running estimate; gradients flow
/// through them.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn batch_norm_train<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    shape: NormShape,
) -> Result<(Matrix<D, T>, BatchStats<D>), D::Err> {
    let (x, tape) = x.split_tape();
    let n = super::rows_of("batch_norm", &x, shape.channels * shape.positions);
    let device = x.device().clone();
    let mut mean: Param<D> = device.try_zeros_like(&(shape.channels,))?;
    let mut variance: Param<D> = device.try_zeros_like(&(shape.channels,))?;
    device.channel_stats(shape, &x, &mut mean, &mut variance)?;
    let y = normalize(x, tape, gamma, beta, &mean, &variance, shape, true)?;
    Ok((
        y,
        BatchStats {
            mean,
            variance,
            count: n * shape.positions,
        },
    ))
}

/// Normalises with given statistics, which are constants to the gradient.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn batch_norm_eval<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    gamma: &Param<D>,
    beta: &Param<D>,
    mean: &Param<D>,
    variance: &Param<D>,
    shape: NormShape,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, tape) = x.split_tape();
    normalize(x, tape, gamma, beta, mean, variance, shape, false)
}

#[allow(clippy::too_many_arguments)]
fn normalize<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D>,
    mut tape: T,
    gamma: &Param<D>,
    beta: &Param<D>,
    mean: &Param<D>,
    variance: &Param<D>,
    shape: NormShape,
    through_stats: bool,
) -> Result<Matrix<D, T>, D::Err> {
    let n = super::rows_of("batch_norm", &x, shape.channels * shape.positions);
    for (what, param) in [
        ("gamma", gamma),
        ("beta", beta),
        ("mean", mean),
        ("variance", variance),
    ] {
        super::assert_len(what, param, shape.channels);
    }
    let device = x.device().clone();
    let mut y: Matrix<D> = device.try_zeros_like(&(n, shape.channels * shape.positions))?;
    device.normalize_forward(shape, &x, mean, variance, gamma, beta, &mut y)?;
    if T::OWNS_TAPE {
        let (y, mean, variance, gamma, beta) = (
            y.ghost(),
            mean.clone(),
            variance.clone(),
            gamma.clone(),
            beta.ghost(),
        );
        tape.add_backward_op(move |g| {
            buffers!(g; dy = y, dx = x, dgamma = gamma, dbeta = beta);
            device.normalize_backward(
                shape,
                through_stats,
                &x,
                &mean,
                &variance,
                &gamma,
                dy,
                dx,
                dgamma,
                dbeta,
            )
        });
    }
    Ok(y.put_tape(tape))
}
