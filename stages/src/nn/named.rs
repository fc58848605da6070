//! Models by the names that papers give them. A name stands for a spec that could be written out:
//! it is replaced as soon as it is read, so both have the same key.

use schemars::JsonSchema;
use serde::Deserialize;

use super::spec::{
    Activation, BatchNormSpec, ConvLayerSpec, ConvSpec, LayerSpec, MlpSpec, ModelSpec, Padding,
    PoolSpec, ResnetSpec, RnnSpec,
};

/// A network: written out, or one of the networks of papers by its name, which stands for what is
/// written out here. The last dense layer, one output per class, is added to every model.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ModelSpec")]
pub(super) enum Written {
    /// A multi-layer perceptron on the flattened image.
    Mlp(MlpSpec),
    /// A stack of layers on the image, in order. The first `dense` flattens.
    Conv(ConvSpec),
    /// A residual network for small images (He et al. 2016, with the stem of its CIFAR nets).
    Resnet(ResnetSpec),
    /// A recurrent network that reads an image row by row, from the top, with a state `h` of 0 before
    /// the first row; the last state is classified. With the cell `elman` (Elman 1990)
    /// `h[t] = tanh(W·x[t] + b + U·h[t-1])`: `W` is the weight of the layer `rnn1.input`, `U` that of
    /// `rnn1.recurrent`; it is PyTorch's `RNN` with one bias in place of two. With `cell: lstm` every
    /// gate (`input`, `forget`, `cell`, `output`) has layers of its own, such as `lstm1.forget.input`
    /// and `lstm1.forget.recurrent`, and the bias `lstm1.forget.bias`.
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
}

impl From<Written> for ModelSpec {
    fn from(written: Written) -> ModelSpec {
        match written {
            Written::Mlp(spec) => ModelSpec::Mlp(spec),
            Written::Conv(spec) => ModelSpec::Conv(spec),
            Written::Resnet(spec) => ModelSpec::Resnet(spec),
            Written::Rnn(spec) => ModelSpec::Rnn(spec),
            Written::LogisticRegression => mlp(&[]),
            Written::Lenet300100 => mlp(&[300, 100]),
            Written::Lenet5 => lenet5(),
            Written::KerasCnn => keras_cnn(),
            Written::Conv2 => conv_n(&[64]),
            Written::Conv4 => conv_n(&[64, 128]),
            Written::Conv6 => conv_n(&[64, 128, 256]),
            Written::Conv8 => conv_n(&[64, 128, 256, 512]),
            Written::Resnet8 => resnet(&[16, 32, 64], &[1; 3]),
            Written::Resnet18 => resnet(&[64, 128, 256, 512], &[2; 4]),
            Written::Resnet20 => resnet(&[16, 32, 64], &[3; 3]),
            Written::Vgg11 => vgg([1, 1, 2, 2, 2], Normed::No),
            Written::Vgg11Bn => vgg([1, 1, 2, 2, 2], Normed::Yes),
            Written::Vgg13 => vgg([2, 2, 2, 2, 2], Normed::No),
            Written::Vgg13Bn => vgg([2, 2, 2, 2, 2], Normed::Yes),
            Written::Vgg16 => vgg([2, 2, 3, 3, 3], Normed::No),
            Written::Vgg16Bn => vgg([2, 2, 3, 3, 3], Normed::Yes),
            Written::Vgg19 => vgg([2, 2, 4, 4, 4], Normed::No),
            Written::Vgg19Bn => vgg([2, 2, 4, 4, 4], Normed::Yes),
        }
    }
}

const RELU: LayerSpec = LayerSpec::Activation(Activation::Relu);
const HALF: LayerSpec = LayerSpec::Pool(PoolSpec::Max(2));

/// Whether batch norm follows every convolution.
#[derive(Clone, Copy, PartialEq)]
enum Normed {
    Yes,
    No,
}

fn mlp(hidden: &[usize]) -> ModelSpec {
    ModelSpec::Mlp(MlpSpec {
        hidden: hidden.to_vec(),
        activation: Activation::Relu,
        batch_norm: None,
        dropout: 0.0,
    })
}

fn resnet(widths: &[usize], blocks: &[usize]) -> ModelSpec {
    ModelSpec::Resnet(ResnetSpec {
        widths: widths.to_vec(),
        blocks: blocks.to_vec(),
    })
}

fn stack(layers: Vec<LayerSpec>) -> ModelSpec {
    ModelSpec::Conv(ConvSpec { layers })
}

fn conv(channels: usize, kernel: usize, padding: Padding) -> LayerSpec {
    LayerSpec::Conv(ConvLayerSpec {
        channels,
        kernel,
        stride: 1,
        padding,
        bias: true,
    })
}

fn conv3(channels: usize) -> LayerSpec {
    conv(channels, 3, Padding::Same)
}

fn lenet5() -> ModelSpec {
    stack(vec![
        conv(6, 5, Padding::Same),
        RELU,
        HALF,
        conv(16, 5, Padding::Valid),
        RELU,
        HALF,
        LayerSpec::Dense(120),
        RELU,
        LayerSpec::Dense(84),
        RELU,
    ])
}

fn keras_cnn() -> ModelSpec {
    let norm = || LayerSpec::BatchNorm(BatchNormSpec {});
    let mut layers: Vec<LayerSpec> = [16, 32]
        .into_iter()
        .flat_map(|channels| [conv3(channels), norm(), RELU, HALF])
        .collect();
    layers.extend([LayerSpec::Dropout(0.25), LayerSpec::Dense(64), RELU]);
    stack(layers)
}

fn conv_n(widths: &[usize]) -> ModelSpec {
    let group = |&channels: &usize| [conv3(channels), RELU, conv3(channels), RELU, HALF];
    let mut layers: Vec<LayerSpec> = widths.iter().flat_map(group).collect();
    layers.extend([LayerSpec::Dense(256), RELU, LayerSpec::Dense(256), RELU]);
    stack(layers)
}

/// `counts`: convolutions of the groups of 64, 128, 256, 512 and 512 channels.
fn vgg(counts: [usize; 5], normed: Normed) -> ModelSpec {
    let mut layers = Vec::new();
    for (group, (channels, count)) in [64, 128, 256, 512, 512].into_iter().zip(counts).enumerate() {
        if group > 0 {
            layers.push(HALF);
        }
        for _ in 0..count {
            layers.push(conv3(channels));
            if normed == Normed::Yes {
                layers.push(LayerSpec::BatchNorm(BatchNormSpec {}));
            }
            layers.push(RELU);
        }
    }
    layers.push(LayerSpec::Pool(PoolSpec::GlobalAverage));
    stack(layers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::architecture::tests::architecture;
    use super::*;

    /// `(weights, all that is trained)`.
    fn counts(model: &str, (side, channels): (usize, usize)) -> (usize, usize) {
        let a = architecture(json!(model), (side, side, channels), 10);
        let count = |of: &dyn Fn(crate::nn::architecture::Role) -> bool| {
            let parameters = a.parameters.iter().filter(|p| of(p.role));
            parameters.map(|p| p.shape.iter().product::<usize>()).sum()
        };
        (count(&|r| r.is_weight()), count(&|r| r.is_trained()))
    }

    /// Weights where the paper counts those, else all parameters. Lottery tickets (Frankle & Carbin
    /// 2019, figure 2): 266K, 4.3M, 2.4M, 2.3M (see `conv-6`), Resnet-18 271K; LeNet-5: 61,706
    /// everywhere; ResNet-18 and VGG for CIFAR-10: what the most used PyTorch code for them has.
    #[test]
    fn sizes_are_those_of_the_papers() {
        let (mnist, cifar) = ((28, 1), (32, 3));
        for (model, data, weights) in [
            ("lenet-300-100", mnist, 266_200),
            ("conv-2", cifar, 4_300_992),
            ("conv-4", cifar, 2_425_024),
            ("conv-6", cifar, 2_261_184),
            ("conv-8", cifar, 5_275_840),
            ("resnet-20", cifar, 270_896),
        ] {
            assert_eq!(counts(model, data).0, weights, "{model}");
        }
        for (model, data, trained) in [
            ("logistic-regression", mnist, 7_850),
            ("lenet-5", mnist, 61_706),
            ("keras-cnn", cifar, 136_970),
            ("resnet-8", cifar, 78_042),
            ("resnet-18", cifar, 11_173_962),
            ("resnet-20", cifar, 272_474),
            ("vgg-11", cifar, 9_225_610),
            ("vgg-11-bn", cifar, 9_231_114),
            ("vgg-13", cifar, 9_410_122),
            ("vgg-13-bn", cifar, 9_416_010),
            ("vgg-16", cifar, 14_719_818),
            ("vgg-16-bn", cifar, 14_728_266),
            ("vgg-19", cifar, 20_029_514),
            ("vgg-19-bn", cifar, 20_040_522),
        ] {
            assert_eq!(counts(model, data).1, trained, "{model}");
        }
    }

    #[test]
    fn a_name_and_what_it_stands_for_are_one() {
        let spec = |model: Value| -> ModelSpec { serde_json::from_value(model).unwrap() };
        let relu = json!({"activation": "relu"});
        let half = json!({"pool": {"max": 2}});
        let conv = |channels: usize| json!({"conv": {"channels": channels}});
        for (name, written) in [
            ("logistic-regression", json!({"mlp": {"hidden": []}})),
            ("lenet-300-100", json!({"mlp": {"hidden": [300, 100]}})),
            ("resnet-18", json!({"resnet": {}})),
            (
                "conv-4",
                json!({"conv": {"layers": [
                    conv(64), relu, conv(64), relu, half, conv(128), relu, conv(128), relu, half,
                    {"dense": 256}, relu, {"dense": 256}, relu]}}),
            ),
            (
                "lenet-5",
                json!({"conv": {"layers": [
                    {"conv": {"channels": 6, "kernel": 5}}, relu, half,
                    {"conv": {"channels": 16, "kernel": 5, "padding": "valid"}}, relu, half,
                    {"dense": 120}, relu, {"dense": 84}, relu]}}),
            ),
        ] {
            let (name, written) = (spec(json!(name)), spec(written));
            assert_eq!(name, written);
            // What is hashed.
            let text = |spec: &ModelSpec| serde_json::to_string(spec).unwrap();
            assert_eq!(text(&name), text(&written));
        }
    }
}
