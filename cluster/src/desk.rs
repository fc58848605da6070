//! Results come back: looked up on the remote, believed if the campaign's key signed them, fetched
//! into the store, recorded. A thread of its own, so that nothing else waits for bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use repro_engine::digest::{Content, Digest};
use repro_engine::executor::{Heard, OrderId, Recording, Tell};
use repro_engine::lookup::{Answer, Believed, Why, look_up};
use repro_engine::remote::Backend;
use repro_engine::remote::config::Remote;
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::layout::Scope;
use repro_engine::remote::link::Link;
use repro_engine::store::{ActionLock, Pending, Record, Staged, Store, StoreError};
use repro_engine::trust::Trust;
use repro_engine::watched;

/// Results that are moved together.
const AT_ONCE: usize = 256;
/// Times that bytes are fetched before they count as lost.
const TRIES: u32 = 6;

/// The way to the remote of a campaign.
pub struct Road {
    /// The remote.
    pub remote: Remote,
    /// What it is called.
    pub name: String,
    /// The part that is the campaign's own.
    pub scope: Scope,
}

impl Road {
    /// A link. One that was given up is of no use any more, and a run of days takes another.
    ///
    /// # Errors
    /// Credentials are missing.
    pub fn link(&self) -> anyhow::Result<Arc<Link>> {
        let backend = self.backend()?;
        let warn = |text: &str| log::debug!("{text}");
        Ok(Arc::new(Link::new(
            backend,
            &self.name,
            self.scope.clone(),
            warn,
        )))
    }

    /// The storage itself.
    ///
    /// # Errors
    /// Credentials are missing.
    pub fn backend(&self) -> anyhow::Result<Box<dyn Backend>> {
        // Its address is complete.
        self.remote.open(std::path::Path::new("/"))
    }
}

/// What the desk is asked.
pub enum Task {
    /// Is there a result of this action?
    LookUp(OrderId, Digest),
    /// Fetch and record it. Then its lock is of no use any more.
    Keep(OrderId, Box<Record>, Option<ActionLock>),
}

/// What it answers.
pub enum Reply {
    /// There is.
    Believed(OrderId, Box<Believed>),
    /// There is none, or none that is signed with the campaign's key.
    None(OrderId),
    /// The remote does not answer.
    NoAnswer,
}

/// See the module. Ends with its channel.
pub struct Desk {
    road: Road,
    link: Arc<Link>,
    trust: Arc<Trust>,
    store: Arc<Store>,
    tell: Tell,
    reply: Box<dyn Fn(Reply) + Send>,
}

impl Desk {
    /// Starts its thread.
    ///
    /// # Errors
    /// The remote cannot be reached at all; there is no thread.
    pub fn start(
        road: Road,
        trust: Trust,
        store: Arc<Store>,
        tell: Tell,
        reply: impl Fn(Reply) + Send + 'static,
    ) -> anyhow::Result<Sender<Task>> {
        let desk = Desk {
            link: road.link()?,
            road,
            trust: Arc::new(trust),
            store,
            tell,
            reply: Box::new(reply),
        };
        let (tasks, asked) = channel();
        watched::spawn("cluster-desk", move || desk.work(&asked))?;
        Ok(tasks)
    }

    fn work(mut self, asked: &Receiver<Task>) {
        while let Ok(first) = asked.recv() {
            let (mut questions, mut records) = (Vec::new(), Vec::new());
            let mut locks = Vec::new();
            let more = asked.try_iter().take(AT_ONCE - 1);
            for task in [first].into_iter().chain(more) {
                match task {
                    Task::LookUp(order, key) => questions.push((order, key)),
                    Task::Keep(order, record, lock) => {
                        records.push((order, *record));
                        locks.push(lock);
                    }
                }
            }
            self.look_up(&questions);
            self.keep(records);
            drop(locks);
        }
    }

    fn mend(&mut self) {
        if self.link.given_up().is_some()
            && let Ok(link) = self.road.link()
        {
            self.link = link;
        }
    }

    fn look_up(&mut self, questions: &[(OrderId, Digest)]) {
        if questions.is_empty() {
            return;
        }
        self.mend();
        let keys = questions.iter().map(|(_, key)| *key).collect();
        look_up(&self.link, &self.trust, keys, |position, answer| {
            let order = questions[position].0;
            (self.reply)(match answer {
                Answer::Hit(believed) => Reply::Believed(order, believed),
                Answer::Miss(Why::Absent | Why::Disbelieved(_)) => Reply::None(order),
                Answer::Miss(Why::Trouble(_)) => Reply::NoAnswer,
            });
        });
    }

    fn keep(&mut self, records: Vec<(OrderId, Record)>) {
        if records.is_empty() {
            return;
        }
        let outputs = records
            .iter()
            .flat_map(|(_, record)| record.outputs.values());
        let contents: Vec<Content> = outputs
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut lost: Vec<(Content, String)> = Vec::new();
        for tries in 0..TRIES {
            self.mend();
            let fetched = fetch(&self.link, &self.store, &contents);
            lost = match fetched {
                Ok(outcomes) => {
                    let outcomes = contents.iter().zip(outcomes);
                    outcomes
                        .filter_map(|(c, o)| Some((*c, o.err()?.to_string())))
                        .collect()
                }
                Err(e) => {
                    let message = e.to_string();
                    for (order, _) in records {
                        let message = message.clone();
                        (self.tell)(order, Heard::Recorded(Recording::StoreBroken { message }));
                    }
                    return;
                }
            };
            if lost.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200 << (2 * tries.min(4))));
        }
        let (mut orders, mut pending) = (Vec::new(), Vec::new());
        for (order, record) in records {
            let missing = lost
                .iter()
                .find(|(c, _)| record.outputs.values().any(|o| o == c));
            match missing {
                Some((_, why)) => {
                    let message = format!("its bytes cannot be fetched from the remote: {why}");
                    (self.tell)(order, Heard::Recorded(Recording::Refused { message }));
                }
                None => {
                    orders.push(order);
                    pending.push(Pending {
                        record,
                        staged: Staged::default(),
                    });
                }
            }
        }
        for (order, committed) in orders.into_iter().zip(self.store.commit(pending)) {
            let recording = match committed {
                Ok(committed) => Recording::Recorded {
                    has_others: !committed.others.is_empty(),
                },
                Err(e @ (StoreError::Changed { .. } | StoreError::Refused { .. })) => {
                    Recording::Refused {
                        message: e.to_string(),
                    }
                }
                Err(e) => Recording::StoreBroken {
                    message: e.to_string(),
                },
            };
            (self.tell)(order, Heard::Recorded(recording));
        }
    }
}
