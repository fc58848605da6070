//! The models that are compared, and how many multiplications they are.

use serde_json::{Value, json};

/// A model with the size of its batches.
pub struct Model {
    /// What the command line calls it.
    pub name: &'static str,
    /// As in a pipeline file: `with.model`.
    pub spec: Value,
    /// Height, width, channels.
    pub input: [usize; 3],
    /// Images per step.
    pub batch: usize,
}

/// Outputs of every model.
pub const CLASSES: usize = 10;

const MNIST: [usize; 3] = [28, 28, 1];
const CIFAR: [usize; 3] = [32, 32, 3];

/// All of them, small before large.
pub fn all() -> Vec<Model> {
    let model = |name, spec, input, batch| Model {
        name,
        spec,
        input,
        batch,
    };
    let mlp = |hidden: &[usize]| json!({"mlp": {"hidden": hidden}});
    let resnet = |widths: [usize; 4]| json!({"resnet": {"widths": widths}});
    // "M" of VGG's tables is 0 here: 2×2 maximum pooling.
    let four: [usize; 6] = [32, 32, 0, 64, 64, 0];
    let six: [usize; 9] = [64, 64, 0, 128, 128, 0, 256, 256, 0];
    vec![
        model("lenet-300-100", mlp(&[300, 100]), MNIST, 60),
        model("mlp-3072-100-100", mlp(&[100, 100]), CIFAR, 128),
        model("mlp-784-512-256", mlp(&[512, 256]), MNIST, 128),
        model("conv4", conv(&four, false, &[512]), CIFAR, 128),
        model("conv4-bn", conv(&four, true, &[512]), CIFAR, 128),
        model("conv-2", conv(&six[..3], false, &[256, 256]), CIFAR, 60),
        model("conv-4", conv(&six[..6], false, &[256, 256]), CIFAR, 60),
        model("conv-6", conv(&six, false, &[256, 256]), CIFAR, 60),
        model("resnet18-16", resnet([16, 32, 64, 128]), CIFAR, 64),
        model("resnet18-64", resnet([64, 128, 256, 512]), CIFAR, 64),
    ]
}

/// 3×3 convolutions of these widths (0: a 2×2 pool), each with ReLU, then dense layers.
fn conv(widths: &[usize], norm: bool, dense: &[usize]) -> Value {
    let mut layers = Vec::new();
    for &width in widths {
        if width == 0 {
            layers.push(json!({"pool": {"max": 2}}));
            continue;
        }
        layers.push(json!({"conv": {"channels": width}}));
        if norm {
            layers.push(json!({"batch_norm": {}}));
        }
        layers.push(json!({"activation": "relu"}));
    }
    for &width in dense {
        layers.push(json!({"dense": width}));
        layers.push(json!({"activation": "relu"}));
    }
    json!({"conv": {"layers": layers}})
}

/// Multiplications of one image on its way forward.
#[derive(Clone, Copy, Default)]
struct Products {
    all: usize,
    first: usize,
}

impl Products {
    fn add(&mut self, products: usize) {
        if self.all == 0 {
            self.first = products;
        }
        self.all += products;
    }
}

impl Model {
    /// Floating-point operations of training on one image in dense layers and convolutions: two per
    /// multiplication, three products per layer (output, gradients of weight and input), none for
    /// the gradient of the data. Products with padding count.
    pub fn training_flops(&self) -> f64 {
        let products = self.products();
        2.0 * (3 * products.all - products.first) as f64
    }

    fn products(&self) -> Products {
        let [height, mut side, mut channels] = self.input;
        assert_eq!(height, side, "images are square");
        let mut of = Products::default();
        let number = |v: &Value| v.as_u64().expect("a number") as usize;
        let widths = |v: &Value| -> Vec<usize> {
            v.as_array().expect("a list").iter().map(number).collect()
        };
        let mut features = side * side * channels;
        if let Some(mlp) = self.spec.get("mlp") {
            for width in widths(&mlp["hidden"]) {
                of.add(features * width);
                features = width;
            }
        } else if let Some(resnet) = self.spec.get("resnet") {
            for (group, width) in widths(&resnet["widths"]).into_iter().enumerate() {
                if group == 0 {
                    of.add(side * side * 9 * channels * width);
                    channels = width;
                } else {
                    // The first block halves the image and has a 1×1 convolution beside it.
                    side = side.div_ceil(2);
                    of.add(side * side * channels * width);
                }
                for convolution in 0..4 {
                    let from = if convolution == 0 { channels } else { width };
                    of.add(side * side * 9 * from * width);
                }
                channels = width;
            }
            features = channels;
        } else {
            for layer in self.spec["conv"]["layers"].as_array().expect("a list") {
                if let Some(convolution) = layer.get("conv") {
                    let width = number(&convolution["channels"]);
                    of.add(side * side * 9 * channels * width);
                    channels = width;
                    features = side * side * channels;
                } else if layer.get("pool").is_some() {
                    side /= 2;
                    features = side * side * channels;
                } else if let Some(width) = layer.get("dense") {
                    of.add(features * number(width));
                    features = number(width);
                }
            }
        }
        of.add(features * CLASSES);
        of
    }
}
