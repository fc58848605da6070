//! A network on a device: parameters as dfdx tensors and the forward pass through [`crate::ops`].
//!
//! Generic over the device; files and layouts are converted at the border ([`Network::load`], [`Network::save`]). An
//! activation behind a layer that can take it along is computed with it: what is computed stays the same.

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
    /// What runs, first to last.
    steps: Vec<Step>,
}

/// A layer with the activation behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Position in [`Architecture::layers`].
    layer: usize,
    activation: ops::Activation,
}

/// The steps of a list of layers.
fn fuse(layers: &[Layer]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (position, layer) in layers.iter().enumerate() {
        let fits = |step: &&mut Step| {
            step.activation == ops::Activation::Identity && takes_activation(&layers[step.layer])
        };
        match (layer, steps.last_mut().filter(fits)) {
            (Layer::Activation(activation), Some(step)) => step.activation = (*activation).into(),
            _ => steps.push(Step {
                layer: position,
                activation: ops::Activation::Identity,
            }),
        }
    }
    steps
}

/// The op of the layer computes an activation on the way.
fn takes_activation(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Dense { .. } | Layer::Conv { .. } | Layer::BatchNorm { .. }
    )
}

impl From<Activation> for ops::Activation {
    fn from(activation: Activation) -> ops::Activation {
        match activation {
            Activation::Relu => ops::Activation::Relu,
            Activation::Tanh => ops::Activation::Tanh,
            Activation::Sigmoid => ops::Activation::Sigmoid,
        }
    }
}

impl<D: Backend> Network<D> {
    /// Puts weights on a device. The tensors must have passed [`Architecture::check`].
    ///
    /// # Panics
    /// A device without the memory.
    pub fn load(device: &D, architecture: Arc<Architecture>, tensors: &NamedTensors) -> Network<D> {
        let tensors = architecture
            .parameters
            .iter()
            .map(|p| {
                let data = p.layout.to_memory(&tensors[&p.name].data);
                Param::new(device, data).unwrap_or_else(|e| panic!("the weights `{}`: {e}", p.name))
            })
            .collect();
        let steps = fuse(&architecture.layers);
        Network {
            architecture,
            tensors,
            steps,
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
        for position in 0..self.steps.len() {
            let step = self.steps[position];
            x = match &architecture.layers[step.layer] {
                Layer::BatchNorm { shape, first } => {
                    let (y, stats) = ops::batch_norm_train(
                        x,
                        &self.tensors[*first],
                        &self.tensors[first + 1],
                        *shape,
                        step.activation,
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
                other => self.plain(x, other, step)?,
            };
        }
        Ok(x)
    }

    /// Logits `[batch, classes]` in evaluation mode: no dropout, batch norm with the running statistics.
    pub fn forward<T: Tape<f32, D>>(&self, x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
        let mut x = x;
        for &step in &self.steps {
            x = match &self.architecture.layers[step.layer] {
                Layer::BatchNorm { shape, first } => {
                    let [gain, shift, mean, variance] =
                        [0, 1, 2, 3].map(|i| &self.tensors[first + i]);
                    ops::batch_norm_eval(x, gain, shift, mean, variance, *shape, step.activation)?
                }
                Layer::Dropout { .. } => x,
                other => self.plain(x, other, step)?,
            };
        }
        Ok(x)
    }

    /// A layer that is the same in both modes.
    fn plain<T: Tape<f32, D>>(
        &self,
        x: Matrix<D, T>,
        layer: &Layer,
        Step {
            layer: position,
            activation,
        }: Step,
    ) -> Result<Matrix<D, T>, D::Err> {
        let input = match position {
            0 => InputGradient::Skip,
            _ => InputGradient::Needed,
        };
        let param = |which: &usize| &self.tensors[*which];
        match layer {
            Layer::Dense {
                shape,
                weight,
                bias,
            } => ops::dense(
                x,
                param(weight),
                Some(param(bias)),
                *shape,
                activation,
                input,
            ),
            Layer::Conv {
                shape,
                weight,
                bias,
            } => ops::conv2d(
                x,
                param(weight),
                Some(param(bias)),
                *shape,
                activation,
                input,
            ),
            Layer::Activation(which) => ops::activate(x, (*which).into()),
            Layer::MaxPool(shape) => ops::max_pool2d(x, *shape),
            Layer::AveragePool(shape) => ops::avg_pool2d(x, *shape),
            Layer::GlobalAverage(image) => ops::global_avg_pool(x, *image),
            Layer::BatchNorm { .. } | Layer::Dropout { .. } => unreachable!("handled per mode"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{DenseShape, NormShape};

    #[test]
    fn an_activation_goes_with_the_layer_before_it_once() {
        let dense = Layer::Dense {
            shape: DenseShape::new(2, 2).unwrap(),
            weight: 0,
            bias: 1,
        };
        let norm = Layer::BatchNorm {
            shape: NormShape::new(2, 1),
            first: 2,
        };
        let (relu, tanh) = (
            Layer::Activation(Activation::Relu),
            Layer::Activation(Activation::Tanh),
        );
        let dropout = Layer::Dropout {
            rate: 0.5,
            ordinal: 0,
        };
        let layers = [
            dense.clone(),
            norm,
            relu.clone(),
            tanh,
            dropout,
            relu,
            dense,
        ];
        let steps: Vec<(usize, ops::Activation)> = fuse(&layers)
            .iter()
            .map(|s| (s.layer, s.activation))
            .collect();
        use ops::Activation::{Identity, Relu};
        let want = [
            (0, Identity),
            (1, Relu),
            (3, Identity),
            (4, Identity),
            (5, Identity),
            (6, Identity),
        ];
        assert_eq!(steps, want);
    }
}
