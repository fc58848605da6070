//! A network on a device: parameters as dfdx tensors and the forward pass through [`crate::ops`].
//!
//! Generic over the device; files and layouts are converted at the border ([`Network::load`], [`Network::save`]).

use std::sync::Arc;

use dfdx::prelude::Tape;

use super::architecture::{Architecture, Layer};
use super::model::Model;
use super::spec::Activation;
use crate::exact::rng::Stream;
use crate::ops::{self, Backend, InputGradient, Matrix, Param};
use crate::weights::{NamedTensor, NamedTensors};

/// The weight of the newest batch in batch norm's running averages, as in PyTorch.
const NORM_MOMENTUM: f32 = 0.1;

/// Which step of which training a forward pass belongs to: the key of its random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepKey {
    /// The training's seed.
    pub seed: u64,
    /// From 0.
    pub epoch: u64,
    /// Of the whole training, from 0.
    pub step: u64,
}

/// A network with its parameters in memory layout.
pub struct Network<D: Backend> {
    architecture: Arc<Architecture>,
    /// By position in [`Architecture::parameters`].
    tensors: Vec<Param<D>>,
}

impl<D: Backend> Network<D> {
    /// Puts weights on a device. The tensors must have passed [`Architecture::check`].
    pub fn load(device: &D, architecture: Arc<Architecture>, tensors: &NamedTensors) -> Network<D> {
        let tensors = architecture
            .parameters
            .iter()
            .map(|p| {
                let data = p.layout.to_memory(&tensors[&p.name].data);
                let len = data.len();
                device.tensor_from_vec(data, (len,))
            })
            .collect();
        Network {
            architecture,
            tensors,
        }
    }

    /// The weights as files have them.
    pub fn save(&self) -> NamedTensors {
        let named = self.architecture.parameters.iter().zip(&self.tensors);
        named
            .map(|(p, t)| {
                (
                    p.name.clone(),
                    NamedTensor {
                        shape: p.shape.clone(),
                        data: p.layout.to_file(&t.as_vec()),
                    },
                )
            })
            .collect()
    }

    /// The weights with the description that makes them an artifact.
    pub fn model(&self) -> Model {
        Model {
            architecture: (*self.architecture).clone(),
            tensors: self.save(),
        }
    }

    /// What it is.
    pub fn architecture(&self) -> &Arc<Architecture> {
        &self.architecture
    }

    /// Parameters and statistics, by position in [`Architecture::parameters`].
    pub fn tensors(&self) -> &[Param<D>] {
        &self.tensors
    }

    /// The same, for the optimizer.
    pub fn tensors_mut(&mut self) -> &mut [Param<D>] {
        &mut self.tensors
    }

    /// Logits `[batch, classes]` in training mode: dropout on, batch norm with the batch's statistics, which also move the
    /// running ones.
    pub fn forward_train<T: Tape<f32, D>>(
        &mut self,
        x: Matrix<D, T>,
        key: StepKey,
    ) -> Result<Matrix<D, T>, D::Err> {
        let architecture = Arc::clone(&self.architecture);
        let mut x = x;
        for (position, layer) in architecture.layers.iter().enumerate() {
            x = match layer {
                Layer::BatchNorm { shape, first } => {
                    let (y, stats) = ops::batch_norm_train(
                        x,
                        &self.tensors[*first],
                        &self.tensors[first + 1],
                        *shape,
                    )?;
                    if let [mean, variance] = &mut self.tensors[first + 2..first + 4] {
                        stats.update_running(NORM_MOMENTUM, mean, variance)?;
                    }
                    y
                }
                Layer::Dropout { rate, ordinal } => {
                    // one purpose for all dropout layers, told apart by disjoint step numbers
                    let lane = key.step * architecture.layers.len() as u64 + *ordinal as u64;
                    ops::dropout(x, *rate, &Stream::new(key.seed, "dropout", key.epoch, lane))?
                }
                other => self.plain(x, other, position == 0)?,
            };
        }
        Ok(x)
    }

    /// Logits `[batch, classes]` in evaluation mode: no dropout, batch norm with the running statistics.
    pub fn forward<T: Tape<f32, D>>(&self, x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
        let mut x = x;
        for (position, layer) in self.architecture.layers.iter().enumerate() {
            x = match layer {
                Layer::BatchNorm { shape, first } => {
                    let [gain, shift, mean, variance] =
                        [0, 1, 2, 3].map(|i| &self.tensors[first + i]);
                    ops::batch_norm_eval(x, gain, shift, mean, variance, *shape)?
                }
                Layer::Dropout { .. } => x,
                other => self.plain(x, other, position == 0)?,
            };
        }
        Ok(x)
    }

    /// A layer that is the same in both modes.
    fn plain<T: Tape<f32, D>>(
        &self,
        x: Matrix<D, T>,
        layer: &Layer,
        on_data: bool,
    ) -> Result<Matrix<D, T>, D::Err> {
        let input = if on_data {
            InputGradient::Skip
        } else {
            InputGradient::Needed
        };
        match layer {
            Layer::Dense {
                shape,
                weight,
                bias,
            } => ops::dense(
                x,
                &self.tensors[*weight],
                Some(&self.tensors[*bias]),
                *shape,
                input,
            ),
            Layer::Conv {
                shape,
                weight,
                bias,
            } => ops::conv2d(
                x,
                &self.tensors[*weight],
                Some(&self.tensors[*bias]),
                *shape,
                input,
            ),
            Layer::Activation(Activation::Relu) => ops::relu(x),
            Layer::Activation(Activation::Tanh) => ops::tanh(x),
            Layer::Activation(Activation::Sigmoid) => ops::sigmoid(x),
            Layer::MaxPool(shape) => ops::max_pool2d(x, *shape),
            Layer::AveragePool(shape) => ops::avg_pool2d(x, *shape),
            Layer::GlobalAverage(image) => ops::global_avg_pool(x, *image),
            Layer::BatchNorm { .. } | Layer::Dropout { .. } => unreachable!("handled per mode"),
        }
    }
}
