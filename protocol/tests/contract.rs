//! The format of jobs and outcomes is frozen: golden files are read, and written back the same.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use repro_protocol::job::{Device, FORMAT, Job, Outcome};

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

#[test]
fn job() {
    let golden = fixture("job.v1.json");
    let job: Job = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(job.version, FORMAT);
    assert_eq!(job.inputs["runs"][1].group, "ünder score");
    assert_eq!(job.inputs["runs"][0].axes["lr"], json!(0.1));
    assert_eq!(job.outputs["model"], PathBuf::from("out/model.safetensors"));
    assert_eq!(job.resume.as_ref().unwrap().label, "epoch 4");
    assert_eq!(
        serde_json::to_value(job).unwrap(),
        golden,
        "written back, it is the same"
    );
}

/// What came later is absent from old jobs, and written only where it is said.
#[test]
fn job_on_a_share_of_a_gpu() {
    let old = fixture("job.v1.json");
    let of_old: Job = serde_json::from_value(old.clone()).unwrap();
    assert_eq!((of_old.device, of_old.gpu_share), (None, None));
    let mut golden = old;
    golden["device"] = json!("auto");
    golden["gpu_share"] = json!(0.25);
    let job: Job = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(
        (job.device, job.gpu_share),
        (Some(Device::Auto), Some(0.25))
    );
    assert_eq!(serde_json::to_value(job).unwrap(), golden);
}

#[test]
fn outcome() {
    let golden = fixture("outcome.v1.json");
    let outcome: Outcome = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(outcome.version, FORMAT);
    assert_eq!(
        outcome.error.as_ref().unwrap().hint.as_deref(),
        Some("lower the learning rate")
    );
    assert_eq!(outcome.figures["images_per_s"], 12345.5);
    assert_eq!(
        serde_json::to_value(outcome).unwrap(),
        golden,
        "written back, it is the same"
    );
    let least: Outcome = serde_json::from_value(json!({"version": 1})).unwrap();
    assert!(least.error.is_none() && least.pins.is_empty() && least.figures.is_empty());
}

#[test]
fn a_field_nobody_knows_is_refused() {
    for name in ["job.v1.json", "outcome.v1.json"] {
        let mut value = fixture(name);
        value["surprise"] = json!(1);
        let refused = match name {
            "job.v1.json" => serde_json::from_value::<Job>(value).is_err(),
            _ => serde_json::from_value::<Outcome>(value).is_err(),
        };
        assert!(refused, "{name}");
    }
}
