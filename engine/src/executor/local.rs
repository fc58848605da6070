//! This machine as an executor: a thread per order, a process per execution.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::flight::{Flight, Held, Landed};
use super::places::Places;
use super::recorder::{Landing, Recorder};
use super::{Executor, Heard, Order, OrderId, Outcome, Recording, Site, Tell};
use crate::exec::{self, Cancel};
use crate::machine::Machine;
use crate::store::{Pending, Record};
use crate::watched;

/// See the module.
pub struct Local {
    site: Arc<Site>,
    cancel: Arc<Cancel>,
    tell: Tell,
    keep: Option<PathBuf>,
    /// Of what is made, and neither recorded nor discarded yet.
    held: Arc<Mutex<HashMap<OrderId, Held>>>,
    recorder: Option<Recorder>,
}

/// Outputs of an order that is only compared: they lie outside of the store as long as this lives.
pub struct Aside {
    /// Where they lie, by name.
    pub paths: BTreeMap<Arc<str>, PathBuf>,
    pub(super) _places: Places,
}

impl Local {
    /// Executes until `cancel` says otherwise.
    pub fn new(site: Site, cancel: Arc<Cancel>, tell: Tell) -> Local {
        Local {
            site: Arc::new(site),
            cancel,
            tell,
            keep: None,
            held: Arc::default(),
            recorder: None,
        }
    }

    /// Leaves the private directory of an order that is compared at `keep`.
    pub fn keeping(mut self, keep: Option<&Path>) -> Local {
        self.keep = keep.map(Path::to_owned);
        self
    }

    /// What lies on this machine of an order that was made to be compared.
    pub fn aside(&self, order: OrderId) -> Option<Aside> {
        match held(&self.held).remove(&order)? {
            Held::Aside(aside) => Some(aside),
            Held::Result { .. } => None,
        }
    }
}

impl Executor for Local {
    fn capacity(&self) -> Machine {
        Machine::here()
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        let store = self.site.store.clone();
        self.recorder = Some(Recorder::start(store, self.tell.clone())?);
        let mut keeper = std::process::Command::new(&self.site.executable);
        keeper.arg("keeper").env_clear();
        let told = exec::keeper::start(keeper).err().map(|e| {
            format!(
                "no keeper: {e}; if this run is killed, processes its stages started may live on"
            )
        });
        Ok(Vec::from_iter(told))
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        let id = order.id;
        let flight = Flight::new(&self.site, order, self.keep.as_deref(), &self.cancel)?;
        let (tell, all_held) = (self.tell.clone(), self.held.clone());
        watched::spawn(&format!("flight-{}", id.0), move || {
            let mut say = |note| tell(id, Heard::Note(note));
            // Whatever ends a flight is told; else who gave the order would wait for ever.
            let landed = watched::caught(|| flight.fly(&mut say)).unwrap_or_else(|what| Landed {
                outcome: Outcome::broken_down(&what),
                held: None,
                leftovers: None,
            });
            if let Some(landed) = landed.held {
                held(&all_held).insert(id, landed);
            }
            tell(id, Heard::Outcome(Box::new(landed.outcome)));
            // What cannot be removed now is swept with the session.
            let _ = watched::caught(|| drop(landed.leftovers));
        })?;
        Ok(())
    }

    fn record(&mut self, order: OrderId, record: Record) {
        let held = held(&self.held).remove(&order);
        let (Some(Held::Result { staged, lock }), Some(recorder)) = (held, &self.recorder) else {
            let message = "BUG: nothing is kept of it that could be recorded".to_owned();
            return (self.tell)(order, Heard::Recorded(Recording::Refused { message }));
        };
        recorder.record(Landing {
            order,
            pending: Pending { record, staged },
            lock,
        });
    }

    fn discard(&mut self, order: OrderId) {
        drop(held(&self.held).remove(&order));
    }
}

fn held(all: &Mutex<HashMap<OrderId, Held>>) -> MutexGuard<'_, HashMap<OrderId, Held>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
