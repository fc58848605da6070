//! A network on a device: its parameters and the forward pass through [`crate::ops`].
//!
//! Generic over the device; files and layouts are converted at the border ([`Network::load`],
//! [`Network::save`]). An activation behind a layer that can take it along is computed with it:
//! what is computed stays the same.

use std::sync::Arc;

use dfdx::prelude::{Cpu, Gradients, Tape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::layer::{Layer, Parameter};
use super::model::Model;
use super::parts::Activation;
use crate::ops::{
    self, Backend, BatchStats, GATES, GateParams, InputGradient, Matrix, Param, RecurrentParams,
};
use crate::weights::{NamedTensor, NamedTensors};
use repro_numerics::exact::rng::Stream;

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
    device: D,
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
fn activate<D: Backend, T: Tape<f32, Cpu>>(
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

/// How a network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// What batch norm normalises by. Gradients flow through the statistics of a batch; running
    /// ones are constants.
    pub norms: Norms,
    /// Of which step; without a key there is no dropout.
    pub dropout: Option<StepKey>,
}

impl From<Norms> for Mode {
    /// Without dropout.
    fn from(norms: Norms) -> Mode {
        Mode {
            norms,
            dropout: None,
        }
    }
}

/// Is shown what a layer with a weight gives, before its activation: the weight's position in
/// [`Architecture::parameters`], and the values in memory order. Of a recurrent layer it is the
/// last state, for both weights.
pub type Watcher<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// One way through the layers.
struct Pass<'a, D: Backend> {
    mode: Mode,
    /// Where a batch's statistics are left beside the position of the layer's gain.
    statistics: Option<&'a mut Vec<(usize, BatchStats<D>)>>,
    watcher: Option<Watcher<'a>>,
}

impl<D: Backend> Pass<'_, D> {
    /// Nothing moves, and nobody watches.
    fn still(mode: Mode) -> Self {
        Pass {
            mode,
            statistics: None,
            watcher: None,
        }
    }
}

impl<D: Backend> Network<D> {
    /// Puts weights on a device. The tensors must have passed [`Architecture::check`].
    ///
    /// # Errors
    /// The device's.
    pub fn load(
        device: &D,
        architecture: Arc<Architecture>,
        tensors: &NamedTensors,
    ) -> anyhow::Result<Network<D>> {
        let pool = D::Pool::default();
        let parameter = |p: &Parameter| {
            let data = p.layout.to_memory(&tensors[&p.name].data);
            Param::new(device, &pool, &data)
                .map_err(|e| anyhow::anyhow!("the weights `{}`: {e}", p.name))
        };
        let parameters = architecture.parameters.iter().map(parameter);
        let tensors = parameters.collect::<Result<_, _>>()?;
        let steps = fuse(&architecture.layers);
        Ok(Network {
            device: device.clone(),
            architecture,
            tensors,
            steps,
            statistics: Vec::new(),
        })
    }

    /// The weights as files have them.
    pub fn save(&self) -> NamedTensors {
        self.named(|i| Some(self.tensors[i].values()))
    }

    /// Values of parameters as files have weights; `of` gives those at a position, if there are
    /// any.
    pub(crate) fn named<'a>(&self, of: impl Fn(usize) -> Option<&'a D::Values>) -> NamedTensors {
        let parameters = self.architecture.parameters.iter().enumerate();
        let named = parameters.filter_map(|(i, p)| {
            let data = p.layout.to_file(&self.device.read(of(i)?));
            let shape = p.shape.clone();
            Some((p.name.clone(), NamedTensor { shape, data }))
        });
        named.collect()
    }

    /// The gradient of every parameter that is trained, taken out of those of a loss.
    pub(crate) fn take_gradients(
        &self,
        pool: &D::Pool,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<Vec<Option<D::Values>>, D::Err> {
        let parameters = self.architecture.parameters.iter().zip(&self.tensors);
        let taken = parameters.map(|(parameter, tensor)| match parameter.role.is_trained() {
            true => ops::take_gradient(&self.device, pool, gradients, tensor),
            false => Ok(None),
        });
        taken.collect()
    }

    /// The weights with the description that makes them an artifact.
    pub fn model(&self) -> Model {
        Model {
            architecture: (*self.architecture).clone(),
            tensors: self.save(),
        }
    }

    /// Where it computes.
    pub fn device(&self) -> &D {
        &self.device
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

    /// Logits `[batch, classes]` in training mode: dropout on, batch norm with the batch's
    /// statistics, which also move the running ones.
    pub fn forward_train<T: Tape<f32, Cpu>>(
        &mut self,
        x: Matrix<D, T>,
        key: StepKey,
    ) -> Result<Matrix<D, T>, D::Err> {
        self.forward_batch(x, Some(key), NORM_MOMENTUM, true)
    }

    /// [`Network::forward_train`], with a backward pass that goes on to the inputs.
    ///
    /// # Errors
    /// The device's.
    pub fn forward_train_through<T: Tape<f32, Cpu>>(
        &mut self,
        x: Matrix<D, T>,
        key: StepKey,
    ) -> Result<Matrix<D, T>, D::Err> {
        self.forward_batch(x, Some(key), NORM_MOMENTUM, false)
    }

    /// Moves batch norm's running statistics by `share` of the way to those of this batch, without
    /// dropout. Over the batches of a data set, with `share` the batch's part of all images so far,
    /// they become means over the set.
    pub fn update_statistics(&mut self, x: Matrix<D>, share: f32) -> Result<(), D::Err> {
        self.forward_batch(x, None, share, true).map(drop)
    }

    fn forward_batch<T: Tape<f32, Cpu>>(
        &mut self,
        x: Matrix<D, T>,
        key: Option<StepKey>,
        momentum: f32,
        on_data: bool,
    ) -> Result<Matrix<D, T>, D::Err> {
        let mut statistics = std::mem::take(&mut self.statistics);
        let pass = &mut Pass {
            mode: Mode {
                norms: Norms::OfBatch,
                dropout: key,
            },
            statistics: Some(&mut statistics),
            watcher: None,
        };
        let y = self.run(&self.architecture.layers, &self.steps, x, pass, on_data)?;
        for (first, of_batch) in statistics.drain(..) {
            if let [mean, variance] = &mut self.tensors[first + 2..first + 4] {
                of_batch.update_running(&self.device, momentum, mean, variance)?;
            }
        }
        self.statistics = statistics;
        Ok(y)
    }

    /// Logits `[batch, classes]` in evaluation mode: no dropout, batch norm with the running
    /// statistics.
    ///
    /// # Errors
    /// The device's.
    pub fn forward<T: Tape<f32, Cpu>>(&self, x: Matrix<D, T>) -> Result<Matrix<D, T>, D::Err> {
        self.forward_still(x, Norms::Running.into())
    }

    /// What the network gives where nothing is learnt: no statistics move. In the mode of a step it
    /// is what [`Network::forward_train`] gives.
    ///
    /// # Errors
    /// The device's.
    pub fn forward_still<T: Tape<f32, Cpu>>(
        &self,
        x: Matrix<D, T>,
        mode: Mode,
    ) -> Result<Matrix<D, T>, D::Err> {
        let (layers, steps) = (&self.architecture.layers, &self.steps);
        self.run(layers, steps, x, &mut Pass::still(mode), true)
    }

    /// [`Network::forward_still`], with a backward pass that goes on to the inputs.
    ///
    /// # Errors
    /// The device's.
    pub fn forward_through<T: Tape<f32, Cpu>>(
        &self,
        x: Matrix<D, T>,
        mode: Mode,
    ) -> Result<Matrix<D, T>, D::Err> {
        let (layers, steps) = (&self.architecture.layers, &self.steps);
        self.run(layers, steps, x, &mut Pass::still(mode), false)
    }

    /// [`Network::forward_still`] without dropout, watched layer by layer.
    ///
    /// # Errors
    /// The device's.
    pub fn watch(
        &self,
        x: Matrix<D>,
        norms: Norms,
        watcher: Watcher<'_>,
    ) -> Result<Matrix<D>, D::Err> {
        let pass = &mut Pass {
            mode: norms.into(),
            statistics: None,
            watcher: Some(watcher),
        };
        let layers = &self.architecture.layers;
        self.run(layers, &one_by_one(layers), x, pass, true)
    }

    /// A list of layers, of the network or of a block; `x` may be data.
    fn run<T: Tape<f32, Cpu>>(
        &self,
        layers: &[Layer],
        steps: &[Step],
        mut x: Matrix<D, T>,
        pass: &mut Pass<'_, D>,
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
                Layer::Recurrent {
                    shape,
                    weight,
                    bias,
                    recurrent,
                } => {
                    let params = RecurrentParams {
                        w_in: param(*weight),
                        b: param(*bias),
                        w_rec: param(*recurrent),
                    };
                    ops::recurrent(x, params, *shape, input)?
                }
                Layer::Lstm { shape, first } => {
                    let gates = std::array::from_fn(|gate| GateParams {
                        w: param(first + 3 * gate),
                        b: param(first + 3 * gate + 1),
                        u: param(first + 3 * gate + 2),
                    });
                    ops::lstm(x, gates, *shape, input)?
                }
                Layer::BatchNorm { shape, first } => {
                    let [gain, shift, mean, variance] = [0, 1, 2, 3].map(|i| param(first + i));
                    match pass.mode.norms {
                        Norms::Running => ops::batch_norm_eval(
                            x, gain, shift, mean, variance, *shape, activation,
                        )?,
                        Norms::OfBatch => {
                            let (y, of_batch) =
                                ops::batch_norm_train(x, gain, shift, *shape, activation)?;
                            if let Some(statistics) = &mut pass.statistics {
                                statistics.push((*first, of_batch));
                            }
                            y
                        }
                    }
                }
                Layer::GroupNorm { shape, first } => {
                    ops::group_norm(x, param(*first), param(first + 1), *shape)?
                }
                Layer::Dropout { rate, ordinal } => match pass.mode.dropout {
                    Some(key) => {
                        // one purpose for all dropout layers, told apart by disjoint step numbers
                        let lane =
                            key.step * self.architecture.layer_count() as u64 + *ordinal as u64;
                        ops::dropout(x, *rate, &Stream::new(key.seed, "dropout", key.epoch, lane))?
                    }
                    None => x,
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
                    let y = self.run(body, &step.body, x.branch(), pass, false)?;
                    let x = self.run(shortcut, &step.shortcut, x, pass, false)?;
                    let fused = activation.and_then(fused);
                    let sum = ops::add(y, x, fused.unwrap_or_default())?;
                    match (activation, fused) {
                        (Some(activation), None) => activate(sum, *activation)?,
                        _ => sum,
                    }
                }
            };
            if let Layer::Dense { weight, .. }
            | Layer::Conv { weight, .. }
            | Layer::Depthwise { weight, .. } = &layers[step.layer]
                && let Some(watcher) = &mut pass.watcher
            {
                watcher(*weight, &x.read());
            }
            if let Layer::Recurrent {
                weight, recurrent, ..
            } = &layers[step.layer]
                && let Some(watcher) = &mut pass.watcher
            {
                let states = x.read();
                watcher(*weight, &states);
                watcher(*recurrent, &states);
            }
            if let Layer::Lstm { first, .. } = &layers[step.layer]
                && let Some(watcher) = &mut pass.watcher
            {
                let outputs = x.read();
                for gate in 0..GATES {
                    watcher(first + 3 * gate, &outputs);
                    watcher(first + 3 * gate + 2, &outputs);
                }
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
