//! The scheduler: one loop over one state per instance. What comes back is in [`super::arrivals`], how
//! a run ends in [`super::ending`].
//!
//! Every instance goes Waiting → (resolved) → Done, or → Ready → Running → Committing → Done, or ends Failed, Unstable or
//! Skipped. All transitions happen on the calling thread; flights and the committer talk to it through one channel.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::committer::{self, CommitResult, Landing};
use super::failed::FailedDir;
use super::flight::{self, Flight, Landed, Prepared, Terms};
use super::machine::Machine;
use super::resources::{GPUS_ARE_TAKEN, Resources, Taken};
use super::sharing::{self, Away, Desk};
use super::{OnFailure, Reuse, RunOptions};
use crate::digest::{Content, Digest};
use crate::exec::{self, CancelLevel, Note};
use crate::graph::Graph;
use crate::index::Known;
use crate::key::Key;
use crate::lineage::{self, Lineage};
use crate::plan::{InstanceIndex, Work};
use crate::record::event::{Event, Reason, Summary};
use crate::record::journal::Journal;
use crate::record::lockfile::LockFile;
use crate::remote::lookup::Answer;
use crate::remote::publish::Published;
use crate::remote::reading::Unread;
use crate::session::{Found, Hit, Session};
use crate::store::{Record, Root, StoreError, host_name};
use crate::watched;

/// Where an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// This run does not want it.
    Unwanted,
    /// Producers are missing results.
    Waiting,
    /// The remote is asked whether it has a result.
    Asking,
    /// It must be executed, and inputs of it are fetched from the remote.
    Gathering,
    /// It must be executed and waits for resources.
    Ready,
    /// It is executed.
    Running,
    /// Its result is being recorded.
    Committing,
    /// It has a result.
    Done,
    /// It has none and gets none in this run.
    Failed,
    /// Not reached because of another.
    Skipped,
}

/// What comes through the channel.
pub(super) enum Message {
    Note(InstanceIndex, Note),
    Landed(InstanceIndex, Landed),
    Committed(CommitResult),
    Answered(InstanceIndex, Digest, Answer),
    Fetched(Vec<(Content, Result<(), Unread>)>),
    Published(Vec<Result<Published, String>>),
}

/// An action that has no result yet.
pub(super) struct Miss {
    pub(super) key: Key,
    pub(super) reason: Reason,
    pub(super) contents: Vec<Vec<Content>>,
}

/// How the whole run ended.
pub struct RunReport {
    /// Counts and verdicts.
    pub summary: Summary,
    /// The store failed, could not take results, or outputs could not be shown.
    pub store_broken: bool,
}

/// A thread of the run panicked.
#[derive(Debug, thiserror::Error)]
#[error(
    "BUG: {0}; the run was ended. What is recorded is whole, and the next run goes on from there. Please report it"
)]
pub struct BrokenDown(String);

pub(super) struct Scheduler<'a> {
    pub(super) session: &'a mut Session,
    pub(super) options: &'a RunOptions,
    pub(super) graph: Graph,
    pub(super) states: Vec<State>,
    pub(super) waiting_for: Vec<u32>,
    pub(super) results: Vec<Option<Arc<[Content]>>>,
    pub(super) keys: Vec<Option<Digest>>,
    pub(super) forced: Vec<bool>,
    pub(super) misses: BTreeMap<InstanceIndex, Miss>,
    /// Set free, and to be looked at one after the other.
    to_resolve: VecDeque<InstanceIndex>,
    is_resolving: bool,
    /// Looked at again, because a result went bad between the look and the use.
    looked_again: BTreeSet<InstanceIndex>,
    pub(super) ready: BinaryHeap<(u64, Reverse<u32>)>,
    pub(super) urgency: Vec<f32>,
    pub(super) resources: Resources,
    pub(super) granted: BTreeMap<InstanceIndex, Taken>,
    pub(super) committing: BTreeMap<InstanceIndex, (Event, Known)>,
    pub(super) lock: Option<LockFile>,
    pub(super) pins: BTreeMap<InstanceIndex, BTreeMap<String, String>>,
    pub(super) to_main: Sender<Message>,
    pub(super) landings: Option<Sender<Landing>>,
    pub(super) journal: Journal,
    pub(super) summary: Summary,
    pub(super) first_pass: bool,
    pub(super) stopping: bool,
    pub(super) store_broken: bool,
    broken_down: Option<String>,
    /// What of the results is on the remote, and what is under way from and to it.
    pub(super) away: Away,
    pub(super) desk: Option<Desk>,
    pub(super) to_publish: BTreeMap<InstanceIndex, Record>,
    /// What of signals was told.
    interruption_told: CancelLevel,
    /// It was told that the GPUs are others'.
    gpus_told: bool,
    pub(super) sink: &'a mut dyn FnMut(&Event),
}

/// What a run does that is interrupted, in words.
pub fn interruption(level: CancelLevel) -> &'static str {
    match level {
        CancelLevel::None => "not interrupted",
        CancelLevel::Graceful => {
            "interrupted: waiting for running stages to finish (press Ctrl-C again to stop them now)"
        }
        CancelLevel::Now => {
            "stopping: running stages have their `grace:` to save (Ctrl-C kills them)"
        }
        CancelLevel::Kill => "killing running stages",
    }
}

/// Runs the plan of `session`; every event goes to `sink`.
///
/// # Errors
/// Usage errors (an unknown target) and failures of the store; stages that fail are in the summary.
pub fn run(
    session: &mut Session,
    options: &RunOptions,
    sink: &mut dyn FnMut(&Event),
) -> anyhow::Result<RunReport> {
    let started = Instant::now();
    let targets = session.targets(&options.targets)?;
    let whole = options.targets.is_empty();
    let graph = Graph::new(&session.plan);
    let wanted = graph.wanted(&targets);
    let shown = sharing::shown(&graph, session.plan.instances.len(), &targets, whole);
    super::secrets::check(session, &targets, &wanted, options)?;
    let n = session.plan.instances.len();
    let mut forced = vec![false; n];
    if options.reuse == Reuse::ForceTargets {
        for t in &targets {
            forced[t.0 as usize] = true;
        }
    }
    let states = wanted
        .iter()
        .map(|w| if *w { State::Waiting } else { State::Unwanted })
        .collect();
    let waiting_for = (0..n as u32)
        .map(|i| match options.dry_run {
            // Nothing is executed, and whom an instance only waits for tells nothing of its result.
            true => graph.producers(InstanceIndex(i)).count() as u32,
            false => graph.awaited(InstanceIndex(i)).count() as u32,
        })
        .collect();
    let (to_main, from_flights) = channel();
    let (journal, journal_problem) = if options.dry_run {
        (Journal::none(), None)
    } else {
        Journal::create(&session.runs_dir())
    };
    let mut scheduler = Scheduler {
        options,
        graph,
        states,
        waiting_for,
        results: vec![None; n],
        keys: vec![None; n],
        forced,
        misses: BTreeMap::new(),
        to_resolve: VecDeque::new(),
        is_resolving: false,
        looked_again: BTreeSet::new(),
        ready: BinaryHeap::new(),
        urgency: Vec::new(),
        resources: Resources::of(&Machine::here(), options.jobs),
        granted: BTreeMap::new(),
        committing: BTreeMap::new(),
        lock: None,
        pins: BTreeMap::new(),
        to_main,
        landings: None,
        journal,
        summary: Summary::default(),
        first_pass: true,
        stopping: false,
        store_broken: false,
        broken_down: None,
        away: Away::new(shown),
        desk: None,
        to_publish: BTreeMap::new(),
        interruption_told: CancelLevel::None,
        gpus_told: false,
        session,
        sink,
    };
    if let Some(sharing) = &options.sharing {
        scheduler.open_desk(sharing);
    }
    let run_started = Event::RunStarted {
        run: scheduler.journal.run.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pipeline: scheduler.session.plan.name.clone(),
        at: jiff::Timestamp::now().to_string(),
        instances: scheduler
            .states
            .iter()
            .filter(|s| **s != State::Unwanted)
            .count() as u64,
        args: options.args.clone(),
    };
    scheduler.say(run_started);
    if !options.dry_run {
        // Where it cannot be entered (a read-only store) nothing can be collected either.
        let _ = scheduler
            .session
            .store
            .register_project(&scheduler.session.project.root);
    }
    for text in scheduler.session.plan.warnings.clone() {
        scheduler.say(Event::Warning {
            instance: None,
            text,
        });
    }
    if let Some(text) = journal_problem {
        scheduler.say(Event::Warning {
            instance: None,
            text,
        });
    }
    // Before the first look: from here on gc, in whatever process, keeps what this run finds and makes. Where no lease can be taken
    // out (a read-only store) nothing can be collected either.
    let store = scheduler.session.store.clone();
    if !options.dry_run {
        let _ = store.start_lease();
        store.begin_pass();
    }
    // The first pass in topological order resolves everything that is cached, without a queue.
    let cancel = options.cancel.clone();
    let stats = &scheduler.session.stats;
    stats.stop_when(move || cancel.level() >= CancelLevel::Now);
    for i in 0..n as u32 {
        if options.cancel.level() != CancelLevel::None {
            break;
        }
        let index = InstanceIndex(i);
        if scheduler.states[i as usize] == State::Waiting && scheduler.waiting_for[i as usize] == 0
        {
            scheduler.resolve(index);
        }
    }
    scheduler.first_pass = false;
    store.end_pass();
    if options.dry_run {
        scheduler.await_answers(&from_flights);
        scheduler.skip_rest_of_dry_run();
    } else {
        scheduler.execute(&from_flights)?;
    }
    scheduler.finish(started, whole)
}

impl Scheduler<'_> {
    pub(super) fn say(&mut self, event: Event) {
        // A journal that cannot be written must not stop the work.
        let _ = self.journal.note(&event);
        (self.sink)(&event);
    }

    pub(super) fn id(&self, index: InstanceIndex) -> String {
        self.session.plan.instance(index).id.to_string()
    }

    /// What the inputs of an instance have in common.
    fn lineage(&self, index: InstanceIndex) -> Lineage {
        let plan = &self.session.plan;
        lineage::of(plan, plan.instance(index), |i| self.keys[i.0 as usize])
    }

    /// All producers have results: is there one for this instance? And for those that it sets free, and so on: they wait in
    /// a queue, since a chain of results that are there can be as long as the plan, and the stack is not.
    pub(super) fn resolve(&mut self, index: InstanceIndex) {
        self.to_resolve.push_back(index);
        if self.is_resolving {
            return;
        }
        self.is_resolving = true;
        while let Some(next) = self.to_resolve.pop_front() {
            let i = next.0 as usize;
            // What was set free may have to wait again by now.
            if self.states[i] == State::Waiting && self.waiting_for[i] == 0 {
                self.resolve_one(next);
            }
        }
        self.is_resolving = false;
    }

    fn resolve_one(&mut self, index: InstanceIndex) {
        if self.awaits_directories(index) {
            return;
        }
        let i = index.0 as usize;
        let instance = self.session.plan.instance(index);
        if let Some(why) = self.session.why_unknown(instance).map(str::to_owned) {
            return self.plan_unknown(index, why);
        }
        let is_behind = self.options.dry_run && self.awaits_a_producer(index);
        let found = self
            .session
            .input_contents(instance, &self.results)
            .and_then(|contents| {
                let key = self.session.key(instance, &contents, &self.lineage(index));
                let found = if self.forced[i] {
                    Found::Miss(crate::session::Miss {
                        key,
                        reason: Reason::Forced,
                    })
                } else {
                    self.session.find(instance, key)?
                };
                Ok((contents, found))
            });
        match found {
            Ok((_, Found::Hit(hit))) => self.hit(index, hit),
            // Behind what would be executed a dry run knows of results only.
            Ok((_, Found::Miss(miss))) if is_behind => {
                self.keys[i] = Some(miss.key.digest);
                self.foresee(index, &miss.key.digest);
            }
            Ok((_, Found::Elsewhere(_))) if is_behind && self.away.is_given_up(index) => {}
            Err(_) if is_behind => {}
            Ok((_, Found::Elsewhere(hit))) if !self.away.is_given_up(index) => {
                self.hit_elsewhere(index, hit, None);
            }
            Ok((contents, Found::Elsewhere(hit))) => {
                let instance = self.session.plan.instance(index);
                let key = self.session.key(instance, &contents, &self.lineage(index));
                debug_assert_eq!(key.digest, hit.key);
                let fetches = self.desk.as_ref().is_some_and(Desk::fetches);
                let reason = Reason::ResultLost(match fetches {
                    true => "its bytes are nowhere any more".into(),
                    false => format!(
                        "its bytes are on the remote only, and {}",
                        self.options.why_no_remote
                    ),
                });
                self.missed(
                    index,
                    Miss {
                        key,
                        reason,
                        contents,
                    },
                );
            }
            Ok((contents, Found::Miss(miss))) => {
                self.keys[i] = Some(miss.key.digest);
                self.states[i] = State::Ready;
                let miss = Miss {
                    key: miss.key,
                    reason: miss.reason,
                    contents,
                };
                if self.asks(index) {
                    self.ask(index, miss);
                } else {
                    self.missed(index, miss);
                }
            }
            Err(e) if matches!(e.downcast_ref(), Some(StoreError::Cancelled)) => {
                self.states[i] = State::Skipped;
                self.summary.skipped += 1;
                self.summary.interrupted = true;
            }
            Err(e) => self.fail(index, format!("{e:#}"), None),
        }
    }

    /// A producer has no result yet.
    fn awaits_a_producer(&self, index: InstanceIndex) -> bool {
        let mut producers = self.graph.producers(index);
        producers.any(|p| self.states[p.0 as usize] != State::Done)
    }

    /// In a dry run: what follows is known, if an action gives again what repro.lock says it gave.
    pub(super) fn foresee(&mut self, index: InstanceIndex, key: &Digest) {
        let instance = self.session.plan.instance(index);
        if let Some(outputs) = self.session.foreseen(instance, key) {
            self.results[index.0 as usize] = Some(outputs);
            self.release_consumers(index);
        }
    }

    /// Its key is not known, so nobody can say whether it has a result. A run knows all keys.
    fn plan_unknown(&mut self, index: InstanceIndex, why: String) {
        if !self.options.dry_run {
            return self.fail(index, why, None);
        }
        self.states[index.0 as usize] = State::Ready;
        self.summary.executed += 1;
        let event = Event::Planned {
            instance: self.id(index),
            reason: Reason::Unasked(why),
        };
        self.say(event);
    }

    /// It has all it needs, and can be executed.
    pub(super) fn make_ready(&mut self, index: InstanceIndex, miss: Miss) {
        if self.urgency.is_empty() {
            self.urgency = self.graph.urgency(|i| {
                self.session
                    .index
                    .get(&self.session.plan.instance(i).id)
                    .map_or(1.0, |k| k.wall_s.max(0.001))
            });
        }
        let i = index.0 as usize;
        self.states[i] = State::Ready;
        self.misses.insert(index, miss);
        self.ready
            .push(((self.urgency[i] * 1000.0) as u64, Reverse(index.0)));
    }

    fn hit(&mut self, index: InstanceIndex, hit: Hit) {
        let i = index.0 as usize;
        let instance = self.session.plan.instance(index);
        let id = instance.id.clone();
        let mut restored = false;
        let mut trouble = None;
        if !self.options.dry_run && !self.session.shown(instance, &hit.outputs) {
            match self.session.show(instance, &hit.outputs) {
                Ok(()) => restored = true,
                // The object went bad between the look and the use: it has been moved aside, so the next look is a miss.
                Err(e)
                    if self.session.look_up(instance, &hit.key).hit.is_none()
                        && self.looked_again.insert(index) =>
                {
                    trouble = Some((true, format!("{e:#}")));
                }
                Err(e) => trouble = Some((false, format!("its outputs cannot be shown: {e:#}"))),
            }
        }
        match trouble {
            Some((true, text)) => {
                self.say(Event::Warning {
                    instance: Some(id.to_string()),
                    text,
                });
                self.forced[i] = false;
                self.resolve(index);
                return;
            }
            Some((false, text)) => {
                // Whoever reads artifacts/ next would read old bytes: the run must not look done.
                self.store_broken = true;
                self.say(Event::Warning {
                    instance: Some(id.to_string()),
                    text,
                });
            }
            None => {}
        }
        if hit.ambiguous {
            let text = "more than one result is recorded for the same inputs: it is not deterministic; one of them is used (see `repro why`)".to_owned();
            self.say(Event::Warning {
                instance: Some(id.to_string()),
                text,
            });
        }
        let changed = self
            .session
            .index
            .get(&id)
            .is_none_or(|known| known.key != hit.key);
        self.session.index.set(
            &id,
            Known {
                key: hit.key,
                outputs: hit.outputs.clone(),
                wall_s: hit.wall_s,
                elsewhere: false,
                believed_under: hit.believed_under,
            },
        );
        self.compare_with_remote(index, &hit.outputs);
        self.publish_cached(index, &hit);
        self.keys[i] = Some(hit.key);
        self.summary.cached += 1;
        self.summary.saved_s += f64::from(hit.wall_s);
        self.states[i] = State::Done;
        self.results[i] = Some(hit.outputs.into());
        let event = Event::Cached {
            instance: id.to_string(),
            key: hit.key.hex(),
            saved_s: f64::from(hit.wall_s),
            restored,
            changed,
            remote: None,
        };
        self.say(event);
        self.release_consumers(index);
    }

    /// Those who wait for an instance in this run.
    pub(super) fn waiting(&self, index: InstanceIndex) -> Vec<InstanceIndex> {
        match self.options.dry_run {
            true => self.graph.consumers(index).collect(),
            false => self.graph.waiting(index).collect(),
        }
    }

    /// A result is there: consumers whose last producer this was can be resolved.
    pub(super) fn release_consumers(&mut self, index: InstanceIndex) {
        for consumer in self.waiting(index) {
            let c = consumer.0 as usize;
            self.waiting_for[c] -= 1;
            // During the first pass a later position is resolved by the pass itself.
            if self.waiting_for[c] == 0 && self.states[c] == State::Waiting && !self.first_pass {
                self.resolve(consumer);
            }
        }
    }

    pub(super) fn fail(&mut self, index: InstanceIndex, message: String, hint: Option<String>) {
        self.states[index.0 as usize] = State::Failed;
        self.summary.failed += 1;
        let event = Event::Failed {
            instance: self.id(index),
            key: self.keys[index.0 as usize].map(|k| k.hex()),
            message,
            hint,
        };
        self.say(event);
        if self.options.on_failure == OnFailure::Stop {
            self.stopping = true;
        }
    }

    /// In a dry run the remote is asked for results, and for no bytes.
    fn await_answers(&mut self, from_flights: &Receiver<Message>) {
        loop {
            self.send_questions();
            if !self.away.is_asking() || self.options.cancel.level() != CancelLevel::None {
                return;
            }
            if let Ok(Message::Answered(index, key, answer)) =
                from_flights.recv_timeout(Duration::from_millis(100))
            {
                self.answered(index, &key, answer);
            }
        }
    }

    /// In a dry run nothing behind a miss can be known.
    fn skip_rest_of_dry_run(&mut self) {
        for i in 0..self.states.len() {
            if self.states[i] == State::Waiting {
                let index = InstanceIndex(i as u32);
                let upstream = self
                    .graph
                    .producers(index)
                    .find(|p| self.states[p.0 as usize] != State::Done);
                self.states[i] = State::Ready;
                self.summary.executed += 1;
                let reason = Reason::Upstream(upstream.map_or_else(String::new, |u| self.id(u)));
                let event = Event::Planned {
                    instance: self.id(index),
                    reason,
                };
                self.say(event);
            }
        }
    }

    fn execute(&mut self, from_flights: &Receiver<Message>) -> anyhow::Result<()> {
        if self.ready.is_empty() && self.away.is_quiet() {
            return self.await_published(from_flights);
        }
        // Better now than after an hour of work.
        self.session.store.check_writable()?;
        let lock_path = self.session.project.lock_file();
        self.lock = Some(LockFile::read(&lock_path)?);
        let (landings, from_main) = channel::<Landing>();
        self.landings = Some(landings);
        let (store, stats, link_mode) = (
            self.session.store.clone(),
            self.session.stats.clone(),
            self.session.link_mode,
        );
        let root = self.session.project.root.clone();
        let to_main = self.to_main.clone();
        let committer = watched::spawn("committer", move || {
            let done = |result| to_main.send(Message::Committed(result)).is_ok();
            committer::work(&store, &stats, &root, link_mode, from_main, &done);
        })?;
        self.session.store.start_lease()?;
        let mut keeper = std::process::Command::new(&self.options.executable);
        keeper.arg("keeper").env_clear();
        if let Err(e) = exec::keeper::start(keeper) {
            let text = format!(
                "no keeper: {e}; if this run is killed, processes its stages started may live on"
            );
            self.say(Event::Warning {
                instance: None,
                text,
            });
        }
        for key in self.keys.iter().flatten() {
            self.session.store.use_root(Root::Action(*key));
        }
        loop {
            if self.options.cancel.level() != CancelLevel::None {
                self.stopping = true;
                self.summary.interrupted = true;
                self.say_interrupted();
            }
            self.send_questions();
            if !self.stopping {
                self.start_what_fits();
            }
            let waits = !self.stopping && self.waits_for_another_run();
            let mut works = waits || !self.resources.idle() || !self.committing.is_empty();
            if let Some(what) = watched::trouble() {
                // Something that others wait for is gone: what it was to do will not be done.
                self.break_down(what);
                works = !self.resources.idle();
            }
            let is_over = self.broken_down.is_some() || self.has_published();
            if !works && (self.stopping || self.away.is_quiet()) && is_over {
                break;
            }
            match from_flights.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => {
                    self.handle(message);
                    while let Ok(message) = from_flights.try_recv() {
                        self.handle(message);
                    }
                }
                // Looks at the switch now and then, since a signal sends no message.
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => self.tell_transfer(),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        self.landings = None;
        // It has told of a panic of its own already.
        let _ = committer.join();
        match self.broken_down.take() {
            Some(what) => Err(BrokenDown(what).into()),
            None => Ok(()),
        }
    }

    /// Nothing is executed; what was here may be on its way to the remote.
    fn await_published(&mut self, from_flights: &Receiver<Message>) -> anyhow::Result<()> {
        while !self.has_published() {
            if let Some(what) = watched::trouble() {
                return Err(BrokenDown(what).into());
            }
            match from_flights.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => self.handle(message),
                Err(_) => self.tell_transfer(),
            }
        }
        self.summary.interrupted |= self.away.is_publishing();
        Ok(())
    }

    /// A thread of this program is gone: nothing new is begun, what runs is stopped, and the run ends with an error.
    fn break_down(&mut self, what: String) {
        if self.broken_down.is_none() {
            self.broken_down = Some(what);
            self.stopping = true;
            self.options.cancel.raise(CancelLevel::Now);
        }
    }

    /// Told like everything else, so that it does not fall into the bars.
    fn say_interrupted(&mut self) {
        let level = self.options.cancel.level();
        if self.interruption_told < level {
            self.interruption_told = level;
            let text = interruption(level).to_owned();
            self.say(Event::Warning {
                instance: None,
                text,
            });
        }
    }

    /// Most urgent first; an action that does not fit lets smaller ones pass.
    fn start_what_fits(&mut self) {
        let mut passed_over = Vec::new();
        while !self.resources.full() {
            let Some((urgency, Reverse(i))) = self.ready.pop() else {
                break;
            };
            let index = InstanceIndex(i);
            // It waits for something again, or is in the queue twice.
            if !self.misses.contains_key(&index) {
                continue;
            }
            let instance = self.session.plan.instance(index);
            // A kind that was given no number shares the free cores with whatever else is ready.
            let share = self.resources.cpus_free() / (self.ready.len() as u32 + 1);
            let cpus = match (&instance.work, instance.policy.cpus) {
                (_, Some(cpus)) => cpus,
                (Work::Kind { .. }, None) => share.max(1),
                (Work::Command(_), None) => 1,
            };
            let policy =
                flight::policy_with(&instance.policy, cpus.clamp(1, self.resources.cpus_total()));
            if let Some(taken) = self.resources.take(&policy, instance.policy.cpus) {
                self.granted.insert(index, taken);
                if let Err(e) = self.start(index) {
                    self.landed(index, Landed::not_started(&e));
                }
            } else {
                passed_over.push((urgency, Reverse(i)));
            }
        }
        self.ready.extend(passed_over);
    }

    /// Nothing of this run has what the next stage needs, so another one has it. The loop looks again soon.
    fn waits_for_another_run(&mut self) -> bool {
        if !self.resources.idle() || self.ready.is_empty() {
            return false;
        }
        if self.resources.misses_gpus() && !self.gpus_told {
            self.gpus_told = true;
            let text = GPUS_ARE_TAKEN.to_owned();
            self.say(Event::Warning {
                instance: None,
                text,
            });
        }
        true
    }

    fn start(&mut self, index: InstanceIndex) -> anyhow::Result<()> {
        let Some(miss) = self.misses.remove(&index) else {
            return Ok(());
        };
        let session = &*self.session;
        let instance = session.plan.instance(index);
        let work_dir = session.store.work_dir()?;
        let terms = Terms {
            policy: self.granted[&index].policy.clone(),
            grant: self.granted[&index].grant.clone(),
            dir: work_dir.join(flight::dir_name(&miss.key.digest, index.0)),
            scratch_dir: session
                .project
                .state()
                .join("scratch")
                .join(miss.key.digest.short()),
            pins: self
                .lock
                .as_ref()
                .and_then(|l| l.blocks.get(&*instance.id))
                .map(|b| b.pins.clone())
                .unwrap_or_default(),
            offline: self.options.offline,
            executable: self.options.executable.clone(),
            afterwards: exec::Afterwards::Discarded,
            lineage: self.lineage(index),
        };
        let Prepared {
            request,
            views,
            watched,
            trees,
        } = flight::prepare(session, instance, &miss.contents, terms);
        let flight = Flight {
            request,
            watched,
            trees,
            views,
            states: flight::state_keys(&session.plan.salt, instance, &miss.contents),
            store: session.store.clone(),
            believer: session.believer.clone(),
            stats: session.stats.clone(),
            force: self.forced[index.0 as usize],
            cancel: self.options.cancel.clone(),
            log_path: session.log_path(&miss.key.digest),
            failed_dir: FailedDir::of(&instance.id, &session.project.state(), session.store.root()),
            provenance: serde_json::json!({
                "run": self.journal.run,
                "at": jiff::Timestamp::now().to_string(),
                "host": host_name(),
                "version": env!("CARGO_PKG_VERSION"),
                "instance": &*instance.id,
                "threads": self.granted[&index].policy.cpus,
            }),
            key: miss.key.clone(),
        };
        self.states[index.0 as usize] = State::Running;
        let event = Event::Started {
            instance: instance.id.to_string(),
            key: miss.key.digest.hex(),
            reason: miss.reason,
        };
        self.say(event);
        let to_main = self.to_main.clone();
        watched::spawn(&format!("flight-{}", index.0), move || {
            let mut say = |note| drop(to_main.send(Message::Note(index, note)));
            // Whatever ends a flight, the run hears of it; else it would wait for ever.
            let (landed, leftovers) = match watched::caught(|| flight.fly(&mut say)) {
                Ok((landed, leftovers)) => (landed, Some(leftovers)),
                Err(what) => (Landed::broken_down(&what), None),
            };
            // The main loop outlives every flight it waits for.
            let _ = to_main.send(Message::Landed(index, landed));
            // What cannot be removed now is swept with the session.
            let _ = watched::caught(|| drop(leftovers));
        })?;
        Ok(())
    }
}
