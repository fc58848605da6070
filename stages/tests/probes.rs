//! What the kinds that look at several networks at once refuse: networks that do not go together, or
//! have no classes.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Bench, Ran, data, numbers};

fn trained(bench: &Bench, train: &Path, model: Value) -> Ran {
    let with = json!({"model": model, "seed": 1, "length": {"epochs": 2}, "batch_size": 16,
        "optimizer": {"adam": {}}, "checkpoints": {"every": 1}});
    bench.run("train", with, &[("train", train)]).unwrap()
}

/// Of a failed stage: what is wrong, and what to do.
fn told(result: anyhow::Result<Ran>) -> String {
    let error = result.err().unwrap();
    let failure = error.downcast_ref::<repro_stages::failure::Failure>();
    let hint = failure.and_then(|f| f.hint.clone()).unwrap_or_default();
    format!("{error}: {hint}")
}

#[test]
fn networks_without_a_common_layer_are_not_compared_by_name() {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 60, (4, 4, 1), 3));
    let perceptron = trained(&bench, &images, json!({"mlp": {"hidden": [6]}}));
    let residual = trained(
        &bench,
        &images,
        json!({"resnet": {"widths": [4], "blocks": [1]}}),
    );
    let inputs = [
        ("model", perceptron.path("model")),
        ("like", residual.path("model")),
        ("data", images.as_path()),
    ];
    let text = told(bench.run("cka", json!({"seed": 1}), &inputs));
    assert!(text.contains("no layer has the same name"), "{text}");
    assert!(text.contains("pairs: all"), "{text}");
    let all = bench.run("cka", json!({"seed": 1, "pairs": "all"}), &inputs);
    assert!(all.is_ok());
}

#[test]
fn forgetting_is_about_one_training_and_about_classes() {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 60, (4, 4, 1), 3));
    let [one, two] =
        [5, 6].map(|units| trained(&bench, &images, json!({"mlp": {"hidden": [units]}})));
    let inputs = [
        ("models", one.path("checkpoints")),
        ("models", two.path("checkpoints")),
        ("data", images.as_path()),
    ];
    let text = told(bench.run("forgetting", json!({}), &inputs));
    assert!(text.contains("checkpoints of 2 trainings"), "{text}");
    let table = bench.put("table", &numbers(1, 60, 1));
    let fitted = trained(&bench, &table, json!({"mlp": {"hidden": [5]}}));
    for kind in ["forgetting", "ensemble"] {
        let inputs = [
            ("models", fitted.path("checkpoints")),
            ("data", table.as_path()),
        ];
        let text = told(bench.run(kind, json!({}), &inputs));
        assert!(text.contains("input `models`, number 1"), "{text}");
        assert!(text.contains("gives numbers"), "{text}");
    }
}
