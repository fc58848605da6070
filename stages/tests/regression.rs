//! Networks that learn numbers, through the kinds: against gradient descent spelt out in f64,
//! scikit-learn's definitions, and themselves.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;

use repro_stages::data::{Answers, Dataset};
use repro_stages::failure::Failure;
use repro_stages::weights::TensorFile;
use serde_json::{Value, json};
use support::{Bench, data, numbers};

/// What a linear network learns by gradient descent over all rows at once, from weights of 0.
struct Linear {
    w: [[f64; 3]; 2],
    b: [f64; 2],
}

impl Linear {
    fn errors(&self, set: &Dataset) -> Vec<([f64; 3], [f64; 2])> {
        let Answers::Targets(targets) = set.answers() else {
            panic!("labels");
        };
        (0..set.len())
            .map(|i| {
                let mut x = [0.0; 3];
                set.normalised_row(i, &mut x);
                let x = x.map(f64::from);
                let error = [0, 1].map(|k| {
                    let y: f64 = (0..3).map(|j| self.w[k][j] * x[j]).sum::<f64>() + self.b[k];
                    y - f64::from(targets[2 * i + k])
                });
                (x, error)
            })
            .collect()
    }

    fn step(&mut self, set: &Dataset, lr: f64) {
        let count = (2 * set.len()) as f64;
        let all = self.errors(set);
        for k in 0..2 {
            for j in 0..3 {
                let slope: f64 = all.iter().map(|(x, e)| 2.0 * e[k] * x[j] / count).sum();
                self.w[k][j] -= lr * slope;
            }
            let slope: f64 = all.iter().map(|(_, e)| 2.0 * e[k] / count).sum();
            self.b[k] -= lr * slope;
        }
    }

    /// mse, mae and r2 of each target.
    fn scores(&self, set: &Dataset) -> [[f64; 3]; 2] {
        let (n, all) = (set.len() as f64, self.errors(set));
        let Answers::Targets(targets) = set.answers() else {
            panic!("labels");
        };
        [0, 1].map(|k| {
            let t: Vec<f64> = targets
                .iter()
                .skip(k)
                .step_by(2)
                .map(|t| f64::from(*t))
                .collect();
            let mean = t.iter().sum::<f64>() / n;
            let squares: f64 = all.iter().map(|(_, e)| e[k] * e[k]).sum();
            let spread: f64 = t.iter().map(|t| (t - mean).powi(2)).sum();
            let absolute: f64 = all.iter().map(|(_, e)| e[k].abs()).sum();
            [squares / n, absolute / n, 1.0 - squares / spread]
        })
    }
}

fn near(what: &str, got: f64, want: f64) {
    assert!(
        (got - want).abs() < 2e-6 * (1.0 + want.abs()),
        "{what}: {got}, want {want}"
    );
}

fn linear(epochs: u64) -> Value {
    json!({"model": {"mlp": {"hidden": []}}, "init": {"constant": 0.0}, "seed": 1, "length": {"epochs": epochs},
        "batch_size": 50, "optimizer": {"sgd": {"lr": 0.2}}})
}

#[test]
fn case_22_a_linear_network_learns_as_gradient_descent_in_f64_does() {
    let bench = Bench::new();
    let (train, test) = (numbers(1, 50, 2), numbers(2, 31, 2));
    let files = (bench.put("train", &train), bench.put("test", &test));
    let ran = bench
        .run(
            "train",
            linear(20),
            &[("train", &files.0), ("test", &files.1)],
        )
        .unwrap();
    let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
    let value = |epoch: i64, split: &str, name: &str| {
        let row = rows.iter().find(|r| {
            r.epoch == Some(epoch) && r.split.as_deref() == Some(split) && r.name == name
        });
        row.unwrap_or_else(|| panic!("{epoch} {split} {name}"))
            .value
    };
    let mut net = Linear {
        w: [[0.0; 3]; 2],
        b: [0.0; 2],
    };
    let both = |scores: [[f64; 3]; 2], i: usize| (scores[0][i] + scores[1][i]) / 2.0;
    for epoch in 1..=20 {
        // What an epoch's one step sees, before it moves the weights.
        let before = net.scores(&train);
        near("train mse", value(epoch, "train", "mse"), both(before, 0));
        near("train mae", value(epoch, "train", "mae"), both(before, 1));
        net.step(&train, 0.2);
        let after = net.scores(&test);
        for (i, name) in ["mse", "mae", "r2"].into_iter().enumerate() {
            near(name, value(epoch, "test", name), both(after, i));
        }
    }
    assert!(
        rows.iter()
            .all(|r| r.name != "accuracy" && r.name != "loss")
    );
    // `evaluate` says the same, and of each number.
    let inputs: [(&str, &Path); 2] = [("model", ran.path("model")), ("data", &files.1)];
    let scored = bench.run("evaluate", json!({}), &inputs).unwrap();
    let of = net.scores(&test);
    for (i, name) in ["mse", "mae", "r2"].into_iter().enumerate() {
        assert_eq!(scored.metric("test", name), ran.metric("test", name));
        near(
            name,
            scored.metric("test", &format!("{name}[price]")),
            of[0][i],
        );
        near(
            name,
            scored.metric("test", &format!("{name}[rent]")),
            of[1][i],
        );
    }
    let weights = TensorFile::read(ran.path("model")).unwrap();
    assert_eq!(weights.tensors["fc1.weight"].shape, [2, 3]);
    let says = &weights.metadata["repro.model"];
    assert!(says.ends_with(r#""targets":2}"#), "{says}");
}

/// The middle of an epoch is in a state too, and threads change nothing.
#[test]
fn case_22_numbers_are_learnt_with_the_same_bits_by_any_threads_and_after_a_stop() {
    let bench = Bench::new();
    let train = bench.put("train", &numbers(1, 100, 2));
    let with = |steps: u64| {
        json!({"model": {"mlp": {"hidden": [40, 24], "batch_norm": {}, "dropout": 0.1}}, "seed": 1, "length": {"steps": steps},
            "batch_size": 30, "optimizer": {"adam": {"lr": 0.01}}})
    };
    let inputs: [(&str, &Path); 2] = [("train", &train), ("test", &train)];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| bench.run("train", with(11), &inputs).unwrap())
    };
    let (one, three) = (run(1), run(3));
    assert!(one.metric("test", "mse").is_finite());
    let part = bench.run("train", with(6), &inputs).unwrap();
    let state = part.states_dir.join("step-6.state");
    let resumed = bench
        .resume("train", with(11), &inputs, Some(&state))
        .unwrap();
    for output in ["model", "metrics"] {
        assert_eq!(one.bytes(output), three.bytes(output), "{output}");
        assert_eq!(one.bytes(output), resumed.bytes(output), "{output}");
    }
}

#[test]
fn case_22_what_has_no_meaning_for_numbers_is_one_error_with_a_remedy() {
    let bench = Bench::new();
    let houses = bench.put("houses", &numbers(1, 40, 2));
    let one = bench.put("one", &numbers(1, 40, 1));
    let classes = bench.put("classes", &data(1, 40, (1, 1, 3), 2));
    let with = |more: Value| {
        let mut with = linear(1);
        with.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        with
    };
    let says = |kind: &str, with: Value, inputs: &[(&str, &Path)]| {
        let error = bench.run(kind, with, inputs).err().unwrap();
        let failure = error.downcast_ref::<Failure>();
        let hint = failure.and_then(|f| f.hint.clone()).unwrap_or_default();
        format!("{error}; {hint}")
    };
    let train: [(&str, &Path); 1] = [("train", &houses)];
    assert_eq!(
        says("train", with(json!({"label_smoothing": 0.1})), &train),
        "`label_smoothing` smooths labels, and `houses` has numbers to be learnt (price, rent); leave it out; \
         classes are a `label`, not `targets`"
    );
    let stop = with(json!({"stop_at": {"train_accuracy": 0.9}}));
    assert!(says("train", stop, &train).starts_with(
        "`stop_at.train_accuracy` waits for an accuracy, which only classes have, and `houses`"
    ));
    let mixed: [(&str, &Path); 2] = [("train", &houses), ("test", &classes)];
    assert_eq!(
        says("train", linear(1), &mixed),
        "input `test`: `blocks` has 2 classes, the model 2 numbers to be learnt; a network learns either classes (`label`) or \
         numbers (`targets`): use data with the same"
    );
    let fewer: [(&str, &Path); 2] = [("train", &houses), ("test", &one)];
    assert_eq!(
        says("train", linear(1), &fewer),
        "input `test`: `houses` has 1 number to be learnt, the model 2 numbers to be learnt; "
    );
    let model = bench
        .run("train", linear(1), &[("train", &classes)])
        .unwrap();
    let inputs: [(&str, &Path); 2] = [("model", model.path("model")), ("data", &houses)];
    assert!(
        says("evaluate", json!({}), &inputs)
            .contains("2 numbers to be learnt, the model 2 classes")
    );
    let labels = json!({"labels": {"random": {"fraction": 0.5}}, "seed": 1});
    assert!(
        says("corrupt", labels, &[("data", &houses)]).contains("`houses` has no labels to corrupt")
    );
    let by = json!({"parts": {"a": 1.0}, "by": "class", "seed": 1});
    assert!(
        says("split", by, &[("data", &houses)]).contains("`houses` has no classes to split by")
    );
}

/// A number that never varies has no share of variance to be explained.
#[test]
fn case_22_r2_is_left_out_where_nothing_varies() {
    let bench = Bench::new();
    let set = numbers(1, 1, 1);
    let file = bench.put("one", &set);
    let inputs: [(&str, &Path); 2] = [("train", &file), ("test", &file)];
    let ran = bench.run("train", linear(1), &inputs).unwrap();
    let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
    assert!(rows.iter().any(|r| r.name == "mae") && rows.iter().all(|r| r.name != "r2"));
}
