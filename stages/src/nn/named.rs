//! The networks that papers give names, as they would be written out.

use super::parts::{
    Activation, BatchNormSpec, ConvLayerSpec, ConvSpec, LayerSpec, MlpSpec, Padding, PoolSpec,
    ResidualSpec, ResnetSpec, Shortcut,
};

const RELU: LayerSpec = LayerSpec::Activation(Activation::Relu);
const HALF: LayerSpec = LayerSpec::Pool(PoolSpec::Max(2));

/// Whether batch norm follows every convolution.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Normed {
    Yes,
    No,
}

pub(super) fn mlp(hidden: &[usize]) -> MlpSpec {
    MlpSpec {
        hidden: hidden.to_vec(),
        activation: Activation::Relu,
        batch_norm: None,
        dropout: 0.0,
    }
}

pub(super) fn resnet(widths: &[usize], blocks: &[usize]) -> ResnetSpec {
    ResnetSpec {
        widths: widths.to_vec(),
        blocks: blocks.to_vec(),
    }
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

pub(super) fn lenet5() -> ConvSpec {
    let layers = vec![
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
    ];
    ConvSpec { layers }
}

pub(super) fn keras_cnn() -> ConvSpec {
    let norm = || LayerSpec::BatchNorm(BatchNormSpec {});
    let mut layers: Vec<LayerSpec> = [16, 32]
        .into_iter()
        .flat_map(|channels| [conv3(channels), norm(), RELU, HALF])
        .collect();
    layers.extend([LayerSpec::Dropout(0.25), LayerSpec::Dense(64), RELU]);
    ConvSpec { layers }
}

pub(super) fn conv_n(widths: &[usize]) -> ConvSpec {
    let group = |&channels: &usize| [conv3(channels), RELU, conv3(channels), RELU, HALF];
    let mut layers: Vec<LayerSpec> = widths.iter().flat_map(group).collect();
    layers.extend([LayerSpec::Dense(256), RELU, LayerSpec::Dense(256), RELU]);
    ConvSpec { layers }
}

/// `counts`: convolutions of the groups of 64, 128, 256, 512 and 512 channels.
pub(super) fn vgg(counts: [usize; 5], normed: Normed) -> ConvSpec {
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
    ConvSpec { layers }
}

/// A convolution without bias that keeps the size of the image, but for its stride.
fn bare(channels: usize, kernel: usize, stride: usize) -> LayerSpec {
    LayerSpec::Conv(ConvLayerSpec {
        channels,
        kernel,
        stride,
        padding: Padding::Same,
        bias: false,
    })
}

fn normed() -> [LayerSpec; 2] {
    [LayerSpec::BatchNorm(BatchNormSpec {}), RELU]
}

fn residual(layers: Vec<LayerSpec>, shortcut: Shortcut) -> LayerSpec {
    LayerSpec::Residual(ResidualSpec {
        layers,
        shortcut,
        activation: None,
    })
}

/// The stride of a block, and what its input is added as: the first of each group changes the size.
fn passage(group: usize, block: usize) -> (usize, Shortcut) {
    match (group, block) {
        (0, 0) => (1, Shortcut::Convolution),
        (_, 0) => (2, Shortcut::Convolution),
        _ => (1, Shortcut::Identity),
    }
}

/// Bottlenecks of 16, 32 and 64 channels, four times as many going out; batch norm and ReLU before
/// each convolution.
pub(super) fn preresnet(blocks: usize) -> ConvSpec {
    let mut layers = vec![bare(16, 3, 1)];
    for (group, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let (stride, shortcut) = passage(group, block);
            let mut body = Vec::new();
            for conv in [
                bare(width, 1, 1),
                bare(width, 3, stride),
                bare(4 * width, 1, 1),
            ] {
                body.extend(normed());
                body.push(conv);
            }
            layers.push(residual(body, shortcut));
        }
    }
    layers.extend(normed());
    layers.push(LayerSpec::Pool(PoolSpec::GlobalAverage));
    ConvSpec { layers }
}

/// Blocks of two convolutions, 16, 32 and 64 times `factor` channels wide. The shortcut of the first
/// block of a group begins behind its batch norm and ReLU, which therefore come before the block.
pub(super) fn wide_resnet(blocks: usize, factor: usize) -> ConvSpec {
    let mut layers = vec![bare(16, 3, 1)];
    for (group, width) in [16, 32, 64]
        .map(|width| factor * width)
        .into_iter()
        .enumerate()
    {
        for block in 0..blocks {
            let (stride, shortcut) = passage(group, block);
            let mut body = Vec::new();
            match block {
                0 => layers.extend(normed()),
                _ => body.extend(normed()),
            }
            body.push(bare(width, 3, stride));
            body.extend(normed());
            body.push(bare(width, 3, 1));
            layers.push(residual(body, shortcut));
        }
    }
    layers.extend(normed());
    layers.push(LayerSpec::Pool(PoolSpec::GlobalAverage));
    ConvSpec { layers }
}

/// Page's network: convolutions with batch norm and ReLU, and two blocks that add what they got.
pub(super) fn resnet9() -> ConvSpec {
    let unit = |channels| {
        let [norm, relu] = normed();
        [bare(channels, 3, 1), norm, relu]
    };
    let block = |channels| {
        residual(
            [unit(channels), unit(channels)].concat(),
            Shortcut::Identity,
        )
    };
    let mut layers = Vec::from(unit(64));
    layers.extend(unit(128));
    layers.extend([HALF, block(128)]);
    layers.extend(unit(256));
    layers.push(HALF);
    layers.extend(unit(512));
    layers.extend([HALF, block(512), LayerSpec::Pool(PoolSpec::Max(4))]);
    ConvSpec { layers }
}

/// airbench94: a stem of 2×2, three groups of two convolutions each, with a maximum, batch norm and
/// GELU.
pub(super) fn airbench(widths: [usize; 3]) -> ConvSpec {
    let gelu = || LayerSpec::Activation(Activation::Gelu);
    let norm = || LayerSpec::BatchNorm(BatchNormSpec {});
    let mut layers = vec![conv(24, 2, Padding::Valid), gelu()];
    for width in widths {
        layers.extend([bare(width, 3, 1), HALF, norm(), gelu()]);
        layers.extend([bare(width, 3, 1), norm(), gelu()]);
    }
    layers.push(LayerSpec::Pool(PoolSpec::Max(3)));
    ConvSpec { layers }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::architecture::tests::architecture;
    use super::super::spec::ModelSpec;

    /// `(weights, all that is trained)`.
    fn counts(model: &str, (side, channels): (usize, usize)) -> (usize, usize) {
        let a = architecture(json!(model), (side, side, channels), 10);
        let count = |of: &dyn Fn(crate::nn::layer::Role) -> bool| {
            let parameters = a.parameters.iter().filter(|p| of(p.role));
            parameters.map(|p| p.shape.iter().product::<usize>()).sum()
        };
        (count(&|r| r.is_weight()), count(&|r| r.is_trained()))
    }

    /// Weights where the paper counts those, else all parameters. Lottery tickets (Frankle & Carbin
    /// 2019, figure 2): 266K, 4.3M, 2.4M, 2.3M (see `conv-6`), Resnet-18 271K; LeNet-5: 61,706
    /// everywhere; ResNet-18 and VGG for CIFAR-10: what the most used PyTorch code for them has. ResNet-164 of
    /// He et al. 2016, *Identity Mappings*: 1.7 million; WRN-28-10 (Zagoruyko & Komodakis 2016): 36.5
    /// million; Page's network: 6,573,120 and a bias.
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
            ("preresnet-110", cifar, 1_146_842),
            ("preresnet-164", cifar, 1_703_258),
            ("wrn-28-10", cifar, 36_479_194),
            ("resnet-9", cifar, 6_573_130),
            ("airbench94", cifar, 1_972_802),
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
