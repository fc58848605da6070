//! Training end to end through the kinds: learning, resuming, masks, saved weights, failures.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use repro_numerics::kernels::parallel::Simulation;
use repro_stages::kinds;
use repro_stages::weights::{NamedTensors, TensorFile};
use serde_json::{Value, json};
use support::{Bench, Ran, data};

fn mlp() -> Value {
    json!({"mlp": {"hidden": [24, 16], "batch_norm": {}, "dropout": 0.2}})
}

fn conv() -> Value {
    json!({"conv": {"layers": [
        {"conv": {"channels": 4}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
        {"conv": {"channels": 6, "stride": 2, "padding": {"pixels": 1}}}, {"activation": "tanh"}, {"dropout": 0.25},
        {"dense": 12}, {"activation": "sigmoid"}]}})
}

fn adam() -> Value {
    json!({"adam": {"lr": 0.005, "weight_decay": {"l2": 0.001}}})
}

fn sgd() -> Value {
    json!({"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": true}})
}

fn same(a: &Ran, b: &Ran) {
    assert_eq!(
        a.outputs.keys().collect::<Vec<_>>(),
        b.outputs.keys().collect::<Vec<_>>()
    );
    for name in a.outputs.keys() {
        assert_eq!(
            support::digest(a.path(name)),
            support::digest(b.path(name)),
            "output {name}"
        );
    }
}

#[test]
fn a_network_starts_at_chance_and_learns_64_samples_by_heart() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 64, (6, 6, 1), 4));
    for model in [
        json!({"mlp": {"hidden": [32]}}),
        json!({"conv": {"layers": [
        {"conv": {"channels": 8}}, {"activation": "relu"}, {"pool": {"max": 2}}, {"dense": 24}, {"activation": "relu"}]}}),
    ] {
        let with = |steps: Value, lr: f64| json!({"model": model, "seed": 3, "length": steps, "batch_size": 16, "optimizer": {"adam": {"lr": lr}}});
        let start = bench
            .run(
                "train",
                with(json!({"steps": 1}), 0.0),
                &[("train", &train), ("test", &train)],
            )
            .unwrap();
        assert!(
            (start.metric("test", "loss") - 4f64.ln()).abs() < 0.2,
            "{}",
            start.metric("test", "loss")
        );
        let end = bench
            .run(
                "train",
                with(json!({"epochs": 80}), 0.01),
                &[("train", &train), ("test", &train)],
            )
            .unwrap();
        assert_eq!(end.metric("test", "accuracy"), 1.0);
        assert!(end.metric("test", "loss") < 0.05);
        assert!(end.figures["images_per_s"] > 0.0);
    }
}

/// A last batch of one image has no variance: after a step on it, batch norm's running statistics
/// are those of before.
#[test]
fn case_42_one_image_moves_no_running_statistics() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 33, (4, 4, 1), 3));
    let after = |steps: u64| {
        let with = json!({"model": mlp(), "seed": 3, "length": {"steps": steps}, "batch_size": 16, "optimizer": sgd()});
        let ran = bench.run("train", with, &[("train", &train)]).unwrap();
        TensorFile::read(ran.path("model")).unwrap().tensors
    };
    let (two, three, four) = (after(2), after(3), after(4));
    for (name, tensor) in &two {
        if name.contains("running") {
            assert_eq!(three[name], *tensor, "{name}");
            assert_ne!(four[name], *tensor, "{name}");
        }
    }
    assert_ne!(
        two["fc3.bias"], three["fc3.bias"],
        "the last layer learns from it"
    );
    // Where the parameters could not foresee it, the choice is asked for.
    let first = bench.run("train", json!({"model": mlp(), "seed": 3, "length": {"steps": 1}, "batch_size": 16, "optimizer": sgd()}), &[("train", &train)]).unwrap();
    let inputs: [(&str, &Path); 2] = [("train", &train), ("init", first.path("model"))];
    let go_on = |more: Value| {
        let mut with =
            json!({"seed": 3, "length": {"epochs": 1}, "batch_size": 16, "optimizer": sgd()});
        with.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        bench
            .run("train", with, &inputs)
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let refused = go_on(json!({})).unwrap_err();
    assert!(
        refused.contains("one image (33 images in batches of 16)"),
        "{refused}"
    );
    assert_eq!(go_on(json!({"drop_last": true})), Ok(()));
    assert_eq!(go_on(json!({"drop_last": false})), Ok(()));
    let refused = go_on(json!({"batch_size": 1})).unwrap_err();
    assert!(refused.contains("nothing can be learnt"), "{refused}");
}

/// The law of resuming: any way of cutting a training gives the bits of the uncut one.
#[test]
fn a_resumed_training_has_the_same_bits() {
    let bench = Bench::new();
    let (train, test) = (
        bench.put("train", &data(1, 70, (6, 6, 2), 3)),
        bench.put("test", &data(2, 40, (6, 6, 2), 3)),
    );
    let inputs: [(&str, &Path); 2] = [("train", &train), ("test", &test)];
    for (model, optimizer, schedule) in [
        (mlp(), adam(), json!("constant")),
        (
            conv(),
            sgd(),
            json!({"step": {"milestones": [1, 3], "factor": 0.5}}),
        ),
    ] {
        let with = |epochs: u64, checkpoints: Value| {
            json!({"model": model, "seed": 5, "length": {"epochs": epochs}, "batch_size": 16, "optimizer": optimizer, "schedule": schedule,
                "augment": {"flip": true, "crop": 1}, "label_smoothing": 0.1, "eval_every": 3, "checkpoints": checkpoints})
        };
        let every = json!({"every": 2});
        let whole = bench.run("train", with(4, every.clone()), &inputs).unwrap();
        for cut in 1..=4 {
            let part = bench
                .run("train", with(cut, every.clone()), &inputs)
                .unwrap();
            let state = part.states_dir.join(format!("epoch-{cut}.state"));
            let rest = bench
                .resume("train", with(4, every.clone()), &inputs, Some(&state))
                .unwrap();
            same(&whole, &rest);
            assert_eq!(
                rest.figures["images"],
                (4 - cut) as f64 * 70.0,
                "the first epochs were not trained again"
            );
        }
    }
}

#[test]
fn a_training_counted_in_steps_resumes_in_the_middle_of_an_epoch() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 70, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    let with = |steps: u64| json!({"model": mlp(), "seed": 5, "length": {"steps": steps}, "batch_size": 16, "optimizer": adam()});
    // 7 and 12 are not multiples of the 5 steps of an epoch
    let whole = bench.run("train", with(12), &inputs).unwrap();
    let part = bench.run("train", with(7), &inputs).unwrap();
    let rest = bench
        .resume(
            "train",
            with(12),
            &inputs,
            Some(&part.states_dir.join("step-7.state")),
        )
        .unwrap();
    same(&whole, &rest);
}

#[test]
fn states_of_equal_preimages_are_equal_and_a_broken_one_is_not_used() {
    let info = kinds::find("train").unwrap();
    let states = |with: Value| {
        (info.states.as_ref().unwrap())(&(info.check)(&with, &["train".into()]).unwrap().params)
    };
    let with = |epochs: u64, schedule: Value| json!({"model": mlp(), "seed": 1, "length": {"epochs": epochs}, "optimizer": sgd(), "schedule": schedule});
    let (short, long) = (
        states(with(2, json!("constant"))),
        states(with(4, json!("constant"))),
    );
    assert_eq!(
        long.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(),
        ["epoch 4", "epoch 3", "epoch 2", "epoch 1"]
    );
    assert_eq!(short[..], long[2..]);
    let cosine = |n| states(with(n, json!({"cosine": {}})));
    assert!(cosine(2).iter().all(|s| !cosine(4).contains(s)));

    let bench = Bench::new();
    let train = bench.put("train", &data(1, 20, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    let part = bench
        .run("train", with(1, json!("constant")), &inputs)
        .unwrap();
    let state = part.states_dir.join("epoch-1.state");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 1]).unwrap();
    let rest = bench
        .resume("train", with(2, json!("constant")), &inputs, Some(&state))
        .unwrap();
    same(
        &bench
            .run("train", with(2, json!("constant")), &inputs)
            .unwrap(),
        &rest,
    );
    assert_eq!(rest.figures["images"], 40.0);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 150, (6, 6, 2), 3));
    let with = json!({"model": conv(), "seed": 5, "length": {"epochs": 2}, "batch_size": 64, "optimizer": adam(), "augment": {"flip": true}});
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| bench_run(&bench, &with, &train))
    };
    let one = run(1);
    for threads in [2, 3] {
        same(&one, &run(threads));
    }
    let simulation = Simulation::begin(16, || Duration::ZERO);
    same(&one, &bench_run(&bench, &with, &train));
    assert!(Simulation::report().sections > 0);
    drop(simulation);
}

fn bench_run(bench: &Bench, with: &Value, train: &Path) -> Ran {
    bench
        .run("train", with.clone(), &[("train", train), ("test", train)])
        .unwrap()
}

/// The function of a saved network, computed here from the file as PyTorch lays it out: conv
/// (padding 1) → relu → max pool 2 → flatten (channel, row, column) → dense.
#[test]
fn saved_weights_compute_the_same_function_in_pytorchs_layout() {
    let bench = Bench::new();
    let set = data(4, 30, (6, 4, 2), 3);
    let path = bench.put("data", &set);
    let model = json!({"conv": {"layers": [{"conv": {"channels": 5}}, {"activation": "relu"}, {"pool": {"max": 2}}]}});
    let with = json!({"model": model, "seed": 1, "length": {"epochs": 3}, "batch_size": 8, "optimizer": adam()});
    let ran = bench
        .run("train", with, &[("train", &path), ("test", &path)])
        .unwrap();
    let file = TensorFile::read(ran.path("model")).unwrap();
    let t = &file.tensors;
    assert_eq!(
        (
            t["conv1.weight"].shape.as_slice(),
            t["fc1.weight"].shape.as_slice()
        ),
        (&[5, 2, 3, 3][..], &[3, 5 * 3 * 2][..])
    );
    let (h, w, channels, filters) = (6usize, 4usize, 2usize, 5usize);
    let (mut loss, mut right) = (0.0f64, 0);
    for i in 0..set.len() {
        let mut row = vec![0.0f32; h * w * channels];
        set.normalised_row(i, &mut row);
        let pixel = |c: usize, y: isize, x: isize| {
            let inside = y >= 0 && x >= 0 && y < h as isize && x < w as isize;
            if inside {
                f64::from(row[(y as usize * w + x as usize) * channels + c])
            } else {
                0.0
            }
        };
        let conv = |o: usize, y: usize, x: usize| {
            let mut sum = f64::from(t["conv1.bias"].data[o]);
            for c in 0..channels {
                for (ky, kx) in (0..9).map(|k| (k / 3, k % 3)) {
                    let weight = t["conv1.weight"].data[((o * channels + c) * 3 + ky) * 3 + kx];
                    sum +=
                        f64::from(weight) * pixel(c, (y + ky) as isize - 1, (x + kx) as isize - 1);
                }
            }
            sum.max(0.0)
        };
        let mut flat = Vec::new();
        for o in 0..filters {
            for y in 0..h / 2 {
                for x in 0..w / 2 {
                    let window = [(0, 0), (0, 1), (1, 0), (1, 1)]
                        .map(|(dy, dx)| conv(o, 2 * y + dy, 2 * x + dx));
                    flat.push(window.into_iter().fold(f64::NEG_INFINITY, f64::max));
                }
            }
        }
        let logits: Vec<f64> = (0..3)
            .map(|o| {
                let weights = &t["fc1.weight"].data[o * flat.len()..(o + 1) * flat.len()];
                f64::from(t["fc1.bias"].data[o])
                    + weights
                        .iter()
                        .zip(&flat)
                        .map(|(w, x)| f64::from(*w) * x)
                        .sum::<f64>()
            })
            .collect();
        let label = set.labels()[i] as usize;
        loss += logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[label];
        right += usize::from((0..3).all(|o| logits[o] <= logits[label]));
    }
    assert!((loss / 30.0 - ran.metric("test", "loss")).abs() < 1e-5);
    assert!((f64::from(right as u32) / 30.0 - ran.metric("test", "accuracy")).abs() < 1e-9);
    // and `evaluate` agrees bit for bit with the training's own test
    let evaluated = bench
        .run(
            "evaluate",
            Value::Null,
            &[("model", ran.path("model")), ("data", &path)],
        )
        .unwrap();
    for name in ["loss", "accuracy"] {
        assert_eq!(
            evaluated.metric("test", name).to_bits(),
            ran.metric("test", name).to_bits()
        );
    }
    let classes: f64 = (0..3)
        .map(|c| evaluated.metric("test", &format!("accuracy[class {c}]")))
        .sum();
    assert!(
        (classes / 3.0 - evaluated.metric("test", "accuracy")).abs() < 1e-12,
        "classes are equally large"
    );
}

#[test]
fn training_stops_at_the_accuracy_asked_for() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 64, (6, 6, 1), 4));
    let with = json!({"model": {"mlp": {"hidden": [32]}}, "seed": 3, "length": {"epochs": 200}, "stop_at": {"train_accuracy": 0.9},
        "batch_size": 16, "optimizer": {"adam": {"lr": 0.01}}});
    let ran = bench
        .run("train", with.clone(), &[("train", &train)])
        .unwrap();
    let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
    let reached: Vec<bool> = rows
        .iter()
        .filter(|r| r.name == "accuracy")
        .map(|r| r.value >= 0.9)
        .collect();
    let last = reached.len() - 1;
    assert!(reached.len() < 200 && reached[last] && !reached[..last].contains(&true));
    // from its last state nothing is left to do
    let state = ran
        .states_dir
        .join(format!("epoch-{}.state", reached.len()));
    let again = bench
        .resume("train", with, &[("train", &train)], Some(&state))
        .unwrap();
    assert_eq!(again.figures["images"], 0.0);
    same(&ran, &again);
}

#[test]
fn a_loss_that_explodes_fails_with_place_and_remedy() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 64, (6, 6, 1), 4));
    let with = json!({"model": {"mlp": {"hidden": [32]}}, "seed": 3, "length": {"epochs": 9}, "batch_size": 16, "optimizer": {"sgd": {"lr": 1e30}}});
    let error = bench
        .run("train", with, &[("train", &train)])
        .err()
        .unwrap();
    let failure = error
        .downcast_ref::<repro_stages::failure::Failure>()
        .unwrap();
    assert!(
        failure.message.starts_with("the loss became ")
            && failure.message.contains("in epoch 1, step "),
        "{failure}"
    );
    assert!(failure.hint.as_deref().unwrap().contains("learning rate"));
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let bench = Bench::new();
    let (small, large) = (
        bench.put("small", &data(1, 8, (4, 4, 1), 3)),
        bench.put("large", &data(1, 8, (5, 4, 1), 3)),
    );
    let other = bench.put("other", &data(1, 8, (4, 4, 1), 2));
    let with = json!({"model": {"mlp": {"hidden": [4]}}, "seed": 1, "length": {"epochs": 1}, "optimizer": sgd()});
    let fail = |with: &Value, inputs: &[(&str, &Path)]| {
        text(&bench.run("train", with.clone(), inputs).err().unwrap())
    };
    assert!(fail(&with, &[("train", &small), ("train", &large)]).contains("image sizes differ"));
    assert!(
        fail(&with, &[("train", &small), ("test", &large)])
            .contains("input `test`: the images of `blocks` are 5x4x1")
    );
    assert!(
        fail(&with, &[("train", &small), ("test", &other)]).contains("has 2 classes, the model 3")
    );
    assert!(fail(&with, &[("train", &bench.path("missing"))]).contains("missing"));
    let model = bench
        .run("train", with.clone(), &[("train", &small)])
        .unwrap();
    let wider = json!({"model": {"mlp": {"hidden": [5]}}, "seed": 1, "length": {"epochs": 1}, "optimizer": sgd()});
    assert!(
        fail(&wider, &[("train", &small), ("init", model.path("model"))])
            .contains("is another one than `model`: its `mlp.hidden")
    );
    assert!(
        fail(&with, &[("train", &small), ("init", &small)])
            .contains("it is a data set (the input must be a model")
    );
    let mask = bench
        .run(
            "prune",
            json!({"fraction": 0.5}),
            &[("model", model.path("model"))],
        )
        .unwrap();
    assert!(
        fail(&wider, &[("train", &small), ("mask", mask.path("mask"))])
            .contains("has shape [4, 16], its weight [5, 16]")
    );
    assert!(
        fail(&with, &[("train", &small), ("mask", model.path("model"))])
            .contains("belongs to no weight")
    );
}

#[test]
fn mistakes_in_parameters_are_found_before_anything_runs() {
    let info = kinds::find("train").unwrap();
    let problems = |with: Value| {
        let found = (info.check)(&with, &["train".into()]).err().unwrap();
        found
            .into_iter()
            .map(|p| p.path.join("."))
            .collect::<Vec<_>>()
    };
    let with = json!({"model": {"conv": {"layers": [{"conv": {"channels": 0}}, {"dropout": 1.5}]}}, "seed": 1, "length": {"steps": 0},
        "batch_size": 0, "optimizer": {"sgd": {"lr": -1.0}}, "label_smoothing": 2.0, "stop_at": {"train_accuracy": 99.0},
        "schedule": {"step": {"milestones": [3, 2]}}});
    assert_eq!(
        problems(with),
        [
            "model.conv.layers.0.conv.channels",
            "model.conv.layers.1.dropout",
            "length.steps",
            "stop_at.train_accuracy",
            "batch_size",
            "optimizer.sgd.lr",
            "schedule.step.milestones",
            "label_smoothing",
        ]
    );
    assert_eq!(
        problems(json!({"seed": 1, "length": {"epochs": 1}, "optimizer": {"adam": {}}})),
        [""]
    );
    let with = json!({"model": {"mlp": {"hidden": [3]}}, "seed": 1, "length": {"epochs": 1}, "optimizer": {"adam": {}}});
    let params = (info.check)(&with, &[]).unwrap().params;
    assert_eq!(
        params["optimizer"]["adam"],
        json!({"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": "none"})
    );
    assert_eq!(
        (&params["batch_size"], &params["init"], &params["schedule"]),
        (&json!(128), &json!("pytorch"), &json!("constant"))
    );
    assert_eq!(
        (info.check)(&params, &[]).unwrap().params,
        params,
        "defaults filled in twice are the same"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two cuts anywhere, any seed, any batch size that batch norm can learn from.
    #[test]
    fn resuming_twice(seed in 0u64..1000, batch_size in 2usize..40, a in 1u64..3, b in 3u64..5) {
        let bench = Bench::new();
        let train = bench.put("train", &data(seed, 30, (4, 4, 1), 3));
        let inputs: [(&str, &Path); 2] = [("train", &train), ("test", &train)];
        let with = |epochs: u64| json!({"model": mlp(), "seed": seed, "length": {"epochs": epochs}, "batch_size": batch_size, "optimizer": adam()});
        let state = |ran: &Ran, epoch: u64| ran.states_dir.join(format!("epoch-{epoch}.state"));
        let first = bench.run("train", with(a), &inputs).unwrap();
        let second = bench.resume("train", with(b), &inputs, Some(&state(&first, a))).unwrap();
        let third = bench.resume("train", with(5), &inputs, Some(&state(&second, b))).unwrap();
        same(&bench.run("train", with(5), &inputs).unwrap(), &third);
    }
}

/// The message with its remedy.
fn text(error: &anyhow::Error) -> String {
    let hint = error
        .downcast_ref::<repro_stages::failure::Failure>()
        .and_then(|f| f.hint.clone());
    format!("{error:#} ({})", hint.unwrap_or_default())
}

/// Averages by their formula from the weights after each step, in the same bits; the training does
/// not see them.
#[test]
fn averages_follow_their_formula() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 40, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    let with = |averages: Value| {
        let mut with = json!({"model": mlp(), "seed": 5, "length": {"steps": 9}, "batch_size": 16, "optimizer": adam(),
            "checkpoints": {"every_steps": 1}});
        if !averages.is_null() {
            with["averages"] = averages;
        }
        with
    };
    let plain = bench.run("train", with(Value::Null), &inputs).unwrap();
    for every in [1, 2] {
        let averages = json!({"ema": [0.0, 0.75], "every": every});
        let ran = bench.run("train", with(averages), &inputs).unwrap();
        assert_eq!(plain.bytes("model"), ran.bytes("model"));
        let read = |path: &Path| TensorFile::read(path).unwrap().tensors;
        let mut want: Option<NamedTensors> = None;
        for step in (1..=9).filter(|step| step % every == 0) {
            let here = read(
                &ran.path("checkpoints")
                    .join(format!("step-{step:06}.safetensors")),
            );
            match &mut want {
                None => want = Some(here),
                Some(want) => {
                    for (name, tensor) in want {
                        for (a, w) in tensor.data.iter_mut().zip(&here[name].data) {
                            *a = 0.25f32.mul_add(*w - *a, *a);
                        }
                    }
                }
            }
        }
        let got = read(&ran.path("averages").join("ema-0.75.safetensors"));
        assert_eq!(got, want.unwrap(), "every {every}");
    }
}

/// Slow weights move half of the way to where the plain training is after two steps; from there the
/// optimizer goes on with its memory.
#[test]
fn lookahead_follows_its_formula() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 40, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    let model = json!({"mlp": {"hidden": [9]}});
    let with = |steps: u64| {
        json!({"model": model, "seed": 5, "length": {"steps": steps}, "batch_size": 16, "optimizer": adam(),
        "checkpoints": {"every_steps": 2, "optimizer": true}})
    };
    let looking = |steps: u64| {
        let mut with = with(steps);
        with["lookahead"] = json!({"every": 2, "alpha": 0.5});
        bench.run("train", with, &inputs).unwrap()
    };
    let tensors = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let halfway = |slow: &NamedTensors, fast: &NamedTensors| {
        let mut slow = slow.clone();
        for (name, tensor) in &mut slow {
            for (s, w) in tensor.data.iter_mut().zip(&fast[name].data) {
                *s = 0.5f32.mul_add(*w - *s, *s);
            }
        }
        slow
    };
    let first = json!({"model": model, "seed": 5, "length": {"epochs": 0}, "optimizer": adam()});
    let first = bench.run("train", first, &inputs).unwrap();
    let plain = bench.run("train", with(2), &inputs).unwrap();
    let two = looking(2);
    let after_two = halfway(&tensors(&first), &tensors(&plain));
    assert_eq!(tensors(&two), after_two);
    let mut on = with(4);
    on["starts_at"] = json!({"steps": 2});
    let memory = two.path("optimizers").join("step-000002.safetensors");
    let on_inputs: [(&str, &Path); 3] = [
        ("train", &train),
        ("init", two.path("model")),
        ("optimizer", &memory),
    ];
    let fast = bench.run("train", on, &on_inputs).unwrap();
    assert_eq!(tensors(&looking(4)), halfway(&after_two, &tensors(&fast)));
}

#[test]
fn what_follows_the_weights_resumes() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 70, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &train)];
    let with = |epochs: u64| {
        json!({"model": mlp(), "seed": 5, "length": {"epochs": epochs}, "batch_size": 16, "optimizer": sgd(),
        "averages": {"ema": [0.5, 0.99], "every": 7}, "lookahead": {"every": 3}})
    };
    let whole = bench.run("train", with(3), &inputs).unwrap();
    for cut in [1, 2] {
        let part = bench.run("train", with(cut), &inputs).unwrap();
        let state = part.states_dir.join(format!("epoch-{cut}.state"));
        let rest = bench
            .resume("train", with(3), &inputs, Some(&state))
            .unwrap();
        assert_eq!(rest.figures["images"], (3 - cut) as f64 * 70.0);
        same(&whole, &rest);
    }
}
