//! Values of many instances as the rows of one table, which [`super::given`] reads again.

use super::Results;
use super::given::axes_text;
use super::metrics::Metric;
use crate::digest::Digest;
use crate::plan::Instance;
use repro_protocol::table::{Gathered, Row, Whose};

impl Results<'_> {
    /// Values as rows of a file that [`super::given`] reads.
    pub fn gathered(&self, found: &[Metric]) -> Vec<Gathered> {
        let plan = &self.session.plan;
        let key_of = |index| Some(self.survey.get(index)?.hit.as_ref()?.key);
        let row = |metric: &Metric| {
            let (instance, key) = (plan.instance(metric.index), key_of(metric.index));
            gathered(instance, metric, key.as_ref())
        };
        found.iter().map(row).collect()
    }
}

fn gathered(instance: &Instance, metric: &Metric, key: Option<&Digest>) -> Gathered {
    let (own_stage, own_run) = (metric.row.stage.clone(), metric.row.run.clone());
    let axes = axes_text(instance);
    let parts = [Some(axes), own_stage.as_deref(), own_run.as_deref()];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    let run = Vec::from_iter(parts).join(" ");
    Gathered {
        row: Row {
            stage: Some(instance.stage.to_string()),
            run: (!run.is_empty()).then_some(run),
            ..metric.row.clone()
        },
        whose: Some(Whose {
            instance: instance.id.to_string(),
            output: metric.output.to_owned(),
            key: key.map(Digest::hex),
            stage: own_stage,
            run: own_run,
        }),
    }
}
