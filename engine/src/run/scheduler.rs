//! The scheduler: one loop that does what follows from the states on the [`Board`]. What an
//! instance is looked at for is in [`super::resolving`], what comes back in [`super::arrivals`] and
//! [`super::elsewhere`], how a run ends in [`super::ending`].
//!
//! All changes happen on the calling thread; the executor, the thread that shows and the remote
//! talk to it through one channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::board::{Board, Launch};
use super::message::Message;
use super::placing::Placing;
use super::ready::Sweep;
use super::resources::Resources;
use super::sharing::{self, Away};
use super::showing::{self, ToShow};
use super::state::Phase;
use super::{Reuse, RunOptions};
use crate::demand::Demand;
use crate::exec::CancelLevel;
use crate::executor::{Capacity, Executor, Local, Order, Outcome, Purpose, Site, Tell, Terms};
use crate::graph::Graph;
use crate::plan::InstanceIndex;
use crate::record::event::{Event, Summary};
use crate::record::journal::Journal;
use crate::record::lockfile::{self, LockFile};
use crate::session::Session;
use crate::store::Root;
use crate::watched;

/// Instances of a plan of which many small pieces of memory are held.
const LARGE: usize = 10_000;

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
    "BUG: {0}; the run was ended. What is recorded is whole, and the next run continues from there. Please report it"
)]
pub struct BrokenDown(String);

pub(super) struct Scheduler<'a> {
    pub(super) session: &'a mut Session,
    pub(super) options: &'a RunOptions,
    pub(super) board: Board,
    pub(super) demand: Demand,
    pub(super) executor: Box<dyn Executor + 'a>,
    pub(super) capacity: Capacity,
    /// Executed whatever is recorded.
    pub(super) forced: Vec<bool>,
    /// Looked at again, because a result went bad between the look and the use.
    pub(super) looked_again: BTreeSet<InstanceIndex>,
    /// How often an execution of it was lost.
    pub(super) lost: BTreeMap<InstanceIndex, u32>,
    pub(super) urgency: Vec<f32>,
    pub(super) lock: Option<lockfile::Seen>,
    pub(super) pins: BTreeMap<InstanceIndex, BTreeMap<String, String>>,
    to_main: Sender<Message>,
    pub(super) to_show: Option<Sender<ToShow>>,
    journal: Journal,
    pub(super) summary: Summary,
    pub(super) stopping: bool,
    pub(super) store_broken: bool,
    broken_down: Option<String>,
    /// What of the results is on the remote, and what is under way from and to it.
    pub(super) away: Away,
    /// What of signals was told.
    interruption_told: CancelLevel,
    /// Where instances compute.
    pub(super) placing: Placing,
    sink: &'a mut dyn FnMut(&Event),
}

/// What a run does that is interrupted, in words.
pub fn interruption(level: CancelLevel) -> &'static str {
    match level {
        CancelLevel::None => "not interrupted",
        CancelLevel::Graceful => {
            "interrupted: waiting for running stages to finish (press Ctrl-C again to stop them now)"
        }
        CancelLevel::Now => {
            "stopping: running stages have their `grace:` to end (Ctrl-C kills them)"
        }
        CancelLevel::Kill => "killing running stages",
    }
}

/// Runs the plan of `session` on this machine; every event goes to `sink`.
///
/// # Errors
/// Usage errors (an unknown target) and failures of the store; stages that fail are in the summary.
pub fn run(
    session: &mut Session,
    options: &RunOptions,
    sink: &mut dyn FnMut(&Event),
) -> anyhow::Result<RunReport> {
    let site = Site::metered(session, &options.executable)?;
    let here =
        |tell| -> Box<dyn Executor> { Box::new(Local::new(site, options.cancel.clone(), tell)) };
    run_on(session, options, sink, here)
}

/// Runs the plan of `session` on the executor that `place` makes.
///
/// # Errors
/// As [`run`].
pub fn run_on<'a>(
    session: &'a mut Session,
    options: &'a RunOptions,
    sink: &'a mut dyn FnMut(&Event),
    place: impl FnOnce(Tell) -> Box<dyn Executor + 'a>,
) -> anyhow::Result<RunReport> {
    let started = Instant::now();
    let demand = Demand::of(&session.plan, &options.targets)?;
    let whole = options.targets.is_empty();
    let graph = Graph::new(&session.plan);
    let targets = demand.targets(&session.plan, &graph);
    let wanted = graph.wanted(&targets);
    // Targets that are asked for later are shown, and executed anew, like those of the beginning.
    let most = demand.at_most(&session.plan).targets(&session.plan, &graph);
    let shown = sharing::shown(&graph, session.plan.instances.len(), &most, whole);
    super::secrets::check(session, &targets, &wanted, options)?;
    let n = session.plan.instances.len();
    let mut forced = vec![false; n];
    if options.reuse == Reuse::ForceTargets {
        for t in &most {
            forced[t.0 as usize] = true;
        }
    }
    let (to_main, from_others) = channel();
    let heard = to_main.clone();
    // The main loop outlives every order it waits for.
    let tell = move |order, heard_of| drop(heard.send(Message::Heard(order, heard_of)));
    let executor = place(Arc::new(tell));
    let (journal, journal_problem) = if options.dry_run {
        (Journal::none(), None)
    } else {
        Journal::create(&session.runs_dir())
    };
    // In a dry run nothing is executed, and whom an instance only comes after tells nothing of its
    // result.
    let graph = match options.dry_run {
        true => graph.only_needs(),
        false => graph,
    };
    let capacity = executor.capacity();
    let resources = Resources::of(&capacity, options.jobs);
    let mut scheduler = Scheduler {
        options,
        board: Board::new(graph, &wanted, resources),
        demand,
        executor,
        capacity,
        forced,
        looked_again: BTreeSet::new(),
        lost: BTreeMap::new(),
        urgency: Vec::new(),
        lock: None,
        pins: BTreeMap::new(),
        to_show: None,
        journal,
        summary: Summary::default(),
        stopping: false,
        store_broken: false,
        broken_down: None,
        away: Away::new(shown, options.sharing.as_ref(), &session.store, &to_main),
        to_main,
        interruption_told: CancelLevel::None,
        placing: Placing::of(&session.project.state()),
        session,
        sink,
    };
    if !options.dry_run {
        let state = scheduler.session.project.state();
        scheduler.away.remember_published(&state);
    }
    let run_started = Event::RunStarted {
        run: scheduler.journal.run.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pipeline: scheduler.session.plan.name.clone(),
        file: scheduler.session.project.file_name(),
        written_in: scheduler.session.remember_pipeline(),
        at: jiff::Timestamp::now().to_string(),
        instances: scheduler.board.count(&[Phase::Waiting]) as u64,
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
    let warnings = scheduler.session.plan.warnings.clone();
    for text in warnings.into_iter().chain(journal_problem) {
        scheduler.warn(None, text);
    }
    // Before the first look: from here on gc, in whatever process, keeps what this run finds and
    // makes. Where no lease can be taken out (a read-only store) nothing can be collected either.
    let store = scheduler.session.store.clone();
    if !options.dry_run {
        let _ = store.start_lease();
        store.begin_pass();
    }
    let cancel = options.cancel.clone();
    let stats = &scheduler.session.stats;
    stats.stop_when(move || cancel.level() >= CancelLevel::Now);
    // The first pass finds everything that is cached, in the order of the plan.
    while options.cancel.level() == CancelLevel::None
        && let Some(index) = scheduler.board.next_free()
    {
        scheduler.resolve(index);
    }
    store.end_pass();
    if options.dry_run {
        scheduler.await_answers(&from_others);
        scheduler.skip_rest_of_dry_run();
    } else {
        scheduler.execute(&from_others)?;
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

    pub(super) fn warn(&mut self, about: Option<InstanceIndex>, text: String) {
        let instance = about.map(|index| self.id(index));
        self.say(Event::Warning { instance, text });
    }

    /// In a dry run the remote is asked for results, and for no bytes.
    fn await_answers(&mut self, from_others: &Receiver<Message>) {
        loop {
            self.send_questions();
            let asked = self.board.count(&[Phase::Asking]);
            if asked == 0 || self.options.cancel.level() != CancelLevel::None {
                return;
            }
            if let Ok(Message::Answered(index, key, answer)) =
                from_others.recv_timeout(Duration::from_millis(100))
            {
                self.answered(index, &key, answer);
                self.settle();
            }
        }
    }

    fn execute(&mut self, from_others: &Receiver<Message>) -> anyhow::Result<()> {
        if self.board.count(&[Phase::Ready, Phase::Asking]) == 0 && self.away.is_quiet() {
            return self.await_published(from_others);
        }
        // Better now than after an hour of work.
        self.session.store.check_writable()?;
        watched::start_pool().context("the threads that hash cannot be started")?;
        let lock_path = self.session.project.lock_file();
        self.lock = Some(LockFile::look(&lock_path)?);
        let (to_show, from_main) = channel();
        self.to_show = Some(to_show);
        let (store, stats, link_mode) = (
            self.session.store.clone(),
            self.session.stats.clone(),
            self.session.link_mode,
        );
        let root = self.session.project.root.clone();
        let to_main = self.to_main.clone();
        let shower = watched::spawn("shower", move || {
            let done = |index, error| to_main.send(Message::Shown(index, error)).is_ok();
            showing::work(&store, &stats, &root, link_mode, &from_main, &done);
        })?;
        self.session.store.start_lease()?;
        for text in self.executor.open()? {
            self.warn(None, text);
        }
        if self.session.plan.instances.len() >= LARGE {
            // From now on memory is taken and given back in small pieces for hours, and one that
            // stays keeps 2 MiB. What stages are forked from has begun, and may use huge pages.
            let _ = rustix::thread::disable_transparent_huge_pages(true);
        }
        for key in self.board.keys() {
            self.session.store.use_root(Root::Action(key));
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
            if let Some(what) = watched::trouble() {
                self.break_down(what);
            }
            if self.is_over() {
                break;
            }
            match from_others.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => {
                    self.handle(message);
                    while let Ok(message) = from_others.try_recv() {
                        self.handle(message);
                    }
                }
                // Looks at the switch now and then, since a signal sends no message.
                Err(RecvTimeoutError::Timeout) => self.tell_news(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.to_show = None;
        // It has told of a panic of its own already.
        let _ = shower.join();
        match self.broken_down.take() {
            Some(what) => Err(BrokenDown(what).into()),
            None => Ok(()),
        }
    }

    /// Something is on its way to the remote, and the user waits for it still.
    fn is_publishing(&self) -> bool {
        self.away.is_publishing() && self.options.cancel.level() == CancelLevel::None
    }

    /// Nothing is executed; what was here may be on its way to the remote.
    fn await_published(&mut self, from_others: &Receiver<Message>) -> anyhow::Result<()> {
        while self.is_publishing() {
            if let Some(what) = watched::trouble() {
                return Err(BrokenDown(what).into());
            }
            match from_others.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => self.handle(message),
                Err(_) => self.tell_news(),
            }
        }
        self.summary.interrupted |= self.away.is_publishing();
        Ok(())
    }

    /// Nothing is under way any more that the run would wait for.
    fn is_over(&self) -> bool {
        let runs = self.board.count(&[Phase::Running]);
        if self.broken_down.is_some() {
            // Something that others wait for is gone: what it was to do will not be done.
            return runs == 0;
        }
        let comes = self
            .board
            .count(&[Phase::Opening, Phase::Asking, Phase::Gathering])
            > 0
            || !self.away.is_quiet();
        let publishes = self.is_publishing();
        let works = runs + self.board.count(&[Phase::Committing]) > 0;
        // Ready, though nothing of this run is in the way: another run is, and the loop looks again
        // soon.
        let starts = self.board.count(&[Phase::Ready]) > 0;
        !works && !publishes && (self.stopping || !(comes || starts))
    }

    /// A thread of this program is gone: nothing new is begun, what runs is stopped, and the run
    /// ends with an error.
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
            if level >= CancelLevel::Now && self.interruption_told < CancelLevel::Now {
                for order in self.board.running_orders() {
                    self.executor.stop(order);
                }
            }
            self.interruption_told = level;
            let told = self.executor.interruption(level);
            self.warn(None, told.unwrap_or_else(|| interruption(level).to_owned()));
        }
    }

    fn start_what_fits(&mut self) {
        let mut sweep = Sweep::default();
        while let Some(start) = self.start_next(&mut sweep) {
            let (index, order) = (start.index, start.order);
            if let Err(e) = self.start(start) {
                self.executor.discard(order);
                self.ended(index, order, Outcome::not_begun(&e));
            }
        }
        self.tell_of_taken_gpus();
    }

    fn start(&mut self, start: Launch) -> anyhow::Result<()> {
        let (device, policy, placed) = self.begin_placed(&start);
        let Launch {
            index, order, miss, ..
        } = start;
        let instance = self.session.plan.instance(index);
        let terms = Terms {
            id: order,
            run: self.journal.run.clone(),
            purpose: match self.forced[index.0 as usize] {
                true => Purpose::RecordAnew,
                false => Purpose::Record,
            },
            pins: self
                .lock
                .as_ref()
                .and_then(|seen| seen.pins.get(&*instance.id))
                .cloned()
                .unwrap_or_default(),
            policy,
            threads: start.threads,
            offline: self.options.offline,
            device,
        };
        let event = Event::Started {
            instance: instance.id.to_string(),
            key: miss.key.hex(),
            reason: miss.reason.clone(),
            placed,
        };
        let lineage = self.lineage(index);
        let key = self.session.key(instance, &miss.contents, &lineage);
        anyhow::ensure!(
            key.digest == miss.key,
            "BUG: its key is another one than when it was looked for"
        );
        let order = Order::of(self.session, instance, key, &miss.contents, &lineage, terms);
        self.say(event);
        self.executor.begin(order)
    }
}
