//! Models as written in a pipeline file: in full, or by the name that a paper gives one. A name is
//! replaced by what it stands for as soon as it is read, so both have the same key. Says nothing of
//! input sizes or classes: the data decide those.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::named::{self, Normed};
use super::parts::{
    ConvSpec, LayerSpec, MlpSpec, NO_UNITS, PoolSpec, Problem, ResnetSpec, RnnSpec, layer_problems,
};

/// A network, written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", from = "Written")]
pub enum ModelSpec {
    /// A multi-layer perceptron on the flattened image.
    Mlp(MlpSpec),
    /// A stack of layers on the image, in order. The first `dense` flattens.
    Conv(ConvSpec),
    /// A residual network for small images (He et al. 2016, with the stem of its CIFAR nets).
    Resnet(ResnetSpec),
    /// A recurrent network that reads the rows of an image.
    Rnn(RnnSpec),
}

/// A network: written out, or one of the networks of papers by its name, which stands for what is
/// written out here. The last dense layer, one output per class, is added to every model.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ModelSpec")]
enum Written {
    /// A multi-layer perceptron on the flattened image.
    Mlp(MlpSpec),
    /// A stack of layers on the image, in order. The first `dense` flattens.
    Conv(ConvSpec),
    /// A residual network for small images (He et al. 2016, with the stem of its CIFAR nets).
    Resnet(ResnetSpec),
    /// A recurrent network that reads an image row by row, from the top, with a state `h` of 0
    /// before the first row; the last state is classified. With the cell `elman` (Elman 1990) `h[t]
    /// = tanh(W·x[t] + b + U·h[t-1])`: `W` is the weight of the layer `rnn1.input`, `U` that of
    /// `rnn1.recurrent`; it is PyTorch's `RNN` with one bias in place of two. With `cell: lstm`
    /// every gate (`input`, `forget`, `cell`, `output`) has layers of its own, such as
    /// `lstm1.forget.input` and `lstm1.forget.recurrent`, and the bias `lstm1.forget.bias`.
    Rnn(RnnSpec),
    /// `{mlp: {hidden: []}}`.
    #[serde(rename = "logistic-regression")]
    LogisticRegression,
    /// `{mlp: {hidden: [300, 100]}}`: LeCun et al. 1998, with the ReLU of Frankle & Carbin 2019.
    /// 266,200 weights on MNIST.
    #[serde(rename = "lenet-300-100")]
    Lenet300100,
    /// Convolutions 5×5 of 6 channels (padding 2) and 16 (no padding), each with ReLU and a maximum
    /// of 2×2, then dense layers of 120 and 84 with ReLU: LeCun et al. 1998 as it is taught today,
    /// without trained pooling and with ReLU. 61,706 parameters on MNIST.
    #[serde(rename = "lenet-5")]
    Lenet5,
    /// The small Keras network of `studies/initialisers`: 3×3 convolutions of 16 and 32 channels,
    /// each with batch norm, ReLU and a maximum of 2×2, then dropout 0.25 and a dense layer of 64
    /// with ReLU. 136,970 parameters on CIFAR-10.
    #[serde(rename = "keras-cnn")]
    KerasCnn,
    /// Two 3×3 convolutions of 64 channels with ReLU, a maximum of 2×2, and two dense layers of 256
    /// with ReLU: Frankle & Carbin 2019, figure 2. 4,300,992 weights on CIFAR-10.
    #[serde(rename = "conv-2")]
    Conv2,
    /// As `conv-2`, with two convolutions of 128 channels and a maximum more. 2,425,024 weights.
    #[serde(rename = "conv-4")]
    Conv4,
    /// As `conv-4`, with two convolutions of 256 channels and a maximum more. 2,261,184 weights:
    /// the paper prints 1.7 million, which its own figure does not give.
    #[serde(rename = "conv-6")]
    Conv6,
    /// As `conv-6`, with two convolutions of 512 channels and a maximum more (Ramanujan et al.
    /// 2020). 5,275,840 weights.
    #[serde(rename = "conv-8")]
    Conv8,
    /// `{resnet: {widths: [16, 32, 64], blocks: [1, 1, 1]}}`: He et al. 2016, section 4.2, n = 1,
    /// with 1×1 shortcuts. 78,042 parameters on CIFAR-10.
    #[serde(rename = "resnet-8")]
    Resnet8,
    /// `{resnet: {}}`: He et al. 2016 with the stem for small images. 11,173,962 parameters on
    /// CIFAR-10.
    #[serde(rename = "resnet-18")]
    Resnet18,
    /// `{resnet: {widths: [16, 32, 64], blocks: [3, 3, 3]}}`: He et al. 2016, section 4.2, n = 3,
    /// with 1×1 shortcuts. 272,474 parameters on CIFAR-10 (the paper: 0.27 million, shortcuts
    /// without weights). Frankle & Carbin 2019 call it Resnet-18 and count 271 thousand weights.
    #[serde(rename = "resnet-20")]
    Resnet20,
    /// Simonyan & Zisserman 2015 (A) for small images: 3×3 convolutions with ReLU, four maxima of
    /// 2×2 between five groups, the mean over the image, and one dense layer, as in Frankle &
    /// Carbin 2019. 9,225,610 parameters on CIFAR-10.
    #[serde(rename = "vgg-11")]
    Vgg11,
    /// `vgg-11` with batch norm after every convolution, whose bias stays. 9,231,114 parameters.
    #[serde(rename = "vgg-11-bn")]
    Vgg11Bn,
    /// As `vgg-11`, configuration B. 9,410,122 parameters on CIFAR-10.
    #[serde(rename = "vgg-13")]
    Vgg13,
    /// `vgg-13` with batch norm after every convolution, whose bias stays. 9,416,010 parameters.
    #[serde(rename = "vgg-13-bn")]
    Vgg13Bn,
    /// As `vgg-11`, configuration D. 14,719,818 parameters on CIFAR-10.
    #[serde(rename = "vgg-16")]
    Vgg16,
    /// `vgg-16` with batch norm after every convolution, whose bias stays. 14,728,266 parameters.
    #[serde(rename = "vgg-16-bn")]
    Vgg16Bn,
    /// As `vgg-11`, configuration E. 20,029,514 parameters on CIFAR-10.
    #[serde(rename = "vgg-19")]
    Vgg19,
    /// `vgg-19` with batch norm after every convolution, whose bias stays. 20,040,522 parameters.
    #[serde(rename = "vgg-19-bn")]
    Vgg19Bn,
    /// He et al. 2016, *Identity Mappings in Deep Residual Networks*, with 12 bottlenecks in each of
    /// three groups, as Izmailov et al. 2018 train it: batch norm and ReLU before each convolution,
    /// shortcuts by a bare 1×1 convolution where the size changes. 1,146,842 parameters on CIFAR-10.
    #[serde(rename = "preresnet-110")]
    Preresnet110,
    /// As `preresnet-110`, with 18 bottlenecks in each group. 1,703,258 parameters.
    #[serde(rename = "preresnet-164")]
    Preresnet164,
    /// Zagoruyko & Komodakis 2016: four blocks in each of three groups, ten times as wide as ResNet,
    /// without dropout. 36,479,194 parameters on CIFAR-10.
    #[serde(rename = "wrn-28-10")]
    Wrn28x10,
    /// Page 2019, *How to Train Your ResNet*: convolutions of 64, 128, 256 and 512 channels, with two
    /// residual blocks, and a maximum of 4×4 at last. 6,573,130 parameters on CIFAR-10 (Page's last
    /// layer has no bias).
    #[serde(rename = "resnet-9")]
    Resnet9,
    /// Jordan 2024 (arXiv:2404.00498): a stem of 24 2×2 filters, to be made by `whiten`, and three
    /// groups of 64, 256 and 256 channels with GELU. Unlike there, batch norm has a gain, and the last
    /// layer a bias. 1,972,802 parameters on CIFAR-10.
    #[serde(rename = "airbench94")]
    Airbench94,
}

impl From<Written> for ModelSpec {
    fn from(written: Written) -> ModelSpec {
        match written {
            Written::Mlp(spec) => ModelSpec::Mlp(spec),
            Written::Conv(spec) => ModelSpec::Conv(spec),
            Written::Resnet(spec) => ModelSpec::Resnet(spec),
            Written::Rnn(spec) => ModelSpec::Rnn(spec),
            Written::LogisticRegression => ModelSpec::Mlp(named::mlp(&[])),
            Written::Lenet300100 => ModelSpec::Mlp(named::mlp(&[300, 100])),
            Written::Lenet5 => ModelSpec::Conv(named::lenet5()),
            Written::KerasCnn => ModelSpec::Conv(named::keras_cnn()),
            Written::Conv2 => ModelSpec::Conv(named::conv_n(&[64])),
            Written::Conv4 => ModelSpec::Conv(named::conv_n(&[64, 128])),
            Written::Conv6 => ModelSpec::Conv(named::conv_n(&[64, 128, 256])),
            Written::Conv8 => ModelSpec::Conv(named::conv_n(&[64, 128, 256, 512])),
            Written::Resnet8 => ModelSpec::Resnet(named::resnet(&[16, 32, 64], &[1; 3])),
            Written::Resnet18 => ModelSpec::Resnet(named::resnet(&[64, 128, 256, 512], &[2; 4])),
            Written::Resnet20 => ModelSpec::Resnet(named::resnet(&[16, 32, 64], &[3; 3])),
            Written::Vgg11 => ModelSpec::Conv(named::vgg([1, 1, 2, 2, 2], Normed::No)),
            Written::Vgg11Bn => ModelSpec::Conv(named::vgg([1, 1, 2, 2, 2], Normed::Yes)),
            Written::Vgg13 => ModelSpec::Conv(named::vgg([2, 2, 2, 2, 2], Normed::No)),
            Written::Vgg13Bn => ModelSpec::Conv(named::vgg([2, 2, 2, 2, 2], Normed::Yes)),
            Written::Vgg16 => ModelSpec::Conv(named::vgg([2, 2, 3, 3, 3], Normed::No)),
            Written::Vgg16Bn => ModelSpec::Conv(named::vgg([2, 2, 3, 3, 3], Normed::Yes)),
            Written::Vgg19 => ModelSpec::Conv(named::vgg([2, 2, 4, 4, 4], Normed::No)),
            Written::Vgg19Bn => ModelSpec::Conv(named::vgg([2, 2, 4, 4, 4], Normed::Yes)),
            Written::Preresnet110 => ModelSpec::Conv(named::preresnet(12)),
            Written::Preresnet164 => ModelSpec::Conv(named::preresnet(18)),
            Written::Wrn28x10 => ModelSpec::Conv(named::wide_resnet(4, 10)),
            Written::Resnet9 => ModelSpec::Conv(named::resnet9()),
            Written::Airbench94 => ModelSpec::Conv(named::airbench([64, 256, 256])),
        }
    }
}

impl ModelSpec {
    /// Mistakes that can be seen without data: the field and what is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            ModelSpec::Mlp(mlp) => mlp.problems(),
            ModelSpec::Conv(conv) => layer_problems(&["conv".to_owned()], &conv.layers),
            ModelSpec::Resnet(resnet) => resnet.problems(),
            ModelSpec::Rnn(RnnSpec { units: 0, .. }) => {
                vec![(vec!["rnn".into(), "units".into()], NO_UNITS.into())]
            }
            ModelSpec::Rnn(_) => Vec::new(),
        }
    }
}

impl ModelSpec {
    /// As far as can be seen without data, batch norm normalises units of which an image has one
    /// value: behind a dense layer or a mean over the whole image.
    pub fn norms_units(&self) -> bool {
        /// Whether it happens in these layers; `flat`: an image has one value per channel.
        fn any(layers: &[LayerSpec], flat: &mut bool) -> bool {
            layers.iter().any(|layer| match layer {
                LayerSpec::Dense(_) | LayerSpec::Pool(PoolSpec::GlobalAverage) => {
                    *flat = true;
                    false
                }
                LayerSpec::BatchNorm(_) => *flat,
                LayerSpec::Residual(r) => any(&r.layers, flat),
                _ => false,
            })
        }
        match self {
            ModelSpec::Mlp(mlp) => mlp.batch_norm.is_some() && !mlp.hidden.is_empty(),
            ModelSpec::Conv(conv) => any(&conv.layers, &mut false),
            ModelSpec::Resnet(_) | ModelSpec::Rnn(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ModelSpec;

    #[test]
    fn mistakes_are_found_in_every_depth() {
        let problems = |model: serde_json::Value| -> Vec<String> {
            let model: ModelSpec = serde_json::from_value(model).unwrap();
            let problems = model.problems().into_iter();
            problems
                .map(|(at, what)| format!("{}: {what}", at.join(".")))
                .collect()
        };
        let found = problems(serde_json::json!({"conv": {"layers": [
            {"conv": {"channels": 0}}, {"dropout": 1.0}, {"group_norm": {"groups": 0}},
            {"residual": {"layers": [{"depthwise": {"stride": 0}}, {"residual": {"layers": []}}]}},
            {"pool": {"max_windows": {"kernel": 2, "stride": 0}}}]}}));
        let want = [
            "conv.layers.0.conv.channels: must be at least 1",
            "conv.layers.1.dropout: must be at least 0 and below 1, got 1",
            "conv.layers.2.group_norm.groups: must be at least 1",
            "conv.layers.3.residual.layers.0.depthwise.stride: must be at least 1",
            "conv.layers.3.residual.layers.1.residual.layers: a block needs at least one layer",
            "conv.layers.4.pool.max_windows.stride: must be at least 1",
        ];
        assert_eq!(found, want);
        let found = problems(serde_json::json!({"resnet": {"widths": [8, 0], "blocks": [1]}}));
        let want = [
            "resnet.widths.1: must be at least 1",
            "resnet.blocks: one number per stage: `widths` has 2, `blocks` 1",
        ];
        assert_eq!(found, want);
        assert!(problems(serde_json::json!({"resnet": {}})).is_empty());
    }
}
