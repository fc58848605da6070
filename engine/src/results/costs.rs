//! Costs: what the executions behind recorded results took. None of it is part of a result.

use serde::Serialize;

use super::Results;
use crate::energy::Energy;
use crate::store::Fact;

/// What one execution took, as far as its record says.
#[derive(Debug, Serialize)]
pub struct Cost<'s> {
    /// Whose result it made.
    pub instance: &'s str,
    /// Seconds from start to end.
    pub wall_s: Option<f64>,
    /// Seconds of user and system time.
    pub cpu_s: Option<f64>,
    /// The largest resident set of any one process.
    pub max_rss_bytes: Option<f64>,
    /// Energy, and who says so.
    pub energy: Option<Energy>,
    /// The GPU that it computed on; nothing where that was the CPU.
    pub device: Option<String>,
}

impl<'s> Results<'s> {
    /// Of the instances that were asked for and have a result, one for each execution: instances
    /// that share a key share it, and the first of them has it.
    pub fn costs(&self) -> Vec<Cost<'s>> {
        let mut seen = std::collections::HashSet::new();
        let mut costs = Vec::new();
        for (index, instance) in self.wanted() {
            let Some(hit) = self.survey.get(index).and_then(|seen| seen.hit.as_ref()) else {
                continue;
            };
            let Some(record) = self.session.record_of(instance, hit) else {
                continue;
            };
            if !seen.insert(hit.key) {
                continue;
            }
            let number = |fact| record.observation.number(fact);
            costs.push(Cost {
                instance: &instance.id,
                wall_s: number(Fact::WallS),
                cpu_s: number(Fact::CpuS),
                max_rss_bytes: number(Fact::MaxRssBytes),
                energy: Energy::of(&record.observation),
                device: record.observation.text(Fact::Device).map(str::to_owned),
            });
        }
        costs
    }
}
