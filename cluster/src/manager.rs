//! What runs on the cluster, and what follows from what is heard of it. One thread decides: it
//! collects orders, submits them in bundles, reads reports, asks the batch system now and then, and
//! does again what is lost. A job that still lives is never submitted again.

mod asking;
mod detaching;
mod listening;
mod nodes;
mod opening;
mod retrying;
mod submitting;
mod telling;

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use repro_engine::digest::Digest;
use repro_engine::exec::{Cancel, CancelLevel, Note};
use repro_engine::executor::{Heard, Made, Order, OrderId, Outcome, Tell};
use repro_engine::remote::config::Remote;
use repro_engine::remote::{Backend, Name};
use repro_engine::store::{ActionLock, Record, Store};
use repro_protocol::job;

pub use self::opening::lock_key;

use self::listening::Live;
use self::nodes::Nodes;
use self::retrying::Counts;
use crate::config::Settings;
use crate::desk::{Reply, Road, Task};
use crate::inquiry::{News, Question};
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
    pub system: Arc<System>,
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
    /// What the batch system calls the job that takes their results.
    pub closing: Arc<Mutex<Option<String>>>,
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
    /// The batch system answers.
    News(News),
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
    answered: BTreeSet<u32>,
    /// It said that it is done.
    over: Option<Over>,
    /// Answers of the batch system in a row that did not name it.
    missed: u32,
    /// It is no more, and since when that is known.
    closing: Option<(Instant, End)>,
    is_closed: bool,
    word: String,
    /// The machine, as it calls itself.
    node: String,
    /// The machine, as the batch system calls it.
    host: String,
    /// It told that it has begun.
    has_begun: bool,
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

impl Sent {
    /// It may be on the cluster.
    fn lives(&self) -> bool {
        self.elements.iter().any(|e| !e.is_closed)
    }
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
    inquiry: Sender<Question>,
    /// It has not answered yet how jobs are.
    is_asking: bool,
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
    nodes: Nodes,
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
    /// What was begun and is not marked as running: what is shown of it, and lines of its log.
    started: HashMap<u32, (String, Vec<String>)>,
    /// What is executed now.
    live: HashMap<OrderId, Live>,
}

impl Manager {
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
            self.detach_due(now);
            self.note_changes();
        }
    }

    fn called(&mut self, call: Call) -> bool {
        match call {
            Call::Begin(order) => self.begin(order),
            Call::Stop(order) => self.answer(order, Outcome::Cancelled),
            Call::Record(order, record) => {
                // Until it is recorded, nobody else executes it.
                let lock = self.live.remove(&order).map(Live::into_lock);
                let _ = self.desk.send(Task::Keep(order, record, lock));
            }
            Call::Discard(order) => {
                if let Some(open) = self.orders.remove(&order) {
                    self.by_index.remove(&open.index);
                }
                self.live.remove(&order);
            }
            Call::Desk(reply) => self.replied(reply),
            Call::News(news) => self.heard_news(news),
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
            if !matches!(outcome, Outcome::Made(_)) {
                self.live.remove(&id);
            }
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
        for sent in self.sent.iter().filter(|s| s.lives()) {
            let job = sent.wave.job.clone().unwrap_or_default();
            is_all &= self.place.system.cancel(&job, &sent.wave.job_name).is_ok();
        }
        if is_all {
            self.forget_closing();
            self.await_end();
            clear(&*self.backend, &self.campaign.scope);
            self.journal.end();
        }
    }

    /// Waits until what was cancelled is gone: it could write to the remote as long as it lives.
    fn await_end(&self) {
        let (names, jobs): (Vec<String>, Vec<String>) = self
            .sent
            .iter()
            .filter(|s| s.lives())
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
            answered: BTreeSet::new(),
            over: None,
            missed: 0,
            closing: None,
            is_closed,
            word: String::new(),
            node: String::new(),
            host: String::new(),
            has_begun: false,
        }
    }
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
