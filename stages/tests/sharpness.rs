//! The kind `sharpness` against PyTorch's Hessian in f64 (`reference/sharpness.py`) and against
//! laws of quadratic losses.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
mod support;

use std::path::PathBuf;

use reference::small;
use repro_stages::nn::architecture::Head;
use serde::Deserialize;
use serde_json::json;
use support::{Bench, Ran, numbers};

#[derive(Deserialize)]
struct Recorded {
    loss: f64,
    gradient_norm: f64,
    least_eigenvalue: f64,
    top_eigenvalue: f64,
    trace: f64,
}

/// The model and the images of the reference.
fn small(bench: &Bench) -> [PathBuf; 2] {
    let model = json!({"mlp": {"hidden": [7, 5], "activation": "tanh"}});
    let path = bench.path("small.safetensors");
    let model = small::drawn(small::perceptron(model, Head::Classes(3)), "second_order");
    model.write(&path).unwrap();
    [path, bench.put("drawn", &small::eight("second_order"))]
}

fn near(got: f64, want: f64, share: f64, what: &str) {
    let off = (got - want).abs() / want.abs();
    assert!(off < share, "{what}: {got} is not {want} ({off})");
}

#[test]
fn the_spectrum_is_that_of_pytorchs_hessian() {
    let recorded: Recorded = reference::read("sharpness.json");
    let bench = Bench::new();
    let [model, data] = small(&bench);
    let inputs = [("model", model.as_path()), ("data", data.as_path())];
    let with = json!({"seed": 1, "steps": 60, "probes": 600});
    let found = bench.run("sharpness", with, &inputs).unwrap();
    let at = |name: &str| found.metric("train", name);
    near(at("loss"), recorded.loss, 1e-6, "loss");
    near(
        at("gradient_norm"),
        recorded.gradient_norm,
        1e-5,
        "gradient",
    );
    near(at("top_eigenvalue"), recorded.top_eigenvalue, 5e-4, "top");
    near(
        at("least_eigenvalue"),
        recorded.least_eigenvalue,
        5e-3,
        "least",
    );
    assert!(at("change") < 1e-4);
    // The probes' own spread says how far off the trace may be.
    let off = (at("trace") - recorded.trace).abs();
    assert!(off < 3.0 * at("trace_error"), "{off}");
    assert!(at("trace_error") < 0.05 * recorded.trace);
}

fn linear(bench: &Bench) -> (PathBuf, Ran) {
    let data = bench.put("numbers", &numbers(1, 400, 1));
    let with = json!({"model": {"mlp": {"hidden": []}}, "seed": 1, "length": {"epochs": 60}, "batch_size": 50,
        "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}});
    let model = bench.run("train", with, &[("train", &data)]).unwrap();
    (data, model)
}

/// At the least of a quadratic loss, E[L(w + r·d) − L(w)] = r²·tr(H)/2n over directions of length 1
/// in n dimensions.
#[test]
fn the_rise_around_the_least_of_a_bowl_is_its_trace() {
    let bench = Bench::new();
    let (data, model) = linear(&bench);
    let inputs = [("model", model.path("model")), ("data", data.as_path())];
    let with =
        json!({"seed": 2, "steps": 4, "probes": 2000, "distances": [0.5, 1.0], "directions": 2000});
    let found = bench.run("sharpness", with.clone(), &inputs).unwrap();
    let at = |name: &str| found.metric("train", name);
    let (near_by, far) = (at("loss_rise[0.5]"), at("loss_rise[1]"));
    near(far, 4.0 * near_by, 0.01, "a parabola");
    near(
        far,
        at("trace") / (2.0 * 4.0),
        0.05,
        "three weights and a bias",
    );
    // All four eigenvalues are seen, and the bowl curves upwards on every side.
    assert!(at("change") < 1e-3 && at("least_eigenvalue") > 0.0);
    assert!(at("top_eigenvalue") < at("trace") && at("top_eigenvalue") > at("trace") / 4.0);
    let again = bench.run("sharpness", with, &inputs).unwrap();
    assert_eq!(again.bytes("metrics"), found.bytes("metrics"));
}

/// A model is as sharp on twice the same images, also where the batches are others.
#[test]
fn the_loss_is_a_mean_over_all_images() {
    let bench = Bench::new();
    let (data, model) = linear(&bench);
    let with = json!({"seed": 2, "steps": 4, "probes": 4});
    let once = [("model", model.path("model")), ("data", data.as_path())];
    let twice = [once[0], once[1], once[1]];
    let [once, twice] =
        [&once[..], &twice].map(|inputs| bench.run("sharpness", with.clone(), inputs).unwrap());
    for name in ["top_eigenvalue", "trace", "loss"] {
        let (one, two) = (once.metric("train", name), twice.metric("train", name));
        near(two, one, 1e-3, name);
    }
}
