//! PyTorch's initialisers by their own names (`torch.nn.init`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_fan::{Distribution, Fan, VarianceScaling, average};
use super::draws::Draws;
use super::identity::{Dirac, Eye};
use super::orthogonal::{Gain, Orthogonal};
use super::sparse::TorchSparse;
use super::weight::Fills;

/// One of PyTorch's initialisers. Its normal ones by fans are not truncated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Torch {
    /// U(a, b).
    #[serde(rename = "uniform_")]
    Uniform(UniformEnds),
    /// N(mean, std²).
    #[serde(rename = "normal_")]
    Normal(MeanStd),
    /// All this.
    #[serde(rename = "constant_")]
    Constant(f64),
    /// All 1.
    #[serde(rename = "ones_")]
    Ones,
    /// All 0.
    #[serde(rename = "zeros_")]
    Zeros,
    /// 1s on the diagonal; dense weights only.
    #[serde(rename = "eye_")]
    Eye,
    /// 1s in the middle of the kernels from channel i to channel i, without groups; convolutions
    /// only.
    #[serde(rename = "dirac_")]
    Dirac,
    /// U(±gain·√(6/(fan_in + fan_out))).
    #[serde(rename = "xavier_uniform_")]
    XavierUniform(Gain),
    /// N(0, gain²·2/(fan_in + fan_out)).
    #[serde(rename = "xavier_normal_")]
    XavierNormal(Gain),
    /// U(±gain·√(3/fan)), the gain by the nonlinearity.
    #[serde(rename = "kaiming_uniform_")]
    KaimingUniform(Kaiming),
    /// N(0, gain²/fan), the gain by the nonlinearity.
    #[serde(rename = "kaiming_normal_")]
    KaimingNormal(Kaiming),
    /// N(mean, std²) without what lies outside of a to b.
    #[serde(rename = "trunc_normal_")]
    TruncNormal(TruncNormal),
    /// Orthogonal, times `gain`.
    #[serde(rename = "orthogonal_")]
    Orthogonal(Gain),
    /// N(0, std²) with the same share of 0s in every column of `[out, in]`: every *input* keeps as
    /// many outgoing weights, and a unit as many incoming ones as chance leaves it, perhaps none.
    /// Dense weights only. Martens' rule is `sparse`.
    #[serde(rename = "sparse_")]
    Sparse(TorchSparse),
}

/// Of `uniform_`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformEnds {
    /// The lower end.
    #[serde(default)]
    pub a: f64,
    /// The upper end.
    #[serde(default = "one")]
    pub b: f64,
}

/// Of `normal_`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeanStd {
    /// The mean.
    #[serde(default)]
    pub mean: f64,
    /// The standard deviation, at least 0.
    #[serde(default = "one")]
    pub std: f64,
}

/// Of `trunc_normal_`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TruncNormal {
    /// The mean before anything is cut off.
    #[serde(default)]
    pub mean: f64,
    /// The standard deviation before anything is cut off.
    #[serde(default = "one")]
    pub std: f64,
    /// The lower end: a value, not a number of deviations.
    #[serde(default = "minus_two")]
    pub a: f64,
    /// The upper end.
    #[serde(default = "two")]
    pub b: f64,
}

/// Of `kaiming_uniform_` and `kaiming_normal_`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kaiming {
    /// The slope of `leaky_relu` below 0; of no other nonlinearity.
    #[serde(default)]
    pub a: f64,
    /// What the variance is divided by.
    #[serde(default)]
    pub mode: TorchFan,
    /// What follows the layer.
    #[serde(default)]
    pub nonlinearity: Nonlinearity,
}

/// Which fan counts, in PyTorch's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TorchFan {
    /// Inputs of a unit.
    #[default]
    FanIn,
    /// Outputs fed by a unit.
    FanOut,
}

/// Names of `torch.nn.init.calculate_gain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// Gain 1.
    Linear,
    /// Gain 1.
    Sigmoid,
    /// Gain 5/3.
    Tanh,
    /// Gain √2.
    Relu,
    /// Gain √(2/(1 + a²)).
    #[default]
    LeakyRelu,
    /// Gain 3/4.
    Selu,
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

fn minus_two() -> f64 {
    -2.0
}

impl Kaiming {
    /// The square of the gain, which is what a variance is multiplied by.
    fn ours(self, distribution: Distribution) -> VarianceScaling {
        VarianceScaling {
            scale: match self.nonlinearity {
                Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
                Nonlinearity::Tanh => 25.0 / 9.0,
                Nonlinearity::Relu => 2.0,
                Nonlinearity::LeakyRelu => 2.0 / (1.0 + self.a * self.a),
                Nonlinearity::Selu => 9.0 / 16.0,
            },
            fan: match self.mode {
                TorchFan::FanIn => Fan::In,
                TorchFan::FanOut => Fan::Out,
            },
            distribution,
        }
    }
}

impl Torch {
    pub(super) fn rule(self) -> Box<dyn Fills> {
        use Distribution::{Normal, Uniform};
        match self {
            Torch::Uniform(u) => Box::new(Draws::Between {
                low: u.a,
                high: u.b,
            }),
            Torch::Normal(n) => Box::new(Draws::normal(n.mean, n.std)),
            Torch::Constant(c) => Box::new(Draws::Constant(c as f32)),
            Torch::Ones => Box::new(Draws::Constant(1.0)),
            Torch::Zeros => Box::new(Draws::Constant(0.0)),
            Torch::Eye => Box::new(Eye(Gain { gain: 1.0 })),
            Torch::Dirac => Box::new(Dirac),
            Torch::XavierUniform(g) => Box::new(average(g.gain * g.gain, Uniform)),
            Torch::XavierNormal(g) => Box::new(average(g.gain * g.gain, Normal)),
            Torch::KaimingUniform(k) => Box::new(k.ours(Uniform)),
            Torch::KaimingNormal(k) => Box::new(k.ours(Normal)),
            Torch::TruncNormal(n) => Box::new(Draws::Within {
                mean: n.mean,
                std: n.std,
                low: n.a,
                high: n.b,
            }),
            Torch::Orthogonal(gain) => Box::new(Orthogonal(gain)),
            Torch::Sparse(sparse) => Box::new(sparse),
        }
    }
}
