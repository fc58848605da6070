//! `--device` and `repro doctor`: where a run computes is in no key and in no byte, and it is told.

use crate::support::TestSpace;
use crate::support::skipped::skipped;

const PIPELINE: &str = r#"
version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 100, test: 50, noise: 20}}}
  train:
    uses: train
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [9, 5]}}
      seed: 1
      length: {epochs: 1}
      batch_size: 32
      optimizer: {adam: {}}
  score: {uses: evaluate, needs: {model: train.model, data: data.test}}
"#;

/// A project whose workers keep compiled kernels where the next test finds them.
fn project() -> TestSpace {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/pocl");
    space.set_env("POCL_CACHE_DIR", cache);
    space
}

/// A project where no driver is installed.
fn without_driver() -> TestSpace {
    let mut space = project();
    space.set_env("OCL_ICD_VENDORS", "/nonexistent");
    space
}

/// Runs on a device, and is told these things, or nothing of it.
#[track_caller]
fn told(space: &TestSpace, code: i32, device: &str, what: &[&str]) {
    let args = ["run", "--device", device];
    let said = space.run(&args).expect(code, &args);
    assert!(
        what.iter().all(|what| said.err.contains(what)),
        "{what:?}: {}",
        said.err
    );
    assert!(
        !what.is_empty() || !said.err.contains("computed on the CPU"),
        "{}",
        said.err
    );
}

fn has_device(space: &TestSpace) -> bool {
    let doctor = space.json(&["doctor"]);
    let has = doctor["devices"]
        .as_array()
        .unwrap()
        .iter()
        .any(|d| d["usable"] == true);
    if !has {
        skipped("no OpenCL device (apt install pocl-opencl-icd)");
    }
    has
}

#[test]
fn a_gpu_gives_the_same_lock_file() {
    let (here, there) = (project(), project());
    if !has_device(&there) {
        return;
    }
    here.ok(&["run"]);
    told(&there, 0, "gpu", &[]);
    assert_eq!(here.read("repro.lock"), there.read("repro.lock"));

    // What was computed there is a result here, too, and says where it was computed.
    assert_eq!(there.executed(&["--device", "cpu"]), [""; 0]);
    let of = |space: &TestSpace| space.json(&["show", "train"]).to_string();
    assert!(of(&there).contains(r#""device":"#), "{}", of(&there));
    assert!(!of(&here).contains(r#""device":"#));
    there.ok(&["verify", "train"]);
}

#[test]
fn recurrent_networks_give_the_same_lock_file() {
    for network in ["rnn: {units: 3}", "rnn: {units: 3, cell: lstm}"] {
        let (here, there) = (project(), project());
        if !has_device(&there) {
            return;
        }
        for space in [&here, &there] {
            space.edit("pipeline.yaml", "mlp: {hidden: [9, 5]}", network);
        }
        here.ok(&["run"]);
        told(&there, 0, "gpu", &[]);
        assert_eq!(here.read("repro.lock"), there.read("repro.lock"));
    }
}

#[test]
fn without_a_driver_a_gpu_is_an_error_and_auto_is_the_cpu() {
    let space = without_driver();
    let doctor = space.ok(&["doctor"]);
    assert!(
        doctor.contains("no device: CUDA's driver cannot be opened: libcuda.so.1")
            && doctor.contains("no device: OpenCL"),
        "{doctor}"
    );
    told(
        &space,
        1,
        "gpu",
        &["no GPU can be used: there is no device", "repro doctor"],
    );
    told(
        &space,
        0,
        "auto",
        &["computed on the CPU: there is no device"],
    );
    told(&space, 2, "tpu", &["possible values: cpu, gpu, auto"]);
}
