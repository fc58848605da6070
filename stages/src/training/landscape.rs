//! The loss as a function of the weights: its value, its slope and its curvature on batches.
//!
//! No statistics move, and there is no dropout. The weights are set from the host, whose values are
//! in memory order, by position in [`crate::nn::architecture::Architecture::parameters`].

use std::sync::Arc;

use super::batches::{Batches, InOrder};
use super::failed::failed;
use super::gradients::{self, Objective};
use super::pass::{self, Wanted};
use crate::data::{Answers, Dataset};
use crate::nn::architecture::Architecture;
use crate::nn::network::{Network, Norms, Watcher};
use crate::ops::Backend;
use crate::weights::NamedTensors;

/// A vector in the space of all parameters: a place, a direction, a gradient. What is not trained
/// goes along.
pub type Vector = Vec<Vec<f32>>;

/// A batch: the inputs, and what they are to give.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Images.
    pub rows: usize,
    /// `[rows, features]`.
    pub inputs: Vec<f32>,
    /// A class for each image; empty where numbers are learnt.
    pub labels: Vec<u32>,
    /// `[rows, targets]`; empty where there are classes.
    pub targets: Vec<f32>,
}

impl Batch {
    fn wanted(&self) -> Wanted<'_> {
        match self.targets.is_empty() {
            true => Wanted::Labels {
                of_rows: &self.labels,
                smoothing: 0.0,
            },
            false => Wanted::Targets(&self.targets),
        }
    }

    /// The batch of a step, as a training sees it.
    pub fn of(batches: &mut Batches, epoch: u64, step: u64) -> Batch {
        let (mut labels, mut targets) = (Vec::new(), Vec::new());
        let (rows, features) = (batches.rows(step), batches.features());
        let images = batches.prepare(epoch, step, &mut labels);
        images.targets(&mut targets);
        let mut inputs = vec![0.0; rows * features];
        images.write(&mut inputs);
        Batch {
            rows,
            inputs,
            labels,
            targets,
        }
    }

    /// The first images of a data set, unchanged and in order, in batches of `size`; the last may
    /// be smaller.
    ///
    /// # Panics
    /// A size of 0; more images than there are.
    pub fn in_order(data: &Dataset, images: usize, size: usize) -> Vec<Batch> {
        let all = InOrder::new(data);
        let batch = |first: usize| {
            let rows = size.min(images - first);
            let mut inputs = vec![0.0; rows * data.features()];
            all.write(first, &mut inputs);
            let (labels, targets) = match data.answers() {
                Answers::Labels(labels) => (labels[first..][..rows].to_vec(), Vec::new()),
                Answers::Targets(targets) => {
                    let width = targets.len() / data.len();
                    let targets = &targets[first * width..][..rows * width];
                    (Vec::new(), targets.to_vec())
                }
            };
            Batch {
                rows,
                inputs,
                labels,
                targets,
            }
        };
        (0..images).step_by(size).map(batch).collect()
    }

    /// This one and another behind it.
    pub fn with(&self, other: &Batch) -> Batch {
        Batch {
            rows: self.rows + other.rows,
            inputs: [&self.inputs[..], &other.inputs].concat(),
            labels: [&self.labels[..], &other.labels].concat(),
            targets: [&self.targets[..], &other.targets].concat(),
        }
    }
}

/// The loss of one network, at the weights where it stands.
pub struct Landscape<D: Backend> {
    pool: D::Pool,
    network: Network<D>,
    norms: Norms,
}

impl<D: Backend> Landscape<D> {
    /// Of this network, its batch norm normalising so.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        device: &D,
        architecture: &Arc<Architecture>,
        weights: &NamedTensors,
        norms: Norms,
    ) -> anyhow::Result<Landscape<D>> {
        Ok(Landscape {
            network: Network::load(device, Arc::clone(architecture), weights)?,
            pool: D::Pool::default(),
            norms,
        })
    }

    /// Its parameters.
    pub fn values(&self) -> Vector {
        let device = self.network.device();
        let tensors = self.network.tensors().iter();
        tensors
            .map(|t| device.read(t.values()).into_owned())
            .collect()
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// Of other lengths.
    pub fn set(&mut self, values: &Vector) -> anyhow::Result<()> {
        let device = self.network.device().clone();
        let mut tensors = self.network.tensors_mut().iter_mut().zip(values);
        let done = tensors.try_for_each(|(tensor, values)| tensor.set(&device, &self.pool, values));
        done.map_err(failed::<D>("the weights of a network"))
    }

    /// The network.
    pub fn network(&self) -> &Network<D> {
        &self.network
    }

    /// Shows a batch, watched layer by layer.
    ///
    /// # Errors
    /// The device's.
    pub fn watch(&self, batch: &Batch, watcher: Watcher<'_>) -> anyhow::Result<()> {
        let fill = |to: &mut [f32]| to.copy_from_slice(&batch.inputs);
        let x = pass::inputs(&self.network, &self.pool, batch.rows, fill);
        let outputs = x.and_then(|x| self.network.watch(x, self.norms, watcher));
        outputs
            .map(drop)
            .map_err(failed::<D>("the outputs of a network"))
    }

    /// The mean loss of a batch (cross-entropy in nats, or squared error) and its gradient; that of
    /// what is not trained is 0.
    ///
    /// # Errors
    /// A label that is no class; the device's.
    pub fn gradient(&self, batch: &Batch) -> anyhow::Result<(f64, Vector)> {
        let slopes = gradients::of_batch(
            &self.network,
            &self.pool,
            batch.rows,
            |to| to.copy_from_slice(&batch.inputs),
            Objective::Loss(batch.wanted()),
            self.norms.into(),
        )?;
        let device = self.network.device();
        let parameters = self.network.architecture().parameters.iter();
        let values = parameters
            .zip(&slopes.by_parameter)
            .map(|(p, slope)| match slope {
                Some(slope) => device.read(slope).into_owned(),
                None => vec![0.0; p.shape.iter().product()],
            });
        Ok((slopes.value, values.collect()))
    }

    /// The mean loss of a batch.
    ///
    /// # Errors
    /// As [`Landscape::gradient`].
    pub fn loss(&self, batch: &Batch) -> anyhow::Result<f64> {
        let fill = |to: &mut [f32]| to.copy_from_slice(&batch.inputs);
        let x = pass::inputs(&self.network, &self.pool, batch.rows, fill);
        let outputs = x.and_then(|x| self.network.forward_still(x, self.norms.into()));
        let (_, learnt) = pass::loss(
            outputs.map_err(failed::<D>("the outputs of a network"))?,
            batch.wanted(),
        )?;
        Ok(f64::from(learnt.loss))
    }

    /// `H·v` of the loss's second derivatives `H` at the present weights, by a central difference
    /// of two gradients: `(∇L(θ + δv) − ∇L(θ − δv)) / 2δ`, `δ = share·‖θ‖/‖v‖`. The truth up to
    /// terms of δ²; gradients are in f32, so that a smaller share loses more to rounding than it
    /// gains. Where an activation has a kink (relu) that lies within δ, the difference sees it;
    /// double backward does not.
    ///
    /// # Errors
    /// As [`Landscape::gradient`].
    pub fn hessian_times(
        &mut self,
        v: &Vector,
        batch: &Batch,
        share: f64,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let at = self.values();
        let size = norm(v);
        let delta = match size > 0.0 {
            true => share * norm(&at).max(1e-3) / size,
            false => share,
        };
        let mut gradient_at = |delta: f64| {
            self.set(&moved(&at, v, delta))?;
            self.gradient(batch)
        };
        let (above, below) = (gradient_at(delta), gradient_at(-delta));
        self.set(&at)?;
        let ((_, above), (_, below)) = (above?, below?);
        let slope = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)) / (2.0 * delta);
        let of_tensor = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(slope).collect();
        Ok(above.iter().zip(&below).map(of_tensor).collect())
    }
}

/// `values + by·direction`, each element rounded once.
pub fn moved(values: &Vector, direction: &Vector, by: f64) -> Vector {
    let one = |(x, d): (&f32, &f32)| (f64::from(*x) + by * f64::from(*d)) as f32;
    let of_tensor = |(x, d): (&Vec<f32>, &Vec<f32>)| x.iter().zip(d).map(one).collect();
    values.iter().zip(direction).map(of_tensor).collect()
}

/// The Euclidean norm over all tensors; sums in f64, in order.
pub fn norm(values: &Vector) -> f64 {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    values.iter().flatten().map(square).sum::<f64>().sqrt()
}
