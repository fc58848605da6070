//! Gradients and Hessian-vector products against PyTorch's double backward in f64
//! (`reference/second_order.py`), and what GradInit, LSUV and probing promise.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dfdx::prelude::Cpu;
use reference::small;
use repro_stages::nn::architecture::{Architecture, Head};
use repro_stages::nn::network::Norms;
use repro_stages::table;
use repro_stages::training::landscape::{Batch, Landscape, Vector, norm};
use repro_stages::weights::TensorFile;
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Bench, Ran, data};

#[derive(Deserialize)]
struct Recorded {
    sgd: Of,
    adam: Of,
}

#[derive(Deserialize)]
struct Of {
    loss: f64,
    norm: f64,
    gradient: BTreeMap<String, Vec<f64>>,
    of_norm: BTreeMap<String, Vec<f64>>,
}

fn drawn(name: &str, len: usize) -> Vec<f32> {
    reference::unit(&format!("second_order/{name}"), len)
}

/// A perceptron with drawn weights.
fn landscape(hidden: &[usize], outputs: Head) -> (Arc<Architecture>, Landscape<Cpu>) {
    let model = json!({"mlp": {"hidden": hidden, "activation": "tanh"}});
    let model = small::drawn(small::perceptron(model, outputs), "second_order");
    let architecture = Arc::new(model.architecture);
    let at = Landscape::new(
        &Cpu::default(),
        &architecture,
        &model.tensors,
        Norms::Running,
    );
    (architecture, at.unwrap())
}

/// The largest difference to what was recorded, as a share of the largest number recorded.
fn off(architecture: &Architecture, got: &Vector, want: &BTreeMap<String, Vec<f64>>) -> f64 {
    let largest = want.values().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
    let mut worst = 0.0f64;
    for (parameter, got) in architecture.parameters.iter().zip(got) {
        let got = parameter.layout.to_file(got);
        let want = &want[&parameter.name];
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            worst = worst.max((f64::from(*got) - want).abs());
        }
    }
    worst / largest
}

#[test]
fn hessian_times_vector_is_pytorchs_double_backward() {
    let recorded: Recorded = reference::read("second_order.json");
    let (architecture, mut landscape) = landscape(&[7, 5], Head::Classes(3));
    let batch = Batch {
        rows: 8,
        inputs: drawn("inputs", 48),
        labels: (0..8).map(|i| i % 3).collect(),
        targets: Vec::new(),
    };
    let before = landscape.values();
    let (loss, gradient) = landscape.gradient(&batch).unwrap();
    assert!((loss - recorded.sgd.loss).abs() < 1e-6, "{loss}");
    let first = off(&architecture, &gradient, &recorded.sgd.gradient);
    assert!(first < 2e-6, "{first}");
    let size = norm(&gradient);
    assert!((size - recorded.sgd.norm).abs() < 1e-6, "{size}");
    let of = |by: &dyn Fn(f32) -> f32| -> Vector {
        gradient
            .iter()
            .map(|g| g.iter().map(|g| by(*g)).collect())
            .collect()
    };
    let along = of(&|g| g / size as f32);
    let signs = of(&f32::signum);
    for (v, want) in [
        (along, &recorded.sgd.of_norm),
        (signs, &recorded.adam.of_norm),
    ] {
        let mut error = |share: f64| {
            let got = landscape.hessian_times(&v, &batch, share).unwrap();
            let got: Vector = got
                .iter()
                .map(|t| t.iter().map(|x| *x as f32).collect())
                .collect();
            off(&architecture, &got, want)
        };
        let fine = error(1e-3);
        assert!(fine < 2e-4, "the default: {fine}");
        // far out, where rounding is nothing, half the way leaves a quarter of the error
        let ratio = error(0.04) / error(0.02);
        assert!((3.5..4.5).contains(&ratio), "{ratio}");
    }
    assert_eq!(landscape.values(), before, "the weights are as they were");
}

/// The loss of a linear regression is quadratic, with the Hessian `2/N·XᵀX` (and the like for the
/// bias).
#[test]
fn the_hessian_of_a_linear_regression_is_exact() {
    let (_, mut landscape) = landscape(&[], Head::Targets(1));
    let batch = Batch {
        rows: 9,
        inputs: drawn("inputs", 54),
        labels: Vec::new(),
        targets: drawn("targets", 9),
    };
    let (_, direction) = landscape.gradient(&batch).unwrap();
    let found = landscape.hessian_times(&direction, &batch, 0.25).unwrap();
    let [w, b] = &direction[..] else {
        panic!("a weight and a bias")
    };
    let mut want = [0.0; 7];
    for row in batch.inputs.chunks(6) {
        let row = row.iter().map(|x| f64::from(*x));
        let products = row.clone().zip(w).map(|(x, w)| x * f64::from(*w));
        let moved = products.sum::<f64>() + f64::from(b[0]);
        for (want, x) in want.iter_mut().zip(row.chain([1.0])) {
            *want += 2.0 / 9.0 * x * moved;
        }
    }
    for (found, want) in found.iter().flatten().zip(want) {
        assert!((found - want).abs() < 1e-5, "{found}, {want}");
    }
}

fn first_weights(bench: &Bench, train: &Path, model: Value, init: Value) -> Ran {
    let with = json!({"model": model, "init": init, "first_weights": {"biases": {"constant": 0.0}}, "seed": 1,
        "length": {"epochs": 0}, "optimizer": {"sgd": {"lr": 0.1}}});
    bench.run("train", with, &[("train", train)]).unwrap()
}

fn named(ran: &Ran) -> BTreeMap<String, f64> {
    let rows = table::read(ran.path("metrics")).unwrap().rows;
    rows.into_iter().map(|r| (r.name, r.value)).collect()
}

fn plain() -> Value {
    json!({"conv": {"layers": [{"conv": {"channels": 6}}, {"activation": "relu"}, {"conv": {"channels": 6, "stride": 2}}, {"activation": "relu"},
        {"dense": 30}, {"activation": "relu"}]}})
}

/// Filters that whiten need two channels for each value of a patch, and a patch inside the image.
#[test]
fn whitening_takes_filters_of_its_number_only() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 64, (4, 4, 1), 4));
    let wide = |channels: u64, kernel: u64| json!({"conv": {"layers": [{"conv": {"channels": channels, "kernel": kernel, "padding": {"pixels": kernel / 2}}}]}});
    for (channels, kernel, told) in [
        (6, 2, "has 6 filters, and patches of 4 values take 8"),
        (50, 5, "no patch lies inside"),
    ] {
        let model = first_weights(&bench, &train, wide(channels, kernel), json!("he_normal"));
        let inputs = [("model", model.path("model")), ("train", train.as_path())];
        let refused = bench.run("whiten", json!({}), &inputs).err().unwrap();
        assert!(refused.to_string().contains(told), "{refused}");
    }
}

/// Under LSUV every layer's outputs have the variance asked for, on the images that were shown;
/// weights only change their size.
#[test]
fn lsuv_gives_unit_variance() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 64, (8, 8, 1), 4));
    let first = first_weights(
        &bench,
        &train,
        plain(),
        json!({"orthogonal": {"gain": 0.2}}),
    );
    let inputs = [("model", first.path("model")), ("train", train.as_path())];
    let with = json!({"seed": 3, "images": 64, "tolerance": 0.001});
    let started = bench.run("lsuv", with, &inputs).unwrap();
    let probed = |model: &Path| {
        let with = json!({"seed": 3, "images": 64, "batch_size": 64});
        named(
            &bench
                .run("probe", with, &[("model", model), ("data", &train)])
                .unwrap(),
        )
    };
    let (before, after) = (probed(first.path("model")), probed(started.path("model")));
    for layer in ["conv1", "conv2", "fc1", "fc2"] {
        let name = format!("activation_variance[{layer}]");
        assert!(before[&name] < 0.5, "{before:?}");
        assert!((after[&name].sqrt() - 1.0).abs() <= 0.0011, "{after:?}");
    }
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let (before, after) = (read(&first), read(&started));
    for (name, old) in &before {
        let new = &after[name].data;
        let factor = new[0] / old.data[0];
        if name.ends_with(".bias") {
            assert_eq!(*new, old.data);
            continue;
        }
        let alike = |(a, b): (&f32, &f32)| (a - factor * b).abs() <= 1e-5 * a.abs().max(1e-3);
        assert!(new.iter().zip(&old.data).all(alike), "{name}");
    }
    let zeros = first_weights(&bench, &train, plain(), json!({"constant": 0.0}));
    let inputs = [("model", zeros.path("model")), ("train", train.as_path())];
    let refused = bench
        .run("lsuv", json!({"seed": 3}), &inputs)
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .contains("gives the same for all images"),
        "{refused}"
    );
}

/// He et al. 2015, equation 10: under `he_normal` the variance of a deep relu network's outputs
/// stays; under uniform ±0.05 it falls from layer to layer. Zhang et al. 2019: constants of 0 end
/// gradients before the last layer.
#[test]
fn probing_sees_signals_vanish() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 256, (6, 6, 1), 4));
    let deep = json!({"mlp": {"hidden": [100, 100, 100, 100, 100]}});
    let probed = |init: Value| {
        let first = first_weights(&bench, &train, deep.clone(), init);
        let inputs = [("model", first.path("model")), ("data", train.as_path())];
        named(&bench.run("probe", json!({"seed": 1}), &inputs).unwrap())
    };
    let he = probed(json!("he_normal"));
    let ratio = he["activation_variance[fc5]"] / he["activation_variance[fc1]"];
    assert!((0.2..5.0).contains(&ratio), "{ratio}");
    let narrow = probed(json!({"uniform": {"limit": 0.05}}));
    let of = |what: &str, layer: usize| narrow[&format!("{what}_variance[fc{layer}]")];
    assert!(of("activation", 5) < 1e-3 * of("activation", 1));
    assert!(of("gradient", 1) < 1e-2 * he["gradient_variance[fc1]"]);
    let zero = probed(json!({"constant": 0.0}));
    assert_eq!(zero["gradient_variance[fc1]"], 0.0);
    assert_eq!(zero["activation_variance[fc6]"], 0.0);
}

/// The variance of a layer's gradient over the whole set is that of the mean of its batches'
/// gradients.
#[test]
fn gradients_of_batches_add_up() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 96, (4, 4, 1), 4));
    let first = first_weights(
        &bench,
        &train,
        json!({"mlp": {"hidden": [9]}}),
        json!("he_normal"),
    );
    let of = |batch: u64| {
        let inputs = [("model", first.path("model")), ("data", train.as_path())];
        named(
            &bench
                .run(
                    "probe",
                    json!({"seed": 1, "images": 96, "batch_size": batch}),
                    &inputs,
                )
                .unwrap(),
        )
    };
    let (whole, parts) = (of(96), of(24));
    for (name, value) in whole.iter().filter(|(name, _)| name.contains("variance")) {
        assert!(
            (parts[name] / value - 1.0).abs() < 1e-4,
            "{name}: {value} and {}",
            parts[name]
        );
    }
}

/// GradInit on weights ten times too large: the gradient's norm comes down to γ, and the loss falls
/// with it; scales move weights, never zeros.
#[test]
fn gradinit_brings_the_gradient_below_gamma() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 128, (4, 4, 1), 4));
    let mlp = json!({"mlp": {"hidden": [16, 16]}});
    let large = json!({"torch": {"kaiming_normal_": {"nonlinearity": "tanh"}}});
    for optimizer in ["sgd", "adam"] {
        let first = first_weights(&bench, &train, mlp.clone(), large.clone());
        let inputs = [("model", first.path("model")), ("train", train.as_path())];
        let gamma = if optimizer == "sgd" { 1.0 } else { 10.0 };
        let with = json!({"seed": 1, "iterations": 120, "batch_size": 64, "lr": 0.02, "eta": 0.02, "gamma": gamma, "optimizer": optimizer});
        let ran = bench.run("gradinit", with.clone(), &inputs).unwrap();
        let rows = table::read(ran.path("metrics")).unwrap().rows;
        let of = |name: &str| -> Vec<f64> {
            rows.iter()
                .filter(|r| r.name == name)
                .map(|r| r.value)
                .collect()
        };
        let (norms, losses) = (of("gradient_norm"), of("loss"));
        assert_eq!(norms.len(), 120);
        assert!(
            norms[0] > 1.5 * gamma,
            "{optimizer}: nothing to do: {}",
            norms[0]
        );
        let late = norms[100..].iter().sum::<f64>() / 20.0;
        assert!(late < 1.15 * gamma, "{optimizer}: {norms:?}");
        assert!(losses[119] < losses[0], "{optimizer}");
        let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
        let (old, new) = (read(&first), read(&ran));
        assert_eq!(
            new["fc1.bias"].data, old["fc1.bias"].data,
            "zeros never move"
        );
        let scale = of("scale[fc2.weight]")[0];
        assert!(scale >= 0.01 && scale != 1.0);
        for (new, old) in new["fc2.weight"].data.iter().zip(&old["fc2.weight"].data) {
            assert_eq!(*new, (scale * f64::from(*old)) as f32);
        }
        assert!(of("scale[fc2.bias]").is_empty());
        let again = bench.run("gradinit", with, &inputs).unwrap();
        assert_eq!(again.bytes("model"), ran.bytes("model"));
    }
}
