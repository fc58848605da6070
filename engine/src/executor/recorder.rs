//! The recorder: makes results of a local store durable, many at a time.
//!
//! Orders that end while a commit is under way share the next one, so a thousand tiny stages cost a
//! few syncs. An action's lock is released once its result is recorded. Knows no graph, and shows
//! nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Heard, OrderId, Recording, Tell};
use crate::store::{ActionLock, Pending, Store, StoreError};
use crate::watched;

/// A result on its way.
pub struct Landing {
    /// Whose.
    pub order: OrderId,
    /// What to commit.
    pub pending: Pending,
    /// Released once the result is recorded.
    pub lock: Option<ActionLock>,
}

/// Largest number of results that share a commit.
const BATCH_LIMIT: usize = 256;

/// See the module. Dropping it waits until everything is recorded.
pub struct Recorder {
    landings: Option<Sender<Landing>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts its thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(store: Arc<Store>, tell: Tell) -> std::io::Result<Recorder> {
        let (landings, to_record) = channel();
        let thread = watched::spawn("recorder", move || work(&store, &to_record, &tell))?;
        Ok(Recorder {
            landings: Some(landings),
            thread: Some(thread),
        })
    }

    /// Records a result soon. It is answered once, with [`Heard::Recorded`].
    pub fn record(&self, landing: Landing) {
        if let Some(landings) = &self.landings {
            // Its thread lives as long as this; if it broke down, the run ends.
            let _ = landings.send(landing);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.landings = None;
        // It has told of a panic of its own already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work(store: &Store, landings: &Receiver<Landing>, tell: &Tell) {
    while let Ok(first) = landings.recv() {
        let mut batch = vec![first];
        batch.extend(landings.try_iter().take(BATCH_LIMIT - 1));
        let of_order = |landing: Landing| (landing.pending, (landing.order, landing.lock));
        let (pending, rest): (Vec<_>, Vec<_>) = batch.into_iter().map(of_order).unzip();
        let committed = watched::caught(|| store.commit(pending)).unwrap_or_else(|what| {
            let broken = || Err(StoreError::broken_down(store.root(), &what));
            rest.iter().map(|_| broken()).collect()
        });
        for ((order, lock), committed) in rest.into_iter().zip(committed) {
            drop(lock);
            let recording = match committed {
                Ok(committed) => Recording::Recorded {
                    has_others: !committed.others.is_empty(),
                },
                Err(e) => Recording::failed(&e),
            };
            tell(order, Heard::Recorded(recording));
        }
    }
}
