//! A model on given data: every layer with its geometry, every parameter with its name, shape and role.
//!
//! Names are those a PyTorch user would choose: `conv1`, `bn1`, `fc1` ... counted per sort in order of appearance. The
//! classifier is the last `fc`. Residual nets will be one more arm of [`Architecture::new`] and one more [`Layer`].

use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::layout::Layout;
use super::spec::{Activation, LayerSpec, ModelSpec};
use crate::kind::Failure;
use crate::ops::{ConvShape, DenseShape, Image, NormShape, PoolShape};
use crate::weights::NamedTensors;

/// A model fitted to an input and a number of classes.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// What it was made from.
    pub identity: Identity,
    /// The layers, first to last; the last is the classifier.
    pub layers: Vec<Layer>,
    /// Parameters and batch-norm statistics, in order of appearance.
    pub parameters: Vec<Parameter>,
}

/// Everything that decides an architecture; stored with the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// As written by the user.
    pub model: ModelSpec,
    /// Size of the images.
    pub input: InputSize,
    /// Outputs of the classifier.
    pub classes: usize,
}

/// Size of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

/// One layer. Numbers named after a parameter are positions in [`Architecture::parameters`].
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
    /// A convolution with bias.
    Conv {
        /// Sizes.
        shape: ConvShape,
        /// `[out, in, kh, kw]`.
        weight: usize,
        /// `[out]`.
        bias: usize,
    },
    /// Batch norm; gain, shift, running mean and running variance are parameters `first .. first + 4`.
    BatchNorm {
        /// Sizes.
        shape: NormShape,
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

/// What a tensor of a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Multiplies inputs; what pruning prunes.
    Weight {
        /// Inputs of one unit.
        fan_in: usize,
        /// Outputs one input feeds.
        fan_out: usize,
    },
    /// Added to a unit.
    Bias {
        /// Inputs of the unit.
        fan_in: usize,
    },
    /// Batch norm's factor.
    Gain,
    /// Batch norm's summand.
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

/// The largest network that is built: 2^31 parameters are 8 GiB.
const MAX_PARAMETERS: usize = 1 << 31;

impl Architecture {
    /// Fits a model to images and classes.
    ///
    /// # Errors
    /// A layer that does not fit its input, by number, and why.
    pub fn new(identity: Identity) -> Result<Architecture, Failure> {
        let InputSize {
            height,
            width,
            channels,
        } = identity.input;
        let mut b = Builder::new(Image {
            height,
            width,
            channels,
        });
        match &identity.model {
            ModelSpec::Mlp(mlp) => {
                for (i, &width) in mlp.hidden.iter().enumerate() {
                    let mut layer = || {
                        b.dense(width)?;
                        if let Some(norm) = &mlp.batch_norm {
                            b.batch_norm(norm);
                        }
                        b.layers.push(Layer::Activation(mlp.activation));
                        b.dropout(mlp.dropout)
                    };
                    layer().map_err(|e: String| {
                        Failure::new(format!("model: hidden layer {}: {e}", i + 1))
                    })?;
                }
            }
            ModelSpec::Conv(conv) => {
                for (i, layer) in conv.layers.iter().enumerate() {
                    let before = b.image;
                    let done = match layer {
                        LayerSpec::Conv(c) => b.conv(c.channels, c.kernel, c.stride, c.padding),
                        LayerSpec::BatchNorm(norm) => {
                            b.batch_norm(norm);
                            Ok(())
                        }
                        LayerSpec::Activation(a) => {
                            b.layers.push(Layer::Activation(*a));
                            Ok(())
                        }
                        LayerSpec::Pool(p) => b.pool(*p),
                        LayerSpec::Dropout(rate) => b.dropout(*rate),
                        LayerSpec::Dense(n) => b.dense(*n),
                    };
                    done.map_err(|e| {
                        Failure::new(format!("model: layer {} (its input is {before}): {e}", i + 1))
                            .hint("images shrink with every pooling and unpadded convolution; see the guide to `train`")
                    })?;
                }
            }
        }
        b.dense(identity.classes)
            .map_err(|e| Failure::new(format!("model: the classifier: {e}")))?;
        let total = b.parameters.iter().try_fold(0usize, |sum, p| {
            p.shape
                .iter()
                .try_fold(1usize, |n, &d| n.checked_mul(d))
                .and_then(|n| sum.checked_add(n))
        });
        if total.is_none_or(|n| n > MAX_PARAMETERS) {
            return Err(Failure::new("model: more than 2^31 parameters"));
        }
        Ok(Architecture {
            identity,
            layers: b.layers,
            parameters: b.parameters,
        })
    }

    /// Position of the classifier's weight.
    pub fn output_weight(&self) -> usize {
        match self.layers.last() {
            Some(Layer::Dense { weight, .. }) => *weight,
            _ => unreachable!("every architecture ends with the classifier"),
        }
    }

    /// The tensors are this network's: same names, same shapes, nothing missing, nothing more.
    pub fn check(&self, tensors: &NamedTensors, of: &str) -> Result<(), Failure> {
        for p in &self.parameters {
            match tensors.get(&p.name) {
                None => {
                    return Err(
                        Failure::new(format!("{of}: no tensor `{}`", p.name)).hint(self.expected())
                    );
                }
                Some(t) if t.shape != p.shape => {
                    let text = format!(
                        "{of}: tensor `{}` has shape {:?}, expected {:?}",
                        p.name, t.shape, p.shape
                    );
                    return Err(Failure::new(text).hint(self.expected()));
                }
                Some(_) => {}
            }
        }
        if let Some(name) = tensors
            .keys()
            .find(|n| !self.parameters.iter().any(|p| p.name == **n))
        {
            return Err(Failure::new(format!(
                "{of}: tensor `{name}` belongs to no layer of this model"
            ))
            .hint(self.expected()));
        }
        Ok(())
    }

    fn expected(&self) -> String {
        let names: Vec<String> = self
            .parameters
            .iter()
            .map(|p| format!("{} {:?}", p.name, p.shape))
            .collect();
        format!("this model's tensors: {}", names.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn architecture(
        model: serde_json::Value,
        (height, width, channels): (usize, usize, usize),
        classes: usize,
    ) -> Architecture {
        let model = serde_json::from_value(model).unwrap();
        Architecture::new(Identity {
            model,
            input: InputSize {
                height,
                width,
                channels,
            },
            classes,
        })
        .unwrap()
    }

    fn weights(a: &Architecture) -> usize {
        a.parameters
            .iter()
            .filter(|p| p.role.is_weight())
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    /// Published sizes: LeNet-300-100 has 266,200 weights; Zhang et al. 2017 give 1,209,866 and 1,735,178 parameters for
    /// their perceptrons on 28×28×3; Conv-2 of Frankle & Carbin 2019 has 4,300,992 weights on 32×32×3.
    #[test]
    fn published_sizes() {
        let mlp = |hidden: &[usize]| serde_json::json!({"mlp": {"hidden": hidden}});
        assert_eq!(
            weights(&architecture(mlp(&[300, 100]), (28, 28, 1), 10)),
            266_200
        );
        let all = |a: Architecture| {
            a.parameters
                .iter()
                .map(|p| p.shape.iter().product::<usize>())
                .sum::<usize>()
        };
        assert_eq!(all(architecture(mlp(&[512]), (28, 28, 3), 10)), 1_209_866);
        assert_eq!(
            all(architecture(mlp(&[512, 512, 512]), (28, 28, 3), 10)),
            1_735_178
        );
        let conv = serde_json::json!({"conv": {"layers": [
            {"conv": {"channels": 64}}, {"activation": "relu"}, {"conv": {"channels": 64}}, {"activation": "relu"}, {"pool": {"max": 2}},
            {"dense": 256}, {"activation": "relu"}, {"dense": 256}, {"activation": "relu"}]}});
        assert_eq!(weights(&architecture(conv, (32, 32, 3), 10)), 4_300_992);
    }

    #[test]
    fn names_and_shapes() {
        let conv = serde_json::json!({"conv": {"layers": [
            {"conv": {"channels": 4, "kernel": 5, "stride": 2, "padding": "valid"}}, {"batch_norm": {}}, {"activation": "tanh"},
            {"pool": "global_average"}, {"dropout": 0.5}]}});
        let a = architecture(conv, (12, 13, 3), 7);
        let list: Vec<String> = a
            .parameters
            .iter()
            .map(|p| format!("{} {:?}", p.name, p.shape))
            .collect();
        assert_eq!(
            list,
            [
                "conv1.weight [4, 3, 5, 5]",
                "conv1.bias [4]",
                "bn1.weight [4]",
                "bn1.bias [4]",
                "bn1.running_mean [4]",
                "bn1.running_var [4]",
                "fc1.weight [7, 4]",
                "fc1.bias [7]",
            ]
        );
        assert_eq!(a.parameters[a.output_weight()].name, "fc1.weight");
    }

    #[test]
    fn layers_that_do_not_fit_are_named() {
        let make = |layers: serde_json::Value| {
            let model =
                serde_json::from_value(serde_json::json!({"conv": {"layers": layers}})).unwrap();
            Architecture::new(Identity {
                model,
                input: InputSize {
                    height: 4,
                    width: 4,
                    channels: 1,
                },
                classes: 10,
            })
            .unwrap_err()
            .message
        };
        let text = make(
            serde_json::json!([{"pool": {"max": 2}}, {"pool": {"max": 2}}, {"pool": {"max": 2}}]),
        );
        assert!(
            text.starts_with("model: layer 3 (its input is 1x1x1):"),
            "{text}"
        );
        assert!(make(serde_json::json!([{"conv": {"channels": 0}}])).contains("layer 1"));
        assert!(
            make(serde_json::json!([{"conv": {"channels": 2, "kernel": 2}}]))
                .contains("odd kernel")
        );
        assert!(make(serde_json::json!([{"dropout": 1.0}])).contains("below 1"));
        assert!(make(serde_json::json!([{"dense": usize::MAX}])).contains("layer 1"));
    }
}
