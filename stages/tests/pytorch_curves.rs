//! Training curves beside PyTorch: the same first weights, the same batches of published images,
//! the same optimizer; the losses must agree within what the order of f32 sums explains.
//!
//! tests/reference/curves.py recorded for every step PyTorch's loss in f64, and how far its own f32
//! runs, in two or three orders of summation, are from that. A run of ours is one more order. The
//! distance of a run from f64 grows in two ways: rounding errors are amplified from step to step,
//! and now and then the sum before a ReLU is so near 0 that another order switches the unit on or
//! off for an image. Such a kick moves the loss by some 1e-5, in one run at step 16, in another at
//! step 35. So the band is `ORDERS` times the largest recorded distance so far, and a `KICK`, which
//! may come before the recorded runs had theirs. A mistake in a gradient, a statistic or an update
//! leaves that band within a few steps: 20 of the recorded ones are followed, and all of them with
//! `REPRO_EXHAUSTIVE=1`.
//!
//! The images lie in `../shared/data` or where `REPRO_MIRROR` says; without them each test says so
//! and passes, because the data are not part of the project.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
#[path = "../../tests/support/skipped.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dfdx::prelude::Cpu;
use repro_stages::data::{Dataset, ImageShape, Info, cifar, idx};
use repro_stages::nn::architecture::{Architecture, Head, Identity, InputSize};
use repro_stages::nn::layer::Role;
use repro_stages::nn::network::StepKey;
use repro_stages::nn::spec::ModelSpec;
use repro_stages::training::mask::Masks;
use repro_stages::training::optim::Optimizer;
use repro_stages::training::pass::{Images, Wanted};
use repro_stages::training::step::Learner;
use repro_stages::weights::{NamedTensor, NamedTensors};
use serde::Deserialize;

use skipped::skipped;

/// One order of summation against the largest of two or three others, of errors that grow
/// exponentially from small ones.
const ORDERS: f64 = 8.0;
/// See above.
const KICK: f64 = 5e-5;

/// Steps that are followed, unless all are.
const STEPS: usize = 20;

/// What curves.py wrote.
#[derive(Deserialize)]
struct Curve {
    dataset: String,
    model: ModelSpec,
    batch: usize,
    optimizer: Optimizer,
    f64: Vec<f64>,
    f32_error: Vec<f64>,
}

#[test]
fn lenet_300_100() {
    follow("lenet-300-100");
}

#[test]
fn mlp_784_512_256() {
    follow("mlp-784-512-256");
}

#[test]
fn mlp_784_512_256_with_adam() {
    follow("mlp-784-512-256-adam");
}

#[test]
fn mlp_3072_100_100() {
    follow("mlp-3072-100-100");
}

#[test]
fn four_convolutions() {
    follow("conv4");
}

#[test]
fn four_convolutions_with_batch_norm() {
    follow("conv4-bn");
}

#[test]
fn conv_2() {
    follow("conv-2");
}

#[test]
fn conv_4() {
    follow("conv-4");
}

#[test]
fn conv_6() {
    follow("conv-6");
}

#[test]
fn resnet_18_of_widths_16_to_128() {
    follow("resnet18-16");
}

#[test]
fn resnet_18_of_widths_64_to_512() {
    follow("resnet18-64");
}

fn follow(name: &str) {
    let curve: Curve = reference::read(&format!("curves/{name}.json"));
    let Some(data) = images(&curve.dataset) else {
        skipped(format_args!("no ../shared/data/{}", curve.dataset));
        return;
    };
    let losses = train(&curve, data);
    let mut distance = 0.0f64;
    let mut worst = 0.0f64;
    for (step, ((ours, theirs), error)) in losses
        .iter()
        .zip(&curve.f64)
        .zip(&curve.f32_error)
        .enumerate()
    {
        distance = distance.max(*error);
        let allowed = ORDERS * distance + KICK;
        let off = (f64::from(*ours) - theirs).abs();
        worst = worst.max(off / allowed);
        // written so that NaN fails
        assert!(
            off <= allowed,
            "{name}, step {step}: loss {ours}, PyTorch in f64 {theirs}: off by {off:e}, more than {allowed:e}"
        );
    }
    println!("{name}: at most {:.0} % of what is allowed", 100.0 * worst);
}

/// The losses of our training.
fn train(curve: &Curve, data: &Dataset) -> Vec<f32> {
    let ImageShape {
        height,
        width,
        channels,
    } = data.info().shape;
    let identity = Identity {
        model: curve.model.clone(),
        input: InputSize {
            height,
            width,
            channels,
        },
        outputs: Head::Classes(10),
    };
    let architecture = Arc::new(Architecture::new(identity).unwrap());
    let mut learner = Learner::new(
        &Cpu::default(),
        &architecture,
        &first_weights(&architecture),
        curve.optimizer,
        Vec::new(),
        0,
        &Masks::none(&architecture),
    )
    .unwrap();
    let step = |step: usize| {
        let rows = step * curve.batch..(step + 1) * curve.batch;
        let fill = |inputs: &mut [f32]| {
            for (row, i) in inputs.chunks_exact_mut(data.features()).zip(rows.clone()) {
                data.normalised_row(i, row);
            }
        };
        let wanted = Wanted::Labels {
            of_rows: &data.labels()[rows.clone()],
            smoothing: 0.0,
        };
        let key = StepKey {
            seed: 0,
            epoch: 0,
            step: step as u64,
        };
        let learnt = learner.step(
            curve.batch,
            Images::Written(fill),
            wanted,
            curve.optimizer.lr(),
            key,
        );
        learnt.unwrap().loss
    };
    let steps = match std::env::var_os("REPRO_EXHAUSTIVE") {
        Some(_) => curve.f64.len(),
        None => curve.f64.len().min(STEPS),
    };
    (0..steps).map(step).collect()
}

/// `curves.fill`: U(-1, 1)/sqrt(fan_in), named by the parameter; batch norm as it always starts.
fn first_weights(architecture: &Architecture) -> NamedTensors {
    let fill = |name: &str, role: Role, len: usize| match role {
        Role::Weight { fan_in, .. } | Role::Bias { fan_in } => {
            let bound = (1.0 / fan_in as f64).sqrt() as f32;
            reference::unit(name, len)
                .into_iter()
                .map(|u| u * bound)
                .collect()
        }
        Role::Gain | Role::RunningVariance => vec![1.0; len],
        Role::Shift | Role::RunningMean => vec![0.0; len],
    };
    let tensor = |p: &repro_stages::nn::layer::Parameter| NamedTensor {
        shape: p.shape.clone(),
        data: fill(&p.name, p.role, p.shape.iter().product()),
    };
    architecture
        .parameters
        .iter()
        .map(|p| (p.name.clone(), tensor(p)))
        .collect()
}

/// The published training images in the order of the files, where there are any; read once for all
/// tests.
fn images(dataset: &str) -> Option<&'static Dataset> {
    static MNIST: OnceLock<Option<Dataset>> = OnceLock::new();
    static CIFAR: OnceLock<Option<Dataset>> = OnceLock::new();
    let place = if dataset == "mnist" { &MNIST } else { &CIFAR };
    place.get_or_init(|| load(dataset)).as_ref()
}

fn load(dataset: &str) -> Option<Dataset> {
    let given = std::env::var_os("REPRO_MIRROR").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = given.unwrap_or_else(beside).join(dataset);
    let read = |file: &str| std::fs::read(dir.join(file)).ok();
    let (images, labels, info) = match dataset {
        "mnist" => {
            let unpacked = |file: &str| Some(idx::gunzip(&read(file)?, 1 << 30).unwrap());
            let images = unpacked("train-images-idx3-ubyte.gz")?;
            let labels = unpacked("train-labels-idx1-ubyte.gz")?;
            let (_, shape, pixels) = idx::images(&images).unwrap();
            let labels = idx::labels(&labels).unwrap().to_vec();
            let info = info(dataset, shape, &[0.1307], &[0.3081]);
            (pixels.to_vec(), labels, info)
        }
        _ => {
            let archive = dir.join("cifar-10-batches-bin.tar.xz");
            if !archive.exists() {
                return None;
            }
            let files = cifar::read(&archive, &cifar::FILES).unwrap();
            let (images, labels) = cifar::records(&files[..5], 1).unwrap();
            let shape = ImageShape {
                height: 32,
                width: 32,
                channels: 3,
            };
            let (mean, std) = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
            (images, labels, info(dataset, shape, &mean, &std))
        }
    };
    let origin = (0..labels.len() as u32).collect();
    Some(Dataset::new(info, images, labels, origin).unwrap())
}

fn info(name: &str, shape: ImageShape, mean: &[f32], std: &[f32]) -> Info {
    Info {
        name: name.to_owned(),
        shape,
        classes: (0..10).map(|c| c.to_string()).collect(),
        mean: mean.to_vec(),
        std: std.to_vec(),
        columns: Vec::new(),
        targets: Vec::new(),
    }
}
