//! What kinds make of weights by formulas of papers, against the same in f64 and plain Python
//! (`reference/formulas.py`): soups, SWAG, moving averages, and masks by criteria.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reference::small;
use repro_stages::nn::architecture::Head;
use repro_stages::weights::TensorFile;
use serde::Deserialize;
use serde_json::json;
use support::Bench;

type Weights = BTreeMap<String, Vec<f64>>;

#[derive(Deserialize)]
struct Recorded {
    soup: Soup,
    swag: Swag,
    ema: Ema,
    masks: Masks,
}

#[derive(Deserialize)]
struct Soup {
    alone: Vec<f64>,
    chosen: Vec<usize>,
    accuracy: f64,
    greedy: Weights,
    uniform: Weights,
}

#[derive(Deserialize)]
struct Swag {
    seed: u64,
    columns: usize,
    mean: Weights,
    diagonal: Vec<Weights>,
    low_rank: Vec<Weights>,
}

#[derive(Deserialize)]
struct Ema {
    steps: u64,
    rate: f64,
    every: u64,
    model: Weights,
    averages: Vec<Average>,
}

#[derive(Deserialize)]
struct Average {
    decay: f64,
    weights: Weights,
}

#[derive(Deserialize)]
struct Masks {
    fractions: Vec<f64>,
    kept: BTreeMap<String, Vec<Vec<f64>>>,
}

fn recorded() -> Recorded {
    reference::read("formulas.json")
}

/// A linear network drawn as `FIXTURE`.
fn linear(bench: &Bench, fixture: &str) -> PathBuf {
    let architecture = small::perceptron(json!({"mlp": {"hidden": []}}), Head::Classes(3));
    let path = bench.path(&format!("{}.safetensors", fixture.replace('/', "-")));
    small::drawn(architecture, fixture).write(&path).unwrap();
    path
}

/// Six of them.
fn six(bench: &Bench, fixture: &str) -> Vec<PathBuf> {
    let models = (0..6).map(|k| linear(bench, &format!("{fixture}/{k}")));
    models.collect()
}

#[track_caller]
fn assert_near(what: &str, path: &Path, want: &Weights) {
    let tensors = TensorFile::read(path).unwrap().tensors;
    assert!(tensors.keys().eq(want.keys()), "{what}: {:?}", want.keys());
    for (name, want) in want {
        let got = &tensors[name].data;
        assert_eq!(got.len(), want.len(), "{what}: {name}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let off = (f64::from(*got) - want).abs();
            assert!(off < 1e-6, "{what}: {name}[{i}] is {got}, not {want}");
        }
    }
}

/// The best joins first, another only if the accuracy on the rows does not fall.
#[test]
fn soups_are_those_of_the_recipes() {
    let (bench, want) = (Bench::new(), recorded().soup);
    let paths = six(&bench, "soup");
    let rows = bench.put("rows", &small::rows("soup", 40));
    let models: Vec<(&str, &Path)> = paths.iter().map(|p| ("models", p.as_path())).collect();
    let with_rows = [&models[..], &[("data", rows.as_path())]].concat();
    let soup = bench.run("soup", json!({}), &with_rows).unwrap();
    assert_near("greedy", soup.path("model"), &want.greedy);
    let best = want.alone.iter().copied().fold(0.0, f64::max);
    let mean = want.alone.iter().sum::<f64>() / want.alone.len() as f64;
    for (name, want) in [
        ("accuracy", want.accuracy),
        ("best_accuracy", best),
        ("mean_accuracy", mean),
        ("ingredients", want.chosen.len() as f64),
    ] {
        let got = soup.metric("validation", name);
        assert!((got - want).abs() < 1e-12, "{name}: {got}, not {want}");
    }
    let average = bench.run("average", json!({}), &models).unwrap();
    assert_near("uniform", average.path("model"), &want.uniform);
}

/// Mean and samples, of the same random numbers.
#[test]
fn swag_draws_what_the_authors_code_draws() {
    let (bench, want) = (Bench::new(), recorded().swag);
    let paths = six(&bench, "swag");
    let models: Vec<(&str, &Path)> = paths.iter().map(|p| ("models", p.as_path())).collect();
    for (covariance, samples) in [
        (json!("diagonal"), &want.diagonal),
        (json!({"low_rank": want.columns}), &want.low_rank),
    ] {
        let with = json!({"seed": want.seed, "samples": samples.len(), "scale": 1.5,
            "covariance": covariance});
        let ran = bench.run("swag", with, &models).unwrap();
        assert_near("mean", ran.path("model"), &want.mean);
        for (i, want) in samples.iter().enumerate() {
            let name = format!("sample-{:04}.safetensors", i + 1);
            let what = format!("{covariance}: {name}");
            assert_near(&what, &ran.path("samples").join(name), want);
        }
    }
}

/// Gradient descent on all rows, and what follows its weights.
#[test]
fn moving_averages_are_those_of_the_recorded_descent() {
    let (bench, want) = (Bench::new(), recorded().ema);
    let first = linear(&bench, "ema");
    let rows = bench.put("rows", &small::eight("ema"));
    let decays: Vec<f64> = want.averages.iter().map(|a| a.decay).collect();
    let with = json!({"seed": 1, "length": {"steps": want.steps}, "batch_size": 8,
        "optimizer": {"sgd": {"lr": want.rate}}, "averages": {"ema": decays, "every": want.every}});
    let inputs = [("train", rows.as_path()), ("init", first.as_path())];
    let ran = bench.run("train", with, &inputs).unwrap();
    assert_near("the weights", ran.path("model"), &want.model);
    for Average { decay, weights } in &want.averages {
        let name = format!("ema-{decay}.safetensors");
        assert_near(&name, &ran.path("averages").join(&name), weights);
    }
}

#[test]
fn masks_are_those_of_the_criteria() {
    let (bench, want) = (Bench::new(), recorded().masks);
    let (last, first) = (linear(&bench, "masks/last"), linear(&bench, "masks/first"));
    assert_eq!(want.kept.len(), 10);
    for (by, kept) in &want.kept {
        let mut inputs = vec![("model", last.as_path())];
        if !matches!(&**by, "magnitude" | "small_final") {
            inputs.push(("first", first.as_path()));
        }
        for (fraction, kept) in want.fractions.iter().zip(kept) {
            let with = json!({"fraction": fraction, "by": by});
            let ran = bench.run("prune", with, &inputs).unwrap();
            let kept = BTreeMap::from([("fc1.weight".to_owned(), kept.clone())]);
            let what = format!("{by}, {fraction}");
            assert_near(&what, ran.path("mask"), &kept);
        }
    }
}
