//! The kinds `connect` and `align`: curves against PyTorch's autograd in f64
//! (`reference/curve.py`), orders of units against all orders there are, and laws of both.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reference::small;
use repro_numerics::exact::rng::Stream;
use repro_stages::nn::architecture::{Architecture, Head};
use repro_stages::weights::{NamedTensor, NamedTensors, TensorFile};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Bench, Ran, data};

#[derive(Deserialize)]
struct Recorded {
    t: Vec<f64>,
    bezier: Trained,
    polygon: Trained,
}

#[derive(Deserialize)]
struct Trained {
    losses: Vec<f64>,
    bend: BTreeMap<String, Vec<f64>>,
}

fn tensors(ran: &Ran, output: &str) -> NamedTensors {
    TensorFile::read(ran.path(output)).unwrap().tensors
}

fn perceptron(hidden: usize) -> Architecture {
    let model = json!({"mlp": {"hidden": [hidden], "activation": "tanh"}});
    small::perceptron(model, Head::Classes(3))
}

/// A perceptron with drawn weights.
fn put(bench: &Bench, end: &str, hidden: usize) -> PathBuf {
    let path = bench.path(&format!("{end}.safetensors"));
    let model = small::drawn(perceptron(hidden), &format!("curve/{end}"));
    model.write(&path).unwrap();
    path
}

#[test]
fn the_bend_moves_as_pytorch_moves_it() {
    let recorded: Recorded = reference::read("curve.json");
    let places: Vec<f64> = (0..4)
        .map(|epoch| Stream::new(3, "curve", epoch, 0).uniform_f64())
        .collect();
    assert_eq!(places, recorded.t, "set T in curve.py");
    let bench = Bench::new();
    let (data, ends) = (
        bench.put("eight", &small::eight("curve")),
        ["a", "b"].map(|end| put(&bench, end, 5)),
    );
    let inputs = [
        ("models", ends[0].as_path()),
        ("models", &ends[1]),
        ("train", &data),
        ("data", &data),
    ];
    for (form, want) in [("bezier", &recorded.bezier), ("polygon", &recorded.polygon)] {
        let with = json!({"seed": 3, "form": form, "epochs": 4, "batch_size": 8, "lr": 0.3, "weight_decay": 0.01, "points": 5});
        let ran = bench.run("connect", with, &inputs).unwrap();
        for (name, tensor) in tensors(&ran, "bend") {
            for (got, want) in tensor.data.iter().zip(&want.bend[&name]) {
                assert!((f64::from(*got) - want).abs() < 2e-6, "{form}, {name}");
            }
        }
        let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
        let losses = rows.iter().filter(|r| r.name == "curve_loss");
        for (row, want) in losses.zip(&want.losses) {
            assert!((row.value - want).abs() < 2e-6, "{form}: {}", row.value);
        }
    }
}

fn trained(bench: &Bench, train: &Path, model: Value, seed: u64) -> Ran {
    let with = json!({"model": model, "seed": seed, "length": {"epochs": 6}, "batch_size": 16,
        "optimizer": {"adam": {"lr": 0.01}}});
    bench.run("train", with, &[("train", train)]).unwrap()
}

/// Without training a curve is the straight line, and training lowers the loss on it.
#[test]
fn a_curve_begins_as_the_line_and_ends_below_it() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 120, (4, 4, 1), 3));
    let model = json!({"mlp": {"hidden": [12], "batch_norm": {}}});
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, model.clone(), seed));
    let inputs = [
        ("models", a.path("model")),
        ("models", b.path("model")),
        ("train", train.as_path()),
        ("data", train.as_path()),
    ];
    let curve = |epochs: u64| {
        let with = json!({"seed": 1, "epochs": epochs, "batch_size": 20, "lr": 0.1, "points": 9});
        bench.run("connect", with, &inputs).unwrap()
    };
    let line = bench
        .run("landscape", json!({"points": 9}), &inputs)
        .unwrap();
    let (straight, bent) = (curve(0), curve(30));
    for name in ["loss_barrier", "error_barrier"] {
        let (on_line, on_curve) = (line.metric("test", name), straight.metric("test", name));
        assert!((on_line - on_curve).abs() < 1e-6, "{on_line} {on_curve}");
    }
    let highest = |ran: &Ran| ran.metric("test", "highest_loss");
    assert!(highest(&bent) < highest(&straight) - 0.02);
    assert_eq!(curve(30).bytes("grid"), bent.bytes("grid"));
    // Three ends are none.
    let three = [inputs[0], inputs[1], inputs[0], inputs[2], inputs[3]];
    let why = bench.run(
        "connect",
        json!({"seed": 1, "epochs": 1, "lr": 0.1}),
        &three,
    );
    assert!(format!("{:#}", why.err().unwrap()).contains("there are 3 models"));
}

/// All orders of these numbers.
fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let first = |at: usize| {
        let mut rest = of.to_vec();
        let first = rest.remove(at);
        let begun = move |mut order: Vec<usize>| {
            order.insert(0, first);
            order
        };
        orders(&rest).into_iter().map(begun)
    };
    (0..of.len()).flat_map(first).collect()
}

/// With one hidden layer the best of all 720 orders is found.
#[test]
fn one_layer_comes_to_the_best_order_there_is() {
    let bench = Bench::new();
    let [model, like] = ["a", "b"].map(|end| put(&bench, end, 6));
    let inputs = [("model", model.as_path()), ("like", like.as_path())];
    let found = bench.run("align", json!({"seed": 1}), &inputs).unwrap();
    let [a, b] = [&model, &like].map(|path| TensorFile::read(path).unwrap().tensors);
    let likeness = |order: &Vec<usize>| -> f64 {
        let unit = |to: usize, from: usize| {
            let rows = (0..6).map(|i| ("fc1.weight", to * 6 + i, from * 6 + i));
            let columns = (0..3).map(|o| ("fc2.weight", o * 6 + to, o * 6 + from));
            let all = rows.chain(columns).chain([("fc1.bias", to, from)]);
            all.map(|(name, to, from)| f64::from(b[name].data[to]) * f64::from(a[name].data[from]))
                .sum::<f64>()
        };
        order
            .iter()
            .enumerate()
            .map(|(to, from)| unit(to, *from))
            .sum()
    };
    let all = orders(&[0, 1, 2, 3, 4, 5]);
    let best = all
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let best = best.unwrap();
    assert_ne!(best, &[0, 1, 2, 3, 4, 5], "an order that shows nothing");
    let moved = tensors(&found, "model");
    for (to, from) in best.iter().enumerate() {
        assert_eq!(moved["fc1.bias"].data[to], a["fc1.bias"].data[*from]);
        let row = |w: &NamedTensor, unit: usize| w.data[unit * 6..][..6].to_vec();
        assert_eq!(row(&moved["fc1.weight"], to), row(&a["fc1.weight"], *from));
        for o in 0..3 {
            let column = |w: &NamedTensor, unit: usize| w.data[o * 6 + unit];
            let (moved, a) = (&moved["fc2.weight"], &a["fc2.weight"]);
            assert_eq!(column(moved, to), column(a, *from));
        }
    }
    assert_eq!(moved["fc2.bias"], a["fc2.bias"]);
}

/// Moved units compute the same: the loss stays, and the weights come nearer. A model that was
/// moved away from itself comes back, bit for bit.
#[test]
fn aligned_networks_compute_what_they_did() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 120, (8, 8, 1), 3));
    let shown = ("data", train.as_path());
    let loss = |model: &Path| {
        let score = bench.run("evaluate", Value::Null, &[("model", model), shown]);
        score.unwrap().metric("test", "loss")
    };
    let conv = json!({"conv": {"layers": [{"conv": {"channels": 6}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
        {"depthwise": {}}, {"layer_norm": {}},
        {"residual": {"layers": [{"conv": {"channels": 6}}, {"activation": "relu"}, {"conv": {"channels": 6}}]}}, {"dense": 9}, {"activation": "tanh"}]}});
    let resnet = json!({"resnet": {"widths": [4, 6], "blocks": [2, 1]}});
    let deep = json!({"mlp": {"hidden": [9, 7, 8], "batch_norm": {}}});
    for model in [conv, resnet, deep] {
        let [a, b] = [1, 2].map(|seed| trained(&bench, &train, model.clone(), seed));
        let inputs = [("model", a.path("model")), ("like", b.path("model"))];
        let moved = bench.run("align", json!({"seed": 1}), &inputs).unwrap();
        let (before, after) = (loss(a.path("model")), loss(moved.path("model")));
        assert!((before - after).abs() < 1e-5, "{before} {after}");
        let at = |ran: &Ran, name: &str| {
            let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
            rows.iter().find(|r| r.name == name).unwrap().value
        };
        assert!(at(&moved, "distance") < at(&moved, "distance_before"));
        assert!(at(&moved, "cosine") > at(&moved, "cosine_before"));
        let back = [("model", moved.path("model")), ("like", a.path("model"))];
        let back = bench.run("align", json!({"seed": 5}), &back).unwrap();
        assert_eq!(at(&back, "distance"), 0.0);
        assert_eq!(back.bytes("model"), a.bytes("model"));
    }
}

#[test]
fn what_has_no_order_to_change_is_said() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let groups =
        json!({"conv": {"layers": [{"conv": {"channels": 4}}, {"group_norm": {"groups": 2}}]}});
    for (model, said) in [
        (groups, "belong to their groups"),
        (json!({"rnn": {"units": 5}}), "recurrent"),
    ] {
        let ran = trained(&bench, &train, model, 1);
        let inputs = [("model", ran.path("model")), ("like", ran.path("model"))];
        let why = bench
            .run("align", json!({"seed": 1}), &inputs)
            .err()
            .unwrap();
        assert!(format!("{why:#}").contains(said), "{why:#}");
    }
}
