//! Residual networks and everything in them against PyTorch: logits, gradients, and running
//! statistics by the logits in evaluation mode. The numbers are printed by
//! `tests/reference/networks.py`.

use std::sync::Arc;

use dfdx::prelude::{Backward, Cpu};
use serde_json::{Value, json};

use super::super::architecture::tests::architecture;
use super::*;
use crate::nn::layer::Role;
use crate::ops::recycle::Pool;
use crate::ops::{Labels, softmax_cross_entropy, take_gradient};

/// `fill` of the script.
fn fill(count: usize, seed: usize, scale: f64) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + 1) * 31 % 1021) as f64;
    (0..count)
        .map(|i| ((value(i) - 510.0) / 512.0 * scale) as f32)
        .collect()
}

#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() < 2e-5 * (1.0 + w.abs()),
            "{what}[{i}]: {g}, want {w}"
        );
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// One step of training on four images, then an evaluation.
fn check(
    model: Value,
    (height, width): (usize, usize),
    logits: &[f64],
    sums: &[f64],
    evaluated: &[f64],
) {
    let architecture = Arc::new(architecture(model, (height, width, 3), 3));
    let mut seed = 0;
    let mut tensors = NamedTensors::new();
    for p in &architecture.parameters {
        let len = p.shape.iter().product();
        let data = match p.role {
            Role::RunningMean => vec![0.0; len],
            Role::RunningVariance => vec![1.0; len],
            role => {
                seed += 1;
                let values = fill(len, seed - 1, 0.5);
                let one = if role == Role::Gain { 1.0 } else { 0.0 };
                values.iter().map(|v| v + one).collect()
            }
        };
        let shape = p.shape.clone();
        tensors.insert(p.name.clone(), NamedTensor { shape, data });
    }
    let (device, pool) = (Cpu::default(), Pool::default());
    let mut network = Network::load(&device, Arc::clone(&architecture), &tensors).unwrap();
    let features = height * width * 3;
    let x = Matrix::written(&device, &pool, (4, features), |to| {
        to.copy_from_slice(&fill(4 * features, 99, 2.0));
    })
    .unwrap();
    let key = StepKey {
        seed: 0,
        epoch: 0,
        step: 0,
    };
    let y = network.forward_train(x.clone().traced(), key).unwrap();
    close("logits", &wide(&y.read()), logits);
    let labels = Labels::new(&[0, 2, 1, 2], 3).unwrap();
    let mut gradients = softmax_cross_entropy(y, &labels, 0.0).unwrap().backward();
    let mut found = Vec::new();
    for (p, tensor) in architecture.parameters.iter().zip(network.tensors()) {
        if p.role.is_trained() {
            let gradient = take_gradient(&device, &pool, &mut gradients, tensor).unwrap();
            let gradient = p
                .layout
                .to_file(&gradient.expect("every parameter has one"));
            let places = fill(gradient.len(), 7, 1.0);
            let terms = gradient.iter().zip(&places);
            found.push(terms.map(|(g, p)| f64::from(*g) * f64::from(*p)).sum());
        }
    }
    close("gradients", &found, sums);
    close(
        "evaluation",
        &wide(&network.forward(x).unwrap().read()),
        evaluated,
    );
}

#[test]
fn a_residual_network() {
    let model = json!({"resnet": {"widths": [4, 6], "blocks": [1, 2]}});
    check(
        model,
        (8, 7),
        &RESNET_LOGITS,
        &RESNET_GRADIENTS,
        &RESNET_EVALUATED,
    );
}

#[test]
fn depthwise_norms_and_gelu() {
    let model = json!({"conv": {"layers": [
        {"conv": {"channels": 6, "bias": false}}, {"group_norm": {"groups": 3}}, {"activation": "gelu"},
        {"residual": {"activation": "gelu", "layers": [
            {"depthwise": {}}, {"layer_norm": {}}, {"activation": "gelu_tanh"},
            {"conv": {"channels": 6, "kernel": 1, "bias": false}}]}},
        {"dense": 4}, {"layer_norm": {}}]}});
    check(
        model,
        (6, 5),
        &MIXED_LOGITS,
        &MIXED_GRADIENTS,
        &MIXED_EVALUATED,
    );
}

#[test]
fn a_recurrent_network() {
    let model = json!({"rnn": {"units": 7}});
    check(
        model,
        (6, 5),
        &RECURRENT_LOGITS,
        &RECURRENT_GRADIENTS,
        &RECURRENT_EVALUATED,
    );
}

#[test]
fn a_network_with_a_memory() {
    let model = json!({"rnn": {"units": 7, "cell": "lstm"}});
    check(
        model,
        (6, 5),
        &MEMORY_LOGITS,
        &MEMORY_GRADIENTS,
        &MEMORY_EVALUATED,
    );
}

const RESNET_LOGITS: [f64; 12] = [
    0.237724969,
    -0.548879485,
    0.121204463,
    0.301238843,
    -0.746643362,
    0.257232752,
    0.455953465,
    -0.681387272,
    0.198445097,
    0.357499595,
    -0.730507909,
    0.289092196,
];
const RESNET_GRADIENTS: [f64; 26] = [
    -0.198539635,
    0.14888785,
    0.103116876,
    0.15279275,
    -0.0312732234,
    -0.050704023,
    0.0084597326,
    -0.0508057212,
    0.00840425982,
    -0.10431935,
    0.0223341297,
    0.0283363045,
    -0.0754421565,
    0.030738106,
    0.149951737,
    0.127937153,
    0.125592222,
    0.149951737,
    -0.00323115169,
    -0.0390762691,
    -0.0160424373,
    0.0749853327,
    0.079776622,
    0.193170474,
    0.0842913791,
    0.123957868,
];
const RESNET_EVALUATED: [f64; 12] = [
    0.36578293,
    -0.588558575,
    -0.0218506716,
    0.639715467,
    -0.991497782,
    0.31898283,
    0.943040277,
    -0.759750526,
    -0.0108751484,
    0.625948262,
    -0.779863511,
    0.124943075,
];
const MIXED_LOGITS: [f64; 12] = [
    -0.00284120847,
    -0.561523242,
    -0.0351189614,
    -0.10057352,
    0.892574122,
    -0.109082737,
    -0.531540338,
    0.424526434,
    0.525954301,
    0.560693253,
    -1.43571119,
    0.172173956,
];
const MIXED_GRADIENTS: [f64; 14] = [
    0.465217269,
    0.320825063,
    0.305412328,
    0.456454241,
    -0.0976896371,
    -0.201500481,
    0.0534677963,
    -0.382106333,
    -0.819093902,
    -0.0373918267,
    0.00116035753,
    0.118097662,
    -0.0521694875,
    -0.0419519966,
];
const MIXED_EVALUATED: [f64; 12] = [
    -0.00284120847,
    -0.561523242,
    -0.0351189614,
    -0.10057352,
    0.892574122,
    -0.109082737,
    -0.531540338,
    0.424526434,
    0.525954301,
    0.560693253,
    -1.43571119,
    0.172173956,
];
const RECURRENT_LOGITS: [f64; 12] = [
    -1.22515618,
    -0.754526314,
    -1.29873149,
    -0.325820785,
    0.736902188,
    0.307598754,
    0.381133887,
    1.08552221,
    0.384063991,
    0.162645333,
    0.808006056,
    0.201682257,
];
const RECURRENT_GRADIENTS: [f64; 5] = [
    -0.555401364,
    0.264809654,
    0.067062523,
    0.315525851,
    -0.208595857,
];
const RECURRENT_EVALUATED: [f64; 12] = [
    -1.22515618,
    -0.754526314,
    -1.29873149,
    -0.325820785,
    0.736902188,
    0.307598754,
    0.381133887,
    1.08552221,
    0.384063991,
    0.162645333,
    0.808006056,
    0.201682257,
];
const MEMORY_LOGITS: [f64; 12] = [
    0.351758519,
    -0.147649833,
    0.0735602897,
    0.283741272,
    -0.188506812,
    0.100653032,
    0.320216812,
    -0.17956417,
    0.164469791,
    0.332713315,
    -0.215772625,
    0.0453899447,
];
const MEMORY_GRADIENTS: [f64; 14] = [
    -0.0333964526,
    0.00037422964,
    -0.00242399958,
    -0.0159584996,
    -0.000333434755,
    -0.00651915666,
    -0.159512226,
    0.0220764651,
    0.0143001125,
    -0.101519547,
    0.011643083,
    0.0161009438,
    0.0120468172,
    0.0388536466,
];
const MEMORY_EVALUATED: [f64; 12] = [
    0.351758519,
    -0.147649833,
    0.0735602897,
    0.283741272,
    -0.188506812,
    0.100653032,
    0.320216812,
    -0.17956417,
    0.164469791,
    0.332713315,
    -0.215772625,
    0.0453899447,
];
