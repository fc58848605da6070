//! Keras' initialisers by their own names (`keras.initializers`, version 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_fan::{Distribution, Fan, VarianceScaling, average, fan_in};
use super::draws::Draws;
use super::identity::Eye;
use super::orthogonal::{Gain, Orthogonal};
use super::weight::Fills;

/// One of Keras' initialisers. Its normal ones by fans are cut at two standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keras {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All this.
    Constant(f64),
    /// 1s times `gain` on the diagonal; dense weights only.
    Identity(Gain),
    /// U(minval, maxval).
    RandomUniform(RandomUniform),
    /// N(mean, stddev²), not truncated.
    RandomNormal(RandomNormal),
    /// N(mean, stddev²) without what lies farther than 2·stddev from the mean; its standard
    /// deviation is then 0.8796·stddev.
    TruncatedNormal(RandomNormal),
    /// U(±√(6/(fan_in + fan_out))).
    GlorotUniform,
    /// Truncated normal of variance 2/(fan_in + fan_out); PyTorch's `xavier_normal_` is not
    /// truncated.
    GlorotNormal,
    /// U(±√(6/fan_in)).
    HeUniform,
    /// Truncated normal of variance 2/fan_in; PyTorch's `kaiming_normal_` is not truncated.
    HeNormal,
    /// U(±√(3/fan_in)).
    LecunUniform,
    /// Truncated normal of variance 1/fan_in.
    LecunNormal,
    /// Variance scale / fan.
    VarianceScaling(Scaling),
    /// Orthogonal, times `gain`.
    Orthogonal(Gain),
}

/// Of `RandomUniform`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomUniform {
    /// The lower end.
    #[serde(default = "minval")]
    pub minval: f64,
    /// The upper end.
    #[serde(default = "maxval")]
    pub maxval: f64,
}

/// Of `RandomNormal` and `TruncatedNormal`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomNormal {
    /// The mean.
    #[serde(default)]
    pub mean: f64,
    /// The standard deviation, at least 0.
    #[serde(default = "maxval")]
    pub stddev: f64,
}

/// Of `VarianceScaling`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Above 0.
    #[serde(default = "one")]
    pub scale: f64,
    /// What the scale is divided by.
    #[serde(default)]
    pub mode: KerasFan,
    /// The shape.
    #[serde(default)]
    pub distribution: KerasShape,
}

/// Which fan counts, in Keras' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are those of Keras")]
pub enum KerasFan {
    /// Inputs of a unit.
    #[default]
    FanIn,
    /// Outputs fed by a unit.
    FanOut,
    /// The mean of both.
    FanAvg,
}

/// The shape of a distribution, in Keras' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KerasShape {
    /// N(0, variance), cut at two standard deviations of the normal it is cut from.
    #[default]
    TruncatedNormal,
    /// N(0, variance).
    UntruncatedNormal,
    /// U(±√(3·variance)).
    Uniform,
}

fn minval() -> f64 {
    -0.05
}

fn maxval() -> f64 {
    0.05
}

fn one() -> f64 {
    1.0
}

impl Keras {
    pub(super) fn rule(self) -> Box<dyn Fills> {
        use Distribution::{TruncatedNormal, Uniform};
        match self {
            Keras::Zeros => Box::new(Draws::Constant(0.0)),
            Keras::Ones => Box::new(Draws::Constant(1.0)),
            Keras::Constant(c) => Box::new(Draws::Constant(c as f32)),
            Keras::Identity(gain) => Box::new(Eye(gain)),
            Keras::RandomUniform(r) => Box::new(Draws::Between {
                low: r.minval,
                high: r.maxval,
            }),
            Keras::RandomNormal(n) => Box::new(Draws::normal(n.mean, n.stddev)),
            Keras::TruncatedNormal(n) => Box::new(Draws::Within {
                mean: n.mean,
                std: n.stddev,
                low: n.mean - 2.0 * n.stddev,
                high: n.mean + 2.0 * n.stddev,
            }),
            Keras::GlorotUniform => Box::new(average(1.0, Uniform)),
            Keras::GlorotNormal => Box::new(average(1.0, TruncatedNormal)),
            Keras::HeUniform => Box::new(fan_in(2.0, Uniform)),
            Keras::HeNormal => Box::new(fan_in(2.0, TruncatedNormal)),
            Keras::LecunUniform => Box::new(fan_in(1.0, Uniform)),
            Keras::LecunNormal => Box::new(fan_in(1.0, TruncatedNormal)),
            Keras::VarianceScaling(s) => Box::new(s.ours()),
            Keras::Orthogonal(gain) => Box::new(Orthogonal(gain)),
        }
    }
}

impl Scaling {
    fn ours(self) -> VarianceScaling {
        VarianceScaling {
            scale: self.scale,
            fan: match self.mode {
                KerasFan::FanIn => Fan::In,
                KerasFan::FanOut => Fan::Out,
                KerasFan::FanAvg => Fan::Average,
            },
            distribution: match self.distribution {
                KerasShape::TruncatedNormal => Distribution::TruncatedNormal,
                KerasShape::UntruncatedNormal => Distribution::Normal,
                KerasShape::Uniform => Distribution::Uniform,
            },
        }
    }
}
