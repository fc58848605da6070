//! What runs on the cluster, and what follows from what is heard of it. One thread decides: it
//! collects orders, submits them in bundles, reads reports, asks the batch system now and then, and
//! does again what is lost. A job that still lives is never submitted again.

mod asking;
mod listening;
mod submitting;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use repro_engine::digest::Digest;
use repro_engine::exec::{Cancel, CancelLevel, Note};
use repro_engine::executor::{Heard, Made, Order, OrderId, Outcome, Tell};
use repro_engine::remote::config::{Remote, Remotes};
use repro_engine::remote::layout::Scope;
use repro_engine::remote::{Backend, Location, Name};
use repro_engine::store::{ActionLock, FileSystem, Reach, Record, Store};
use repro_engine::trust::Trust;
use repro_protocol::job;

use crate::config::Settings;
use crate::desk::{Desk, Reply, Road, Task};
use crate::journal::{Campaign, Journal, Wave};
use crate::outlook::{Learned, Outlook};
use crate::parts::{Reader, Stopped};
use crate::system::{End, State, System};
use crate::ticket::{Asked, names};

/// How long the thread sleeps where nothing is said to it.
const TICK: Duration = Duration::from_millis(100);
/// A result that was reported and cannot be seen is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Jobs that were cancelled have so long to end.
const ENDING: Duration = Duration::from_secs(15);

/// Where a run is, and what it has.
pub struct Place {
    /// The executor's name.
    pub name: String,
    /// What is said of it.
    pub settings: Settings,
    /// The batch system.
    pub system: System,
    /// The project.
    pub root: PathBuf,
    /// The directory of its state.
    pub state: PathBuf,
    /// The pipeline file, from the root.
    pub pipeline: String,
    /// How it was asked for.
    pub asked: Asked,
    /// The store here.
    pub store: Arc<Store>,
    /// The plan.
    pub outlook: Outlook,
    /// Results that are known.
    pub learned: Arc<Mutex<Learned>>,
    /// Stages may not use the network.
    pub offline: bool,
    /// Raised by signals.
    pub cancel: Arc<Cancel>,
    /// How many jobs go on when the run has ended.
    pub left: Arc<AtomicUsize>,
    /// This program, as nodes find it.
    pub program: PathBuf,
    /// Something was to be executed.
    pub is_used: Arc<AtomicBool>,
}

/// What is said to the thread.
pub enum Call {
    /// Execute this.
    Begin(Box<Order>),
    /// Nobody waits for it any more.
    Stop(OrderId),
    /// Keep its result.
    Record(OrderId, Box<Record>),
    /// Its result is of no use.
    Discard(OrderId),
    /// The desk answers.
    Desk(Reply),
    /// The run has ended.
    End,
}

/// An order that has no end yet.
struct Open {
    order: Box<Order>,
    index: u32,
    at: At,
    /// What its element told of it.
    made: Option<Box<Made>>,
    /// Its result was asked for since.
    asked: Option<Instant>,
    /// When it is asked for again.
    asks_again: Instant,
    /// What is known of its last job, should there be no result.
    end: Option<(End, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// To be submitted.
    Pending,
    /// In an element that lives, as far as is known.
    Element(usize, u32),
    /// Its result is looked for.
    Desk,
}

/// An element of a wave.
struct Element {
    items: Vec<(u32, Option<Digest>)>,
    /// Items that it told the end of.
    answered: HashSet<u32>,
    /// It said that it is done.
    over: Option<Over>,
    /// Answers of the batch system in a row that did not name it.
    missed: u32,
    /// It is no more, and since when that is known.
    closing: Option<(Instant, End)>,
    is_closed: bool,
    word: String,
    node: String,
}

/// The last that an element said.
#[derive(Default)]
struct Over {
    cut: Vec<(Arc<str>, bool)>,
    trouble: Option<String>,
    stopped: Option<Stopped>,
}

struct Sent {
    wave: Wave,
    elements: Vec<Element>,
    is_dirty: bool,
}

/// How often things went wrong with an instance.
#[derive(Default, Clone)]
struct Counts {
    of: BTreeMap<End, u32>,
    /// Ended by the clock without a new state.
    overtime: u32,
    more_memory: u32,
    more_time: u32,
}

/// See the module.
pub struct Manager {
    place: Place,
    tell: Tell,
    journal: Journal,
    campaign: Campaign,
    key_pem: String,
    remote: Remote,
    road: Road,
    backend: Box<dyn Backend>,
    desk: Sender<Task>,
    reader: Reader,
    _alone: ActionLock,
    orders: HashMap<OrderId, Open>,
    by_index: HashMap<u32, OrderId>,
    sent: Vec<Sent>,
    /// Elements that cover an instance.
    covered: HashMap<u32, (usize, u32)>,
    /// What was told of instances that nobody has asked for yet.
    early: HashMap<u32, (Digest, Outcome)>,
    counts: HashMap<u32, Counts>,
    first_pending: Option<Instant>,
    last_begun: Instant,
    busy_until: Option<Instant>,
    busy_for: Duration,
    /// The last thing that was told of the system being busy.
    told_busy: String,
    array_max: u32,
    waves: u32,
    has_history: bool,
    look_at: Instant,
    looked: Option<Instant>,
    ask_at: Instant,
    ask_every: Duration,
    heard_at: Instant,
    told_silence: bool,
    late: Duration,
    live_logs: HashMap<u32, fs::File>,
}

impl Manager {
    /// Gets ready, and takes up what an earlier run left. Also what people should know.
    ///
    /// # Errors
    /// The remote or the journal cannot be used; another run waits for the same jobs, and was not
    /// waited for.
    pub fn open(
        place: Place,
        tell: Tell,
        calls: Sender<Call>,
    ) -> anyhow::Result<(Manager, Vec<String>)> {
        place.is_used.store(true, Ordering::SeqCst);
        let alone = alone(&place)?;
        let journal = Journal::of(&place.state, &place.name);
        let remotes = Remotes::read(&place.root)?;
        let before = journal.campaign()?;
        // What is under way is where it was sent.
        let wanted = before
            .as_ref()
            .map(|c| c.remote.clone())
            .or_else(|| place.settings.remote.clone());
        let (remote_name, remote) = remotes.get(wanted.as_deref()).with_context(|| {
            format!(
                "`{}` needs a remote, through which bytes travel",
                place.name
            )
        })?;
        let (location, settings) = remote.resolve(&place.root)?;
        let mut complete = Remote::at(&location, &settings);
        complete.found = remote.found;
        let is_new = before.is_none();
        let campaign = match before {
            Some(campaign) => campaign,
            None => journal.begin(remote_name)?,
        };
        let (key_pem, public) = journal.key()?;
        let scope: Scope = Scope::Of(campaign.scope.parse()?);
        let road = || Road {
            remote: complete.clone(),
            name: remote_name.to_owned(),
            scope: scope.clone(),
        };
        let backend = road().backend()?;
        let reply = move |reply| drop(calls.send(Call::Desk(reply)));
        let desk = Desk::start(
            road(),
            Trust::of_key(&public),
            place.store.clone(),
            tell.clone(),
            reply,
        )?;
        let late = match &location {
            Location::Directory(dir) if FileSystem::of(dir).reach == Reach::Local => {
                Duration::from_secs(2)
            }
            _ => place.settings.poll.late.0,
        };
        let now = Instant::now();
        let mut manager = Manager {
            reader: Reader::of(&campaign.scope),
            array_max: place.settings.array,
            ask_every: place.settings.poll.first.0,
            remote: complete.clone(),
            road: road(),
            late: late.min(place.settings.poll.late.0),
            place,
            tell,
            journal,
            campaign,
            key_pem,
            backend,
            desk,
            _alone: alone,
            orders: HashMap::new(),
            by_index: HashMap::new(),
            sent: Vec::new(),
            covered: HashMap::new(),
            early: HashMap::new(),
            counts: HashMap::new(),
            first_pending: None,
            last_begun: now,
            busy_until: None,
            busy_for: Duration::ZERO,
            told_busy: String::new(),
            waves: 0,
            has_history: !is_new,
            look_at: now,
            looked: None,
            ask_at: now,
            heard_at: now,
            told_silence: false,
            live_logs: HashMap::new(),
        };
        let mut told = Vec::new();
        for wave in manager.journal.waves()? {
            manager.take_up(wave);
        }
        let jobs: usize = manager
            .sent
            .iter()
            .map(|s| s.elements.iter().filter(|e| !e.is_closed).count())
            .sum();
        if jobs > 0 {
            told.push(format!(
                "{jobs} jobs of an earlier run may still be on `{}`; their results are taken",
                manager.place.name
            ));
        }
        Ok((manager, told))
    }

    /// A submission of an earlier run.
    fn take_up(&mut self, wave: Wave) {
        let number = wave
            .name
            .trim_start_matches('w')
            .parse::<u32>()
            .unwrap_or(0);
        self.waves = self.waves.max(number + 1);
        let at = self.sent.len();
        let mut elements = Vec::with_capacity(wave.elements.len());
        for (number, items) in (0..).zip(&wave.elements) {
            let is_closed = wave.over.contains(&number);
            let items = items
                .iter()
                .filter_map(|(id, key)| Some((*self.place.outlook.by_id.get(id)?, *key)));
            let element = Element::of(items.collect(), is_closed);
            if !is_closed {
                self.covered.extend(
                    element
                        .items
                        .iter()
                        .map(|(index, _)| (*index, (at, number))),
                );
            }
            elements.push(element);
        }
        self.sent.push(Sent {
            wave,
            elements,
            is_dirty: false,
        });
    }

    /// Works until the run has ended.
    pub fn work(mut self, calls: &Receiver<Call>) {
        loop {
            let mut has_ended = false;
            match calls.recv_timeout(TICK) {
                Ok(call) => {
                    has_ended |= self.called(call);
                    while let Ok(call) = calls.try_recv() {
                        has_ended |= self.called(call);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => has_ended = true,
            }
            if self.journal.is_cancelled() {
                self.place.cancel.raise(CancelLevel::Now);
            }
            if self.place.cancel.level() != CancelLevel::None {
                self.leave_all();
            }
            if has_ended {
                return self.end();
            }
            let now = Instant::now();
            self.look(now);
            self.ask(now);
            self.close(now);
            self.submit_due(now);
            self.ask_desk_again(now);
            self.note_changes();
        }
    }

    fn called(&mut self, call: Call) -> bool {
        match call {
            Call::Begin(order) => self.begin(order),
            Call::Stop(order) => {
                if let Some(open) = self.orders.remove(&order) {
                    self.by_index.remove(&open.index);
                    tell_end(&self.tell, order, Outcome::Cancelled);
                }
            }
            Call::Record(order, record) => drop(self.desk.send(Task::Keep(order, record))),
            Call::Discard(order) => {
                if let Some(open) = self.orders.remove(&order) {
                    self.by_index.remove(&open.index);
                }
            }
            Call::Desk(reply) => self.replied(reply),
            Call::End => return true,
        }
        false
    }

    fn begin(&mut self, order: Box<Order>) {
        let Some(index) = self.place.outlook.by_id.get(&order.instance).copied() else {
            return tell_end(
                &self.tell,
                order.id,
                Outcome::failed("BUG: it is not in the plan".to_owned()),
            );
        };
        let now = Instant::now();
        self.last_begun = now;
        self.first_pending.get_or_insert(now);
        self.by_index.insert(index, order.id);
        let open = Open {
            index,
            at: At::Pending,
            made: None,
            asked: None,
            asks_again: now,
            end: None,
            order,
        };
        self.orders.insert(open.order.id, open);
    }

    fn say(&self, order: OrderId, text: String) {
        (self.tell)(
            order,
            Heard::Note(Note::Event(job::Event::Warning { text })),
        );
    }

    fn show(&self, order: OrderId, text: String) {
        let progress = job::Event::Progress {
            done: 0,
            total: None,
            unit: String::new(),
            text,
        };
        (self.tell)(order, Heard::Note(Note::Event(progress)));
    }

    /// Ends an order.
    fn answer(&mut self, id: OrderId, outcome: Outcome) {
        if let Some(open) = self.orders.remove(&id) {
            self.by_index.remove(&open.index);
            self.live_logs.remove(&open.index);
            tell_end(&self.tell, id, outcome);
        }
    }

    /// Nobody waits any more; what is on the cluster goes on.
    fn leave_all(&mut self) {
        let all: Vec<OrderId> = self.orders.keys().copied().collect();
        for id in all {
            self.answer(id, Outcome::Cancelled);
        }
    }

    fn note_changes(&mut self) {
        for sent in self.sent.iter_mut().filter(|s| s.is_dirty) {
            sent.is_dirty = false;
            match sent.elements.iter().all(|e| e.is_closed) {
                true => self.journal.forget(&sent.wave.name),
                // It only spares the next run a question.
                false => drop(self.journal.note(&sent.wave)),
            }
        }
    }

    /// The run has ended.
    fn end(mut self) {
        self.note_changes();
        let is_cancelled = self.journal.is_cancelled();
        let is_left = self.place.cancel.level() != CancelLevel::None && !is_cancelled;
        let lives = |s: &&Sent| s.elements.iter().any(|e| !e.is_closed);
        if is_left {
            // Its results are there for the next run, also those that are made already.
            let living = self
                .sent
                .iter()
                .map(|s| s.elements.iter().filter(|e| !e.is_closed).count());
            self.place.left.store(living.sum(), Ordering::SeqCst);
            return;
        }
        // What nobody waits for is ended.
        let mut is_all = true;
        for sent in self.sent.iter().filter(lives) {
            let job = sent.wave.job.clone().unwrap_or_default();
            is_all &= self.place.system.cancel(&job, &sent.wave.job_name).is_ok();
        }
        if is_all {
            self.await_end();
            clear(&*self.backend, &self.campaign.scope);
            self.journal.end();
        }
    }

    /// Waits until what was cancelled is gone: it could write to the remote as long as it lives.
    fn await_end(&self) {
        let lives = |s: &&Sent| s.elements.iter().any(|e| !e.is_closed);
        let (names, jobs): (Vec<String>, Vec<String>) = self
            .sent
            .iter()
            .filter(lives)
            .map(|s| {
                (
                    s.wave.job_name.clone(),
                    s.wave.job.clone().unwrap_or_default(),
                )
            })
            .unzip();
        let until = Instant::now() + ENDING;
        while !names.is_empty() && Instant::now() < until {
            let told = self.place.system.ask(&names, &jobs);
            if told.is_ok_and(|told| told.iter().all(|t| matches!(t.state, State::Ended(_)))) {
                return;
            }
            std::thread::sleep(self.place.settings.poll.first.0.min(Duration::from_secs(1)));
        }
    }
}

impl Element {
    fn of(items: Vec<(u32, Option<Digest>)>, is_closed: bool) -> Element {
        Element {
            items,
            answered: HashSet::new(),
            over: None,
            missed: 0,
            closing: None,
            is_closed,
            word: String::new(),
            node: String::new(),
        }
    }
}

/// The name of the lock of whoever waits for the jobs of a project on an executor.
pub fn lock_key(root: &Path, name: &str) -> Digest {
    Digest::of(format!("cluster {} {name}", root.display()).as_bytes())
}

/// One run at a time waits for the jobs of a project.
fn alone(place: &Place) -> anyhow::Result<ActionLock> {
    let key = lock_key(&place.root, &place.name);
    let mut told = false;
    let taken = place.store.lock_action(&key, |other| {
        if !std::mem::replace(&mut told, true) {
            let pid = other.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let host = other.host.map_or_else(String::new, |host| format!(" on {host}"));
            log::warn!("another run{pid}{host} waits for jobs of this project; this one goes on when it has ended");
        }
        match place.cancel.level() {
            CancelLevel::None => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    Ok(taken?)
}

/// Removes what a campaign has on the remote. What stays is in nobody's way.
pub fn clear(remote: &dyn Backend, scope: &str) {
    for prefix in [names::campaign(scope), names::results(scope)] {
        let mut found: Vec<Name> = Vec::new();
        let _ = remote.list(&prefix, &mut |entry| {
            found.push(entry.name);
            ControlFlow::Continue(())
        });
        for name in found {
            let _ = remote.delete(&name);
        }
    }
}

/// Tells the end of an order.
fn tell_end(tell: &Tell, order: OrderId, outcome: Outcome) {
    tell(order, Heard::Outcome(Box::new(outcome)));
}
