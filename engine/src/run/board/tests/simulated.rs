//! Whole runs over random graphs with an executor that loses answers, gives them twice, and answers
//! after its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::executor::{Devices, Granted};
use crate::index::Known;
use crate::machine::{Machine, Maker};
use crate::record::event::Event;
use crate::run::state::Unrecorded;

/// A stream of numbers that depends on nothing else.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Made,
    Found,
    Failed,
    Cancelled,
    Recorded,
    FetchedOrAnswered,
}

/// Answers by the time they come, in a time of its own.
#[derive(Default)]
struct Executor {
    now: u64,
    last: u64,
    answers: BTreeMap<(u64, u64), (InstanceIndex, OrderId, Answer)>,
}

impl Executor {
    fn answer(&mut self, after: u64, index: InstanceIndex, order: OrderId, answer: Answer) {
        self.last += 1;
        let at = (self.now + after, self.last);
        self.answers.insert(at, (index, order, answer));
    }

    /// One outcome per order, sometimes twice; one that is lost is noticed after a while and told
    /// as a failure.
    fn execute(&mut self, start: &Launch, chance: &mut Chance) {
        let after = 1 + chance.below(50);
        let outcome = match chance.below(100) {
            0..85 => Answer::Made,
            85..90 => Answer::Found,
            _ => Answer::Failed,
        };
        match chance.percent(3) {
            true => self.answer(1000, start.index, start.order, Answer::Failed),
            false => self.answer(after, start.index, start.order, outcome),
        }
        if chance.percent(10) {
            self.answer(after + chance.below(200), start.index, start.order, outcome);
        }
    }

    /// What runs is stopped, and may answer after that.
    fn cancel(&mut self, running: Vec<(InstanceIndex, OrderId)>) {
        for (index, order) in running {
            self.answer(0, index, order, Answer::Cancelled);
        }
    }

    fn next(&mut self) -> Option<(InstanceIndex, OrderId, Answer)> {
        let ((at, _), answer) = self.answers.pop_first()?;
        self.now = at;
        Some(answer)
    }
}

struct Simulation {
    board: Board,
    chance: Chance,
    executor: Executor,
    wants: Vec<Arc<Policy>>,
    failure_percent: u64,
    /// Executed with a result.
    made: BTreeSet<InstanceIndex>,
    executions: usize,
    taken: (u32, u64, u32),
    most: (u32, u64, u32),
    mutexes: BTreeSet<Arc<str>>,
    /// What is taken of each GPU, in thousandths.
    gpus: BTreeMap<Arc<str>, u32>,
    devices: Devices,
    by_order: BTreeMap<OrderId, (Arc<Policy>, Granted)>,
}

/// Two GPUs that are nobody else's: other tests run beside this one.
fn devices() -> Devices {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = |n| format!("board-{}-{number}-{n}", std::process::id()).into();
    Devices::of(&Machine {
        cpus: 4,
        cores: Vec::new(),
        memory_bytes: 1000,
        gpus: (0..2).map(name).collect(),
        maker: Maker::default(),
    })
}

impl Simulation {
    fn new(n: usize, seed: u64, failure_percent: u64) -> Simulation {
        let mut chance = Chance(seed);
        let mut producers = Vec::with_capacity(n);
        for i in 0..n as u64 {
            let count = if i == 0 { 0 } else { chance.below(4) };
            // Some from close by, so that chains get long, some from afar.
            let far = |chance: &mut Chance| match chance.percent(50) {
                true => i.saturating_sub(1 + chance.below(5.min(i))),
                false => chance.below(i),
            };
            let of_it: Vec<_> = (0..count)
                .map(|_| InstanceIndex(far(&mut chance) as u32))
                .collect();
            producers.push(of_it);
        }
        let graph = Graph::of_needs(n, |i| producers[i.0 as usize].clone());
        let wants = (0..n).map(|_| {
            let mutex = ["disk", "net"].get(chance.below(10) as usize).copied();
            let cpus = chance.percent(50).then(|| 1 + chance.below(5) as u32);
            let gpus = match chance.below(100) {
                0..10 => 1000 * (1 + chance.below(3) as u32),
                10..30 => [1, 250, 333, 500, 999][chance.below(5) as usize],
                _ => 0,
            };
            policy(cpus, chance.below(3) * 200, gpus, mutex)
        });
        let wants: Vec<_> = wants.collect();
        let mut targets: Vec<InstanceIndex> = (0..n as u32).map(InstanceIndex).collect();
        targets.retain(|_| chance.percent(60));
        let wanted = graph.wanted(&targets);
        Simulation {
            board: Board::new(graph, &wanted, Resources::of(&capacity(4), None)),
            chance,
            executor: Executor::default(),
            wants,
            failure_percent,
            made: BTreeSet::new(),
            executions: 0,
            taken: (0, 0, 0),
            most: (0, 0, 0),
            mutexes: BTreeSet::new(),
            gpus: BTreeMap::new(),
            devices: devices(),
            by_order: BTreeMap::new(),
        }
    }

    fn settle(&mut self) {
        while let Some(index) = self.board.next_free() {
            let producers: Vec<_> = self.board.graph().producers(index).collect();
            assert!(
                producers
                    .iter()
                    .all(|p| self.board.phase(*p) == Phase::Done)
            );
            match self.chance.below(100) {
                0..20 => self.board.enter(index, done(index)),
                20..30 => {
                    self.board.enter(index, State::Asking { miss: miss(index) });
                    let after = self.chance.below(30);
                    self.executor
                        .answer(after, index, OrderId(0), Answer::FetchedOrAnswered);
                }
                30..40 => self.gather(index),
                _ => make_ready(
                    &mut self.board,
                    index,
                    &self.wants[index.0 as usize].clone(),
                ),
            }
        }
    }

    fn gather(&mut self, index: InstanceIndex) {
        let (miss, open) = (miss(index), BTreeSet::from([content(index)]));
        self.board.enter(index, State::Gathering { miss, open });
        let after = self.chance.below(30);
        self.executor
            .answer(after, index, OrderId(0), Answer::FetchedOrAnswered);
    }

    fn start(&mut self) {
        let mut sweep = Sweep::default();
        loop {
            let mut granted = None;
            let mut reserve =
                |_, _: &Wish, policy: &Policy, threads| match self.devices.take(policy, threads) {
                    Ok(devices) => {
                        granted = Some(devices);
                        Reserved::Yes
                    }
                    Err(why) => why,
                };
            let Some(start) = self.board.start_next(&mut sweep, &mut reserve) else {
                break;
            };
            let granted = granted.unwrap();
            assert!(!self.made.contains(&start.index), "it was executed already");
            self.executions += 1;
            let policy = &start.policy;
            let (cpus, memory) = (policy.threads(), policy.memory_bytes.unwrap_or(0));
            self.taken.0 += cpus;
            self.taken.1 += memory;
            for gpu in granted.grant.gpus.iter().flatten() {
                let taken = self.gpus.entry(gpu.clone()).or_default();
                *taken += policy.of_each_gpu();
                assert!(
                    *taken <= 1000,
                    "{gpu} is shared by those that did not say so"
                );
                self.taken.2 += 1;
            }
            assert!(self.taken.0 <= 4 && self.taken.1 <= 1000 && self.gpus.len() <= 2);
            for mutex in &policy.mutexes {
                assert!(self.mutexes.insert(mutex.clone()), "{mutex} is held twice");
            }
            self.most.0 = self.most.0.max(self.taken.0);
            self.most.2 = self.most.2.max(self.taken.2);
            self.by_order.insert(start.order, (policy.clone(), granted));
            self.executor.execute(&start, &mut self.chance);
        }
    }

    fn give_back(&mut self, order: OrderId) {
        let (policy, granted) = self.by_order.remove(&order).unwrap();
        self.taken.0 -= policy.threads();
        self.taken.1 -= policy.memory_bytes.unwrap_or(0);
        for gpu in granted.grant.gpus.iter().flatten() {
            *self.gpus.get_mut(gpu).unwrap() -= policy.of_each_gpu();
            self.taken.2 -= 1;
        }
        self.devices.give_back(granted);
        for mutex in &policy.mutexes {
            self.mutexes.remove(mutex);
        }
    }

    fn take_in(&mut self, index: InstanceIndex, order: OrderId, answer: Answer) {
        match answer {
            Answer::FetchedOrAnswered => match self.board.phase(index) {
                Phase::Asking if self.chance.percent(50) => self.board.enter(index, done(index)),
                Phase::Asking => self.gather(index),
                // Of producers that have a result, one turns out to be lost.
                Phase::Gathering if self.chance.percent(20) => {
                    let producers: Vec<_> = self.board.graph().producers(index).collect();
                    self.board.wait(index);
                    for producer in producers {
                        let is_made = self.made.contains(&producer);
                        if !is_made && self.board.phase(producer) == Phase::Done {
                            self.board.wait(producer);
                        }
                    }
                }
                Phase::Gathering => {
                    let open = self.board.open(index).unwrap();
                    open.clear();
                    make_ready(
                        &mut self.board,
                        index,
                        &self.wants[index.0 as usize].clone(),
                    );
                }
                _ => {}
            },
            Answer::Recorded => {
                assert_eq!(self.board.committing(order), Some(index));
                let outcome = match self.chance.below(100) < self.failure_percent {
                    true => State::Failed,
                    false => done(index),
                };
                self.board.enter(index, outcome);
            }
            // Twice, or after its time.
            _ if self.board.running(order) != Some(index) => {}
            Answer::Made => {
                self.give_back(order);
                self.made.insert(index);
                let result = Arc::new(Unrecorded {
                    event: Event::Warning {
                        instance: None,
                        text: String::new(),
                    },
                    known: Known {
                        key: digest(index),
                        outputs: [content(index)].into(),
                        wall_s: 0.0,
                        elsewhere: false,
                        believed_under: None,
                    },
                    to_publish: None,
                });
                self.board.enter(index, State::Committing { order, result });
                self.executor.answer(1, index, order, Answer::Recorded);
            }
            Answer::Found => {
                self.give_back(order);
                self.board.wait(index);
            }
            Answer::Failed if self.chance.below(100) >= self.failure_percent => {
                self.give_back(order);
                self.board.wait(index);
            }
            Answer::Failed => {
                self.give_back(order);
                self.board.enter(index, State::Failed);
            }
            Answer::Cancelled => {
                self.give_back(order);
                self.board.enter(index, State::Skipped);
            }
        }
    }

    /// Runs to the end, or stops what runs after so many events.
    fn run(&mut self, cancel_after: Option<usize>) {
        let n = self.wants.len();
        let mut events = 0;
        self.settle();
        loop {
            let is_cancelled = cancel_after.is_some_and(|after| events >= after);
            if !is_cancelled {
                self.start();
            } else if cancel_after == Some(events) {
                let running = self
                    .board
                    .states()
                    .filter_map(|(index, state)| match state {
                        State::Running { order, .. } => Some((index, *order)),
                        _ => None,
                    });
                self.executor.cancel(running.collect());
            }
            let Some((index, order, answer)) = self.executor.next() else {
                // A process that is just being started by another test may hold the claim on a GPU
                // for a moment.
                match self.board.count(&[Phase::Ready]) > 0 && !is_cancelled {
                    true => continue,
                    false => break,
                }
            };
            self.take_in(index, order, answer);
            self.settle();
            events += 1;
            assert!(events < 60 * n + 1000, "the run does not end");
        }
        for (phase, name) in [
            (Phase::Running, "runs"),
            (Phase::Committing, "is recorded"),
            (Phase::Asking, "asks"),
            (Phase::Gathering, "gathers"),
        ] {
            assert_eq!(self.board.count(&[phase]), 0, "something {name} for ever");
        }
        assert_eq!(self.taken, (0, 0, 0));
        assert!(self.gpus.values().all(|taken| *taken == 0));
        let mut counts = [0; Phase::COUNT];
        for (index, state) in self.board.states() {
            counts[state.phase() as usize] += 1;
            let all = |is: fn(Phase) -> bool| self.board.awaited(index, |p| !is(p)).is_none();
            match state.phase() {
                Phase::Waiting => {
                    assert!(!all(|p| p == Phase::Done), "it waits for nothing");
                }
                Phase::Ready => assert!(cancel_after.is_some_and(|after| events >= after)),
                _ => {}
            }
        }
        assert_eq!(counts, self.board.counts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_run_ends_and_executes_nothing_twice(
        n in 1usize..200, seed: u64, failures in 0u64..40, cancel in proptest::option::of(0usize..200),
    ) {
        Simulation::new(n, seed, failures).run(cancel);
    }
}

#[test]
fn a_hundred_thousand_orders() {
    let mut simulation = Simulation::new(200_000, 7, 0);
    simulation.run(None);
    assert!(simulation.executions > 80_000, "{}", simulation.executions);
    assert_eq!(
        (simulation.most.0, simulation.most.2 > 2),
        (4, true),
        "what there is, is used"
    );
    let open = simulation.board.count(&[Phase::Waiting, Phase::Ready]);
    assert_eq!(open, 0);
}
