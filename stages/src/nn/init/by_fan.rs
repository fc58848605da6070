//! Weights whose variance follows from the fans: scale / fan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::weight::{Fills, Weight};
use repro_numerics::exact::rng::Stream;

/// Weights with variance scale / fan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VarianceScaling {
    /// Above 0.
    pub scale: f64,
    /// What the scale is divided by.
    pub fan: Fan,
    /// The shape.
    pub distribution: Distribution,
}

/// Which fan counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fan {
    /// Inputs of a unit.
    In,
    /// Outputs fed by a unit.
    Out,
    /// The mean of both.
    Average,
}

/// A distribution of mean 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// U(±√(3·variance)).
    Uniform,
    /// N(0, variance).
    Normal,
    /// A normal cut at two of its standard deviations, widened by 1/0.87962566103423978 so that the
    /// variance comes out right (Keras).
    TruncatedNormal,
    /// ±√variance, either with equal odds: the signed constant of Ramanujan et al. 2020 with
    /// `scale: 2`, `fan: in`. The sign is that of `uniform`.
    Signed,
}

/// The standard deviation of a standard normal cut at ±2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// Variance scale / fan_in.
pub(super) const fn fan_in(scale: f64, distribution: Distribution) -> VarianceScaling {
    VarianceScaling {
        scale,
        fan: Fan::In,
        distribution,
    }
}

/// Variance 2 / (fan_in + fan_out), times the scale.
pub(super) const fn average(scale: f64, distribution: Distribution) -> VarianceScaling {
    VarianceScaling {
        scale,
        fan: Fan::Average,
        distribution,
    }
}

impl Fills for VarianceScaling {
    fn problem(&self) -> Option<String> {
        let good = self.scale.is_finite() && self.scale > 0.0;
        (!good).then(|| {
            let message = format!("scale must be finite and above 0, got {}", self.scale);
            match self.scale == 0.0 {
                true => format!("{message}; weights of 0 are `{{constant: 0}}`"),
                false => message,
            }
        })
    }

    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        let fan = match self.fan {
            Fan::In => weight.fan_in,
            Fan::Out => weight.fan_out,
            Fan::Average => (weight.fan_in + weight.fan_out) / 2.0,
        };
        let variance = self.scale / fan;
        let draws = match self.distribution {
            Distribution::Uniform => Draws::Uniform((3.0 * variance).sqrt() as f32),
            Distribution::Normal => Draws::Normal(variance.sqrt() as f32),
            Distribution::Signed => Draws::Signed(variance.sqrt() as f32),
            Distribution::TruncatedNormal => {
                Draws::Truncated((variance.sqrt() / TRUNCATED_STD) as f32)
            }
        };
        draws.take(weight.len(), stream)
    }
}

/// U(±1/√fan_in), of weights; who else wants it says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct InverseRoot;

impl InverseRoot {
    pub(super) fn draws(fan_in: f64) -> Draws {
        Draws::Uniform((1.0 / fan_in).sqrt() as f32)
    }
}

impl Fills for InverseRoot {
    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        InverseRoot::draws(weight.fan_in).take(weight.len(), stream)
    }
}
