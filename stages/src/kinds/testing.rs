//! Jobs for the tests of kinds that read tables.

use std::path::Path;

use serde_json::Value;

use crate::table;
use crate::task::Task;
use repro_protocol::job::{FORMAT, Job, JobInput};
use repro_protocol::table::Row;

/// A table with a test accuracy per epoch, as an input.
pub fn metrics(dir: &Path, group: &str, axes: Value, accuracy: &[f64]) -> JobInput {
    let axes = serde_json::from_value(axes).unwrap();
    let path = dir.join(format!(
        "{group}-{}.parquet",
        crate::series::axes_text(&axes)
    ));
    let row = |(epoch, value): (usize, &f64)| Row {
        epoch: Some(epoch as i64),
        split: Some("test".into()),
        name: "accuracy".into(),
        value: *value,
        ..Row::default()
    };
    let rows: Vec<Row> = accuracy.iter().enumerate().map(row).collect();
    table::write(&path, &rows).unwrap();
    JobInput {
        group: group.into(),
        axes,
        path,
        ..JobInput::default()
    }
}

/// A task that writes each output into `dir` under its name.
pub fn task<const N: usize>(
    dir: &Path,
    params: Value,
    outputs: &[&str],
    inputs: [(&str, Vec<JobInput>); N],
) -> Task {
    let job = Job {
        version: FORMAT,
        kind: String::new(),
        revision: 0,
        params,
        inputs: inputs
            .into_iter()
            .map(|(name, items)| (name.to_owned(), items))
            .collect(),
        outputs: outputs
            .iter()
            .map(|name| (name.to_string(), dir.join(name)))
            .collect(),
        threads: 1,
        resume: None,
        states_dir: dir.to_owned(),
        mirrors: Vec::new(),
        pins: Default::default(),
        offline: true,
        scratch_dir: dir.to_owned(),
        device: None,
        gpu_share: None,
    };
    Task {
        job,
        pins: Default::default(),
        figures: Default::default(),
        events: None,
    }
}
