//! What is run again on other processors, real or emulated (`.ci/portable`): a training large
//! enough that threads share its work, with its bytes frozen, and the question which path was
//! taken.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use repro_numerics::kernels::Path;
use serde_json::json;
use support::{Bench, data, digest};

/// `REPRO_EXPECT_PATH` names the path that an emulated processor must lead to; without it, any will
/// do.
#[test]
fn the_path_is_the_expected_one() {
    let (path, threads) = (Path::current().name(), rayon::current_num_threads());
    println!("path: {path}, threads: {threads}");
    let all: Vec<&str> = Path::all().into_iter().map(Path::name).collect();
    println!("paths: {}", all.join(" "));
    if let Some(expected) = std::env::var_os("REPRO_EXPECT_PATH") {
        assert_eq!(path, expected.to_string_lossy(), "REPRO_EXPECT_PATH");
    }
}

/// Convolutions with strides and padding, batch norm, pooling, a dense layer: five steps. On other
/// bytes than these, see `golden.rs`.
#[test]
fn a_training_shared_by_threads_gives_the_frozen_bytes() {
    let bench = Bench::new();
    let (train, test) = (
        bench.put("train", &data(3, 128, (16, 16, 3), 5)),
        bench.put("test", &data(4, 70, (16, 16, 3), 5)),
    );
    let with = json!({"model": {"conv": {"layers": [
            {"conv": {"channels": 16}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
            {"conv": {"channels": 24, "kernel": 3, "stride": 2, "padding": {"pixels": 1}}}, {"activation": "tanh"},
            {"dense": 96}, {"activation": "relu"}]}},
        "seed": 11, "length": {"steps": 5}, "batch_size": 64, "augment": {"flip": true, "crop": 2},
        "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}}});
    let ran = bench
        .run("train", with, &[("train", &train), ("test", &test)])
        .unwrap();
    let found = ["model", "metrics"].map(|output| digest(ran.path(output)));
    assert_eq!(found, ["0d8b5de25734ecef", "5e5d08caebedf48b"]);
}

/// Convolutions by Winograd's transform, of odd sizes too: two steps.
#[test]
fn a_training_of_wide_convolutions_gives_the_frozen_bytes() {
    let bench = Bench::new();
    let (train, test) = (
        bench.put("train", &data(5, 80, (10, 10, 3), 5)),
        bench.put("test", &data(6, 20, (10, 10, 3), 5)),
    );
    let with = json!({"model": {"conv": {"layers": [
            {"conv": {"channels": 32}}, {"batch_norm": {}}, {"activation": "relu"}, {"conv": {"channels": 64}}, {"activation": "relu"},
            {"pool": {"max": 2}}, {"conv": {"channels": 48}}, {"activation": "relu"}, {"pool": "global_average"}]}},
        "seed": 12, "length": {"steps": 2}, "batch_size": 40, "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}}});
    let ran = bench
        .run("train", with, &[("train", &train), ("test", &test)])
        .unwrap();
    let found = ["model", "metrics"].map(|output| digest(ran.path(output)));
    assert_eq!(found, ["eb7f2c194c07254e", "02b65ceaceb1de39"]);
}
