//! A batch through a network, on any device: what it is to give, and the loss that tells how far it
//! is off.

use dfdx::prelude::{AsArray as _, Cpu, Tape};

use super::failed::failed;
use crate::nn::network::Network;
use crate::ops::{self, Backend, Frame, Labels, Matrix, Scalar};

/// What a batch showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// The mean loss (cross-entropy in nats, or squared error), before the step.
    pub loss: f32,
    /// What else the outputs showed, in training mode.
    pub besides: Besides,
}

/// What is counted beside the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Besides {
    /// Images whose largest logit was at the label.
    Correct(usize),
    /// The sum over images and targets of the absolute errors.
    AbsoluteError(f64),
}

/// What a batch is to give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted<'a> {
    /// A class for each image.
    Labels {
        /// The classes.
        of_rows: &'a [u32],
        /// Share of the target spread evenly over all classes.
        smoothing: f32,
    },
    /// Numbers, `[rows, targets]`.
    Targets(&'a [f32]),
    /// Of each image a share of its class, and of the next one's the rest; the next of the last is
    /// the first. The larger part counts as the answer.
    Mixed {
        /// The classes.
        of_rows: &'a [u32],
        /// Of the image's own class.
        share: f32,
        /// Share of the target spread evenly over all classes.
        smoothing: f32,
    },
}

/// Where the inputs of a batch come from.
#[derive(Debug)]
pub enum Images<'a, D: Backend, F> {
    /// This writes them.
    Written(F),
    /// The device shows its own.
    Shown(&'a D::Pictures, &'a [Frame]),
}

impl<D: Backend, F: FnOnce(&mut [f32])> Images<'_, D, F> {
    /// The inputs of so many images.
    pub(super) fn inputs(
        self,
        network: &Network<D>,
        pool: &D::Pool,
        rows: usize,
    ) -> Result<Matrix<D>, D::Err> {
        match self {
            Images::Written(fill) => inputs(network, pool, rows, fill),
            Images::Shown(pictures, frames) => {
                let device = network.device();
                let values = device.show(pool, pictures, frames)?;
                Ok(Matrix::new(device, pool, (rows, features(network)), values))
            }
        }
    }
}

/// Numbers of an image.
fn features<D: Backend>(network: &Network<D>) -> usize {
    let input = network.architecture().identity.input;
    input.height * input.width * input.channels
}

/// The images of a batch, which `fill` writes as inputs of the network.
pub(super) fn inputs<D: Backend>(
    network: &Network<D>,
    pool: &D::Pool,
    rows: usize,
    fill: impl FnOnce(&mut [f32]),
) -> Result<Matrix<D>, D::Err> {
    let shape = (rows, features(network));
    Matrix::written(network.device(), pool, shape, fill)
}

/// Numbers for the outputs of a batch, `[rows, outputs]`.
pub(super) fn beside<D: Backend, T>(
    outputs: &Matrix<D, T>,
    numbers: &[f32],
) -> Result<Matrix<D>, D::Err> {
    let copied = |to: &mut [f32]| to.copy_from_slice(numbers);
    Matrix::written(outputs.device(), outputs.pool(), outputs.shape(), copied)
}

/// The loss of a batch's outputs, on their tape.
///
/// # Errors
/// A label that is no class; the device's.
///
/// # Panics
/// Targets of another number than the outputs.
pub(super) fn loss<D: Backend, T: Tape<f32, Cpu>>(
    outputs: Matrix<D, T>,
    wanted: Wanted,
) -> anyhow::Result<(Scalar<T>, Learnt)> {
    let failed = failed::<D>("the loss");
    let (loss, besides) = match wanted {
        Wanted::Labels { of_rows, smoothing } => {
            let labels = Labels::new(of_rows, outputs.shape().1)?;
            let correct = ops::count_correct(&outputs, &labels).map_err(failed)?;
            let loss = ops::softmax_cross_entropy(outputs, &labels, smoothing);
            (loss.map_err(failed)?, Besides::Correct(correct))
        }
        Wanted::Mixed {
            of_rows,
            share,
            smoothing,
        } => {
            let classes = outputs.shape().1;
            let next: Vec<u32> = of_rows
                .iter()
                .cycle()
                .skip(1)
                .take(of_rows.len())
                .copied()
                .collect();
            let (own, other) = (Labels::new(of_rows, classes)?, Labels::new(&next, classes)?);
            let larger = if share >= 0.5 { &own } else { &other };
            let correct = ops::count_correct(&outputs, larger).map_err(failed)?;
            let mut targets = vec![smoothing / classes as f32; of_rows.len() * classes];
            let rows = targets.chunks_exact_mut(classes);
            for ((row, own), other) in rows.zip(of_rows).zip(&next) {
                row[*own as usize] += (1.0 - smoothing) * share;
                row[*other as usize] += (1.0 - smoothing) * (1.0 - share);
            }
            let targets = beside(&outputs, &targets).map_err(failed)?;
            let loss = ops::soft_cross_entropy(outputs, &targets).map_err(failed)?;
            (loss, Besides::Correct(correct))
        }
        Wanted::Targets(numbers) => {
            let targets = beside(&outputs, numbers).map_err(failed)?;
            let absolute = ops::absolute_error(&outputs, &targets).map_err(failed)?;
            let loss = ops::mean_squared_error(outputs, &targets).map_err(failed)?;
            (loss, Besides::AbsoluteError(absolute))
        }
    };
    let learnt = Learnt {
        loss: loss.array(),
        besides,
    };
    Ok((loss, learnt))
}
