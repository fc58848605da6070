//! This machine as an executor: a thread per order, a process per execution.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::flight::{Flight, Landed};
use super::{Collected, Executor, Heard, Order, OrderId, Outcome, Site, Tell};
use crate::exec::{self, Cancel};
use crate::machine::Machine;
use crate::watched;

/// See the module.
pub struct Local {
    site: Arc<Site>,
    cancel: Arc<Cancel>,
    tell: Tell,
    keep: Option<PathBuf>,
    /// Of what is made and not fetched yet.
    collected: Arc<Mutex<HashMap<OrderId, Collected>>>,
}

impl Local {
    /// Executes until `cancel` says otherwise.
    pub fn new(site: Site, cancel: Arc<Cancel>, tell: Tell) -> Local {
        Local {
            site: Arc::new(site),
            cancel,
            tell,
            keep: None,
            collected: Arc::default(),
        }
    }

    /// Leaves the private directory of an order that is compared at `keep`.
    pub fn keeping(mut self, keep: Option<&Path>) -> Local {
        self.keep = keep.map(Path::to_owned);
        self
    }
}

impl Executor for Local {
    fn capacity(&self) -> Machine {
        Machine::here()
    }

    fn open(&mut self) -> Vec<String> {
        let mut keeper = std::process::Command::new(&self.site.executable);
        keeper.arg("keeper").env_clear();
        let told = exec::keeper::start(keeper).err().map(|e| {
            format!(
                "no keeper: {e}; if this run is killed, processes its stages started may live on"
            )
        });
        Vec::from_iter(told)
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        let id = order.id;
        let flight = Flight::new(&self.site, order, self.keep.as_deref(), &self.cancel)?;
        let (tell, collected) = (self.tell.clone(), self.collected.clone());
        watched::spawn(&format!("flight-{}", id.0), move || {
            let mut say = |note| tell(id, Heard::Note(note));
            // Whatever ends a flight is told; else who gave the order would wait for ever.
            let landed = watched::caught(|| flight.fly(&mut say)).unwrap_or_else(|what| Landed {
                outcome: Outcome::broken_down(&what),
                collected: Collected::default(),
                leftovers: None,
            });
            let mut all = collected.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(id, landed.collected);
            drop(all);
            tell(id, Heard::Outcome(Box::new(landed.outcome)));
            // What cannot be removed now is swept with the session.
            let _ = watched::caught(|| drop(landed.leftovers));
        })?;
        Ok(())
    }

    fn collect(&mut self, order: OrderId) -> Collected {
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        collected.remove(&order).unwrap_or_default()
    }
}
