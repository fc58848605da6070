//! First weights. Every parameter draws from its own random stream, in file order, so the values depend on nothing but
//! the seed, the parameter's position in the network and its shape.
//!
//! Fans are those of Keras' `compute_fans` and PyTorch's `_calculate_fan_in_and_fan_out`: dense (in, out), convolution
//! (kh·kw·in, kh·kw·out). All rules but `pytorch` leave biases at 0; batch norm starts at gain 1, shift 0, mean 0, variance 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Role};
use crate::exact::rng::Stream;
use crate::weights::{NamedTensor, NamedTensors};

/// How weights start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// What `torch.nn.Linear` and `Conv2d` do: weights and biases U(-1/√fan_in, 1/√fan_in).
    #[default]
    Pytorch,
    /// He et al. 2015: U(-√(6/fan_in), √(6/fan_in)).
    KaimingUniform,
    /// He et al. 2015: N(0, 2/fan_in), not truncated (as PyTorch; Keras' `he_normal` is truncated, see `variance_scaling`).
    KaimingNormal,
    /// Glorot & Bengio 2010: U(±√(6/(fan_in+fan_out))). Keras' default.
    GlorotUniform,
    /// Glorot & Bengio 2010: N(0, 2/(fan_in+fan_out)), not truncated (as PyTorch).
    GlorotNormal,
    /// LeCun et al. 1998: U(±√(3/fan_in)).
    LecunUniform,
    /// LeCun et al. 1998: N(0, 1/fan_in), not truncated.
    LecunNormal,
    /// Keras' general rule; its `he_normal` is `{scale: 2, fan: in, distribution: truncated_normal}`.
    VarianceScaling(VarianceScaling),
    /// U(-limit, limit).
    Uniform(UniformInit),
    /// N(0, std²), not truncated.
    Normal(NormalInit),
    /// All weights this value.
    Constant(f64),
}

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
    /// A normal cut at two of its standard deviations, widened by 1/0.87962566103423978 so that the variance comes out right (Keras).
    TruncatedNormal,
}

/// See [`Init::Uniform`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformInit {
    /// At least 0. Keras' RandomUniform: 0.05.
    pub limit: f64,
}

/// See [`Init::Normal`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalInit {
    /// At least 0. Keras' RandomNormal: 0.05.
    pub std: f64,
}

/// The standard deviation of a standard normal cut at ±2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// What one tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    Constant(f32),
    /// U(-limit, limit).
    Uniform(f32),
    /// N(0, std²).
    Normal(f32),
    /// N(0, std²) cut at ±2 std.
    Truncated(f32),
}

impl Init {
    /// What is wrong with the numbers, if anything.
    pub fn problem(&self) -> Option<String> {
        let bad =
            |what: &str, x: f64| Some(format!("{what} must be finite and not negative, got {x}"));
        match *self {
            Init::VarianceScaling(v) if !(v.scale.is_finite() && v.scale > 0.0) => {
                bad("scale", v.scale)
            }
            Init::Uniform(u) if !(u.limit.is_finite() && u.limit >= 0.0) => bad("limit", u.limit),
            Init::Normal(n) if !(n.std.is_finite() && n.std >= 0.0) => bad("std", n.std),
            Init::Constant(c) if !c.is_finite() => bad("the constant", c),
            _ => None,
        }
    }

    fn fill(self, role: Role) -> Fill {
        let (fan_in, fan_out) = match role {
            Role::Weight { fan_in, fan_out } => (fan_in as f64, fan_out as f64),
            Role::Bias { fan_in } if self == Init::Pytorch => {
                return Fill::Uniform((1.0 / fan_in as f64).sqrt() as f32);
            }
            Role::Bias { .. } | Role::Shift | Role::RunningMean => return Fill::Constant(0.0),
            Role::Gain | Role::RunningVariance => return Fill::Constant(1.0),
        };
        let average = (fan_in + fan_out) / 2.0;
        let uniform = |variance: f64| Fill::Uniform((3.0 * variance).sqrt() as f32);
        let normal = |variance: f64| Fill::Normal(variance.sqrt() as f32);
        match self {
            Init::Pytorch => Fill::Uniform((1.0 / fan_in).sqrt() as f32),
            Init::KaimingUniform => uniform(2.0 / fan_in),
            Init::KaimingNormal => normal(2.0 / fan_in),
            Init::GlorotUniform => uniform(1.0 / average),
            Init::GlorotNormal => normal(1.0 / average),
            Init::LecunUniform => uniform(1.0 / fan_in),
            Init::LecunNormal => normal(1.0 / fan_in),
            Init::VarianceScaling(v) => {
                let fan = match v.fan {
                    Fan::In => fan_in,
                    Fan::Out => fan_out,
                    Fan::Average => average,
                };
                let variance = v.scale / fan;
                match v.distribution {
                    Distribution::Uniform => uniform(variance),
                    Distribution::Normal => normal(variance),
                    Distribution::TruncatedNormal => {
                        Fill::Truncated((variance.sqrt() / TRUNCATED_STD) as f32)
                    }
                }
            }
            Init::Uniform(u) => Fill::Uniform(u.limit as f32),
            Init::Normal(n) => Fill::Normal(n.std as f32),
            Init::Constant(c) => Fill::Constant(c as f32),
        }
    }
}

fn draw(fill: Fill, len: usize, stream: &mut Stream) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    match fill {
        Fill::Constant(c) => values.resize(len, c),
        // u in [0, 1) is a multiple of 2^-24, so 2u - 1 is exact and one rounding is left
        Fill::Uniform(limit) => {
            values.extend((0..len).map(|_| (2.0 * stream.uniform() - 1.0) * limit));
        }
        Fill::Normal(std) => values.extend((0..len).map(|_| stream.normal() * std)),
        Fill::Truncated(std) => values.extend((0..len).map(|_| {
            loop {
                let z = stream.normal();
                if z.abs() <= 2.0 {
                    return z * std;
                }
            }
        })),
    }
    values
}

/// A fresh network: every parameter and batch-norm statistic, in file order.
pub fn fresh(
    architecture: &Architecture,
    init: Init,
    seed: u64,
    purpose: &'static str,
) -> NamedTensors {
    let mut tensors = NamedTensors::default();
    for (position, parameter) in architecture.parameters.iter().enumerate() {
        let len = parameter.shape.iter().product();
        let mut stream = Stream::new(seed, purpose, 0, position as u64);
        let data = draw(init.fill(parameter.role), len, &mut stream);
        tensors.insert(
            parameter.name.clone(),
            NamedTensor {
                shape: parameter.shape.clone(),
                data,
            },
        );
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::super::architecture::tests::architecture;
    use super::*;

    /// Mean, standard deviation and largest magnitude of `fc1.weight` [200, 300].
    fn moments(init: Init) -> (f64, f64, f64) {
        let a = architecture(
            serde_json::json!({"mlp": {"hidden": [200]}}),
            (10, 30, 1),
            10,
        );
        let tensors = fresh(&a, init, 7, "init");
        let x: Vec<f64> = tensors["fc1.weight"]
            .data
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        (mean, std, x.iter().fold(0.0, |m, v| m.max(v.abs())))
    }

    /// 60,000 samples: the standard error of a standard deviation is below 0.3 %, of a mean 0.4 % of the deviation.
    #[test]
    fn moments_and_bounds() {
        let (fan_in, fan_out) = (300.0f64, 200.0f64);
        let sum = fan_in + fan_out;
        let limit = f64::INFINITY;
        let scaling = |distribution| {
            Init::VarianceScaling(VarianceScaling {
                scale: 2.0,
                fan: Fan::In,
                distribution,
            })
        };
        for (init, std, bound) in [
            (
                Init::Pytorch,
                (1.0 / (3.0 * fan_in)).sqrt(),
                (1.0 / fan_in).sqrt(),
            ),
            (
                Init::KaimingUniform,
                (2.0 / fan_in).sqrt(),
                (6.0 / fan_in).sqrt(),
            ),
            (Init::KaimingNormal, (2.0 / fan_in).sqrt(), limit),
            (Init::GlorotUniform, (2.0 / sum).sqrt(), (6.0 / sum).sqrt()),
            (Init::GlorotNormal, (2.0 / sum).sqrt(), limit),
            (
                Init::LecunUniform,
                (1.0 / fan_in).sqrt(),
                (3.0 / fan_in).sqrt(),
            ),
            (Init::LecunNormal, (1.0 / fan_in).sqrt(), limit),
            (
                scaling(Distribution::TruncatedNormal),
                (2.0 / fan_in).sqrt(),
                2.2738 * (2.0 / fan_in).sqrt(),
            ),
            (
                scaling(Distribution::Uniform),
                (2.0 / fan_in).sqrt(),
                (6.0 / fan_in).sqrt(),
            ),
            (
                Init::Uniform(UniformInit { limit: 0.05 }),
                0.05 / 3f64.sqrt(),
                0.05,
            ),
            (Init::Normal(NormalInit { std: 0.05 }), 0.05, limit),
        ] {
            let (mean, got, largest) = moments(init);
            assert!(mean.abs() < 0.02 * std, "{init:?}: mean {mean}");
            assert!(
                (got / std - 1.0).abs() < 0.015,
                "{init:?}: std {got}, expected {std}"
            );
            assert!(
                largest <= bound * 1.000_001,
                "{init:?}: {largest} above {bound}"
            );
            if bound == limit {
                assert!(largest > 3.5 * std, "{init:?} must not be truncated");
            } else {
                assert!(
                    largest > 0.98 * bound,
                    "{init:?}: {largest} never comes near {bound}"
                );
            }
        }
    }

    #[test]
    fn biases_norms_and_streams() {
        let a = architecture(
            serde_json::json!({"mlp": {"hidden": [20, 20], "batch_norm": {}}}),
            (4, 5, 1),
            10,
        );
        let pytorch = fresh(&a, Init::Pytorch, 1, "init");
        assert!(
            pytorch["fc1.bias"]
                .data
                .iter()
                .all(|b| *b != 0.0 && b.abs() <= (1.0f32 / 20.0).sqrt())
        );
        assert_ne!(
            pytorch["fc1.weight"].data, pytorch["fc2.weight"].data,
            "every parameter has its own stream"
        );
        let kaiming = fresh(&a, Init::KaimingNormal, 1, "init");
        assert!(kaiming["fc1.bias"].data.iter().all(|b| *b == 0.0));
        for (name, value) in [
            ("bn1.weight", 1.0),
            ("bn1.bias", 0.0),
            ("bn2.running_mean", 0.0),
            ("bn2.running_var", 1.0),
        ] {
            assert!(kaiming[name].data.iter().all(|x| *x == value), "{name}");
        }
        assert_ne!(fresh(&a, Init::Pytorch, 2, "init"), pytorch);
        assert_ne!(fresh(&a, Init::Pytorch, 1, "perturb"), pytorch);
        assert!(
            fresh(&a, Init::Constant(0.25), 1, "init")["fc3.weight"]
                .data
                .iter()
                .all(|x| *x == 0.25)
        );
    }
}
