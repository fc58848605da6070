//! Explanations: why an instance is cached or will be executed, and what changed relative to which earlier result.
//!
//! [`crate::change::changes`] works on the stored text of two keys and nothing else, so it explains results of other machines as well. On it stands
//! [`Explainer`], which asks the survey, the journals and the trust file, and answers with data.

mod account;
mod relative;
mod upstream;

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::plan::InstanceIndex;
use crate::record::history::{self, Execution};
use crate::session::Session;
use crate::survey::Survey;
use crate::trust::Trust;

pub use account::{Explanation, LastExecution, Made, OtherBits, ResultLine};
pub use relative::{Relative, Resumption};
pub use upstream::Link;

/// Journals read to find the last executions, newest first.
const RUNS_LOOKED_AT: usize = 200;
/// Instances for which the nearest relative is looked for: each compares many results.
const SEARCHES_MAX: u32 = 50;

/// What explanations are made from.
pub struct Explainer<'s> {
    session: &'s Session,
    survey: Survey,
    /// The last execution of every instance.
    executions: BTreeMap<String, Execution>,
    trust: Trust,
    searches_left: Cell<u32>,
}

impl<'s> Explainer<'s> {
    /// Of these instances; see [`Session::targets`].
    ///
    /// # Errors
    /// The store or a journal cannot be read.
    pub fn of(session: &'s Session, targets: &[InstanceIndex]) -> anyhow::Result<Explainer<'s>> {
        let survey = Survey::of(session, targets)?;
        let names: Vec<&str> = session.plan.instances.iter().map(|i| &*i.id).collect();
        Ok(Explainer {
            executions: history::last_executions(&session.runs_dir(), RUNS_LOOKED_AT, &names)?,
            // A trust file that is wrong is told of where it matters.
            trust: Trust::read(&session.project.root).unwrap_or_default(),
            session,
            survey,
            searches_left: SEARCHES_MAX.into(),
        })
    }

    /// Why one of them is cached or will be executed.
    ///
    /// # Errors
    /// It is none of them.
    pub fn explain(&self, index: InstanceIndex) -> anyhow::Result<Explanation> {
        let instance = self.session.plan.instance(index);
        let seen = self
            .survey
            .get(index)
            .ok_or_else(|| anyhow::anyhow!("BUG: `{}` was not surveyed", instance.id))?;
        Ok(self.account(index, instance, seen))
    }
}
