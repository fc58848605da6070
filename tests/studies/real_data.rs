//! The study on published images, through the command line, as a user runs it.
//!
//! The files lie in `../shared/data`, or where `REPRO_MIRROR` says; without them each test says so
//! and passes, because the data are too large to be kept here and a test must not need the network.
//! What the networks learn is decided by `studies/`; here it only has to be learning.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::support::skipped::skipped;
use crate::support::{TestSpace, events_to_the_end, instances};
use repro_engine::record::lockfile::LockFile;
use serde_json::Value;

/// Runs take both cores each, so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Where the files of a data set are; `None`, said aloud, when they are not here.
fn mirror_with(dataset: &str) -> Option<PathBuf> {
    let given = std::env::var_os("REPRO_MIRROR")
        .map(PathBuf::from)
        .filter(|m| m.is_dir());
    let mirror =
        given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    if mirror.join(dataset).is_dir() {
        return Some(mirror.canonicalize().unwrap());
    }
    skipped(format_args!("no ../shared/data/{dataset}"));
    None
}

/// Runs a pipeline of this repository in a fresh project, offline, and gives its events; they end
/// with the summary.
#[track_caller]
fn run(space: &TestSpace, mirror: &Path, args: &[&str]) -> Vec<Value> {
    let mut command = space.command(&["run", "--json", "--offline"]);
    events_to_the_end(command.args(args).env("REPRO_MIRROR", mirror))
}

fn with_default_study() -> TestSpace {
    let space = TestSpace::new();
    space.write(
        "pipeline.yaml",
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml")).unwrap(),
    );
    space
}

#[track_caller]
fn claim<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let claims = events.last().unwrap()["claims"].as_array().unwrap();
    claims
        .iter()
        .find(|c| c["name"] == name)
        .unwrap_or_else(|| panic!("no claim {name}: {claims:#?}"))
}

/// The digest of an output in the lock file.
#[track_caller]
fn digest(space: &TestSpace, instance: &str, output: &str) -> String {
    LockFile::read(&space.path("repro.lock")).unwrap().blocks[instance].outputs[output].clone()
}

/// All 60,000 + 10,000 images and every stage, with three seeds and fewer epochs than the profile
/// has.
#[test]
fn fashion_mnist_whole() {
    let _turn = TURN.lock();
    let Some(mirror) = mirror_with("fashion-mnist") else {
        return;
    };
    let space = with_default_study();
    let fewer = [
        "--set",
        "seeds=[0, 1, 2]",
        "--set",
        "epochs_before=2",
        "--set",
        "epochs=2",
        "--set",
        "epochs_after=1",
    ];
    let args = [&["--profile", "fashion-mnist"], &fewer[..]].concat();
    let events = run(&space, &mirror, &args);
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["failed"], &summary["skipped"]),
        (&Value::from(0), &Value::from(0)),
        "{summary}"
    );
    // What the files hold, whatever mirror they came from.
    assert_eq!(digest(&space, "data", "train"), FASHION_MNIST.0);
    assert_eq!(digest(&space, "data", "test"), FASHION_MNIST.1);
    let learns = claim(&events, "learns");
    assert!(learns["verdict"] == "holds" && learns["n"] == 3, "{learns}");
    assert!(
        learns["estimate"].as_f64().unwrap() > 0.84,
        "two epochs reach some 86 %: {learns}"
    );
    let warm = claim(&events, "warm-start-hurts");
    assert!(
        warm["n"] == 3 && warm["low"].as_f64() < warm["high"].as_f64(),
        "{warm}"
    );

    assert_eq!(
        run(&space, &mirror, &args).last().unwrap()["executed"],
        0,
        "again"
    );
}

/// The archive whole, then every stage on its first 2,000 images.
#[test]
fn cifar_10_on_a_subset() {
    let _turn = TURN.lock();
    let Some(mirror) = mirror_with("cifar-10") else {
        return;
    };
    let space = with_default_study();
    let subset = [
        "--set",
        "train_limit=2000",
        "--set",
        "seeds=[0, 1, 2]",
        "--set",
        "epochs_before=4",
        "--set",
        "epochs=4",
        "--set",
        "epochs_after=1",
    ];
    let events = run(
        &space,
        &mirror,
        &[&["--profile", "cifar-10"], &subset[..]].concat(),
    );
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["failed"], &summary["skipped"]),
        (&Value::from(0), &Value::from(0)),
        "{summary}"
    );
    assert_eq!(digest(&space, "data", "test"), CIFAR_10_TEST);
    let learns = claim(&events, "learns");
    assert!(
        learns["estimate"].as_f64().unwrap() > 0.25,
        "chance is 10 %: {learns}"
    );
}

/// The profile as it stands gets its data and trains: one instance of it, on few images.
#[test]
fn mnist_trains() {
    let _turn = TURN.lock();
    let Some(mirror) = mirror_with("mnist") else {
        return;
    };
    let space = with_default_study();
    let events = run(
        &space,
        &mirror,
        &[
            "scratch[seed=0]",
            "--profile",
            "mnist",
            "--set",
            "train_limit=6000",
            "--set",
            "epochs=2",
        ],
    );
    assert_eq!(
        instances(&events, "finished"),
        ["data", "halves", "scratch[seed=0]"]
    );
    assert_eq!(digest(&space, "data", "test"), MNIST_TEST);
}

/// Training and test part.
const FASHION_MNIST: (&str, &str) = (
    "file:7120235c18f3832ef3b6bf6a0d047a255295d5608aca94834fa8cebc7f35532b",
    "file:e9c23c8af88b6c3ca3b969f729c84bf411e9560494f8f14c8f50e34db354ae6e",
);
const MNIST_TEST: &str = "file:fb6573b18c925a23ae0f8fddcc8c45fc8e9fdbaa3db1bf9c32c2a427f14c84aa";
const CIFAR_10_TEST: &str = "file:0c9be5b30ec8e2cae3c5eee61ed412da2bda9f3a0553fb53df5dc3ea70e27a70";
