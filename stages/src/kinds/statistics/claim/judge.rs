//! A claim judged outside of a run, from tables that hold less than a run has: the last value of
//! each metric. Decides which claims these do not suffice for.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::Value;

use super::{Claim, Params};
use crate::failure::Failure;
use crate::kind::Kind;
use crate::series::{At, Extreme};
use crate::task::Task;
use repro_protocol::job::{FORMAT, Job, JobInput};

/// The document that a run would write from these tables.
///
/// # Errors
/// What a run would fail with; if the tables have last values only, also a claim about others.
pub fn judge(
    params: &Value,
    inputs: BTreeMap<String, Vec<JobInput>>,
    only_last: bool,
) -> anyhow::Result<Vec<u8>> {
    let read: Params = serde_json::from_value(params.clone()).context("it cannot be read")?;
    let at = match (&read.compare, &read.measure) {
        (Some(compare), _) => compare.at,
        (None, Some(measure)) => measure.at,
        (None, None) => At::Last,
    };
    let more = match at {
        _ if !only_last => None,
        At::Last | At::MeanOfLast(0 | 1) | At::Epoch(_) => None,
        At::Best(Extreme::Max) => Some("the best (largest) of all values".to_owned()),
        At::Best(Extreme::Min) => Some("the best (smallest) of all values".to_owned()),
        At::MeanOfLast(n) => Some(format!("the mean of the last {n} values")),
    };
    if let Some(more) = more {
        return Err(Failure::new(format!("it is about {more}")).into());
    }
    let dir = tempfile::tempdir().context("no temporary directory")?;
    let path = dir.path().join("verdict.json");
    let job = Job {
        version: FORMAT,
        kind: Claim::NAME.to_owned(),
        revision: Claim::REVISION,
        params: params.clone(),
        inputs,
        outputs: BTreeMap::from([("verdict".to_owned(), path.clone())]),
        threads: 1,
        resume: None,
        states_dir: dir.path().to_owned(),
        mirrors: Vec::new(),
        pins: BTreeMap::new(),
        offline: true,
        scratch_dir: dir.path().to_owned(),
        device: None,
        gpu_share: None,
    };
    let mut task = Task {
        job,
        pins: BTreeMap::new(),
        figures: BTreeMap::new(),
        events: None,
    };
    let judged = Claim::run(&read, &mut task);
    match (judged, at) {
        (Ok(()), _) => std::fs::read(&path).context("the verdict cannot be read"),
        // A table without the value at an epoch says which it has: of last values that is no help.
        (Err(_), At::Epoch(epoch)) if only_last => {
            Err(Failure::new(format!("it is about the values after epoch {epoch}")).into())
        }
        (Err(e), _) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::metrics;
    use serde_json::json;

    fn said(at: Value, only_last: bool) -> Result<Value, String> {
        let dir = tempfile::tempdir().unwrap();
        let values: &[f64] = if only_last { &[0.5] } else { &[0.9, 0.5] };
        let table = |seed: u32| metrics(dir.path(), "", json!({"seed": seed}), values);
        let inputs = BTreeMap::from([("in".to_owned(), (0..3).map(table).collect())]);
        let params = json!({
            "measure": {"of": "test_accuracy", "at": at},
            "expect": {"mean": {"above": 0.8}},
        });
        let judged = judge(&params, inputs, only_last);
        let bytes = judged.map_err(|e| format!("{e:#}"))?;
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    /// Each of these has a value of 0.5 in a table of last values, and 0.9 where all are there.
    #[test]
    fn what_needs_more_than_last_values_is_not_judged_from_them() {
        for (at, about) in [
            (json!({"best": "max"}), "the best"),
            (json!({"mean_of_last": 2}), "the mean of the last 2 values"),
            (json!({"epoch": 7}), "the values after epoch 7"),
        ] {
            let message = said(at, true).unwrap_err();
            assert!(message.contains(about), "{message}");
        }
        for at in [
            json!("last"),
            json!({"mean_of_last": 1}),
            json!({"epoch": 0}),
        ] {
            assert_eq!(said(at, true).unwrap()["estimate"], 0.5);
        }
        assert_eq!(
            said(json!({"best": "max"}), false).unwrap()["estimate"],
            0.9
        );
    }
}
