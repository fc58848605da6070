//! Pruning, perturbing and averaging through the kinds, against their formulas.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use repro_stages::frame::{self, Column};
use repro_stages::weights::{NamedTensors, TensorFile};
use serde_json::{Value, json};
use support::{Bench, Ran, data};

fn mlp() -> Value {
    json!({"mlp": {"hidden": [24, 16], "batch_norm": {}, "dropout": 0.2}})
}

fn sgd() -> Value {
    json!({"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": true}})
}

fn adam() -> Value {
    json!({"adam": {"lr": 0.005, "weight_decay": {"l2": 0.001}}})
}

#[test]
fn masked_weights_stay_zero_under_every_optimizer() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let base = bench
        .run(
            "train",
            json!({"model": mlp(), "seed": 1, "length": {"epochs": 2}, "optimizer": sgd()}),
            &[("train", &train)],
        )
        .unwrap();
    let pruned = bench
        .run(
            "prune",
            json!({"fraction": 0.5}),
            &[("model", base.path("model"))],
        )
        .unwrap();
    let mask = TensorFile::read(pruned.path("mask")).unwrap().tensors;
    for optimizer in [sgd(), adam(), json!({"adamw": {"lr": 0.01}})] {
        let with =
            json!({"seed": 2, "length": {"epochs": 2}, "batch_size": 16, "optimizer": optimizer});
        let inputs: [(&str, &Path); 3] = [
            ("train", &train),
            ("init", pruned.path("model")),
            ("mask", pruned.path("mask")),
        ];
        let tuned = bench.run("train", with, &inputs).unwrap();
        let weights = TensorFile::read(tuned.path("model")).unwrap().tensors;
        for (name, mask) in &mask {
            let survivors = weights[name].data.iter().zip(&mask.data);
            assert!(
                survivors.clone().all(|(w, m)| *m == 1.0 || *w == 0.0),
                "{name}"
            );
            assert!(survivors.filter(|(w, _)| **w != 0.0).count() > 0);
        }
    }
    // a mask alone, without a pruned model, prunes the first weights
    let with = json!({"model": mlp(), "seed": 2, "length": {"steps": 1}, "optimizer": {"sgd": {"lr": 0.0}}});
    let fresh = bench
        .run(
            "train",
            with,
            &[("train", &train), ("mask", pruned.path("mask"))],
        )
        .unwrap();
    let weights = TensorFile::read(fresh.path("model")).unwrap().tensors;
    assert!(mask.iter().all(|(n, m)| {
        weights[n]
            .data
            .iter()
            .zip(&m.data)
            .all(|(w, m)| *m == 1.0 || *w == 0.0)
    }));
}

/// Zhou et al. 2019: what goes stays at its first value instead, which computes and does not learn.
#[test]
fn frozen_weights_keep_their_first_values_under_every_optimizer() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let trained = |epochs: u64| {
        let with =
            json!({"model": mlp(), "seed": 1, "length": {"epochs": epochs}, "optimizer": sgd()});
        bench.run("train", with, &[("train", &train)]).unwrap()
    };
    let (first, last) = (trained(0), trained(2));
    let inputs: [(&str, &Path); 2] = [
        ("model", last.path("model")),
        ("rewind", first.path("model")),
    ];
    let with = json!({"fraction": 0.5, "masked": "frozen"});
    let pruned = bench.run("prune", with, &inputs).unwrap();
    let read = |ran: &Ran, output: &str| TensorFile::read(ran.path(output)).unwrap().tensors;
    let (began, mask) = (read(&pruned, "model"), read(&pruned, "mask"));
    assert_eq!(began, read(&first, "model"), "all are rewound, none is 0");
    let with = json!({"model": mlp(), "seed": 1, "length": {"epochs": 0}, "optimizer": sgd(), "masked": "frozen"});
    let refused = bench
        .run("train", with, &[("train", &train)])
        .err()
        .unwrap();
    assert!(
        format!("{refused:#}").contains("there is no mask"),
        "{refused:#}"
    );
    let lookahead = json!({"every": 3, "alpha": 0.5});
    for (optimizer, lookahead) in [
        (sgd(), Value::Null),
        (adam(), lookahead.clone()),
        (
            json!({"adamw": {"lr": 0.01, "weight_decay": 0.1}}),
            Value::Null,
        ),
    ] {
        let with = json!({"seed": 2, "length": {"epochs": 2}, "batch_size": 16, "masked": "frozen",
            "optimizer": optimizer, "lookahead": lookahead});
        let inputs: [(&str, &Path); 3] = [
            ("train", &train),
            ("init", pruned.path("model")),
            ("mask", pruned.path("mask")),
        ];
        let weights = read(&bench.run("train", with, &inputs).unwrap(), "model");
        for (name, mask) in &mask {
            let ways = weights[name].data.iter().zip(&began[name].data);
            let (free, frozen): (Vec<_>, Vec<_>) =
                ways.zip(&mask.data).partition(|(_, m)| **m == 1.0);
            assert!(
                frozen
                    .iter()
                    .all(|((now, then), _)| now.to_bits() == then.to_bits()),
                "{name}"
            );
            assert!(frozen.iter().any(|((now, _), _)| **now != 0.0), "{name}");
            let moved = free.iter().filter(|((now, then), _)| now != then).count();
            assert!(moved * 2 > free.len(), "{name}: {moved} of {}", free.len());
        }
    }
}

/// Shrink and perturb and averages against the formulas.
#[test]
fn perturbing_and_averaging() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let model = |seed: u64| {
        let with =
            json!({"model": mlp(), "seed": seed, "length": {"epochs": 1}, "optimizer": sgd()});
        bench.run("train", with, &[("train", &train)]).unwrap()
    };
    let (a, b, c) = (model(1), model(2), model(3));
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let perturb = |shrink: f64, perturb: f64| {
        let with = json!({"shrink": shrink, "perturb": perturb, "seed": 9, "noise": {"init": "kaiming_normal"}});
        bench
            .run("perturb", with, &[("model", a.path("model"))])
            .unwrap()
    };
    let (old, fresh, both) = (
        read(&perturb(1.0, 0.0)),
        read(&perturb(0.0, 1.0)),
        read(&perturb(0.5, 0.25)),
    );
    let trained = read(&a);
    for (name, tensor) in &both {
        let statistics = name.contains("running_");
        for i in 0..tensor.data.len() {
            let want = if statistics {
                fresh[name].data[i]
            } else {
                0.5 * trained[name].data[i] + 0.25 * fresh[name].data[i]
            };
            assert_eq!(tensor.data[i], want, "{name}");
            assert_eq!(
                old[name].data[i],
                if statistics {
                    fresh[name].data[i]
                } else {
                    trained[name].data[i]
                },
                "{name}"
            );
        }
    }
    assert!(
        fresh["bn1.running_var"].data.iter().all(|x| *x == 1.0)
            && fresh["bn1.weight"].data.iter().all(|x| *x == 1.0)
    );
    let noisy = bench.run(
        "perturb",
        json!({"shrink": 0.0, "perturb": 2.0, "seed": 9, "noise": {"normal": {"std": 0.5}}}),
        &[("model", a.path("model"))],
    );
    let noisy = read(&noisy.unwrap());
    let x: Vec<f64> = noisy["fc1.weight"]
        .data
        .iter()
        .map(|x| f64::from(*x))
        .collect();
    let std = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    assert!((std - 1.0).abs() < 0.15, "{std}");

    let models: [(&str, &Path); 3] = [
        ("models", a.path("model")),
        ("models", b.path("model")),
        ("models", c.path("model")),
    ];
    let refused = bench.run("average", Value::Null, &models).err().unwrap();
    assert!(
        refused.to_string().contains("its accuracy would collapse"),
        "{refused}"
    );
    let keep = json!({"batch_norm": "keep"});
    let mean = read(&bench.run("average", keep, &models).unwrap());
    let weighted = read(
        &bench
            .run(
                "average",
                json!({"weights": {"given": [0.5, 0.25, 0.25]}, "batch_norm": "keep"}),
                &models,
            )
            .unwrap(),
    );
    let (a, b, c) = (trained, read(&b), read(&c));
    for name in mean.keys() {
        for i in 0..mean[name].data.len() {
            let (a, b, c) = (a[name].data[i], b[name].data[i], c[name].data[i]);
            assert_eq!(mean[name].data[i], ((a + b) + c) / 3.0, "{name}");
            assert_eq!(
                weighted[name].data[i],
                (0.5 * a + 0.25 * b) + 0.25 * c,
                "{name}"
            );
        }
    }
    assert!(
        bench
            .run(
                "average",
                json!({"weights": {"given": [0.5, 0.25]}}),
                &models
            )
            .err()
            .unwrap()
            .to_string()
            .contains("sum")
    );
    assert!(
        bench
            .run(
                "average",
                json!({"weights": {"given": [0.5, 0.5]}}),
                &models
            )
            .err()
            .unwrap()
            .to_string()
            .contains("2 numbers for 3 models")
    );
}

#[test]
fn rewinding_gives_the_survivors_their_old_values() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let with = |epochs: u64| json!({"model": mlp(), "seed": 1, "length": {"epochs": epochs}, "optimizer": sgd()});
    let (early, late) = (
        bench.run("train", with(1), &[("train", &train)]).unwrap(),
        bench.run("train", with(3), &[("train", &train)]).unwrap(),
    );
    let inputs: [(&str, &Path); 2] = [
        ("model", late.path("model")),
        ("rewind", early.path("model")),
    ];
    let pruned = bench
        .run(
            "prune",
            json!({"fraction": 0.3, "scope": "global"}),
            &inputs,
        )
        .unwrap();
    let (mask, model) = (
        TensorFile::read(pruned.path("mask")).unwrap().tensors,
        TensorFile::read(pruned.path("model")).unwrap().tensors,
    );
    let early = TensorFile::read(early.path("model")).unwrap().tensors;
    for (name, tensor) in &model {
        for (i, x) in tensor.data.iter().enumerate() {
            let kept = mask.get(name).is_none_or(|m| m.data[i] == 1.0);
            assert_eq!(*x, if kept { early[name].data[i] } else { 0.0 });
        }
    }
    // a second round goes on from the first
    let second = bench
        .run(
            "prune",
            json!({"fraction": 0.5}),
            &[("model", late.path("model")), ("mask", pruned.path("mask"))],
        )
        .unwrap();
    let next = TensorFile::read(second.path("mask")).unwrap().tensors;
    assert!(next.iter().all(|(n, m)| {
        m.data
            .iter()
            .zip(&mask[n].data)
            .all(|(new, old)| new <= old)
    }));
}

/// Statistics made anew are those of the data: for the first norm, behind a dense layer, by the
/// formula; a model trained on other data gets the same ones; everything else is the mean as
/// before.
#[test]
fn averages_get_the_statistics_of_data() {
    let bench = Bench::new();
    let set = data(1, 300, (4, 4, 1), 3);
    let train = bench.put("train", &set);
    let model = json!({"mlp": {"hidden": [5], "batch_norm": {}, "dropout": 0.5}});
    let with = json!({"model": model, "seed": 1, "length": {"epochs": 2}, "optimizer": sgd()});
    let trained = bench.run("train", with, &[("train", &train)]).unwrap();
    let one = [("models", trained.path("model"))];
    let plain = bench.run("average", Value::Null, &one).unwrap();
    let with_data = [one[0], ("train", train.as_path())];
    let anew = bench.run("average", Value::Null, &with_data).unwrap();
    let again = bench.run("average", Value::Null, &with_data).unwrap();
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let (plain, anew) = (read(&plain), read(&anew));
    assert_eq!(anew, read(&again));
    for (name, tensor) in &plain {
        let running = name.contains("running");
        assert_eq!(running, anew[name] != *tensor, "{name}");
    }
    // One image more than a whole batch has no variance of its own: it changes nothing.
    let whole = bench.put("whole", &set.pick(&Vec::from_iter(0..256)));
    let one_more = bench.put("one more", &set.pick(&Vec::from_iter(0..257)));
    let on = |data: &Path| {
        read(
            &bench
                .run("average", Value::Null, &[one[0], ("train", data)])
                .unwrap(),
        )
    };
    assert_eq!(on(&whole), on(&one_more));
    let mut rows = vec![vec![0.0f32; 16]; set.len()];
    rows.iter_mut()
        .enumerate()
        .for_each(|(i, row)| set.normalised_row(i, row));
    let (w, b) = (&plain["fc1.weight"].data, &plain["fc1.bias"].data);
    for unit in 0..5 {
        let sums: Vec<f64> = rows
            .iter()
            .map(|row| {
                let terms = row.iter().zip(&w[unit * 16..]);
                f64::from(b[unit])
                    + terms
                        .map(|(x, w)| f64::from(*x) * f64::from(*w))
                        .sum::<f64>()
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / 300.0;
        let variance: f64 = sums
            .chunks(256)
            .map(|batch| {
                let n = batch.len() as f64;
                let mean = batch.iter().sum::<f64>() / n;
                batch.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0) * n / 300.0
            })
            .sum();
        let close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-5 * (1.0 + want.abs());
        assert!(
            close(anew["bn1.running_mean"].data[unit], mean),
            "mean of unit {unit}"
        );
        assert!(
            close(anew["bn1.running_var"].data[unit], variance),
            "variance of unit {unit}"
        );
    }
}

/// Layers that start afresh are those of a fresh network, whole; all others are shrunk and
/// perturbed, or untouched.
#[test]
fn layers_start_afresh() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let with = json!({"model": mlp(), "seed": 1, "length": {"epochs": 2}, "optimizer": sgd()});
    let trained = bench.run("train", with, &[("train", &train)]).unwrap();
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let perturbed = |with: Value| {
        let ran = bench.run("perturb", with, &[("model", trained.path("model"))]);
        read(&ran.unwrap())
    };
    let noise = json!({"init": "kaiming_normal"});
    let fresh = perturbed(json!({"shrink": 0.0, "perturb": 1.0, "seed": 9, "noise": noise}));
    let shrunk = perturbed(json!({"shrink": 0.5, "perturb": 0.25, "seed": 9, "noise": noise}));
    let reset = ["bn1*", "fc2.bias", "fc3"];
    let alone = perturbed(json!({"reset": reset, "seed": 9, "noise": noise}));
    let both = perturbed(
        json!({"reset": reset, "shrink": 0.5, "perturb": 0.25, "seed": 9, "noise": noise}),
    );
    let trained = read(&trained);
    for name in trained.keys() {
        let is_reset = name.starts_with("bn1.") || name.starts_with("fc3.") || name == "fc2.bias";
        let (want_alone, want_both) = match is_reset {
            true => (&fresh[name], &fresh[name]),
            false => (&trained[name], &shrunk[name]),
        };
        assert_eq!(&alone[name], want_alone, "{name}");
        assert_eq!(&both[name], want_both, "{name}");
        assert_ne!(
            trained[name], fresh[name],
            "{name}: the test can tell them apart"
        );
    }
    let refused = |with: Value| {
        let trained = bench.path("run 0/out/model.safetensors");
        let ran = bench.run("perturb", with, &[("model", &trained)]);
        format!("{:#}", ran.err().unwrap())
    };
    let why = refused(json!({"reset": ["fc4"], "seed": 9}));
    assert_eq!(why, "`reset`: `fc4` names no layer of this network");
    let why = refused(json!({"seed": 9}));
    assert!(why.contains("nothing is to be done"), "{why}");
    // The noise said by a distribution is for layers that stay; fresh ones take the default rule.
    let normal = json!({"normal": {"std": 0.1}});
    let why = refused(json!({"reset": ["fc1"], "seed": 9, "noise": normal}));
    assert!(why.contains("no noise is added"), "{why}");
    let both = |noise: Value| {
        let with =
            json!({"reset": reset, "shrink": 0.5, "perturb": 0.25, "seed": 9, "noise": noise});
        perturbed(with)
    };
    let (by_normal, by_default) = (both(normal), both(json!({"init": "pytorch"})));
    assert_eq!(by_normal["fc3.weight"], by_default["fc3.weight"]);
    assert_ne!(by_normal["fc1.weight"], by_default["fc1.weight"]);
    let why = refused(json!({"perturb": 0.1, "reset": ["fc1"], "seed": 9}));
    assert!(
        why.contains("`shrink` is missing: it goes with `perturb`"),
        "{why}"
    );
}

/// Weights have the norms of `like` and the directions of `model`; all else is that of `model`.
#[test]
fn norms_are_those_of_another_model() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let model = |seed: u64, rule: &str, hidden: [usize; 2]| {
        let mlp = json!({"mlp": {"hidden": hidden, "batch_norm": {}}});
        let with = json!({"model": mlp, "init": rule, "seed": seed, "length": {"epochs": 1},
            "optimizer": sgd()});
        bench.run("train", with, &[("train", &train)]).unwrap()
    };
    let (a, b) = (
        model(1, "pytorch", [24, 16]),
        model(2, "kaiming_normal", [24, 16]),
    );
    let like = |b: &Ran| {
        let inputs: [(&str, &Path); 2] = [("model", a.path("model")), ("like", b.path("model"))];
        bench.run("rescale", json!({}), &inputs)
    };
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let (scaled, itself) = (read(&like(&b).unwrap()), read(&like(&a).unwrap()));
    let (before, other, b) = (read(&a), &b, read(&b));
    assert_eq!(itself, before, "a model has its own norms");
    let norm = |x: &[f32]| {
        x.iter()
            .map(|x| f64::from(*x) * f64::from(*x))
            .sum::<f64>()
            .sqrt()
    };
    for (name, tensor) in &scaled {
        if !(name.starts_with("fc") && name.ends_with(".weight")) {
            assert_eq!(tensor, &before[name], "{name}");
            continue;
        }
        let (got, want) = (norm(&tensor.data), norm(&b[name].data));
        assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got} {want}");
        let factor = want / norm(&before[name].data);
        assert!(
            (factor - 1.0).abs() > 0.1,
            "{name}: the test has something to do"
        );
        for (x, old) in tensor.data.iter().zip(&before[name].data) {
            assert_eq!(*x, (f64::from(*old) * factor) as f32, "{name}");
        }
    }
    let inputs: [(&str, &Path); 2] = [("model", a.path("model")), ("like", other.path("model"))];
    let one = bench.run("rescale", json!({"layers": ["fc2"]}), &inputs);
    let one = read(&one.unwrap());
    for (name, tensor) in &one {
        let want = if name == "fc2.weight" {
            &scaled
        } else {
            &before
        };
        assert_eq!(tensor, &want[name], "{name}");
    }
    let why = like(&model(1, "pytorch", [24, 12])).err().unwrap();
    let text = format!("{why:#}");
    assert!(
        text.starts_with("input `like`: its `model.mlp.hidden"),
        "{text}"
    );
    let zero = json!({"model": {"mlp": {"hidden": [24, 16], "batch_norm": {}}}, "seed": 1,
        "init": {"constant": 0.0}, "length": {"epochs": 0}, "optimizer": sgd()});
    let zero = bench.run("train", zero, &[("train", &train)]).unwrap();
    let inputs: [(&str, &Path); 2] = [("model", zero.path("model")), ("like", a.path("model"))];
    let why = bench.run("rescale", json!({}), &inputs).err().unwrap();
    assert!(
        why.to_string().starts_with("`fc1.weight` is all 0"),
        "{why}"
    );
}

/// The values of a table by name.
fn named(path: &Path) -> BTreeMap<String, f64> {
    let rows = repro_stages::table::read(path).unwrap().rows;
    rows.into_iter().map(|r| (r.name, r.value)).collect()
}

/// The first weights of a network, and what `sensitivity` says of it.
fn sensitivity(model: Value, first: Value) -> (NamedTensors, BTreeMap<String, f64>) {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 20, (6, 4, 1), 3));
    let mut with = json!({"model": model, "seed": 3, "length": {"epochs": 0}, "optimizer": sgd()});
    let first = first.as_object().unwrap().clone();
    with.as_object_mut().unwrap().extend(first);
    let net = bench.run("train", with, &[("train", &images)]).unwrap();
    let of: [(&str, &Path); 2] = [("model", net.path("model")), ("data", &images)];
    let measured = bench.run("sensitivity", json!({}), &of).unwrap();
    let tensors = TensorFile::read(net.path("model")).unwrap().tensors;
    (tensors, named(measured.path("metrics")))
}

/// The derivatives of a linear network are its weights, and those of a recurrent network whose
/// states are near 0 are the powers of its recurrent weight: here `scale` times the identity.
#[test]
fn sensitivity_is_known_of_linear_networks() {
    let (tensors, found) = sensitivity(json!("logistic-regression"), json!({}));
    let weights = &tensors["fc1.weight"].data;
    for row in 0..6 {
        let of_row = weights.chunks_exact(24).flat_map(|w| &w[row * 4..][..4]);
        let norm = of_row.map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
        let got = found[&format!("sensitivity[{}]", row + 1)];
        assert!((got - norm).abs() < 1e-6 * norm, "{row}: {got} {norm}");
    }
    for scale in [0.5, 1.0, 1.6] {
        let first = json!({"first_weights": {"biases": {"constant": 0.0}, "by_name": {"*recurrent": {"identity": {}}},
            "scales": {"*recurrent": scale, "*input": 1e-5}}});
        let (_, found) = sensitivity(json!({"rnn": {"units": 8}}), first);
        let want = f64::ln(scale);
        assert!((found["growth"] - want).abs() < 1e-5, "{scale}: {found:?}");
    }
}

#[test]
fn recurrent_weights_start_by_the_rules() {
    let first =
        json!({"init": {"orthogonal": {}}, "first_weights": {"scales": {"*recurrent": 1.5}}});
    let (tensors, _) = sensitivity(json!({"rnn": {"units": 8}}), first);
    let rows: Vec<&[f32]> = tensors["rnn1.recurrent.weight"]
        .data
        .chunks_exact(8)
        .collect();
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate() {
            let product: f32 = a.iter().zip(*b).map(|(a, b)| a * b).sum();
            let want = if i == j { 2.25 } else { 0.0 };
            assert!((product - want).abs() < 1e-5, "{i} {j}: {product}");
        }
    }
}

/// A soup holds the best model, is no worse than it on the data that chose, and refuses test data
/// unless told; samples of no scale are the mean, and an ensemble of one model says what it says.
#[test]
fn soups_samples_and_ensembles() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let held = bench.put("held", &data(2, 40, (4, 4, 1), 3));
    let model = |seed: u64| {
        let with = json!({"model": {"mlp": {"hidden": [12]}}, "seed": seed, "length": {"epochs": 3}, "batch_size": 16, "optimizer": adam()});
        bench.run("train", with, &[("train", &train)]).unwrap()
    };
    let all = [1, 2, 3].map(model);
    let models = all.each_ref().map(|ran| ("models", ran.path("model")));
    let with_data = [&models[..], &[("data", held.as_path())]].concat();
    let soup = bench.run("soup", json!({}), &with_data).unwrap();
    let of = |name: &str| soup.metric("validation", name);
    assert!(of("accuracy") >= of("best_accuracy") && of("best_accuracy") >= of("mean_accuracy"));
    assert!((1.0..=3.0).contains(&of("ingredients")));
    let again = [("model", soup.path("model")), ("data", held.as_path())];
    let measured = bench.run("evaluate", json!({}), &again).unwrap();
    assert_eq!(measured.metric("test", "accuracy"), of("accuracy"));

    let still = json!({"seed": 1, "samples": 2, "scale": 0.0});
    let still = bench.run("swag", still, &models).unwrap();
    let mean = still.bytes("model");
    for sample in ["sample-0001.safetensors", "sample-0002.safetensors"] {
        assert_eq!(
            std::fs::read(still.path("samples").join(sample)).unwrap(),
            mean
        );
    }
    let drawn = |samples: u64| {
        let with = json!({"seed": 1, "samples": samples});
        let ran = bench.run("swag", with, &models).unwrap();
        std::fs::read(ran.path("samples").join("sample-0001.safetensors")).unwrap()
    };
    assert_eq!(
        drawn(1),
        drawn(3),
        "more samples leave the first as they are"
    );
    assert_ne!(drawn(1), mean);
    let average = bench.run("average", json!({}), &models).unwrap();
    let (a, b) = (average.path("model"), still.path("model"));
    let [a, b] = [a, b].map(|path| TensorFile::read(path).unwrap().tensors);
    for (name, tensor) in &a {
        for (x, y) in tensor.data.iter().zip(&b[name].data) {
            assert!((x - y).abs() <= 1e-6 * x.abs().max(1.0), "{name}");
        }
    }

    let alone = [models[0], ("data", held.as_path())];
    let alone = bench.run("ensemble", json!({}), &alone).unwrap();
    let one = [("model", models[0].1), ("data", held.as_path())];
    let one = bench
        .run("evaluate", json!({"calibration": true}), &one)
        .unwrap();
    for name in ["accuracy", "nll", "ece"] {
        let (a, b) = (alone.metric("test", name), one.metric("test", name));
        assert!((a - b).abs() < 1e-12, "{name}: {a} {b}");
    }
    let both = bench.run("ensemble", json!({}), &with_data).unwrap();
    assert!(
        both.metric("test", "nll") <= both.metric("test", "member_nll"),
        "by convexity"
    );
    // mirrored twice is as it is: a flipped set sees what the mirrored view sees
    let flipped = |data: repro_stages::data::Dataset| -> repro_stages::data::Dataset {
        let repro_stages::data::Values::Bytes(bytes) = data.values().clone() else {
            panic!("images of bytes");
        };
        let rows = bytes
            .chunks_exact(4)
            .flat_map(|row| row.iter().rev().copied());
        let labels: Vec<u8> = data.labels().iter().map(|l| *l as u8).collect();
        let origin = (0..data.len() as u32).collect();
        repro_stages::data::Dataset::new(
            data.info().clone(),
            rows.collect::<Vec<u8>>(),
            labels,
            origin,
        )
        .unwrap()
    };
    let other = bench.put("flipped", &flipped(data(2, 40, (4, 4, 1), 3)));
    let mirrored = |path: &Path| {
        let inputs = [models[0], ("data", path)];
        let ran = bench
            .run("ensemble", json!({"views": "mirrored"}), &inputs)
            .unwrap();
        ran.metric("test", "nll")
    };
    assert!((mirrored(&held) - mirrored(&other)).abs() < 1e-9);
    let plain = [models[0], ("data", other.as_path())];
    let plain = bench.run("ensemble", json!({}), &plain).unwrap();
    assert_ne!(plain.metric("test", "nll"), alone.metric("test", "nll"));
}

/// The checkpoints of a training in order; at the end as many examples are known as `evaluate`
/// counts, and what is said of all is what is said of each.
#[test]
fn what_a_training_forgets() {
    let bench = Bench::new();
    // A quarter of the labels is wrong, so that not all can be learnt.
    let right = data(1, 90, (4, 4, 1), 3);
    let labels = right.labels().iter().enumerate();
    let labels = labels.map(|(i, label)| (label + u32::from(i % 4 == 0)) % 3);
    let labels = labels.collect();
    let train = bench.put("train", &right.with_labels(labels).unwrap());
    let small = json!({"mlp": {"hidden": [4]}});
    let with = json!({"model": small, "seed": 1, "length": {"epochs": 11}, "batch_size": 16,
        "optimizer": sgd(), "checkpoints": {"every": 1}});
    let ran = bench.run("train", with, &[("train", &train)]).unwrap();
    let kept: [(&str, &Path); 2] = [("models", ran.path("checkpoints")), ("data", &train)];
    let seen = bench.run("forgetting", json!({}), &kept).unwrap();
    let last: [(&str, &Path); 2] = [("model", ran.path("model")), ("data", &train)];
    let score = bench.run("evaluate", json!({}), &last).unwrap();
    let table = frame::read(seen.path("examples")).unwrap();
    assert_eq!(table.rows, 90);
    let numbers = |name: &str| -> Vec<Option<f64>> {
        let column = table.columns.iter().find(|(n, _)| n == name);
        match &column.unwrap().1 {
            Column::Numbers(numbers) => numbers.clone(),
            Column::Whole(numbers) => numbers.iter().map(|n| n.map(|n| n as f64)).collect(),
            other => panic!("{other:?}"),
        }
    };
    let share = |name: &str, is: fn(f64) -> bool| {
        let known = numbers(name).into_iter().flatten();
        known.filter(|x| is(*x)).count() as f64 / 90.0
    };
    let accuracy = score.metric("test", "accuracy");
    assert_eq!(share("margin", |x| x > 0.0), accuracy);
    assert!(
        (0.4..1.0).contains(&accuracy),
        "{accuracy}: nothing to tell apart"
    );
    let named = named(seen.path("metrics"));
    assert_eq!(named["forgettable"], share("forgotten", |n| n > 0.0));
    let firsts = numbers("first_learnt").into_iter().flatten().count();
    assert_eq!(named["never_learnt"], (90 - firsts) as f64 / 90.0);
    assert!(numbers("right").iter().flatten().all(|n| *n <= 11.0));
    assert!(named["forgettable"] > 0.0 && named["unforgettable"] > 0.0);
}
