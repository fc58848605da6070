//! A look of a claim has its result: does it leave the claim open, so that more is asked for?

use super::scheduler::Scheduler;
use super::state::{Phase, State};
use crate::graph::Graph;
use crate::plan::InstanceIndex;
use crate::record::event::Event;
use crate::verdicts::Families;

/// When a look was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// In this run.
    Now,
    /// It had a result.
    Before,
}

impl Scheduler<'_> {
    /// If `index` is a look that leaves its claim open, the next one is asked for with all it
    /// needs.
    pub(super) fn looked(&mut self, index: InstanceIndex, taken: Taken) {
        let plan = &self.session.plan;
        let Some(at) = self.demand.awaited(plan, index).filter(|_| !self.stopping) else {
            return;
        };
        let output = match self.board.state(index) {
            State::Done { outputs, .. } => outputs.first().copied(),
            _ => None,
        };
        // Bytes that are on a remote are fetched, and this is asked again when they have come.
        let store = &self.session.store;
        let Some(output) = output.filter(|o| store.has(o).unwrap_or(false)) else {
            return;
        };
        let claim = &plan.claims[at];
        let families = Families::of(plan.claims.iter());
        let is_open = families.leaves_open(store, claim, &output);
        // What cannot be read is told at the end, with all verdicts.
        if !is_open.unwrap_or(false) {
            return;
        }
        let look = claim.looks.iter().find(|look| look.instance == index);
        let n = look.and_then(|look| look.n).unwrap_or_default();
        let Some(next) = self.demand.ask(plan, at) else {
            return;
        };
        let graph = Graph::new(plan);
        let wanted = graph.wanted(&self.demand.targets(plan, &graph));
        let is_new =
            |i: &InstanceIndex| wanted[i.0 as usize] && self.board.phase(*i) == Phase::Unwanted;
        let all = (0..wanted.len() as u32).map(InstanceIndex);
        let new: Vec<InstanceIndex> = all.filter(is_new).collect();
        let event = Event::Asked {
            claim: claim.name.to_string(),
            n: n.into(),
            next: next.into(),
            instances: new.len() as u64,
            cached: taken == Taken::Before,
        };
        self.say(event);
        for index in new {
            self.board.wait(index);
        }
    }

    /// How much claims may still ask for.
    pub(super) fn not_asked_for(&self) -> u64 {
        if self.demand.is_settled() {
            return 0;
        }
        let plan = &self.session.plan;
        let graph = Graph::new(plan);
        let most = self.demand.at_most(plan).targets(plan, &graph);
        let wanted = graph.wanted(&most).into_iter().filter(|w| *w).count();
        let asked = graph.wanted(&self.demand.targets(plan, &graph));
        let asked = asked.into_iter().filter(|w| *w).count();
        (wanted - asked) as u64
    }
}
