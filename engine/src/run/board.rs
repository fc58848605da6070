//! The board: the state of every instance, what follows from it, and the one place where it
//! changes.
//!
//! [`Board::enter`] is that place. Whatever is counted or listed by state (how many are in each,
//! how much an instance waits for, who is ready, what of the machine is taken) is kept there, so it
//! cannot disagree. Knows no session and does nothing: it can be driven by a simulation as well as
//! by a run.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use super::ready::{Ready, Sweep, Wish};
use super::resources::Resources;
use super::state::{Miss, Phase, State};
use crate::digest::{Content, Digest};
use crate::executor::{OrderId, Reserved};
use crate::graph::Graph;
use crate::plan::{InstanceIndex, Policy};

/// See the module.
pub struct Board {
    graph: Graph,
    states: Vec<State>,
    /// The last known key of each. It is known still when the bytes of a result are gone, and what
    /// was made from them is told apart by it.
    keys: Vec<Option<Digest>>,
    counts: [usize; Phase::COUNT],
    /// Nothing is missing any more: to be looked at, in the order of the plan. A list and no
    /// recursion, since a chain of results that are there can be as long as the plan.
    free: BinaryHeap<Reverse<u32>>,
    ready: Ready,
    resources: Resources,
    last_order: u64,
    /// Those that run, and those whose result is recorded.
    orders: HashMap<OrderId, InstanceIndex>,
}

/// An action that begins.
pub struct Launch {
    pub index: InstanceIndex,
    pub order: OrderId,
    pub miss: Arc<Miss>,
    /// With the cores it was given.
    pub policy: Arc<Policy>,
    /// The cores it declares.
    pub threads: Option<u32>,
}

impl Board {
    /// All that is wanted waits.
    pub fn new(graph: Graph, wanted: &[bool], resources: Resources) -> Board {
        let mut board = Board {
            states: Vec::with_capacity(wanted.len()),
            keys: vec![None; wanted.len()],
            counts: [0; Phase::COUNT],
            free: BinaryHeap::new(),
            ready: Ready::default(),
            resources,
            last_order: 0,
            orders: HashMap::new(),
            graph,
        };
        for (i, is_wanted) in (0u32..).zip(wanted) {
            let missing = board.graph.awaited(InstanceIndex(i)).count() as u32;
            let state = match is_wanted {
                true => State::Waiting { missing },
                false => State::Unwanted,
            };
            if *is_wanted && missing == 0 {
                board.free.push(Reverse(i));
            }
            board.counts[state.phase() as usize] += 1;
            board.states.push(state);
        }
        board
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn state(&self, index: InstanceIndex) -> &State {
        &self.states[index.0 as usize]
    }

    pub fn phase(&self, index: InstanceIndex) -> Phase {
        self.state(index).phase()
    }

    /// The first that an instance waits for and that is somewhere there.
    pub fn awaited(
        &self,
        index: InstanceIndex,
        is_there: impl Fn(Phase) -> bool,
    ) -> Option<InstanceIndex> {
        let mut awaited = self.graph.awaited(index);
        awaited.find(|p| is_there(self.phase(*p)))
    }

    /// In the order of the plan.
    pub fn states(&self) -> impl Iterator<Item = (InstanceIndex, &State)> {
        (0..).map(InstanceIndex).zip(&self.states)
    }

    /// How many are in one of these.
    pub fn count(&self, phases: &[Phase]) -> usize {
        phases
            .iter()
            .map(|phase| self.counts[*phase as usize])
            .sum()
    }

    /// The last known key of an instance.
    pub fn key(&self, index: InstanceIndex) -> Option<Digest> {
        self.keys[index.0 as usize]
    }

    /// All that are known.
    pub fn keys(&self) -> impl Iterator<Item = Digest> + '_ {
        self.keys.iter().flatten().copied()
    }

    /// The result of an instance that has one; in a dry run also one that is only foreseen.
    pub fn outputs(&self, index: InstanceIndex) -> Option<&Arc<[Content]>> {
        self.state(index).outputs()
    }

    /// The next one that waits for nothing.
    pub fn next_free(&mut self) -> Option<InstanceIndex> {
        while let Some(Reverse(i)) = self.free.pop() {
            // What was set free may have to wait again by now, or was listed twice.
            if matches!(self.states[i as usize], State::Waiting { missing: 0 }) {
                return Some(InstanceIndex(i));
            }
        }
        None
    }

    /// Changes the state of an instance, and all that follows from it.
    ///
    /// # Panics
    /// No way leads there: a fault of the scheduler, and going on could execute something twice.
    pub fn enter(&mut self, index: InstanceIndex, next: State) {
        let (from, to) = (self.phase(index), next.phase());
        assert!(
            from.leads_to(to),
            "instance {}: {from:?} to {to:?}",
            index.0
        );
        if let State::Ready { place, .. } = &next {
            self.ready.add(index, *place);
        }
        if let Some(key) = next.key() {
            self.keys[index.0 as usize] = Some(key);
        }
        let (has_result, order) = (next.outputs().is_some(), next.order());
        let old = std::mem::replace(&mut self.states[index.0 as usize], next);
        let had_result = old.outputs().is_some();
        if let Some(order) = old.order() {
            self.orders.remove(&order);
        }
        if let Some(order) = order {
            self.orders.insert(order, index);
        }
        match old {
            State::Ready { place, .. } => self.ready.remove(index, place),
            State::Running { policy, .. } => self.resources.give_back(&policy),
            _ => {}
        }
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        if has_result && !had_result {
            self.tell_those_that_wait(index, |missing| missing - 1);
        }
        if had_result && !has_result {
            self.tell_those_that_wait(index, |missing| missing + 1);
            let waiters: Vec<InstanceIndex> = self.graph.waiting(index).collect();
            for waiter in waiters {
                if let Phase::Opening | Phase::Asking | Phase::Gathering | Phase::Ready =
                    self.phase(waiter)
                {
                    self.wait(waiter);
                }
            }
        }
    }

    fn tell_those_that_wait(&mut self, index: InstanceIndex, change: impl Fn(u32) -> u32) {
        for waiter in self.graph.waiting(index) {
            if let State::Waiting { missing } = &mut self.states[waiter.0 as usize] {
                *missing = change(*missing);
                if *missing == 0 {
                    self.free.push(Reverse(waiter.0));
                }
            }
        }
    }

    /// It is to be looked at again, as soon as all it needs is there.
    pub fn wait(&mut self, index: InstanceIndex) {
        let has_none = |p: &InstanceIndex| self.outputs(*p).is_none();
        let missing = self.graph.awaited(index).filter(has_none).count() as u32;
        self.enter(index, State::Waiting { missing });
        if missing == 0 {
            self.free.push(Reverse(index.0));
        }
    }

    /// It must be executed, and has all it needs.
    pub fn make_ready(
        &mut self,
        index: InstanceIndex,
        miss: Arc<Miss>,
        wish: &Wish,
        policy: Arc<Policy>,
        urgency: u64,
    ) {
        let place = self.ready.place(wish, urgency);
        self.enter(
            index,
            State::Ready {
                miss,
                place,
                policy,
            },
        );
    }

    /// What is still to come for an instance that opens or gathers.
    pub fn open(&mut self, index: InstanceIndex) -> Option<&mut BTreeSet<Content>> {
        match &mut self.states[index.0 as usize] {
            State::Opening { open } | State::Gathering { open, .. } => Some(open),
            _ => None,
        }
    }

    /// Starts the most urgent action that fits, and whose devices can be reserved. One that does
    /// not fit lets smaller ones pass.
    pub fn start_next(
        &mut self,
        sweep: &mut Sweep,
        reserve: &mut dyn FnMut(OrderId, &Wish, &Policy, Option<u32>) -> Reserved,
    ) -> Option<Launch> {
        while !self.resources.full() {
            let (index, wish, beside) = self.ready.next(sweep)?;
            let State::Ready {
                miss,
                place,
                policy,
            } = &self.states[index.0 as usize]
            else {
                return None;
            };
            let cpus = wish.cpus(self.resources.cpus_free(), beside);
            let granted = policy.with_cpus(cpus.clamp(1, self.resources.cpus_total()));
            let threads = policy.cpus.map(|_| granted.threads());
            let order = OrderId(self.last_order + 1);
            let starts = self.resources.fits(&granted)
                && reserve(order, wish, &granted, threads) == Reserved::Yes;
            if !starts {
                self.ready.pass_over(sweep, index, *place);
                continue;
            }
            self.resources.take(&granted);
            self.last_order = order.0;
            let start = Launch {
                index,
                order,
                miss: miss.clone(),
                policy: granted,
                threads,
            };
            self.enter(
                index,
                State::Running {
                    order: start.order,
                    key: start.miss.key,
                    policy: start.policy.clone(),
                },
            );
            return Some(start);
        }
        None
    }

    /// What an order executes now. Answers may come twice, or after their time: then there is
    /// nothing.
    pub fn running(&self, order: OrderId) -> Option<InstanceIndex> {
        self.by_order(order, Phase::Running)
    }

    /// All that are executed now.
    pub fn running_orders(&self) -> Vec<OrderId> {
        let running = |order: &OrderId| self.running(*order).is_some();
        self.orders.keys().copied().filter(running).collect()
    }

    /// Whose result of an order is recorded now.
    pub fn committing(&self, order: OrderId) -> Option<InstanceIndex> {
        self.by_order(order, Phase::Committing)
    }

    fn by_order(&self, order: OrderId, phase: Phase) -> Option<InstanceIndex> {
        let index = self.orders.get(&order).copied();
        index.filter(|index| self.phase(*index) == phase)
    }
}
