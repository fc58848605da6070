//! A miniature of every kind with its bytes frozen: when a digest changes, either the change is a
//! mistake, or the kind's `REVISION` must rise (old results must not pass for new ones) and the
//! table (`table.rs`) follows.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

#[path = "../../../gpu/tests/ops/stand_in.rs"]
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::path::Path;
use std::process::Command;

use repro_protocol::job::Device as Wish;
use repro_stages::{device, kinds};
use serde_json::{Value, json};
use stand_in::with_stand_in;
use support::{Bench, data, digest};
use table::GOLDEN;

/// The test that a process of its own runs on another device.
const THE_TEST: [&str; 3] = [
    "bytes_change_only_with_the_revision",
    "--exact",
    "--nocapture",
];
/// Tells this process to compute on a GPU.
const ON_GPU: &str = "REPRO_GOLDEN_ON_GPU";

/// Everything the table names, computed now: (kind, case, output, digest).
fn compute() -> Vec<(&'static str, &'static str, String, String)> {
    if std::env::var_os(ON_GPU).is_some() {
        device::wish(Some(Wish::Gpu), None).unwrap();
    }
    let bench = Bench::new();
    let (train, test) = (
        bench.put("train", &data(1, 70, (8, 8, 1), 4)),
        bench.put("test", &data(2, 40, (8, 8, 1), 4)),
    );
    let mut found = Vec::new();
    let mut run =
        |kind: &'static str, case: &'static str, with: Value, inputs: &[(&str, &Path)]| {
            let ran = bench.run(kind, with, inputs).unwrap();
            found.extend(
                ran.outputs
                    .iter()
                    .map(|(name, path)| (kind, case, name.clone(), digest(path))),
            );
            ran
        };
    let sets: [(&str, &Path); 2] = [("train", &train), ("test", &test)];
    let mlp = |seed: u64| {
        json!({"model": {"mlp": {"hidden": [20, 12], "batch_norm": {}, "dropout": 0.2, "activation": "tanh"}}, "seed": seed,
            "init": "glorot_normal", "length": {"epochs": 3}, "batch_size": 32, "augment": {"flip": true, "crop": 2}, "label_smoothing": 0.1,
            "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": true, "weight_decay": {"l2": 0.0005}}},
            "schedule": {"cosine": {"to": 0.1, "warmup": {"epochs": 1.0}}}})
    };
    let first = run("train", "perceptron, sgd", mlp(1), &sets);
    let second = run("train", "-", mlp(2), &sets);
    let third = run("train", "-", mlp(3), &sets);
    let conv = json!({"model": {"conv": {"layers": [
            {"conv": {"channels": 6}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
            {"conv": {"channels": 8, "stride": 2, "padding": {"pixels": 1}}}, {"activation": "sigmoid"}, {"dropout": 0.25},
            {"pool": "global_average"}]}},
        "seed": 7, "init": "kaiming_uniform", "length": {"epochs": 4}, "batch_size": 16, "checkpoints": {"every": 2}, "eval_every": 3,
        "optimizer": {"adam": {"lr": 0.01, "weight_decay": {"decoupled": 0.01}}}, "schedule": {"step": {"milestones": [2]}}});
    run("train", "convolution, adam", conv, &sets);
    let resnet = json!({"model": {"resnet": {"widths": [4, 6], "blocks": [1, 2]}}, "seed": 5, "init": "kaiming_normal",
        "length": {"epochs": 2}, "batch_size": 32, "augment": {"flip": true, "crop": 1, "cutout": 3},
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}});
    run("train", "residual network, cutout", resnet, &sets);
    let blocks = json!({"model": {"conv": {"layers": [
            {"conv": {"channels": 6, "bias": false}}, {"group_norm": {"groups": 2}}, {"activation": "gelu"},
            {"pool": {"max_windows": {"kernel": 3, "stride": 2, "padding": 1}}},
            {"residual": {"activation": "relu", "layers": [{"depthwise": {"stride": 2}}, {"layer_norm": {}},
                {"activation": "gelu_tanh"}, {"dropout": 0.2}, {"conv": {"channels": 8, "kernel": 1}}]}},
            {"pool": {"average_windows": {"kernel": 2, "stride": 1}}}, {"dense": 5}, {"layer_norm": {}}]}},
        "seed": 6, "length": {"epochs": 2}, "batch_size": 32, "optimizer": {"adamw": {"lr": 0.01}}});
    run("train", "blocks, norms, gelu", blocks, &sets);
    let numbers = bench.put("numbers", &support::numbers(3, 90, 2));
    let pairs: [(&str, &Path); 2] = [("train", &numbers), ("test", &numbers)];
    let regression = json!({"model": {"mlp": {"hidden": [20], "activation": "tanh"}}, "seed": 3, "length": {"epochs": 3}, "batch_size": 40,
        "optimizer": {"adam": {"lr": 0.01}}});
    let learnt = run("train", "two numbers", regression, &pairs);
    let shown: [(&str, &Path); 2] = [("model", learnt.path("model")), ("data", &numbers)];
    run("evaluate", "two numbers", json!({}), &shown);
    // Wide enough for Winograd's convolutions.
    let wide = json!({"model": {"conv": {"layers": [
            {"conv": {"channels": 32}}, {"activation": "relu"}, {"conv": {"channels": 48}}, {"activation": "tanh"},
            {"conv": {"channels": 32, "bias": false}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}}]}},
        "seed": 8, "length": {"epochs": 1}, "batch_size": 35, "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}}});
    run("train", "wide convolutions", wide, &sets);
    let warm = json!({"seed": 4, "length": {"steps": 5}, "batch_size": 32, "optimizer": {"adamw": {"lr": 0.002}},
        "schedule": {"cyclic": {"epochs": 1.0, "low": 0.1}}});
    let warm_inputs: [(&str, &Path); 3] = [
        ("train", &train),
        ("train", &test),
        ("init", first.path("model")),
    ];
    run("train", "warm start, adamw", warm, &warm_inputs);
    let model: [(&str, &Path); 1] = [("model", first.path("model"))];
    run(
        "evaluate",
        "test set",
        Value::Null,
        &[model[0], ("data", &test)],
    );
    run(
        "evaluate",
        "calibration",
        json!({"calibration": true}),
        &[model[0], ("data", &test)],
    );
    run(
        "perturb",
        "fresh network",
        json!({"shrink": 0.4, "perturb": 0.1, "seed": 5}),
        &model,
    );
    run(
        "perturb",
        "normal noise",
        json!({"shrink": 0.6, "perturb": 1.0, "seed": 5, "noise": {"normal": {"std": 0.01}}}),
        &model,
    );
    let afresh = json!({"reset": ["fc2", "bn*"], "shrink": 0.6, "perturb": 0.1, "seed": 5});
    run("perturb", "layers afresh", afresh, &model);
    let norms: [(&str, &Path); 2] = [model[0], ("like", second.path("model"))];
    run("rescale", "another's norms", json!({}), &norms);
    run(
        "prune",
        "layerwise",
        json!({"fraction": 0.3, "output_layer_fraction": 0.15}),
        &model,
    );
    run(
        "prune",
        "global random",
        json!({"fraction": 0.5, "scope": "global", "by": {"random": {"seed": 8}}}),
        &model,
    );
    let rates = json!({"fraction": 0.3, "rates": {"dense": 0.2, "by_name": {"fc1": 0.6}}});
    let pruned = run("prune", "rates", rates, &model);
    let left: [(&str, &Path); 2] = [
        ("model", pruned.path("model")),
        ("mask", pruned.path("mask")),
    ];
    run("sparsity", "three layers", json!({}), &left);
    let moved = json!({"fraction": 0.3, "values": {"reshuffled": {"seed": 4, "signs": "kept"}}});
    run("prune", "reshuffled", moved, &model);
    let frozen = json!({"fraction": 0.3, "masked": "frozen"});
    run("prune", "frozen", frozen, &model);
    let frozen = json!({"seed": 2, "length": {"epochs": 1}, "batch_size": 32, "masked": "frozen",
        "optimizer": {"adam": {"lr": 0.01, "weight_decay": {"l2": 0.001}}}});
    let masked: [(&str, &Path); 3] = [("train", &train), ("init", model[0].1), left[1]];
    run("train", "frozen under a mask", frozen, &masked);
    let kept: [(&str, &Path); 2] = [model[0], left[1]];
    run("shuffle", "as many", json!({"seed": 4}), &kept);
    let shown = [model[0], ("data", train.as_path())];
    let by = |by: Value| json!({"fraction": 0.6, "scope": "global", "by": by});
    let snip = by(json!({"snip": {"seed": 3, "images": 40}}));
    run("prune", "connection sensitivity", snip, &shown);
    let grasp = by(json!({"grasp": {"seed": 3, "images": 40}}));
    run("prune", "gradient flow", grasp, &shown);
    let flow = by(json!({"synflow": {"rounds": 10}}));
    run("prune", "synaptic flow", flow, &model);
    let compared = [model[0], ("first", second.path("model"))];
    let kept = json!({"fraction": 0.5, "by": "large_final_same_sign", "values": "signed_constant"});
    run("prune", "first weights, signs", kept, &compared);
    let models = [&first, &second, &third].map(|ran| ("models", ran.path("model")));
    let keep = json!({"batch_norm": "keep"});
    run("average", "three models", keep, &models);
    let with_data = [models[0], models[1], ("train", &train)];
    run("average", "statistics made anew", Value::Null, &with_data);
    let latest = json!({"batch_norm": "keep", "latest": 2});
    run("average", "the last two", latest, &models);
    let all = [&models[..], &[("data", &test), ("train", &train)]].concat();
    run("soup", "greedy", json!({}), &all);
    let three = [&models[..], &[("train", train.as_path())]].concat();
    let low_rank = json!({"seed": 4, "samples": 2, "covariance": {"low_rank": 2}});
    run("swag", "low rank", low_rank, &three);
    let diagonal = json!({"seed": 4, "samples": 1, "covariance": "diagonal", "batch_norm": "keep", "scale": 0.5});
    run("swag", "diagonal", diagonal, &models);
    let asked = [&models[..], &[("data", test.as_path())]].concat();
    run("ensemble", "three models", json!({}), &asked);
    run("forgetting", "three models", json!({}), &asked);
    run("ensemble", "mirrored", json!({"views": "mirrored"}), &asked);
    let line = [models[0], models[1], ("data", &test), ("train", &train)];
    run("landscape", "a line", json!({"points": 5}), &line);
    let plane = [models[0], models[1], models[2], line[2], line[3]];
    run("landscape", "a plane", json!({"points": 4}), &plane);
    let around = json!({"points": 3, "random": {"seed": 4}, "batch_norm": "keep"});
    run(
        "landscape",
        "random directions",
        around,
        &[models[0], line[2]],
    );
    let random = json!({"random": {"seed": 4, "count": 2}});
    let rays = json!({"points": 3, "rays": {"length": 2.0, "along": random}});
    run("landscape", "rays", rays, &[models[0], line[2], line[3]]);
    let away = json!({"points": 3, "rays": {"length": 2.0, "along": "away"}, "batch_norm": "keep"});
    run("landscape", "a ray away", away, &line[..3]);
    let around = json!({"seed": 4, "images": 50, "steps": 6, "probes": 3, "distances": [0.5, 2.0], "directions": 3});
    let sharp: [(&str, &Path); 2] = [("model", first.path("model")), ("data", &train)];
    run("sharpness", "with distances", around, &sharp);
    let pair: [(&str, &Path); 2] = [
        ("model", first.path("model")),
        ("like", second.path("model")),
    ];
    run("align", "two perceptrons", json!({"seed": 4}), &pair);
    let shown = [pair[0], pair[1], ("data", &train)];
    let few = json!({"seed": 4, "images": 50});
    run("cka", "layers of a name", few, &shown);
    let curve = json!({"seed": 4, "epochs": 2, "batch_size": 32, "lr": 0.05, "weight_decay": 0.001, "augment": {"flip": true}, "points": 5});
    run("connect", "a bend", curve, &line);
    let lines = json!({"seed": 4, "form": "polygon", "epochs": 1, "batch_size": 32, "lr": 0.05, "points": 3});
    run("connect", "two lines", lines, &line);

    // Filters of 2 by 2 pixels, two for each of the four values.
    let plain = |seed: u64| {
        json!({"model": {"conv": {"layers": [{"conv": {"channels": 8, "kernel": 2, "padding": "valid"}}, {"activation": "gelu"}, {"pool": {"max": 3}}, {"dense": 7}, {"activation": "relu"}]}},
        "seed": seed, "length": {"epochs": 2}, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}})
    };
    let [one, other] = [1, 2].map(|seed| run("train", "-", plain(seed), &sets));
    let between: [(&str, &Path); 4] = [
        ("models", one.path("model")),
        ("models", other.path("model")),
        line[2],
        line[3],
    ];
    let repaired = json!({"points": 4, "repair": "activations"});
    run("landscape", "repaired", repaired, &between);
    let seen: [(&str, &Path); 2] = [("model", one.path("model")), ("train", &train)];
    let whitened = run("whiten", "small patches", json!({"images": 40}), &seen);
    let on: [(&str, &Path); 2] = [("init", whitened.path("model")), ("train", &train)];
    run(
        "narrow",
        "half of the channels",
        json!({"fraction": 0.5}),
        &seen[..1],
    );
    let turns = json!({"seed": 3, "frozen": ["conv1.weight"], "length": {"epochs": 3}, "batch_size": 32,
        "augment": {"flip": "alternating", "crop": 1}, "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": true}}});
    run("train", "frozen filters, sides in turn", turns, &on);
    let bare = json!({"model": {"conv": {"layers": [{"conv": {"channels": 4, "bias": false}},
            {"residual": {"shortcut": "convolution", "layers": [{"batch_norm": {}}, {"activation": "relu"}, {"conv": {"channels": 6, "stride": 2, "bias": false}}]}},
            {"batch_norm": {}}, {"activation": "relu"}, {"pool": "global_average"}]}},
        "seed": 3, "length": {"epochs": 2}, "batch_size": 32, "optimizer": {"sgd": {"lr": 0.1}}});
    run("train", "blocks with bare shortcuts", bare, &sets);

    let started = json!({"model": {"conv": {"layers": [{"conv": {"channels": 6}}, {"batch_norm": {}}, {"activation": "relu"}, {"dense": 12}, {"activation": "tanh"}]}},
        "init": {"orthogonal": {}}, "seed": 5, "length": {"epochs": 0}, "optimizer": {"adam": {}}});
    let started = run("train", "-", started, &sets);
    let shown: [(&str, &Path); 2] = [("model", started.path("model")), ("train", &train)];
    let probed: [(&str, &Path); 2] = [shown[0], ("data", &train)];
    run(
        "probe",
        "batches",
        json!({"seed": 2, "batch_size": 32}),
        &probed,
    );
    run(
        "lsuv",
        "orthogonal",
        json!({"seed": 2, "images": 50}),
        &shown,
    );
    let steps = json!({"seed": 2, "iterations": 8, "batch_size": 32, "gamma": 0.9, "lr": 0.1});
    run("gradinit", "both steps", steps, &shown);

    let recurrent = json!({"model": {"rnn": {"units": 9}}, "seed": 2, "init": {"orthogonal": {}}, "length": {"epochs": 2}, "batch_size": 32,
        "first_weights": {"scales": {"*recurrent": 1.5}}, "clip_gradients": {"norm": 1.0},
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}});
    let recurrent = run("train", "recurrent rows", recurrent, &sets);
    let paced = json!({"model": {"mlp": {"hidden": [12, 8]}}, "seed": 2, "length": {"epochs": 2}, "batch_size": 32,
        "learning_rates": {"*": 0.5, "fc2": 2.0, "*.bias": 0.1}, "frozen": ["fc1"], "decays": "weights",
        "optimizer": {"adam": {"lr": 0.01, "weight_decay": {"l2": 0.01}}}});
    run("train", "frozen, paced", paced, &sets);
    let memory = json!({"model": {"rnn": {"units": 9, "cell": "lstm"}}, "seed": 2, "length": {"epochs": 2}, "batch_size": 32,
        "first_weights": {"by_name": {"lstm1.forget.bias": {"constant": 1.0}}},
        "optimizer": {"adam": {"lr": 0.01}}});
    run("train", "rows with a memory", memory, &sets);
    let on = json!({"seed": 1, "starts_at": {"steps": 2}, "length": {"steps": 5}, "batch_size": 32,
        "checkpoints": {"every_steps": 2, "optimizer": true}, "optimizer": {"adam": {"lr": 0.01}}});
    let on_inputs: [(&str, &Path); 2] = [sets[0], ("init", recurrent.path("model"))];
    run("train", "going on", on, &on_inputs);
    let followed = json!({"model": {"mlp": {"hidden": [12], "batch_norm": {}}}, "seed": 2, "length": {"epochs": 2}, "batch_size": 32,
        "averages": {"ema": [0.5, 0.9]}, "lookahead": {"every": 2, "alpha": 0.5}, "optimizer": {"adam": {"lr": 0.01}}});
    run("train", "averages, slow weights", followed, &sets);
    let regularised = json!({"model": {"mlp": {"hidden": [12], "batch_norm": {}}}, "seed": 2, "length": {"epochs": 2}, "batch_size": 32,
        "mixup": {"alpha": 0.4}, "confidence_penalty": 0.1, "adversarial": {"epsilon": 0.05, "weight": 0.5},
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}});
    run("train", "mixed, confident, adversarial", regularised, &sets);
    let searched = |how: Value| {
        json!({"model": {"conv": {"layers": [{"conv": {"channels": 6}}, {"activation": "relu"}, {"dense": 12}, {"activation": "relu"}]}},
        "init": {"variance_scaling": {"scale": 2.0, "fan": "in", "distribution": "signed"}}, "seed": 2, "length": {"epochs": 2}, "batch_size": 32, "subnetwork": how,
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": {"l2": 0.0001}}}})
    };
    let popup = json!({"edge_popup": {"keep": 0.4, "rescale": "root"}});
    run("train", "edge-popup", searched(popup), &sets);
    let bernoulli = json!({"bernoulli": {"rescale": "share"}});
    run("train", "bernoulli mask", searched(bernoulli), &sets);
    let moved: [(&str, &Path); 2] = [("model", recurrent.path("model")), ("data", &train)];
    run("sensitivity", "rows", json!({"images": 30}), &moved);

    let shapes = json!({"dataset": "shapes", "shapes": {"train": 30, "test": 20}});
    run("download", "shapes", shapes, &[]);
    let whole: [(&str, &Path); 1] = [("data", &train)];
    let halves = json!({"parts": {"a": 0.5, "b": 0.5}, "seed": 3, "by": "class"});
    run("split", "by class", halves, &whole);
    let tail = json!({"parts": {"a": 0.5, "b": 0.5}, "seed": 3, "by": "class", "imbalance": {"exponential": {"ratio": 0.2}}});
    run("split", "long-tailed", tail, &whole);
    let labels = json!({"seed": 4, "labels": {"random": {"fraction": 0.5}}});
    run("corrupt", "random labels", labels, &whole);
    let prepared = json!({"center_crop": {"width": 5, "height": 6}, "whiten": "per_image"});
    run("transform", "cropped, whitened", prepared, &whole);
    let like: [(&str, &Path); 2] = [whole[0], ("like", &test)];
    run(
        "transform",
        "another's constants",
        json!({"normalise": "like"}),
        &like,
    );
    let filtering = json!({"model": {"conv": {"layers": [{"conv": {"channels": 12}}, {"activation": "relu"}, {"pool": {"max": 2}}]}},
        "seed": 3, "length": {"epochs": 1}, "batch_size": 32, "optimizer": {"sgd": {"lr": 0.1}}});
    let filtering = run("train", "-", filtering, &sets);
    let looking = [("models", filtering.path("model")), whole[0]];
    run(
        "filters",
        "in line",
        json!({"seed": 1, "images": 20, "bases": 3}),
        &looking,
    );
    let pixels = json!({"seed": 4, "pixels": {"noise": {"std": 20.0}}});
    run("corrupt", "noisy pixels", pixels, &whole);

    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let photos = bench.path("photos");
    for (class, file) in [
        ("a", "rgb.jpg"),
        ("a", "sampled.jpg"),
        ("b", "progressive.jpg"),
        ("b", "grey.jpg"),
        ("b", "palette.png"),
    ] {
        std::fs::create_dir_all(photos.join(class)).unwrap();
        std::fs::copy(foreign.join(file), photos.join(class).join(file)).unwrap();
    }
    let small =
        json!({"images": {"resize": {"shorter": 9}, "center_crop": {"width": 9, "height": 9}}});
    run("dataset", "class folders", small, &[("data", &photos)]);
    let table = bench.path("table.csv");
    std::fs::write(&table, "a,b,y\n1,0.1,x\n2,0.3,z\n-4,1e-3,y\n").unwrap();
    let label = json!({"csv": {"label": "y"}});
    run(
        "dataset",
        "table",
        label,
        &[("train", &table), ("test", &table)],
    );

    let held: [(&str, &Path); 4] = [
        ("train", &test),
        ("later", &train),
        ("validation", &train),
        ("test", &test),
    ];
    let patient = json!({"model": {"mlp": {"hidden": [12], "batch_norm": {}}}, "seed": 3, "length": {"epochs": 6}, "batch_size": 32,
        "later": {"portions": {"after": 1, "every": 2, "share": 0.3}}, "clip_gradients": {"norm": 0.5}, "decays": "weights",
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": {"l2": 0.01}}}, "eval_every": {"steps": 2},
        "stop_at": {"patience": {"of": "validation_loss", "epochs": 2, "keep": "best"}}});
    run("train", "what joins later, patience", patient, &held);
    let both: [(&str, &Path); 3] = [
        ("tables", first.path("metrics")),
        ("tables", second.path("metrics")),
        ("models", first.path("model")),
    ];
    let by = json!({"by": {"max": "train_accuracy"}});
    run("select", "two runs", by, &both);

    let tables =
        |input: &'static str| [&first, &second, &third].map(|ran| (input, ran.path("metrics")));
    let of = json!({"of": ["test_accuracy", "train_loss"]});
    run("summarise", "three seeds", of, &tables("tables"));
    let course = json!({"of": "test_accuracy", "reach": [0.1, 0.99], "unreached": "count_last", "gap_from": "train_accuracy"});
    let one: [(&str, &Path); 1] = [("table", first.path("metrics"))];
    run("curve", "three epochs", course, &one);
    let learns = json!({"measure": {"of": "test_accuracy"}, "expect": {"mean": {"above": 0.5}}});
    run("claim", "three seeds", learns, &tables("a"));
    found
}

#[test]
fn every_kind_is_in_the_table() {
    let known = kinds::all().into_iter().chain([kinds::claim()]);
    let absent: Vec<String> = known
        .map(|kind| kind.name.clone())
        .filter(|name| !GOLDEN.iter().any(|(kind, ..)| kind == name))
        .collect();
    assert!(absent.is_empty(), "no golden digest for {absent:?}");
}

#[test]
fn bytes_change_only_with_the_revision() {
    let found = compute();
    let mut wrong = Vec::new();
    for (kind, revision, case, output, want) in GOLDEN {
        assert_eq!(
            kinds::find(kind).unwrap().revision,
            *revision,
            "the revision of `{kind}` rose: update the table"
        );
        let (.., got) = found
            .iter()
            .find(|(k, c, o, _)| k == kind && c == case && o == output)
            .unwrap();
        if got != want {
            wrong.push(format!(
                "    (\"{kind}\", {revision}, \"{case}\", \"{output}\", \"{got}\"),"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "bytes changed; raise the REVISION of the kinds concerned and set:\n{}",
        wrong.join("\n")
    );
}

/// The device is in no key, so it must be in no byte. A process computes on one device, so this is
/// another one.
#[test]
fn bytes_are_the_same_on_a_gpu() {
    if repro_gpu::found().unwrap_or_default().is_empty() {
        return support::skipped("no OpenCL device (apt install pocl-opencl-icd)");
    }
    let this = std::env::current_exe().unwrap();
    let status = Command::new(this).args(THE_TEST).env(ON_GPU, "1").status();
    assert!(status.unwrap().success());
}

/// The same through CUDA's calls: launches that wait and come again as graphs, words that overtake
/// them, memory that is used again. The stand-in for the driver runs the kernels on the CPU.
#[test]
fn bytes_are_the_same_through_cuda() {
    let Some(output) = with_stand_in(&THE_TEST, &[(ON_GPU, "1")]) else {
        return support::skipped(
            "no C++ compiler of this processor for the stand-in of a CUDA driver",
        );
    };
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = of(&output.stdout) + &of(&output.stderr);
    assert!(output.status.success(), "{said}");
}
