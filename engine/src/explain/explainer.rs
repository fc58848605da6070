//! Whom a command asks why: the survey, the journals and the trust file at hand, and how far back
//! it looks.

use crate::plan::InstanceIndex;
use crate::record::history::{self, Execution};
use crate::session::Session;
use crate::survey::Survey;
use crate::trust::Trust;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Journals read to find the last executions, newest first.
pub(super) const RUNS_LOOKED_AT: usize = 200;

/// Instances for which the nearest relative is looked for: each compares many results.
pub(super) const SEARCHES_MAX: u32 = 50;

/// What explanations are made from.
pub struct Explainer<'s> {
    pub(super) session: &'s Session,
    pub(super) survey: Survey,
    /// The last execution of every instance.
    pub(super) executions: BTreeMap<String, Execution>,
    pub(super) trust: Trust,
    pub(super) searches_left: Cell<u32>,
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
}
