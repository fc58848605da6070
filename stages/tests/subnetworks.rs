//! Networks found in weights that never change: edge-popup against PyTorch
//! (`reference/subnetworks.py`), Bernoulli masks against their formula, and what both promise.

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
use repro_stages::nn::network::{Network, Norms, StepKey};
use repro_stages::ops::recycle::Pool;
use repro_stages::training::gradients::{Objective, of_batch};
use repro_stages::training::mask::Masks;
use repro_stages::training::pass::{Images, Wanted};
use repro_stages::training::step::Learner;
use repro_stages::training::subnetwork::{Found, Subnetwork};
use repro_stages::weights::{Encoding, NamedTensor, NamedTensors, TensorFile};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Bench, Ran, data};

#[derive(Deserialize)]
struct Recorded {
    keep: f64,
    rescale: Value,
    losses: Vec<f64>,
    scores: BTreeMap<String, Vec<f64>>,
    mask: BTreeMap<String, Vec<f64>>,
}

const ROWS: usize = 8;
const LABELS: [u32; ROWS] = [0, 1, 2, 0, 1, 2, 0, 1];
const WANTED: Wanted = Wanted::Labels {
    of_rows: &LABELS,
    smoothing: 0.0,
};

fn drawn(name: &str, shape: &[usize]) -> NamedTensor {
    let len = shape.iter().product();
    NamedTensor {
        shape: shape.to_vec(),
        data: reference::unit(&format!("subnetworks/{name}"), len),
    }
}

fn perceptron() -> (Arc<Architecture>, NamedTensors) {
    let architecture = small::perceptron(json!({"mlp": {"hidden": [7, 5]}}), Head::Classes(3));
    let model = small::drawn(architecture, "subnetworks");
    (Arc::new(model.architecture), model.tensors)
}

/// Steps of SGD on drawn scores: what was found before the first, the losses, what is found after.
fn search(how: Value, optimizer: Value, steps: u64) -> (Found, Vec<f32>, Found) {
    let (architecture, weights) = perceptron();
    let scores: NamedTensors = weights
        .iter()
        .filter(|(name, _)| name.ends_with(".weight"))
        .map(|(name, t)| (name.clone(), drawn(&format!("scores/{name}"), &t.shape)))
        .collect();
    let beside = BTreeMap::from([("scores".to_owned(), scores)]);
    let how: Subnetwork = serde_json::from_value(how).unwrap();
    let optimizer = serde_json::from_value(optimizer).unwrap();
    let masks = Masks::none(&architecture);
    let device = Cpu::default();
    let mut learner = Learner::new(
        &device,
        &architecture,
        &weights,
        optimizer,
        Vec::new(),
        0,
        &masks,
    )
    .and_then(|learner| learner.searching(how, 3, 0, &beside))
    .unwrap();
    let before = learner.found().unwrap();
    let inputs = drawn("inputs", &[ROWS, 6]).data;
    let losses = (0..steps).map(|step| {
        let key = StepKey {
            seed: 3,
            epoch: 0,
            step,
        };
        let fill = |to: &mut [f32]| to.copy_from_slice(&inputs);
        learner
            .step(ROWS, Images::Written(fill), WANTED, 1.0, key)
            .unwrap()
            .loss
    });
    let losses = losses.collect();
    let after = learner.found().unwrap();
    assert_eq!(before.weights, weights);
    assert_eq!(after.weights, weights, "weights are never touched");
    (before, losses, after)
}

#[test]
fn edge_popup_is_that_of_its_authors() {
    let cases: Vec<Recorded> = reference::read("subnetworks.json");
    for case in cases {
        let how = json!({"edge_popup": {"keep": case.keep, "rescale": case.rescale}});
        let sgd = json!({"sgd": {"lr": 1.0, "momentum": 0.9, "weight_decay": {"l2": 0.01}}});
        let (_, losses, after) = search(how, sgd, 4);
        for (got, want) in losses.iter().zip(&case.losses) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        for (name, want) in &case.scores {
            for (got, want) in after.scores[name].data.iter().zip(want) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-5,
                    "{name}: {got} {want}"
                );
            }
            let mask = after.mask[name].data.iter().map(|m| f64::from(*m));
            assert_eq!(mask.collect::<Vec<_>>(), case.mask[name], "{name}");
        }
    }
}

/// Scores move by `∂L/∂w · w · σ(s)(1 - σ(s))`, where the network computes with the weights of the
/// mask, and masks follow the probabilities.
#[test]
fn a_bernoulli_mask_learns_by_its_formula() {
    for (rescale, of_share) in [("none", false), ("share", true)] {
        let how = json!({"bernoulli": {"rescale": rescale}});
        let (before, _, after) = search(how, json!({"sgd": {"lr": 1.0}}), 1);
        let (architecture, mut weights) = perceptron();
        let factor = |name: &str| {
            let mask = &before.mask[name].data;
            let kept = mask.iter().sum::<f32>();
            let all = mask.len() as f32;
            if of_share { all / kept } else { 1.0 }
        };
        for (name, mask) in &before.mask {
            let factor = factor(name);
            let weights = &mut weights.get_mut(name).unwrap().data;
            weights
                .iter_mut()
                .zip(&mask.data)
                .for_each(|(w, m)| *w *= factor * m);
        }
        let network = Network::load(&Cpu::default(), architecture, &weights).unwrap();
        let inputs = drawn("inputs", &[ROWS, 6]).data;
        let slopes = of_batch(
            &network,
            &Pool::default(),
            ROWS,
            |to| to.copy_from_slice(&inputs),
            Objective::Loss(WANTED),
            Norms::Running.into(),
        );
        let slopes = slopes.unwrap().save(&network);
        for (name, was) in &before.scores {
            let whole = &before.weights[name].data;
            let now = &after.scores[name].data;
            let values = was.data.iter().zip(now).zip(&slopes[name].data).zip(whole);
            for (i, (((was, now), slope), weight)) in values.enumerate() {
                let p = 1.0 / (1.0 + (-was).exp());
                let slope = slope * factor(name) * weight * p * (1.0 - p);
                let got = now - was;
                assert!((got + slope).abs() < 1e-6, "{name} {i}");
            }
        }
        assert!(
            before
                .mask
                .values()
                .flat_map(|m| &m.data)
                .any(|m| *m == 0.0)
        );
        assert_ne!(before.mask, after.mask, "masks are drawn anew");
    }
}

fn with(subnetwork: Value, epochs: u64) -> Value {
    json!({"seed": 5, "length": {"epochs": epochs}, "batch_size": 16, "subnetwork": subnetwork,
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": {"l2": 0.001}}}})
}

fn conv() -> Value {
    json!({"conv": {"layers": [{"conv": {"channels": 6}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}}, {"dense": 12}]}})
}

#[test]
fn weights_keep_their_digest_and_the_network_found_is_a_part_of_them() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let first = json!({"model": conv(), "init": {"variance_scaling": {"scale": 2.0, "fan": "in", "distribution": "signed"}}, "seed": 5,
        "length": {"epochs": 0}, "optimizer": {"adam": {}}});
    let first = bench.run("train", first, &[("train", &train)]).unwrap();
    let inputs: [(&str, &Path); 2] = [("train", &train), ("init", first.path("model"))];
    let read = |ran: &Ran, of: &str| TensorFile::read(ran.path(of)).unwrap().tensors;
    let weights = read(&first, "model");
    for how in [
        json!({"edge_popup": {"keep": 0.3}}),
        json!({"edge_popup": {"keep": 0.0}}),
        json!({"edge_popup": {"keep": 1.0}}),
        json!({"bernoulli": {"first": 1.0}}),
    ] {
        let ran = bench.run("train", with(how.clone(), 2), &inputs).unwrap();
        let (model, mask) = (read(&ran, "model"), read(&ran, "mask"));
        for (name, whole) in read(&ran, "weights") {
            if !name.contains("running") {
                assert_eq!(whole, weights[&name], "{how} {name}");
            }
        }
        for (name, mask) in &mask {
            let each = mask.data.iter().zip(&weights[name].data);
            let want: Vec<f32> = each
                .map(|(m, w)| if *m == 1.0 { *w } else { 0.0 })
                .collect();
            assert_eq!(model[name].data, want, "{how} {name}");
            let kept = mask.data.iter().filter(|m| **m == 1.0).count();
            let n = mask.data.len();
            match how["edge_popup"]["keep"].as_f64() {
                Some(keep) => assert_eq!(kept, n - ((1.0 - keep) * n as f64) as usize),
                None => assert!(kept > n / 2 && kept < n),
            }
        }
        let all = |of: fn(&f32) -> bool| {
            mask.values()
                .flat_map(|m| &m.data)
                .filter(|m| of(m))
                .count()
        };
        let share = all(|m| *m == 1.0) as f64 / all(|_| true) as f64;
        let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
        let told = rows.iter().rev().find(|r| r.name == "share_kept").unwrap();
        assert_eq!(told.value, share);
    }
    // without batch norm the whole file is the one of before
    let dense = json!({"model": {"mlp": {"hidden": [9]}}, "seed": 5, "length": {"epochs": 0}, "optimizer": {"adam": {}}});
    let dense = bench.run("train", dense, &[("train", &train)]).unwrap();
    let inputs: [(&str, &Path); 2] = [("train", &train), ("init", dense.path("model"))];
    let how = json!({"edge_popup": {"keep": 0.5, "rescale": "root"}});
    let ran = bench.run("train", with(how, 2), &inputs).unwrap();
    assert_eq!(dense.bytes("model"), ran.bytes("weights"));
    assert_ne!(dense.bytes("model"), ran.bytes("model"));
}

#[test]
fn a_search_that_resumes_is_the_one_that_never_stopped() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    for how in [
        json!({"edge_popup": {"keep": 0.4, "rescale": "root"}}),
        json!({"bernoulli": {"first": 0.5, "rescale": "share"}}),
    ] {
        let of = |epochs: u64| {
            let mut all = with(how.clone(), epochs);
            all["model"] = conv();
            all
        };
        let whole = bench.run("train", of(4), &inputs).unwrap();
        let part = bench.run("train", of(2), &inputs).unwrap();
        let state = part.states_dir.join("epoch-2.state");
        let rest = bench.resume("train", of(4), &inputs, Some(&state)).unwrap();
        assert_eq!(rest.figures["images"], 120.0);
        for name in whole.outputs.keys() {
            assert_eq!(whole.bytes(name), rest.bytes(name), "{name}");
        }
        assert_ne!(whole.bytes("mask"), part.bytes("mask"));
    }
}

#[test]
fn what_does_not_go_with_a_search_is_refused() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let refused = |how: Value, more: &[(&str, &Path)]| {
        let mut all = with(how, 1);
        all["model"] = conv();
        let inputs = [&[("train", train.as_path())], more].concat();
        format!("{:#}", bench.run("train", all, &inputs).err().unwrap())
    };
    let popup = |keep: f64| json!({"edge_popup": {"keep": keep}});
    assert!(refused(popup(30.0), &[]).contains("between 0 and 1"));
    assert!(refused(popup(0.3), &[("mask", &train)]).contains("the search itself"));
}

/// The law of structured pruning: units that give nothing can go, and the smaller network answers as
/// the whole one did; and it goes on learning.
#[test]
fn a_network_without_its_dead_units_answers_as_before() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 120, (6, 6, 2), 3));
    let test = bench.put("test", &data(2, 80, (6, 6, 2), 3));
    let layers = json!({"conv": {"layers": [
        {"conv": {"channels": 8}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
        {"residual": {"layers": [{"conv": {"channels": 6}}, {"activation": "relu"}, {"conv": {"channels": 8}}]}},
        {"conv": {"channels": 10}}, {"activation": "relu"}, {"dense": 12}, {"activation": "relu"}]}});
    let with = json!({"model": layers, "seed": 1, "length": {"epochs": 3}, "batch_size": 20,
        "optimizer": {"adam": {"lr": 0.01}}});
    let dense = bench.run("train", with, &[("train", &train)]).unwrap();
    let mut file = TensorFile::read(dense.path("model")).unwrap();
    // Every other unit, so that what stays has gaps.
    for layer in ["block1.conv1", "conv2", "fc1"] {
        for part in ["weight", "bias"] {
            let tensor = file.tensors.get_mut(&format!("{layer}.{part}")).unwrap();
            let row = tensor.data.len() / tensor.shape[0];
            for unit in tensor.data.chunks_mut(row).step_by(2) {
                unit.fill(0.0);
            }
        }
    }
    let dead = bench.path("dead.safetensors");
    file.write(&dead, Encoding::F32).unwrap();
    let with = json!({"fraction": 0.5, "layers": ["block1.conv1", "conv2", "fc1"]});
    let narrowed = bench.run("narrow", with, &[("model", &dead)]).unwrap();
    let tensors = TensorFile::read(narrowed.path("model")).unwrap().tensors;
    let shape = |name: &str| &tensors[name].shape[..];
    assert_eq!(shape("block1.conv1.weight"), [3, 8, 3, 3]);
    assert_eq!(shape("block1.conv2.weight"), [8, 3, 3, 3]);
    assert_eq!(shape("conv2.weight"), [5, 8, 3, 3]);
    assert_eq!(shape("fc1.weight"), [6, 5 * 3 * 3]);
    assert_eq!(shape("fc2.weight"), [3, 6]);
    let score = |model: &Path| {
        let inputs = [("model", model), ("data", test.as_path())];
        let scored = bench.run("evaluate", Value::Null, &inputs).unwrap();
        (
            scored.metric("test", "loss"),
            scored.metric("test", "accuracy"),
        )
    };
    let (before, after) = (score(&dead), score(narrowed.path("model")));
    assert!((before.0 - after.0).abs() < 1e-5, "{before:?} {after:?}");
    assert_eq!(before.1, after.1);
    let on = json!({"seed": 2, "length": {"epochs": 1}, "batch_size": 20, "optimizer": {"adam": {"lr": 0.01}}});
    let inputs = [("init", narrowed.path("model")), ("train", train.as_path())];
    let tuned = bench.run("train", on, &inputs).unwrap();
    let loss = tuned.metric("train", "loss");
    assert!(loss.is_finite(), "{loss}");
    // A cut through all layers, batch norm and its statistics among them.
    let half = bench
        .run(
            "narrow",
            json!({"fraction": 0.5, "by": "l2"}),
            &[("model", &dead)],
        )
        .unwrap();
    let tensors = TensorFile::read(half.path("model")).unwrap().tensors;
    assert_eq!(
        tensors["conv1.weight"].shape,
        [8, 2, 3, 3],
        "its outputs are added to others"
    );
    // Nothing to remove: the same bytes.
    let whole = bench
        .run("narrow", json!({"fraction": 0.0}), &[("model", &dead)])
        .unwrap();
    assert_eq!(whole.bytes("model"), std::fs::read(&dead).unwrap());
}

/// Batch norm and depthwise kernels go with the channels they belong to.
#[test]
fn what_hangs_on_a_channel_goes_with_it() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (6, 6, 2), 3));
    let layers = json!({"conv": {"layers": [
        {"conv": {"channels": 6}}, {"batch_norm": {}}, {"depthwise": {}}, {"activation": "relu"}, {"dense": 4}, {"activation": "relu"}]}});
    let with = json!({"model": layers, "seed": 1, "length": {"epochs": 1}, "batch_size": 20, "optimizer": {"adam": {}}});
    let dense = bench.run("train", with, &[("train", &train)]).unwrap();
    let inputs = [("model", dense.path("model"))];
    for by in [json!("l1"), json!({"random": {"seed": 5}})] {
        let with = json!({"fraction": 0.3, "by": by, "layers": ["conv1"]});
        let narrowed = bench.run("narrow", with, &inputs).unwrap();
        let [before, after] =
            [&dense, &narrowed].map(|ran| TensorFile::read(ran.path("model")).unwrap().tensors);
        let gains = &after["bn1.weight"].data;
        assert_eq!(gains.len(), 4);
        // Each channel is still together: its filter tells which it was.
        let filter = |tensors: &NamedTensors, name: &str, at: usize| {
            let tensor = &tensors[name];
            let row = tensor.data.len() / tensor.shape[0];
            tensor.data[at * row..][..row].to_vec()
        };
        for at in 0..4 {
            let was = (0..6)
                .find(|i| filter(&before, "conv1.weight", *i) == filter(&after, "conv1.weight", at))
                .unwrap();
            for name in [
                "conv1.bias",
                "bn1.weight",
                "bn1.bias",
                "bn1.running_mean",
                "bn1.running_var",
                "conv2.weight",
                "conv2.bias",
            ] {
                assert_eq!(
                    filter(&after, name, at),
                    filter(&before, name, was),
                    "{name}"
                );
            }
        }
    }
}
