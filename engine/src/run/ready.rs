//! Who is ready to be executed, by what it asks for: actions that ask for the same stand in one
//! queue, the most urgent first.
//!
//! Where the first of a queue does not fit, none of it does. So what an event costs depends on how
//! many *different* wishes there are, and not on how many actions wait behind a GPU or a mutex that
//! is taken.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::plan::{InstanceIndex, Policy};

/// What decides whether an action fits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wish {
    cpus: Option<u32>,
    /// With no number of `cpus` it takes its share of what is free, and not one.
    shares: bool,
    memory_bytes: Option<u64>,
    gpus: u32,
    mutexes: Vec<Arc<str>>,
    /// What it took before, where it computes on a GPU and may on the CPU.
    pub by_time: Option<ByTime>,
}

/// Milliseconds that something took before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByTime {
    /// On the CPU.
    pub cpu_ms: u64,
    /// On a GPU.
    pub gpu_ms: u64,
}

impl Wish {
    /// `shares`: see the field.
    pub fn of(policy: &Policy, shares: bool) -> Wish {
        Wish {
            cpus: policy.cpus,
            shares,
            memory_bytes: policy.memory_bytes,
            gpus: policy.gpus,
            mutexes: policy.mutexes.clone(),
            by_time: None,
        }
    }

    /// The same of an action that may as well compute on the CPU, where these times are known.
    pub fn or_cpu(self, by_time: Option<ByTime>) -> Wish {
        Wish { by_time, ..self }
    }

    /// Cores it is to have, of so many that are free for so many actions.
    pub fn cpus(&self, free: u32, actions: usize) -> u32 {
        match (self.cpus, self.shares) {
            (Some(cpus), _) => cpus,
            (None, true) => (free / u32::try_from(actions).unwrap_or(u32::MAX).max(1)).max(1),
            (None, false) => 1,
        }
    }
}

/// Where one stands: its queue, and how urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePlace {
    queue: usize,
    urgency: u64,
}

/// In a queue: the most urgent first, then in the order of the plan.
type Rank = (Reverse<u64>, u32);

/// See the module.
#[derive(Debug, Default)]
pub struct Ready {
    queues: Vec<(Wish, BTreeSet<Rank>)>,
    by_wish: HashMap<Wish, usize>,
    /// The first of every queue that is not empty.
    firsts: BTreeSet<(Rank, usize)>,
    len: usize,
}

/// One look through the queues, from the most urgent action on.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The first of the last queue that was passed over.
    at: Option<(Rank, usize)>,
    passed_over: usize,
    /// Actions that were tried.
    pub tried: usize,
}

impl Ready {
    /// The place of an action with this wish.
    pub fn place(&mut self, wish: &Wish, urgency: u64) -> QueuePlace {
        let queue = match self.by_wish.get(wish) {
            Some(queue) => *queue,
            None => {
                self.queues.push((wish.clone(), BTreeSet::new()));
                self.by_wish.insert(wish.clone(), self.queues.len() - 1);
                self.queues.len() - 1
            }
        };
        QueuePlace { queue, urgency }
    }

    pub fn add(&mut self, index: InstanceIndex, place: QueuePlace) {
        self.change(place, |queue| {
            queue.insert((Reverse(place.urgency), index.0))
        });
        self.len += 1;
    }

    pub fn remove(&mut self, index: InstanceIndex, place: QueuePlace) {
        self.change(place, |queue| {
            queue.remove(&(Reverse(place.urgency), index.0))
        });
        self.len -= 1;
    }

    fn change(&mut self, place: QueuePlace, change: impl FnOnce(&mut BTreeSet<Rank>) -> bool) {
        let queue = &mut self.queues[place.queue].1;
        let before = queue.first().copied();
        let is_new = change(queue);
        debug_assert!(is_new, "an action stands in a queue once");
        let after = queue.first().copied();
        if before != after {
            before.map(|first| self.firsts.remove(&(first, place.queue)));
            after.map(|first| self.firsts.insert((first, place.queue)));
        }
    }

    /// The most urgent that was not passed over, with its wish and the number of actions that may
    /// start beside it.
    pub fn next(&self, sweep: &mut Sweep) -> Option<(InstanceIndex, &Wish, usize)> {
        let from = sweep.at.map_or(Bound::Unbounded, Bound::Excluded);
        let ((_, index), queue) = self.firsts.range((from, Bound::Unbounded)).next()?;
        sweep.tried += 1;
        let beside = self.len - sweep.passed_over;
        Some((InstanceIndex(*index), &self.queues[*queue].0, beside))
    }

    /// It does not fit, nor does anything else with its wish: less urgent ones may.
    pub fn pass_over(&self, sweep: &mut Sweep, index: InstanceIndex, place: QueuePlace) {
        sweep.at = Some(((Reverse(place.urgency), index.0), place.queue));
        sweep.passed_over += self.queues[place.queue].1.len();
    }
}
