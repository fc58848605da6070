//! Gradients at given weights, of a batch or a whole data set: nothing moves, neither weights nor
//! batch norm's running statistics.
//!
//! By position in [`Architecture::parameters`](crate::nn::architecture::Architecture::parameters)
//! there is the gradient of each parameter, in memory layout and as long as it, on the device;
//! [`Slopes::save`] has them as files have weights. This is what scores of weights and learnt
//! starts ask for; gradients are with respect to the weights that compute, those at 0 included.
//! Second derivatives, and losses around given weights, are of [`landscape`](super::landscape).

use dfdx::prelude::AsArray as _;

use super::batches::InOrder;
use super::failed::failed;
use super::pass::{self, Wanted};
use crate::data::{Answers, Dataset};
use crate::nn::network::{Mode, Network, StepKey};
use crate::ops::{self, Backend, Matrix, Scalar, Traced};
use crate::weights::NamedTensors;

/// What gradients are taken of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective<'a> {
    /// The mean loss of the batch.
    Loss(Wanted<'a>),
    /// `Σ weights·outputs`, with weights `[rows, outputs]`.
    Outputs(&'a [f32]),
}

impl Objective<'_> {
    /// Its value for these outputs, on their tape.
    fn of<D: Backend>(self, outputs: Matrix<D, Traced>) -> anyhow::Result<Scalar<Traced>> {
        let failed = failed::<D>("gradients");
        match self {
            Objective::Loss(wanted) => Ok(pass::loss(outputs, wanted)?.0),
            Objective::Outputs(weights) => {
                let weights = pass::beside(&outputs, weights).map_err(failed)?;
                ops::weighted_sum(outputs, &weights).map_err(failed)
            }
        }
    }
}

/// An objective, and how it changes with every parameter.
#[derive(Debug)]
pub struct Slopes<D: Backend> {
    /// The objective.
    pub value: f64,
    /// Its gradient by parameter; none of statistics.
    pub by_parameter: Vec<Option<D::Values>>,
}

impl<D: Backend> Slopes<D> {
    /// The gradients under the names, in the shapes and in the layout of the network's files.
    pub fn save(&self, network: &Network<D>) -> NamedTensors {
        network.named(|i| self.by_parameter[i].as_ref())
    }
}

/// The gradients on `rows` images, which `fill` writes as inputs of the network. They are those of
/// a step in the same mode, bit for bit.
///
/// # Errors
/// A label that is no class; the device's.
///
/// # Panics
/// Targets or weights of another number than the network's outputs.
pub fn of_batch<D: Backend>(
    network: &Network<D>,
    pool: &D::Pool,
    rows: usize,
    fill: impl FnOnce(&mut [f32]) + Send,
    objective: Objective,
    mode: Mode,
) -> anyhow::Result<Slopes<D>> {
    let failed = failed::<D>("gradients");
    let device = network.device();
    device.together(|| {
        let x = pass::inputs(network, pool, rows, fill).map_err(failed)?;
        let outputs = network.forward_still(x.traced(), mode).map_err(failed)?;
        let value = objective.of(outputs)?;
        let number = f64::from(value.array());
        let mut gradients = ops::backward(device, value).map_err(failed)?;
        let by_parameter = network.take_gradients(pool, &mut gradients);
        Ok(Slopes {
            value: number,
            by_parameter: by_parameter.map_err(failed)?,
        })
    })
}

/// The gradient of an objective with respect to the inputs, `[rows, features]`, otherwise as
/// [`of_batch`].
///
/// # Errors
/// As [`of_batch`].
///
/// # Panics
/// As [`of_batch`].
pub fn of_inputs<D: Backend>(
    network: &Network<D>,
    pool: &D::Pool,
    rows: usize,
    fill: impl FnOnce(&mut [f32]) + Send,
    objective: Objective,
    mode: Mode,
) -> anyhow::Result<Vec<f32>> {
    let failed = failed::<D>("gradients of inputs");
    let device = network.device();
    device.together(|| {
        let x = pass::inputs(network, pool, rows, fill).map_err(failed)?;
        let outputs = network.forward_through(x.clone().traced(), mode);
        let value = objective.of(outputs.map_err(failed)?)?;
        let mut gradients = ops::backward(device, value).map_err(failed)?;
        let slopes = ops::take_input_gradient(&mut gradients, &x).map_err(failed)?;
        Ok(match slopes {
            Some(slopes) => device.read(&slopes).into_owned(),
            None => vec![0.0; x.shape().0 * x.shape().1],
        })
    })
}

/// The gradients of the mean loss over a data set, without label smoothing: its images unchanged
/// and in order, `size` at once, each batch weighted by its images. `g = fma(n/N, g of the batch,
/// g)` from 0, batch after batch, with `n/N` rounded to f32; the loss is summed in f64. With
/// dropout each batch has the step after the one before.
///
/// # Errors
/// As [`of_batch`].
///
/// # Panics
/// A size of 0; data that do not fit the network ([`check_data`](super::evaluation::check_data)).
pub fn of_data<D: Backend>(
    network: &Network<D>,
    pool: &D::Pool,
    data: &Dataset,
    size: usize,
    mode: Mode,
) -> anyhow::Result<Slopes<D>> {
    let failed = failed::<D>("gradients");
    let (images, device) = (InOrder::new(data), network.device());
    let mut sum: Option<Slopes<D>> = None;
    for (batch, first) in (0..data.len()).step_by(size).enumerate() {
        let rows = size.min(data.len() - first);
        let wanted = match data.answers() {
            Answers::Labels(all) => Wanted::Labels {
                of_rows: &all[first..][..rows],
                smoothing: 0.0,
            },
            Answers::Targets(all) => {
                let width = all.len() / data.len();
                Wanted::Targets(&all[first * width..][..rows * width])
            }
        };
        let dropout = mode.dropout.map(|key| StepKey {
            step: key.step + batch as u64,
            ..key
        });
        let mode = Mode { dropout, ..mode };
        let fill = |to: &mut [f32]| images.write(first, to);
        let here = of_batch(network, pool, rows, fill, Objective::Loss(wanted), mode)?;
        let share = rows as f64 / data.len() as f64;
        let sum = match &mut sum {
            Some(sum) => sum,
            none => none.insert(Slopes {
                value: 0.0,
                by_parameter: zeros(network, pool, &here).map_err(failed)?,
            }),
        };
        sum.value += here.value * share;
        for (to, from) in sum.by_parameter.iter_mut().zip(&here.by_parameter) {
            if let (Some(to), Some(from)) = (to, from) {
                let added = device.scaled_add(share as f32, from, 1.0, to);
                added.map_err(failed)?;
            }
        }
    }
    sum.ok_or_else(|| anyhow::anyhow!("gradients: `{}` has no images", data.info().name))
}

/// Zeros as long as each gradient.
fn zeros<D: Backend>(
    network: &Network<D>,
    pool: &D::Pool,
    like: &Slopes<D>,
) -> Result<Vec<Option<D::Values>>, D::Err> {
    let parameters = network.architecture().parameters.iter();
    let zeros = parameters.zip(&like.by_parameter).map(|(p, gradient)| {
        let len = p.shape.iter().product();
        let fill = |to: &mut [f32]| to.fill(0.0);
        let zeros = gradient
            .as_ref()
            .map(|_| network.device().written(pool, len, fill));
        zeros.transpose()
    });
    zeros.collect()
}

#[cfg(test)]
mod tests;
