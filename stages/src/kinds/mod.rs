//! The kinds, one file each.

use crate::kind::BuiltIn;

pub mod average;
pub mod claim;
pub mod corrupt;
pub mod dataset;
pub mod download;
pub mod evaluate;
pub mod network;
pub mod perturb;
pub mod prune;
pub mod split;
pub mod summarise;
pub mod train;

/// The kinds a pipeline can name under `uses:`, in alphabetical order.
pub fn all() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<average::Average>(),
        BuiltIn::of::<corrupt::Corrupt>(),
        BuiltIn::of::<dataset::DatasetKind>(),
        BuiltIn::of::<download::Download>(),
        BuiltIn::of::<evaluate::Evaluate>(),
        BuiltIn::of::<perturb::Perturb>(),
        BuiltIn::of::<prune::Prune>(),
        BuiltIn::of::<split::Split>(),
        BuiltIn::of::<summarise::Summarise>(),
        BuiltIn::of::<train::Train>(),
    ]
}

/// The kind that decides claims: the engine uses it, pipelines do not name it.
pub fn claim() -> BuiltIn {
    BuiltIn::of::<claim::Claim>()
}

/// The kind of that name, the claim kind included.
pub fn find(name: &str) -> Option<BuiltIn> {
    all().into_iter().chain([claim()]).find(|k| k.name == name)
}

#[cfg(test)]
mod testing {
    //! Jobs for the tests of kinds that read tables.

    use std::path::Path;

    use serde_json::Value;

    use crate::kind::Task;
    use crate::table;
    use repro_protocol::job::{FORMAT, Job, JobInput};
    use repro_protocol::table::Row;

    /// A table with a test accuracy per epoch, as an input.
    pub fn metrics(dir: &Path, group: &str, axes: Value, accuracy: &[f64]) -> JobInput {
        let axes = serde_json::from_value(axes).unwrap();
        let path = dir.join(format!(
            "{group}-{}.parquet",
            crate::select::axes_text(&axes)
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
        };
        Task {
            job,
            pins: Default::default(),
            figures: Default::default(),
            events: None,
        }
    }
}
