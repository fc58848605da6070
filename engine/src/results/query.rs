//! What a question about results is asked of: a session, and the states of the instances asked for.

use super::given::Given;
use crate::digest::Content;
use crate::plan::{Instance, InstanceIndex, Plan};
use crate::session::Session;
use crate::survey::Survey;

/// Instances of an open project, and what is recorded for them.
pub struct Results<'s> {
    pub(super) session: &'s Session,
    pub(super) targets: Vec<InstanceIndex>,
    pub(super) survey: Survey,
    pub(super) given: Option<&'s Given>,
}

impl<'s> Results<'s> {
    /// Of the stages, instances and claims that `names` stand for; of all for no name.
    ///
    /// # Errors
    /// A name that stands for nothing; the store cannot be read.
    pub fn of(session: &'s Session, names: &[String]) -> anyhow::Result<Results<'s>> {
        Results::of_targets(session, session.targets(names)?)
    }

    /// Of these instances.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of_targets(
        session: &'s Session,
        targets: Vec<InstanceIndex>,
    ) -> anyhow::Result<Results<'s>> {
        let survey = Survey::of(session, &targets)?;
        Ok(Results {
            session,
            targets,
            survey,
            given: None,
        })
    }

    /// The same, with metrics from a file where the store has none.
    pub fn with(self, given: Option<&'s Given>) -> Results<'s> {
        Results { given, ..self }
    }

    /// The plan they are of.
    pub fn plan(&self) -> &'s Plan {
        &self.session.plan
    }

    /// The instances that were asked for, in the order of the plan.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (InstanceIndex, &'s Instance)> {
        let plan = &self.session.plan;
        self.targets.iter().map(|i| (*i, plan.instance(*i)))
    }

    /// An output by its place among the instance's; `None` where there is no result.
    pub(super) fn content(&self, index: InstanceIndex, position: usize) -> Option<Content> {
        let outputs = self.survey.results[index.0 as usize].as_ref()?;
        outputs.get(position).copied()
    }
}
