//! The threads that talk to the remote of a run: one asks, some fetch, one publishes. What is asked
//! for, and what becomes of the answers, is decided in [`super`].

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use super::super::message::Message;
use super::{Pull, Sharing, publication};
use crate::digest::{Content, Digest};
use crate::lookup::look_up;
use crate::plan::InstanceIndex;
use crate::remote::fetch::fetch;
use crate::remote::link::Link;
use crate::remote::publish::publish;
use crate::remote::reading::Unread;
use crate::store::{Record, Store};
use crate::trust::Signer;

/// Threads that fetch; each has many requests under way.
const FETCHERS: usize = 3;
/// Artifacts that are fetched together.
const BATCH_ITEMS: usize = 256;
/// Bytes after which a batch is full.
const BATCH_BYTES: u64 = 64 << 20;

/// The threads that talk to the remote. They end when it is dropped, each after what it is at.
pub(super) struct Desk {
    pub(super) link: Arc<Link>,
    asks: Option<Sender<Vec<(InstanceIndex, Digest)>>>,
    fetches: Option<Arc<Queue>>,
    records: Option<Sender<Record>>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    pub fn open(sharing: &Sharing, store: &Arc<Store>, to_main: &Sender<Message>) -> Desk {
        let mut desk = Desk {
            link: sharing.link.clone(),
            asks: None,
            fetches: None,
            records: None,
            warnings: sharing.warnings.clone(),
        };
        if let Some(Pull::Asked(trust)) = &sharing.pull {
            let (asks, questions) = channel::<Vec<(InstanceIndex, Digest)>>();
            let (link, trust, answers) = (desk.link.clone(), trust.clone(), to_main.clone());
            desk.spawn(move || {
                for wave in questions {
                    let keys = wave.iter().map(|(_, key)| *key).collect();
                    look_up(&link, &trust, keys, |position, answer| {
                        let (index, key) = wave[position];
                        let _ = answers.send(Message::Answered(index, key, answer));
                    });
                }
            });
            desk.asks = Some(asks);
        }
        if sharing.pull.is_some() {
            let queue = Arc::new(Queue::default());
            for _ in 0..FETCHERS {
                let (link, store, queue) = (desk.link.clone(), store.clone(), queue.clone());
                let answers = to_main.clone();
                desk.spawn(move || {
                    while let Some(batch) = queue.take() {
                        let outcomes = match fetch(&link, &store, &batch) {
                            Ok(outcomes) => outcomes,
                            Err(e) => vec![Err(Unread::Local(e.to_string())); batch.len()],
                        };
                        let outcomes = batch.into_iter().zip(outcomes).collect();
                        let _ = answers.send(Message::Fetched(outcomes));
                    }
                });
            }
            desk.fetches = Some(queue);
        }
        if let Some(push) = &sharing.push {
            let (records, made) = channel::<Record>();
            let (link, store, signer) = (desk.link.clone(), store.clone(), push.signer.clone());
            let answers = to_main.clone();
            desk.spawn(move || publish_all(&link, &store, signer.as_deref(), &made, &answers));
            desk.records = Some(records);
        }
        desk
    }

    /// Without the thread nothing comes back of what it is given; the run then ends with a remote
    /// given up.
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        if let Err(e) = crate::watched::spawn("desk", work) {
            self.link.give_up(&format!("no thread can be started: {e}"));
        }
    }

    pub fn publishes(&self) -> bool {
        self.records.is_some() && self.link.given_up().is_none()
    }

    pub fn asks(&self) -> bool {
        self.asks.is_some()
    }

    pub fn fetches(&self) -> bool {
        self.fetches.is_some()
    }

    pub fn ask(&self, wave: Vec<(InstanceIndex, Digest)>) {
        if let Some(asks) = &self.asks {
            let _ = asks.send(wave);
        }
    }

    pub fn fetch(&self, content: Content, is_urgent: bool) {
        if let Some(queue) = &self.fetches {
            queue.add(content, is_urgent);
        }
    }

    pub fn publish(&self, record: Record) {
        if let Some(records) = &self.records {
            let _ = records.send(record);
        }
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(queue) = &self.fetches {
            queue.close();
        }
    }
}

fn publish_all(
    link: &Arc<Link>,
    store: &Arc<Store>,
    signer: Option<&Signer>,
    made: &Receiver<Record>,
    answers: &Sender<Message>,
) {
    while let Ok(first) = made.recv() {
        let mut batch = vec![publication(store, signer, first)];
        let more = made.try_iter().take(BATCH_ITEMS - 1);
        batch.extend(more.map(|record| publication(store, signer, record)));
        let outcomes = publish(link, store, batch);
        if answers.send(Message::Published(outcomes)).is_err() {
            return;
        }
    }
}

/// What is to be fetched: what something waits for comes before what is only shown.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    added: Condvar,
}

#[derive(Default)]
struct Waiting {
    urgent: VecDeque<Content>,
    later: VecDeque<Content>,
    is_closed: bool,
}

impl Queue {
    fn add(&self, content: Content, is_urgent: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        match is_urgent {
            true => waiting.urgent.push_back(content),
            false => waiting.later.push_back(content),
        }
        self.added.notify_one();
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        waiting.is_closed = true;
        self.added.notify_all();
    }

    /// The next batch; `None` when there will be no more.
    fn take(&self) -> Option<Vec<Content>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if waiting.is_closed {
                return None;
            }
            let queue = match waiting.urgent.is_empty() {
                false => &mut waiting.urgent,
                true => &mut waiting.later,
            };
            let (mut batch, mut bytes) = (Vec::new(), 0u64);
            while batch.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
                let Some(content) = queue.pop_front() else {
                    break;
                };
                bytes = bytes.saturating_add(content.bytes_total);
                batch.push(content);
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            waiting = self.added.wait(waiting).unwrap_or_else(|e| e.into_inner());
        }
    }
}
