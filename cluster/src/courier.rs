//! The executor on a node: this machine, and what becomes of an order is reported. A result is
//! reported once the remote has it. Nothing is begun that will not end in time, and what was ended
//! by the clock leaves its furthest state on the remote.

mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use repro_engine::change;
use repro_engine::digest::Digest;
use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::executor::{
    Capacity, Executor, Failed, Heard, Local, Made, Order, OrderId, Outcome, Recording, Reserved,
    Site, Tell,
};
use repro_engine::machine::killed_for_memory;
use repro_engine::plan::Policy;
use repro_engine::remote::Backend;
use repro_engine::remote::link::Link;
use repro_engine::remote::publish::publish;
use repro_engine::run::publication;
use repro_engine::session::log_in;
use repro_engine::store::{Record, Store};
use repro_engine::trust::{Signer, Trust};
use repro_engine::watched;

use crate::parts::Line;
use crate::ticket::Item;

/// Bytes of the end of a log that are reported.
const LOG_BYTES: u64 = 64 << 10;
/// How much later than a command this program may hear of a signal to both.
const SIGNAL: Duration = Duration::from_secs(2);
/// Times that a result is sent.
const TRIES: u32 = 5;

/// What a node has for its orders.
pub struct Baggage {
    /// The store of this element.
    pub store: Arc<Store>,
    /// The state of the project here: logs lie there.
    pub state: PathBuf,
    /// The way to the remote.
    pub link: Arc<Link>,
    /// The remote itself.
    pub remote: Box<dyn Backend>,
    /// The part of the remote that is the campaign's.
    pub scope: String,
    /// Signs what is made here.
    pub signer: Arc<Signer>,
    /// Believes the same key.
    pub trust: Arc<Trust>,
    /// What this element executes.
    pub items: BTreeMap<Arc<str>, Item>,
    /// What is begun ends before this, by what is recorded.
    pub until: Instant,
    /// Reports.
    pub report: Sender<Line>,
}

/// What is known of an order.
struct Known {
    id: Arc<str>,
    key: Digest,
    states: Vec<(String, repro_engine::key::Key)>,
    made: Option<Box<Made>>,
    is_over: bool,
    /// Whom the kernel had killed for memory when it began.
    killed_before: u64,
}

struct Shared {
    baggage: Baggage,
    orders: Mutex<HashMap<OrderId, Known>>,
    publisher: Mutex<Option<Sender<(Arc<str>, Box<Made>)>>>,
}

/// See the module.
pub struct Courier {
    local: Local,
    shared: Arc<Shared>,
    publisher: Option<JoinHandle<()>>,
    tell: Tell,
    /// States that can be had, once they were asked for.
    states: Option<BTreeSet<Digest>>,
    has_begun: bool,
    on_end: Arc<Mutex<Vec<(Arc<str>, bool)>>>,
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of a job ends for all its processes at once: the kernel kills one of them, and counts.
fn blame_memory(failed: Failed, killed_before: u64) -> Failed {
    if failed.lacked_memory || killed_for_memory() <= killed_before {
        return failed;
    }
    Failed {
        message: format!(
            "its job used more memory than it asked for, and the kernel killed a process of it: {}",
            failed.message
        ),
        hint: None,
        lacked_memory: true,
    }
}

/// A batch system signals every process of a job it ends, and a command may fail of that before the
/// signal is heard here. Such a failure is none: the action goes on elsewhere.
fn unless_stopped(heard: Heard, cancel: &Cancel) -> Heard {
    let Heard::Outcome(outcome) = &heard else {
        return heard;
    };
    if !matches!(**outcome, Outcome::Failed(_)) {
        return heard;
    }
    let until = Instant::now() + SIGNAL;
    while cancel.level() == CancelLevel::None && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    match cancel.level() {
        CancelLevel::None => heard,
        _ => Heard::Outcome(Box::new(Outcome::Cancelled)),
    }
}

impl Courier {
    /// Of this machine. When it is dropped, all results are on the remote, and `cut` says what was
    /// ended early, and whether it left a state.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn new(
        site: Site,
        cancel: Arc<Cancel>,
        baggage: Baggage,
        tell: Tell,
        cut: Arc<Mutex<Vec<(Arc<str>, bool)>>>,
    ) -> anyhow::Result<Courier> {
        let (to_publish, made) = channel();
        let shared = Arc::new(Shared {
            baggage,
            orders: Mutex::default(),
            publisher: Mutex::new(Some(to_publish)),
        });
        let (listening, forward) = (shared.clone(), tell.clone());
        let switch = cancel.clone();
        let heard = move |order, heard: Heard| {
            let heard = unless_stopped(heard, &switch);
            listening.heard(order, &heard);
            forward(order, heard);
        };
        let publishing = shared.clone();
        let publisher = watched::spawn("publisher", move || publishing.publish_all(&made))?;
        Ok(Courier {
            local: Local::new(site, cancel, Arc::new(heard)),
            shared,
            publisher: Some(publisher),
            tell,
            states: None,
            has_begun: false,
            on_end: cut,
        })
    }

    /// Why an order is not this element's to execute.
    fn refusal(&self, order: &Order) -> Option<String> {
        let Some(item) = self.shared.baggage.items.get(&order.instance) else {
            return Some(format!(
                "the result of `{}` was to be had from the remote, and cannot be fetched here",
                order.instance
            ));
        };
        let action = item
            .action
            .as_ref()
            .filter(|action| action.key != order.key.digest)?;
        let changes = change::changes(&action.preimage, &order.key.preimage);
        let words: Vec<String> = changes.iter().take(3).map(change::in_words).collect();
        Some(format!(
            "on {} it is another action than where it was submitted: {}",
            repro_engine::store::host_name(),
            words.join("; ")
        ))
    }
}

impl Baggage {
    fn log(&self, key: &Digest) -> Option<String> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(log_in(&self.state, key)).ok()?;
        let bytes = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(LOG_BYTES)))
            .ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Shared {
    fn report(&self, line: Line) {
        // Its thread lives until the end.
        let _ = self.baggage.report.send(line);
    }

    fn heard(&self, order: OrderId, heard: &Heard) {
        let mut orders = locked(&self.orders);
        let Some(known) = orders.get_mut(&order) else {
            return;
        };
        match heard {
            Heard::Note(note) => {
                let (id, note) = (known.id.clone(), note.clone());
                self.report(Line::Note { id, note });
            }
            Heard::Outcome(outcome) => match &**outcome {
                Outcome::Made(made) => known.made = Some(made.clone()),
                // It goes on elsewhere, from its last state.
                Outcome::Cancelled => {}
                Outcome::Failed(failed) => {
                    let failed = blame_memory(failed.clone(), known.killed_before);
                    self.ended(known, Outcome::Failed(failed));
                }
                other => self.ended(known, other.clone()),
            },
            Heard::Recorded(Recording::Recorded { .. }) => {
                known.is_over = true;
                let publisher = locked(&self.publisher);
                if let (Some(made), Some(publisher)) = (known.made.take(), &*publisher) {
                    let _ = publisher.send((known.id.clone(), made));
                }
            }
            Heard::Recorded(Recording::Refused { message }) => {
                let failed =
                    Outcome::failed(format!("its result could not be recorded: {message}"));
                self.ended(known, failed);
            }
            Heard::Recorded(Recording::StoreBroken { message }) => {
                let message = message.clone();
                self.ended(known, Outcome::StoreBroken { message });
            }
        }
    }

    fn ended(&self, known: &mut Known, outcome: Outcome) {
        known.is_over = true;
        self.report(Line::Ended {
            id: known.id.clone(),
            key: known.key,
            outcome: Box::new(outcome),
            log: self.baggage.log(&known.key),
        });
    }

    fn publish_all(&self, made: &Receiver<(Arc<str>, Box<Made>)>) {
        while let Ok(first) = made.recv() {
            let mut batch: Vec<(Arc<str>, Box<Made>)> = vec![first];
            batch.extend(made.try_iter().take(255));
            for tries in 0..TRIES {
                batch = self.publish(batch);
                if batch.is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500 << tries));
            }
            // What is not reported is executed again.
        }
    }

    /// Publishes and reports; what could not be published comes back.
    fn publish(&self, batch: Vec<(Arc<str>, Box<Made>)>) -> Vec<(Arc<str>, Box<Made>)> {
        let Baggage {
            store,
            link,
            signer,
            ..
        } = &self.baggage;
        let publications = batch
            .iter()
            .map(|(_, made)| publication(store, Some(signer), made.record.clone()));
        let published = publish(link, store, publications.collect());
        let mut unpublished = Vec::new();
        for ((id, made), published) in batch.into_iter().zip(published) {
            if published.is_err() {
                unpublished.push((id, made));
                continue;
            }
            let key = made.record.key;
            self.report(Line::Ended {
                id,
                key,
                outcome: Box::new(Outcome::Made(made)),
                log: self.baggage.log(&key),
            });
        }
        unpublished
    }
}

impl Executor for Courier {
    fn capacity(&self) -> Capacity {
        self.local.capacity()
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        self.local.open()
    }

    fn reserve(&mut self, order: OrderId, policy: &Policy, threads: Option<u32>) -> Reserved {
        self.local.reserve(order, policy, threads)
    }

    fn begin(&mut self, mut order: Order) -> anyhow::Result<()> {
        let refusal = self.refusal(&order);
        let item = self.shared.baggage.items.get(&order.instance);
        if let Some(bytes) = item.and_then(|item| item.memory_bytes) {
            Arc::make_mut(&mut order.policy).memory_bytes = Some(bytes);
        }
        let seconds =
            Duration::try_from_secs_f64(item.map_or(0.0, |i| i.seconds)).unwrap_or(Duration::MAX);
        let ends = Instant::now().checked_add(seconds);
        // The first one is always begun: else what takes longer than any job would never be.
        let fits = !self.has_begun || ends.is_some_and(|ends| ends <= self.shared.baggage.until);
        let known = Known {
            id: order.instance.clone(),
            key: order.key.digest,
            states: order.states.clone(),
            made: None,
            is_over: !fits,
            killed_before: killed_for_memory(),
        };
        let id = order.id;
        if refusal.is_some() || !fits {
            self.local.discard(id);
            let outcome = match refusal {
                Some(message) => Outcome::Failed(Failed {
                    message,
                    hint: None,
                    lacked_memory: false,
                }),
                None => Outcome::Cancelled,
            };
            if !matches!(outcome, Outcome::Cancelled) {
                let mut known = known;
                // By the key under which it is waited for.
                let action = item.and_then(|item| item.action.as_ref());
                known.key = action.map_or(known.key, |action| action.key);
                self.shared.ended(&mut known, outcome.clone());
            }
            (self.tell)(id, Heard::Outcome(Box::new(outcome)));
            return Ok(());
        }
        self.has_begun = true;
        self.find_state(&order);
        self.shared.report(Line::Started {
            id: known.id.clone(),
        });
        locked(&self.shared.orders).insert(id, known);
        self.local.begin(order)
    }

    fn stop(&mut self, order: OrderId) {
        self.local.stop(order);
    }

    fn record(&mut self, order: OrderId, record: Record) {
        self.local.record(order, record);
    }

    fn discard(&mut self, order: OrderId) {
        self.local.discard(order);
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        locked(&self.shared.publisher).take();
        // It has told of a panic of its own already.
        let _ = self.publisher.take().map(JoinHandle::join);
        let orders = locked(&self.shared.orders);
        for known in orders.values().filter(|known| !known.is_over) {
            let saved = self.shared.baggage.leave_state(&known.states).is_some();
            locked(&self.on_end).push((known.id.clone(), saved));
        }
    }
}

/// An executor that executes nothing: what there is where none could be made.
pub(crate) struct Nowhere;

impl Executor for Nowhere {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: 1,
            memory_bytes: 0,
            gpus: 0,
            is_elastic: false,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("there is no thread to be had")
    }

    fn reserve(&mut self, _: OrderId, _: &Policy, _: Option<u32>) -> Reserved {
        Reserved::ByOthers
    }

    fn begin(&mut self, _: Order) -> anyhow::Result<()> {
        anyhow::bail!("nothing is executed here")
    }

    fn stop(&mut self, _: OrderId) {}

    fn record(&mut self, _: OrderId, _: Record) {}

    fn discard(&mut self, _: OrderId) {}
}
