//! What a run asks for. Usually that is everything its targets need. Where a claim decides how many
//! repetitions it needs, a run asks for its first look, and for the next one only if that leaves
//! the claim open.
//!
//! Of a whole plan, instances are left out that need runs which no claim has asked for yet, and
//! those that only such ones need. Knows no result: whoever has the verdict of a look calls
//! [`Demand::ask`].

use std::collections::HashMap;

use crate::graph::Graph;
use crate::plan::{Claim, InstanceIndex, Plan};
use crate::targets::{UnknownTarget, resolve};

/// See the module.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Named instances; `None`: the whole plan.
    named: Option<Vec<InstanceIndex>>,
    /// Of each claim how many looks are asked for; no more than that for one that was not named.
    asked: Vec<usize>,
    /// The claim of each look that may be followed by another.
    looks: HashMap<InstanceIndex, usize>,
}

impl Demand {
    /// What names on the command line ask for at first; no name stands for the whole plan. The name
    /// of a claim stands for as many looks as it takes, that of an instance for itself.
    ///
    /// # Errors
    /// The first name that stands for nothing.
    pub fn of(plan: &Plan, names: &[String]) -> Result<Demand, UnknownTarget> {
        let all = resolve(plan, names)?;
        let mut demand = Demand {
            named: None,
            asked: vec![1; plan.claims.len()],
            looks: HashMap::new(),
        };
        let is_named = |claim: &str| {
            let is_it =
                |name: &String| **name == *claim || name.strip_prefix("claim:") == Some(claim);
            names.is_empty() || names.iter().any(is_it)
        };
        let mut later = Vec::new();
        for (at, claim) in plan.claims.iter().enumerate() {
            if claim.decides_number() && is_named(&claim.name) {
                let looks = claim.looks.iter().map(|look| look.instance);
                demand.looks.extend(looks.clone().map(|look| (look, at)));
                later.extend(looks.skip(1));
            }
        }
        if !names.is_empty() {
            // A later look that has a name of its own is asked for by it.
            let is_by_itself = |index: &InstanceIndex| {
                let id = &plan.instance(*index).id;
                !later.contains(index) || names.iter().any(|name| **name == **id)
            };
            demand.named = Some(all.into_iter().filter(is_by_itself).collect());
        }
        Ok(demand)
    }

    /// The claim that a look may leave open: its last one that was asked for.
    pub fn awaited(&self, plan: &Plan, look: InstanceIndex) -> Option<usize> {
        let at = *self.looks.get(&look)?;
        let last = plan.claims[at].looks.get(self.asked[at] - 1)?;
        (last.instance == look).then_some(at)
    }

    /// Asks for the next look of a claim; how many repetitions it reads, if there is one.
    pub fn ask(&mut self, plan: &Plan, claim: usize) -> Option<u32> {
        let next = plan.claims[claim].looks.get(self.asked[claim])?;
        self.asked[claim] += 1;
        next.n
    }

    /// The same with all looks of all claims: what may be asked for at most.
    pub fn at_most(&self, plan: &Plan) -> Demand {
        let mut most = self.clone();
        for at in self.looks.values() {
            most.asked[*at] = plan.claims[*at].looks.len();
        }
        most
    }

    /// Everything may be asked for from the start.
    pub fn is_settled(&self) -> bool {
        self.looks.is_empty()
    }

    /// The instances that are asked for by now, in the order of the plan.
    pub fn targets(&self, plan: &Plan, graph: &Graph) -> Vec<InstanceIndex> {
        let looks = |of_all: bool| {
            let claims = plan.claims.iter().enumerate();
            let claims = claims.filter(move |(_, c)| of_all || c.decides_number());
            claims.flat_map(|(at, claim)| {
                let asked = claim.looks.iter().take(self.asked[at]);
                asked.map(|look| look.instance).collect::<Vec<_>>()
            })
        };
        let mut targets: Vec<InstanceIndex> = match &self.named {
            Some(named) => {
                let own = looks(false).filter(|look| self.looks.contains_key(look));
                named.iter().copied().chain(own).collect()
            }
            None if !plan.claims.iter().any(Claim::decides_number) => {
                return (0..plan.instances.len() as u32)
                    .map(InstanceIndex)
                    .collect();
            }
            None => {
                let asked: Vec<InstanceIndex> = looks(true).collect();
                let held = held(plan, graph, &graph.wanted(&asked));
                let all = (0..plan.instances.len() as u32).map(InstanceIndex);
                let free = all.filter(|i| !held[i.0 as usize]);
                free.chain(asked).collect()
            }
        };
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

/// Of a whole plan, what is left out while no more than `asked` is asked for.
fn held(plan: &Plan, graph: &Graph, asked: &[bool]) -> Vec<bool> {
    let n = plan.instances.len();
    let mut held = vec![false; n];
    for claim in plan.claims.iter().filter(|claim| claim.decides_number()) {
        let looks = claim.looks.iter().map(|look| look.instance);
        for i in looks.chain(claim.runs.iter().copied()) {
            held[i.0 as usize] = !asked[i.0 as usize];
        }
    }
    if !held.contains(&true) {
        return held;
    }
    let index = |i: usize| InstanceIndex(i as u32);
    // What is made from them.
    for i in 0..n {
        held[i] = held[i] || graph.awaited(index(i)).any(|p| held[p.0 as usize]);
    }
    // What is made for them alone.
    for i in (0..n).rev() {
        let mut waiting = graph.waiting(index(i)).peekable();
        let is_for_them = waiting.peek().is_some() && waiting.all(|w| held[w.0 as usize]);
        held[i] = held[i] || (is_for_them && !asked[i]);
    }
    held
}
