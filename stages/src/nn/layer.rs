//! Layers of a network with their sizes, and what its tensors are for. Decides neither names nor
//! order.

use super::layout::Layout;
use super::parts::Activation;
use crate::ops::{
    ConvShape, DenseShape, DepthwiseShape, GroupNormShape, Image, NormShape, PoolShape,
    RecurrentShape,
};

/// One layer. Numbers named after a parameter are positions in
/// [`parameters`](super::architecture::Architecture::parameters).
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// y = x·w + b.
    Dense {
        /// Sizes.
        shape: DenseShape,
        /// `[out, in]`.
        weight: usize,
        /// `[out]`.
        bias: usize,
    },
    /// A convolution.
    Conv {
        /// Sizes.
        shape: ConvShape,
        /// `[out, in, kh, kw]`.
        weight: usize,
        /// `[out]`, where there is one.
        bias: Option<usize>,
    },
    /// A convolution of every channel by itself.
    Depthwise {
        /// Sizes.
        shape: DepthwiseShape,
        /// `[channels, 1, kh, kw]`.
        weight: usize,
        /// `[channels]`, where there is one.
        bias: Option<usize>,
    },
    /// The last state of `h[t] = tanh(x[t]·w + b + h[t-1]·u)` over the rows of an image.
    Recurrent {
        /// Sizes.
        shape: RecurrentShape,
        /// `w`: `[units, in]`.
        weight: usize,
        /// `b`: `[units]`.
        bias: usize,
        /// `u`: `[units, units]`.
        recurrent: usize,
    },
    /// The last output of long short-term memory over the rows of an image. Parameters `first ..
    /// first + 12` are, for the input, forget, cell and output gate in turn, `[units, in]`,
    /// `[units]` and `[units, units]`.
    Lstm {
        /// Sizes.
        shape: RecurrentShape,
        /// Position of the input gate's first.
        first: usize,
    },
    /// Batch norm; gain, shift, running mean and running variance are parameters `first .. first +
    /// 4`.
    BatchNorm {
        /// Sizes.
        shape: NormShape,
        /// Position of the gain.
        first: usize,
    },
    /// Group norm or layer norm; gain and shift are parameters `first` and `first + 1`.
    GroupNorm {
        /// Sizes.
        shape: GroupNormShape,
        /// Position of the gain.
        first: usize,
    },
    /// A pointwise nonlinearity.
    Activation(Activation),
    /// Dropout.
    Dropout {
        /// Share dropped.
        rate: f32,
        /// Which dropout layer of the network this is, from 0: part of its random stream's key.
        ordinal: usize,
    },
    /// Maximum of windows.
    MaxPool(PoolShape),
    /// Mean of windows.
    AveragePool(PoolShape),
    /// Mean over the image.
    GlobalAverage(Image),
    /// `activation(body(x) + shortcut(x))`.
    Residual {
        /// Not empty.
        body: Vec<Layer>,
        /// Empty: the input as it is.
        shortcut: Vec<Layer>,
        /// Of the sum.
        activation: Option<Activation>,
    },
}

/// One named tensor of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// `fc1.weight`.
    pub name: String,
    /// As PyTorch has it.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// How it lies in memory.
    pub layout: Layout,
}

impl Parameter {
    /// What the layer of a weight is called: `fc1` for `fc1.weight`.
    pub fn layer(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(&self.name)
    }
}

/// What a tensor of a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Multiplies inputs; what pruning prunes.
    Weight {
        /// Inputs of one unit.
        fan_in: usize,
        /// Head one input feeds.
        fan_out: usize,
    },
    /// Added to a unit.
    Bias {
        /// Inputs of the unit.
        fan_in: usize,
    },
    /// A norm's factor.
    Gain,
    /// A norm's summand.
    Shift,
    /// Batch norm's running mean: not trained.
    RunningMean,
    /// Batch norm's running variance: not trained.
    RunningVariance,
}

impl Role {
    /// The optimizer moves it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Role::RunningMean | Role::RunningVariance)
    }

    /// Pruning may remove its elements.
    pub fn is_weight(self) -> bool {
        matches!(self, Role::Weight { .. })
    }
}
