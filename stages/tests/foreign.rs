//! Weights that PyTorch wrote (`foreign/torch_weights.py`): they say here what they say there.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::{Path, PathBuf};

use repro_stages::failure::Failure;
use repro_stages::nn::architecture::Identity;
use repro_stages::nn::model::Model;
use repro_stages::weights::TensorFile;
use serde::Deserialize;
use serde_json::{Value, json};
use support::Bench;

/// A file, and what PyTorch says of its network in f64.
#[derive(Deserialize)]
struct Case {
    file: String,
    model: Value,
    loss: f64,
    accuracy: f64,
}

/// The fixtures; `REPRO_TORCH=DIR` reads others that the script has made.
fn dir() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    std::env::var_os("REPRO_TORCH").map_or_else(own, PathBuf::from)
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(dir().join("torch.json")).unwrap()).unwrap()
}

fn network(model: &Value, data: &Path) -> Value {
    let set = repro_stages::data::Dataset::load(data).unwrap();
    let shape = set.info().shape;
    json!({"model": model, "classes": set.class_count(),
        "input": {"height": shape.height, "width": shape.width, "channels": shape.channels}})
}

#[test]
fn case_23_pytorch_files_are_evaluated_and_trained_from_as_pytorch_evaluates_them() {
    let (bench, data) = (Bench::new(), dir().join("torch.data.safetensors"));
    for case in cases() {
        let file = dir().join(&case.file);
        let near = |what: &str, ran: &support::Ran| {
            let (loss, accuracy) = (ran.metric("test", "loss"), ran.metric("test", "accuracy"));
            let off = (loss - case.loss).abs() / case.loss;
            eprintln!("{}, {what}: loss {loss}, off {off:.1e}", case.file);
            assert!(
                off < 2e-6,
                "{}, {what}: {loss}, PyTorch {}",
                case.file,
                case.loss
            );
            assert!(
                (accuracy - case.accuracy).abs() < 1e-9,
                "{}, {what}: {accuracy}",
                case.file
            );
        };
        let scored = |model: &Path, with: Value| {
            let inputs: [(&str, &Path); 2] = [("model", model), ("data", &data)];
            bench.run("evaluate", with, &inputs).unwrap()
        };
        near("as it is", &scored(&file, json!({"model": case.model})));
        // A step that moves nothing; what comes out says itself what it is.
        let with = json!({"model": case.model, "seed": 1, "length": {"steps": 1}, "batch_size": 8,
            "optimizer": {"sgd": {"lr": 0.0}}});
        let inputs: [(&str, &Path); 2] = [("train", &data), ("init", &file)];
        let trained = bench.run("train", with, &inputs).unwrap();
        let given: Identity = serde_json::from_value(network(&case.model, &data)).unwrap();
        let before = Model::read_as(&file, Some(&given)).unwrap();
        let after = Model::read(trained.path("model")).unwrap();
        for parameter in &before.architecture.parameters {
            if parameter.role.is_trained() {
                let name = &parameter.name;
                assert_eq!(
                    before.tensors[name], after.tensors[name],
                    "{} {name}",
                    case.file
                );
            }
        }
    }
}

#[test]
fn case_23_pytorch_files_are_pruned_perturbed_and_averaged() {
    let (bench, data) = (Bench::new(), dir().join("torch.data.safetensors"));
    for case in cases() {
        let file = dir().join(&case.file);
        let network = network(&case.model, &data);
        let given: Identity = serde_json::from_value(network.clone()).unwrap();
        let theirs = Model::read_as(&file, Some(&given)).unwrap();
        let one: [(&str, &Path); 1] = [("model", &file)];
        let both: [(&str, &Path); 2] = [("model", &file), ("rewind", &file)];
        let several: [(&str, &Path); 2] = [("models", &file), ("models", &file)];
        let runs = [
            ("prune", json!({"fraction": 0.0}), &one[..]),
            ("prune", json!({"fraction": 0.0}), &both[..]),
            (
                "perturb",
                json!({"shrink": 1.0, "perturb": 0.0, "seed": 1}),
                &one[..],
            ),
            ("average", json!({"batch_norm": "keep"}), &several[..]),
        ];
        for (kind, mut with, inputs) in runs {
            let without = bench.run(kind, with.clone(), inputs).err().unwrap();
            let failure = without.downcast_ref::<Failure>().unwrap();
            assert!(
                failure.message.contains("does not say which network"),
                "{failure}"
            );
            let hint = failure.hint.as_deref().unwrap_or_default();
            assert!(hint.contains("`with: {network: ...}`"), "{hint}");
            with["network"] = network.clone();
            let ran = bench.run(kind, with, inputs).unwrap();
            let ours = Model::read(ran.path("model")).unwrap();
            assert_eq!(ours.architecture.identity, given, "{kind}");
            for parameter in &theirs.architecture.parameters {
                if parameter.role.is_trained() {
                    let name = &parameter.name;
                    assert_eq!(ours.tensors[name], theirs.tensors[name], "{kind} {name}");
                }
            }
        }
    }
}

/// What a model says of itself goes before `network`; a network that cannot be is told with its
/// place.
#[test]
fn case_23_a_network_that_is_not_the_files_is_an_error() {
    let (bench, data) = (Bench::new(), dir().join("torch.data.safetensors"));
    let case = &cases()[0];
    let file = dir().join(&case.file);
    let with = |network: Value| json!({"fraction": 0.5, "network": network});
    let pruned = bench
        .run(
            "prune",
            with(network(&case.model, &data)),
            &[("model", &file)],
        )
        .unwrap();
    let says = |network: Value, file: &Path| {
        let error = bench
            .run("prune", with(network), &[("model", file)])
            .err()
            .unwrap();
        error.to_string()
    };
    let mut other = network(&case.model, &data);
    other["classes"] = json!(7);
    let own = says(other.clone(), pruned.path("model"));
    assert!(own.starts_with("`network` is not the one that"), "{own}");
    let theirs = says(other.clone(), &file);
    assert!(
        theirs.contains("is not the network that `model` says"),
        "{theirs}"
    );
    other["input"]["height"] = json!(0);
    let none = says(other.clone(), &file);
    assert!(
        none.contains("must be at least 1") && none.contains("height"),
        "{none}"
    );
    other.as_object_mut().unwrap().remove("classes");
    let neither = says(other, &file);
    assert!(
        neither.contains("give one of `classes` and `targets`"),
        "{neither}"
    );
}

/// A file whose tensors are of another type says which.
#[test]
fn case_23_types_that_are_no_weights_are_named() {
    let bytes = std::fs::read(dir().join("torch.lenet.safetensors")).unwrap();
    let at = bytes.windows(5).position(|w| w == b"\"F32\"").unwrap();
    let mut other = bytes.clone();
    other[at..at + 5].copy_from_slice(b"\"I32\"");
    let error = TensorFile::from_bytes(&other).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is I32; F32, F64, F16 or BF16 (masks: U8) is expected"),
        "{error}"
    );
}
