//! Gradients of the loss at given weights, of first and second order, without a step.
//!
//! No statistics move, and there is no dropout. Values are in memory order, by position in
//! [`crate::nn::architecture::Architecture::parameters`].

use std::sync::Arc;

use dfdx::prelude::{AsArray as _, Backward as _, Cpu, CpuError};

use super::batches::Batches;
use super::step::Wanted;
use crate::kernels::parallel;
use crate::nn::architecture::Architecture;
use crate::nn::network::{Network, Norms};
use crate::ops::recycle::Pool;
use crate::ops::{self, Labels, Matrix};
use crate::weights::NamedTensors;

/// The parameters of a network as plain numbers; what is not trained goes along.
pub type Values = Vec<Vec<f32>>;

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

    /// Its inputs on a device, `[rows, features]`.
    ///
    /// # Errors
    /// The device's.
    pub fn images(&self, device: &Cpu, pool: &Pool) -> Result<Matrix<Cpu>, CpuError> {
        matrix(device, pool, self.rows, &self.inputs)
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

fn matrix(
    device: &Cpu,
    pool: &Pool,
    rows: usize,
    numbers: &[f32],
) -> Result<Matrix<Cpu>, CpuError> {
    let shape = (rows, numbers.len() / rows.max(1));
    Matrix::written(device, pool, shape, |to| to.copy_from_slice(numbers))
}

/// Computes gradients of one network.
pub struct Slopes {
    device: Cpu,
    pool: Pool,
    network: Network<Cpu>,
    norms: Norms,
}

impl Slopes {
    /// Of this network, its batch norm normalising so.
    pub fn new(architecture: &Arc<Architecture>, weights: &NamedTensors, norms: Norms) -> Slopes {
        let device = Cpu::default();
        Slopes {
            network: Network::load(&device, Arc::clone(architecture), weights),
            pool: Pool::default(),
            device,
            norms,
        }
    }

    /// Its parameters.
    pub fn values(&self) -> Values {
        self.network.tensors().iter().map(|t| t.as_vec()).collect()
    }

    /// Puts others in their place.
    ///
    /// # Panics
    /// Of other lengths.
    pub fn set(&mut self, values: &Values) {
        for (tensor, values) in self.network.tensors_mut().iter_mut().zip(values) {
            ops::view::view_mut(tensor).copy_from_slice(values);
        }
    }

    /// The network.
    pub fn network(&self) -> &Network<Cpu> {
        &self.network
    }

    /// The mean loss of a batch (cross-entropy in nats, or squared error) and its gradient; that of
    /// what is not trained is 0.
    ///
    /// # Errors
    /// A label that is no class; the device's.
    pub fn gradient(&self, batch: &Batch) -> anyhow::Result<(f32, Values)> {
        parallel::inside(|| self.gradient_here(batch))
    }

    fn gradient_here(&self, batch: &Batch) -> anyhow::Result<(f32, Values)> {
        let failed = |e: CpuError| anyhow::anyhow!("gradient: {e}");
        let architecture = self.network.architecture();
        let width = architecture.identity.outputs.width();
        let images = batch.images(&self.device, &self.pool);
        let x = images.map_err(failed)?.traced();
        let outputs = self.network.forward_still(x, self.norms).map_err(failed)?;
        let loss = match batch.wanted() {
            Wanted::Labels { of_rows, smoothing } => {
                let labels = Labels::new(of_rows, width)?;
                ops::softmax_cross_entropy(outputs, &labels, smoothing)
            }
            Wanted::Targets(numbers) => {
                let targets = matrix(&self.device, &self.pool, batch.rows, numbers);
                ops::mean_squared_error(outputs, &targets.map_err(failed)?)
            }
        };
        let loss = loss.map_err(failed)?;
        let value = loss.array();
        let mut gradients = loss.try_backward().map_err(failed)?;
        let of = architecture.parameters.iter().zip(self.network.tensors());
        let all = of.map(|(parameter, tensor)| {
            let taken = match parameter.role.is_trained() {
                true => ops::take_gradient(&mut gradients, tensor, &self.pool)?,
                false => None,
            };
            Ok(match taken {
                Some(values) => values.to_vec(),
                None => vec![0.0; tensor.as_vec().len()],
            })
        });
        Ok((
            value,
            all.collect::<Result<Values, CpuError>>().map_err(failed)?,
        ))
    }

    /// `H·v` of the loss's second derivatives `H` at the present weights, by a central difference
    /// of two gradients: `(∇L(θ + δv) − ∇L(θ − δv)) / 2δ`, `δ = share·‖θ‖/‖v‖`. The truth up to
    /// terms of δ²; gradients are in f32, so that a smaller share loses more to rounding than it
    /// gains. Where an activation has a kink (relu) that lies within δ, the difference sees it;
    /// double backward does not.
    ///
    /// # Errors
    /// As [`Slopes::gradient`].
    pub fn hessian_times(
        &mut self,
        v: &Values,
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
            self.set(&moved(&at, v, delta));
            self.gradient(batch)
        };
        let (above, below) = (gradient_at(delta), gradient_at(-delta));
        self.set(&at);
        let ((_, above), (_, below)) = (above?, below?);
        let slope = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)) / (2.0 * delta);
        let of_tensor = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(slope).collect();
        Ok(above.iter().zip(&below).map(of_tensor).collect())
    }
}

/// `values + by·direction`, each element rounded once.
pub fn moved(values: &Values, direction: &Values, by: f64) -> Values {
    let one = |(x, d): (&f32, &f32)| (f64::from(*x) + by * f64::from(*d)) as f32;
    let of_tensor = |(x, d): (&Vec<f32>, &Vec<f32>)| x.iter().zip(d).map(one).collect();
    values.iter().zip(direction).map(of_tensor).collect()
}

/// The Euclidean norm over all tensors; sums in f64, in order.
pub fn norm(values: &Values) -> f64 {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    values.iter().flatten().map(square).sum::<f64>().sqrt()
}
