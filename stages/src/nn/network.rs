//! A network on a device: parameters as dfdx tensors and the forward pass through [`crate::ops`].
//!
//! Generic over the device; files and layouts are converted at the border ([`Network::load`], [`Network::save`]). An
//! activation behind a layer that can take it along is computed with it: what is computed stays the same.

use std::sync::Arc;

use dfdx::prelude::Tape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Layer};
use super::model::Model;
use super::spec::Activation;
use crate::exact::rng::Stream;
use crate::ops::{self, Backend, BatchStats, InputGradient, Matrix, Param};
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
    /// Memory for the statistics of a batch.
    statistics: Vec<(usize, BatchStats<D>)>,
}

/// A layer with the activation behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// Position in its list of layers.
    layer: usize,
    /// Computed by the layer's op.
    activation: ops::Activation,
    /// Of a residual layer.
    body: Vec<Step>,
    /// Of a residual layer that projects its input.
    shortcut: Vec<Step>,
}

/// The steps of a list of layers.
fn fuse(layers: &[Layer]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (position, layer) in layers.iter().enumerate() {
        let fits = |step: &&mut Step| {
            step.activation == ops::Activation::Identity && takes_activation(&layers[step.layer])
        };
        if let Layer::Activation(activation) = layer
            && let Some(fused) = fused(*activation)
            && let Some(step) = steps.last_mut().filter(fits)
        {
            step.activation = fused;
            continue;
        }
        let (body, shortcut) = match layer {
            Layer::Residual { body, shortcut, .. } => (fuse(body), fuse(shortcut)),
            _ => Default::default(),
        };
        steps.push(Step {
            layer: position,
            activation: ops::Activation::Identity,
            body,
            shortcut,
        });
    }
    steps
}

/// The steps of a list of layers, each activation by itself.
fn one_by_one(layers: &[Layer]) -> Vec<Step> {
    let step = |(position, layer): (usize, &Layer)| {
        let (body, shortcut) = match layer {
            Layer::Residual { body, shortcut, .. } => (one_by_one(body), one_by_one(shortcut)),
            _ => Default::default(),
        };
        Step {
            layer: position,
            activation: ops::Activation::Identity,
            body,
            shortcut,
        }
    };
    layers.iter().enumerate().map(step).collect()
}

/// The op of the layer computes an activation on the way.
fn takes_activation(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Dense { .. }
            | Layer::Conv { .. }
            | Layer::Depthwise { .. }
            | Layer::BatchNorm { .. }
    )
}

/// The activation as ops compute it on the way, if they can.
fn fused(activation: Activation) -> Option<ops::Activation> {
    match activation {
        Activation::Relu => Some(ops::Activation::Relu),
        Activation::Tanh => Some(ops::Activation::Tanh),
        Activation::Sigmoid => Some(ops::Activation::Sigmoid),
        // Its derivative needs more than the value.
        Activation::Gelu | Activation::GeluTanh => None,
    }
}

/// The activation by itself.
fn activate<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    activation: Activation,
) -> Result<Matrix<D, T>, D::Err> {
    match activation {
        Activation::Gelu => ops::gelu(x, ops::Gelu::Exact),
        Activation::GeluTanh => ops::gelu(x, ops::Gelu::Tanh),
        other => ops::activate(x, fused(other).unwrap_or_default()),
    }
}

/// What batch norm normalises by where nothing is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// The running statistics.
    Running,
    /// The statistics of the batch, which move nothing.
    OfBatch,
}

/// Is shown what a layer with a weight gives, before its activation: the weight's position in
/// [`Architecture::parameters`], and the values in memory order.
pub type Watcher<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// What a forward pass is for.
enum Mode<'a, D: Backend> {
    /// Nothing is learnt, and there is no dropout.
    Still {
        norms: Norms,
        watcher: Option<Watcher<'a>>,
    },
    /// Batch norm with the batch's statistics, which are left here beside the position of the layer's gain.
    Batch {
        /// Of dropout; without a key there is none.
        key: Option<StepKey>,
        statistics: &'a mut Vec<(usize, BatchStats<D>)>,
    },
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
            statistics: Vec::new(),
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
        self.forward_batch(x, Some(key), NORM_MOMENTUM)
    }

    /// Moves batch norm's running statistics by `share` of the way to those of this batch, without dropout. Over the batches of
    /// a data set, with `share` the batch's part of all images so far, they become means over the set.
    pub fn update_statistics(&mut self, x: Matrix<D>, share: f32) -> Result<(), D::Err> {
        self.forward_batch(x, None, share).map(drop)
    }

    fn forward_batch<T: Tape<f32, D>>(
        &mut self,
        x: Matrix<D, T>,
        key: Option<StepKey>,
        momentum: f32,
    ) -> Result<Matrix<D, T>, D::Err> {
        let mut statistics = std::mem::take(&mut self.statistics);
        let mode = &mut Mode::Batch {
            key,
            statistics: &mut statistics,
        };
        let y = self.run(&self.architecture.layers, &self.steps, x, mode, true)?;
        for (first, of_batch) in statistics.drain(..) {
            if let [mean, variance] = &mut self.tensors[first + 2..first + 4] {
                of_batch.update_running(momentum, mean, variance)?;
            }
        }
        self.statistics = statistics;
        Ok(y)
    }

    /// Logits `[batch, classes]` in evaluation mode: no dropout, batch norm with the running statistics.
    pub fn forward<T: Tape<f32, D>>(&self, x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
        self.forward_still(x, Norms::Running)
    }

    /// What the network gives where nothing is learnt: no dropout, and no statistics move.
    pub fn forward_still<T: Tape<f32, D>>(
        &self,
        x: Matrix<D, T>,
        norms: Norms,
    ) -> Result<Matrix<D, T>, D::Err> {
        let mode = &mut Mode::Still {
            norms,
            watcher: None,
        };
        self.run(&self.architecture.layers, &self.steps, x, mode, true)
    }

    /// [`Network::forward_still`], watched layer by layer.
    pub fn watch(
        &self,
        x: Matrix<D>,
        norms: Norms,
        watcher: Watcher<'_>,
    ) -> Result<Matrix<D>, D::Err> {
        let mode = &mut Mode::Still {
            norms,
            watcher: Some(watcher),
        };
        let layers = &self.architecture.layers;
        self.run(layers, &one_by_one(layers), x, mode, true)
    }

    /// A list of layers, of the network or of a block; `x` may be data.
    fn run<T: Tape<f32, D>>(
        &self,
        layers: &[Layer],
        steps: &[Step],
        mut x: Matrix<D, T>,
        mode: &mut Mode<'_, D>,
        on_data: bool,
    ) -> Result<Matrix<D, T>, D::Err> {
        let param = |which: usize| &self.tensors[which];
        for step in steps {
            let activation = step.activation;
            let input = if on_data && step.layer == 0 {
                InputGradient::Skip
            } else {
                InputGradient::Needed
            };
            x = match &layers[step.layer] {
                Layer::Dense {
                    shape,
                    weight,
                    bias,
                } => {
                    let (w, b) = (param(*weight), Some(param(*bias)));
                    ops::dense(x, w, b, *shape, activation, input)?
                }
                Layer::Conv {
                    shape,
                    weight,
                    bias,
                } => {
                    let (w, b) = (param(*weight), bias.map(param));
                    ops::conv2d(x, w, b, *shape, activation, input)?
                }
                Layer::Depthwise {
                    shape,
                    weight,
                    bias,
                } => {
                    let (w, b) = (param(*weight), bias.map(param));
                    ops::depthwise_conv2d(x, w, b, *shape, activation, input)?
                }
                Layer::BatchNorm { shape, first } => {
                    let [gain, shift, mean, variance] = [0, 1, 2, 3].map(|i| param(first + i));
                    match mode {
                        Mode::Still {
                            norms: Norms::Running,
                            ..
                        } => ops::batch_norm_eval(
                            x, gain, shift, mean, variance, *shape, activation,
                        )?,
                        Mode::Still {
                            norms: Norms::OfBatch,
                            ..
                        } => ops::batch_norm_train(x, gain, shift, *shape, activation)?.0,
                        Mode::Batch { statistics, .. } => {
                            let (y, of_batch) =
                                ops::batch_norm_train(x, gain, shift, *shape, activation)?;
                            statistics.push((*first, of_batch));
                            y
                        }
                    }
                }
                Layer::GroupNorm { shape, first } => {
                    ops::group_norm(x, param(*first), param(first + 1), *shape)?
                }
                Layer::Dropout { rate, ordinal } => match mode {
                    Mode::Batch { key: Some(key), .. } => {
                        // one purpose for all dropout layers, told apart by disjoint step numbers
                        let lane =
                            key.step * self.architecture.layer_count() as u64 + *ordinal as u64;
                        ops::dropout(x, *rate, &Stream::new(key.seed, "dropout", key.epoch, lane))?
                    }
                    _ => x,
                },
                Layer::Activation(which) => activate(x, *which)?,
                Layer::MaxPool(shape) => ops::max_pool2d(x, *shape)?,
                Layer::AveragePool(shape) => ops::avg_pool2d(x, *shape)?,
                Layer::GlobalAverage(image) => ops::global_avg_pool(x, *image)?,
                Layer::Residual {
                    body,
                    shortcut,
                    activation,
                } => {
                    let y = self.run(body, &step.body, x.branch(), mode, false)?;
                    let x = self.run(shortcut, &step.shortcut, x, mode, false)?;
                    let fused = activation.and_then(fused);
                    let sum = ops::add(y, x, fused.unwrap_or_default())?;
                    match (activation, fused) {
                        (Some(activation), None) => activate(sum, *activation)?,
                        _ => sum,
                    }
                }
            };
            if let (
                Layer::Dense { weight, .. }
                | Layer::Conv { weight, .. }
                | Layer::Depthwise { weight, .. },
                Mode::Still {
                    watcher: Some(watcher),
                    ..
                },
            ) = (&layers[step.layer], &mut *mode)
            {
                watcher(*weight, &x.read());
            }
        }
        Ok(x)
    }
}

#[cfg(test)]
mod pytorch;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{DenseShape, NormShape};

    #[test]
    fn activations_within_blocks_go_along_too() {
        let dense = || Layer::Dense {
            shape: DenseShape::new(2, 2).unwrap(),
            weight: 0,
            bias: 1,
        };
        let block = Layer::Residual {
            body: vec![
                dense(),
                Layer::Activation(Activation::Relu),
                Layer::Activation(Activation::Gelu),
            ],
            shortcut: vec![dense()],
            activation: None,
        };
        let steps = fuse(&[block, Layer::Activation(Activation::Tanh)]);
        assert_eq!(steps.len(), 2, "a block takes none from outside");
        let body: Vec<_> = steps[0]
            .body
            .iter()
            .map(|s| (s.layer, s.activation))
            .collect();
        use ops::Activation::{Identity, Relu};
        assert_eq!(body, [(0, Relu), (2, Identity)]);
        assert_eq!(steps[0].shortcut.len(), 1);
    }

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
