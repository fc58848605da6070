//! Models as written in a pipeline file. Says nothing of input sizes or classes: the data decide those.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network. The last dense layer, one output per class, is added to every model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelSpec {
    /// A multi-layer perceptron on the flattened image.
    Mlp(MlpSpec),
    /// A stack of layers on the image, in order. The first `dense` flattens.
    Conv(ConvSpec),
}

/// A multi-layer perceptron: for every hidden width dense → batch norm → activation → dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// Widths of the hidden layers, first to last. Empty: logistic regression.
    pub hidden: Vec<usize>,
    /// After every hidden layer.
    #[serde(default)]
    pub activation: Activation,
    /// Batch norm between every hidden layer and its activation.
    #[serde(default)]
    pub batch_norm: Option<BatchNormSpec>,
    /// Share of activations dropped after every hidden layer while training, in [0, 1).
    #[serde(default)]
    pub dropout: f64,
}

/// A stack of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvSpec {
    /// The layers before the classifier.
    pub layers: Vec<LayerSpec>,
}

/// One layer of a [`ConvSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerSpec {
    /// A convolution.
    Conv(ConvLayerSpec),
    /// Batch norm over images and positions, per channel; after a dense layer per unit.
    BatchNorm(BatchNormSpec),
    /// A pointwise nonlinearity.
    Activation(Activation),
    /// Pooling.
    Pool(PoolSpec),
    /// Dropout with this share dropped, in [0, 1); survivors are scaled by 1 / (1 - share).
    Dropout(f64),
    /// A dense layer with this many outputs.
    Dense(usize),
}

/// A convolution with square kernels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvLayerSpec {
    /// Output channels.
    pub channels: usize,
    /// Side of the kernel.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Step between positions.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros around the image.
    #[serde(default)]
    pub padding: Padding,
}

/// Zeros around the image, the same on all four sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// (kernel - 1) / 2; the kernel must be odd.
    #[default]
    Same,
    /// None.
    Valid,
    /// This many.
    Pixels(usize),
}

/// Batch norm (Ioffe & Szegedy 2015) with PyTorch's constants: eps 1e-5, running-average weight 0.1 for the newest batch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchNormSpec {}

/// A pointwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(0, x).
    #[default]
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// Pooling; windows do not overlap, an incomplete last window is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolSpec {
    /// The maximum of every n × n window.
    Max(usize),
    /// The mean of every n × n window.
    Average(usize),
    /// The mean of every channel over the whole image.
    GlobalAverage,
}

impl ModelSpec {
    /// Mistakes that can be seen without data: the field and what is wrong with it.
    pub fn problems(&self) -> Vec<(Vec<String>, String)> {
        let mut found = Vec::new();
        let rate_is_bad = |rate: f64| !(0.0..1.0).contains(&rate);
        match self {
            ModelSpec::Mlp(mlp) => {
                for (i, _) in mlp.hidden.iter().enumerate().filter(|(_, n)| **n == 0) {
                    found.push((
                        vec!["mlp".into(), "hidden".into(), i.to_string()],
                        "a layer needs at least one unit".into(),
                    ));
                }
                if rate_is_bad(mlp.dropout) {
                    found.push((
                        vec!["mlp".into(), "dropout".into()],
                        format!("must be at least 0 and below 1, got {}", mlp.dropout),
                    ));
                }
            }
            ModelSpec::Conv(conv) => {
                for (i, layer) in conv.layers.iter().enumerate() {
                    let mut add = |field: &[&str], message: String| {
                        let head = ["conv".to_owned(), "layers".to_owned(), i.to_string()];
                        found.push((
                            head.into_iter()
                                .chain(field.iter().map(|s| (*s).to_owned()))
                                .collect(),
                            message,
                        ));
                    };
                    match layer {
                        LayerSpec::Conv(c) => {
                            for (name, value) in [
                                ("channels", c.channels),
                                ("kernel", c.kernel),
                                ("stride", c.stride),
                            ] {
                                if value == 0 {
                                    add(&["conv", name], "must be at least 1".into());
                                }
                            }
                        }
                        LayerSpec::Dense(0) => {
                            add(&["dense"], "a layer needs at least one unit".into())
                        }
                        LayerSpec::Dropout(rate) if rate_is_bad(*rate) => add(
                            &["dropout"],
                            format!("must be at least 0 and below 1, got {rate}"),
                        ),
                        _ => {}
                    }
                }
            }
        }
        found
    }
}

fn three() -> usize {
    3
}

fn one() -> usize {
    1
}
