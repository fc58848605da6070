//! What models are written from: layers and stacks of them, and what can be wrong with their
//! numbers before the data are known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A multi-layer perceptron: for every hidden width dense → batch norm → activation → dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// Widths of the hidden layers, first to last. Empty: logistic regression, or linear regression
    /// where numbers are learnt.
    #[schemars(inner(range(min = 1)))]
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

/// ResNet with basic blocks: a 3×3 convolution, batch norm, relu; stages of residual blocks (3×3 →
/// batch norm → relu → 3×3 → batch norm, sum, relu); global average pooling. Every stage but the
/// first halves the image in its first block, whose shortcut is then a 1×1 convolution with batch
/// norm. No convolution has a bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResnetSpec {
    /// Channels of every stage. [64, 128, 256, 512] is ResNet-18's; Ash & Adams (2020) train [16,
    /// 32, 64, 128].
    #[serde(default = "resnet_widths")]
    #[schemars(inner(range(min = 1)))]
    pub widths: Vec<usize>,
    /// Blocks of every stage. [2, 2, 2, 2] is ResNet-18, [3, 4, 6, 3] ResNet-34.
    #[serde(default = "resnet_blocks")]
    #[schemars(inner(range(min = 1)))]
    pub blocks: Vec<usize>,
}

/// A recurrent network that reads an image row by row, from the top, with a state `h` of 0 before
/// the first row; the last state is classified. With the cell `elman` (Elman 1990)
/// `h[t] = tanh(W·x[t] + b + U·h[t-1])`: `W` is the weight of the layer `rnn1.input`, `U` that of
/// `rnn1.recurrent`; it is PyTorch's `RNN` with one bias in place of two. With `cell: lstm` every
/// gate (`input`, `forget`, `cell`, `output`) has layers of its own, such as `lstm1.forget.input`
/// and `lstm1.forget.recurrent`, and the bias `lstm1.forget.bias`; to begin with open forget gates
/// (Jozefowicz et al. 2015), say `first_weights: {by_name: {"lstm1.forget.bias": {constant: 1}}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RnnSpec {
    /// Values of a state.
    #[schemars(range(min = 1))]
    pub units: usize,
    /// What a step computes.
    #[serde(default, skip_serializing_if = "Cell::is_elman")]
    pub cell: Cell,
}

/// What a recurrent network computes at each row of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// `h[t] = tanh(W·x[t] + b + U·h[t-1])`.
    #[default]
    Elman,
    /// Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al.
    /// 2000): `c[t] = f·c[t-1] + i·g`, `h[t] = o·tanh(c[t])`, each gate of its own
    /// `W·x[t] + b + U·h[t-1]`. PyTorch's `LSTM` with one bias in place of two.
    Lstm,
}

impl Cell {
    /// Models of before there was another keep their text.
    fn is_elman(&self) -> bool {
        *self == Cell::Elman
    }
}

/// One layer of a [`ConvSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerSpec {
    /// A convolution.
    Conv(ConvLayerSpec),
    /// A depthwise convolution: every channel has a kernel of its own (PyTorch: `groups` =
    /// channels).
    Depthwise(DepthwiseLayerSpec),
    /// Batch norm over images and positions, per channel; after a dense layer per unit.
    BatchNorm(BatchNormSpec),
    /// Layer norm (Ba et al. 2016) over all features of an image, each with a gain and a shift.
    LayerNorm(LayerNormSpec),
    /// Group norm (Wu & He 2018) over groups of neighbouring channels of an image.
    GroupNorm(GroupNormSpec),
    /// A pointwise nonlinearity.
    Activation(Activation),
    /// Pooling.
    Pool(PoolSpec),
    /// Dropout with this share dropped, in [0, 1); survivors are scaled by 1 / (1 - share).
    Dropout(f64),
    /// A dense layer with this many outputs.
    Dense(#[schemars(range(min = 1))] usize),
    /// A residual block: the sum of its layers' output and its input.
    Residual(ResidualSpec),
}

/// A convolution with square kernels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvLayerSpec {
    /// Output channels.
    #[schemars(range(min = 1))]
    pub channels: usize,
    /// Side of the kernel.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub kernel: usize,
    /// Step between positions.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub stride: usize,
    /// Zeros around the image.
    #[serde(default)]
    pub padding: Padding,
    /// A number added to every channel; batch norm right after makes it useless.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    #[schemars(extend("default" = true))]
    pub bias: bool,
}

/// A depthwise convolution with square kernels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseLayerSpec {
    /// Side of the kernel.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub kernel: usize,
    /// Step between positions.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub stride: usize,
    /// Zeros around the image.
    #[serde(default)]
    pub padding: Padding,
    /// A number added to every channel.
    #[serde(default = "yes")]
    pub bias: bool,
}

/// A residual block (He et al. 2016): `activation(layers(x) + shortcut(x))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResidualSpec {
    /// What the block computes.
    pub layers: Vec<LayerSpec>,
    /// What its input is added as.
    #[serde(default)]
    pub shortcut: Shortcut,
    /// Of the sum; none unless given. He et al. 2016: relu.
    #[serde(default)]
    pub activation: Option<Activation>,
}

/// What the input of a residual block is added as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortcut {
    /// As it is where the sizes agree, else projected.
    #[default]
    Auto,
    /// As it is: the layers must keep the size.
    Identity,
    /// By a 1×1 convolution without bias, strided as the sizes ask, and batch norm.
    Projection,
    /// As `projection`, without batch norm: in networks whose blocks begin with one (He et al.
    /// 2016, *Identity Mappings*).
    Convolution,
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

/// Batch norm (Ioffe & Szegedy 2015) with PyTorch's constants: eps 1e-5, running-average weight 0.1
/// for the newest batch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchNormSpec {}

/// Layer norm with PyTorch's eps, 1e-5.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerNormSpec {}

/// Group norm with PyTorch's eps, 1e-5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupNormSpec {
    /// Groups of equal size the channels are cut into.
    #[schemars(range(min = 1))]
    pub groups: usize,
}

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
    /// x·Φ(x) with the normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))), its approximation.
    GeluTanh,
}

/// Pooling; an incomplete last window is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolSpec {
    /// The maximum of every n × n window, side by side.
    Max(#[schemars(range(min = 1))] usize),
    /// The mean of every n × n window, side by side.
    Average(#[schemars(range(min = 1))] usize),
    /// The mean of every channel over the whole image.
    GlobalAverage,
    /// The maximum of windows that may overlap or reach over the edge, where padding never wins.
    MaxWindows(PoolWindowSpec),
    /// The mean of windows that may overlap or reach over the edge, where padding counts as zeros.
    AverageWindows(PoolWindowSpec),
}

/// Square windows of pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolWindowSpec {
    /// Side of a window.
    #[schemars(range(min = 1))]
    pub kernel: usize,
    /// Step between windows.
    #[schemars(range(min = 1))]
    pub stride: usize,
    /// Positions added around the image, at most half the side.
    #[serde(default)]
    pub padding: usize,
}

/// A mistake: the field, and what is wrong with it.
pub(super) type Problem = (Vec<String>, String);

pub(super) const NO_UNITS: &str = "a layer needs at least one unit";

fn rate_problem(rate: f64) -> Option<String> {
    let good = (0.0..1.0).contains(&rate);
    (!good).then(|| format!("must be at least 0 and below 1, got {rate}"))
}

impl MlpSpec {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let empty = self.hidden.iter().enumerate().filter(|(_, n)| **n == 0);
        let path = |i: usize| vec!["mlp".into(), "hidden".into(), i.to_string()];
        let mut found: Vec<Problem> = empty.map(|(i, _)| (path(i), NO_UNITS.into())).collect();
        found.extend(rate_problem(self.dropout).map(|m| (vec!["mlp".into(), "dropout".into()], m)));
        found
    }
}

impl ResnetSpec {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let path = |field: &str| vec!["resnet".to_owned(), field.to_owned()];
        let mut found = Vec::new();
        for (field, numbers) in [("widths", &self.widths), ("blocks", &self.blocks)] {
            if numbers.is_empty() {
                found.push((path(field), "a network needs at least one stage".into()));
            }
            for (i, _) in numbers.iter().enumerate().filter(|(_, n)| **n == 0) {
                let at = [path(field), vec![i.to_string()]].concat();
                found.push((at, "must be at least 1".into()));
            }
        }
        if self.widths.len() != self.blocks.len() {
            let message = format!(
                "one number per stage: `widths` has {}, `blocks` {}",
                self.widths.len(),
                self.blocks.len()
            );
            found.push((path("blocks"), message));
        }
        found
    }
}

/// The mistakes of `layers`, a field of what is at `path`.
pub(super) fn layer_problems(path: &[String], layers: &[LayerSpec]) -> Vec<Problem> {
    let mut found = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        let here = [path, &["layers".to_owned(), i.to_string()]].concat();
        let mut add = |field: &[&str], message: &str| {
            let field = field.iter().map(|s| (*s).to_owned());
            found.push((
                here.iter().cloned().chain(field).collect(),
                message.to_owned(),
            ));
        };
        let mut positive = |layer: &[&str], fields: &[(&str, usize)]| {
            for (name, _) in fields.iter().filter(|(_, value)| *value == 0) {
                add(&[layer, &[*name]].concat(), "must be at least 1");
            }
        };
        match layer {
            LayerSpec::Conv(c) => positive(
                &["conv"],
                &[
                    ("channels", c.channels),
                    ("kernel", c.kernel),
                    ("stride", c.stride),
                ],
            ),
            LayerSpec::Depthwise(d) => positive(
                &["depthwise"],
                &[("kernel", d.kernel), ("stride", d.stride)],
            ),
            LayerSpec::Pool(PoolSpec::MaxWindows(w)) => {
                positive(
                    &["pool", "max_windows"],
                    &[("kernel", w.kernel), ("stride", w.stride)],
                );
            }
            LayerSpec::Pool(PoolSpec::AverageWindows(w)) => {
                positive(
                    &["pool", "average_windows"],
                    &[("kernel", w.kernel), ("stride", w.stride)],
                );
            }
            LayerSpec::GroupNorm(g) => positive(&["group_norm"], &[("groups", g.groups)]),
            LayerSpec::Dense(0) => add(&["dense"], NO_UNITS),
            LayerSpec::Dropout(rate) => {
                if let Some(message) = rate_problem(*rate) {
                    add(&["dropout"], &message);
                }
            }
            LayerSpec::Residual(r) if r.layers.is_empty() => {
                add(&["residual", "layers"], "a block needs at least one layer");
            }
            LayerSpec::Residual(r) => {
                let path = [&here[..], &["residual".to_owned()]].concat();
                found.extend(layer_problems(&path, &r.layers));
            }
            _ => {}
        }
    }
    found
}

fn three() -> usize {
    3
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn resnet_widths() -> Vec<usize> {
    vec![64, 128, 256, 512]
}

fn resnet_blocks() -> Vec<usize> {
    vec![2; 4]
}
