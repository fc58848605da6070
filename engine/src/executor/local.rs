//! This machine as an executor: a thread per order, a process per execution.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use super::devices::{Devices, Granted};
use super::flight::{Flight, Held, Landed};
use super::places::Places;
use super::recorder::{Landing, Recorder};
use super::{Capacity, Executor, Heard, Order, OrderId, Outcome, Recording, Reserved, Site, Tell};
use crate::exec::{self, Cancel, CancelLevel, Grant};
use crate::machine::Machine;
use crate::plan::Policy;
use crate::store::{Pending, Record};
use crate::watched;

/// See the module.
pub struct Local {
    machine: Machine,
    site: Arc<Site>,
    cancel: Arc<Cancel>,
    tell: Tell,
    keep: Option<PathBuf>,
    orders: Arc<Mutex<Orders>>,
    recorder: Option<Recorder>,
}

/// What is kept of orders, and the devices that they share.
struct Orders {
    devices: Devices,
    all: HashMap<OrderId, Kept>,
}

/// What is kept of an order.
enum Kept {
    /// It is about to begin, or executed; then it can be stopped.
    Devices(Granted, Option<Arc<Cancel>>),
    /// It is made, and neither recorded nor discarded yet.
    Made(Held),
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
        let machine = Machine::here();
        let orders = Orders {
            devices: Devices::of(&machine),
            all: HashMap::new(),
        };
        Local {
            machine,
            site: Arc::new(site),
            cancel,
            tell,
            keep: None,
            orders: Arc::new(Mutex::new(orders)),
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
        match orders(&self.orders).take(order)? {
            Held::Aside(aside) => Some(aside),
            Held::Result { .. } => None,
        }
    }

    /// Gives devices to an order that runs by itself, in the place of [`Executor::reserve`].
    pub fn grant(&mut self, order: OrderId, granted: Granted) {
        orders(&self.orders).keep(order, Some(Kept::Devices(granted, None)));
    }
}

impl Executor for Local {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: self.machine.cpus,
            memory_bytes: self.machine.memory_bytes,
            gpus: self.machine.gpus.len() as u32,
            is_elastic: false,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        let store = self.site.store.clone();
        self.recorder = Some(Recorder::start(store, self.tell.clone())?);
        let helper = |name: &str| {
            let mut helper = std::process::Command::new(&self.site.executable);
            helper.arg(name).env_clear();
            helper
        };
        // Without a starter executions cost more, and nothing else.
        let _ = exec::starter::start(helper("starter"));
        let told = exec::keeper::start(helper("keeper")).err().map(|e| {
            format!(
                "no keeper: {e}; if this run is killed, processes its stages started may live on"
            )
        });
        Ok(Vec::from_iter(told))
    }

    fn reserve(&mut self, order: OrderId, policy: &Policy, threads: Option<u32>) -> Reserved {
        let mut orders = orders(&self.orders);
        match orders.devices.take(policy, threads) {
            Ok(granted) => {
                orders.keep(order, Some(Kept::Devices(granted, None)));
                Reserved::Yes
            }
            Err(why) => why,
        }
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        let id = order.id;
        let cancel = self.cancel.part()?;
        let grant = orders(&self.orders).begin(id, &cancel);
        let grant = grant.context("BUG: no devices are reserved")?;
        let keep = self.keep.as_deref();
        let flight = Flight::new(&self.site, order, &grant, keep, &cancel)?;
        let (tell, all) = (self.tell.clone(), self.orders.clone());
        watched::spawn(&format!("flight-{}", id.0), move || {
            let mut say = |note| tell(id, Heard::Note(note));
            // Whatever ends a flight is told; else who gave the order would wait for ever.
            let landed = watched::caught(|| flight.fly(&mut say)).unwrap_or_else(|what| Landed {
                outcome: Outcome::broken_down(&what),
                held: None,
                leftovers: None,
            });
            orders(&all).keep(id, landed.held.map(Kept::Made));
            tell(id, Heard::Outcome(Box::new(landed.outcome)));
            // What cannot be removed now is swept with the session.
            let _ = watched::caught(|| drop(landed.leftovers));
        })?;
        Ok(())
    }

    fn stop(&mut self, order: OrderId) {
        if let Some(Kept::Devices(_, Some(cancel))) = orders(&self.orders).all.get(&order) {
            cancel.raise(CancelLevel::Now);
        }
    }

    fn record(&mut self, order: OrderId, record: Record) {
        let held = orders(&self.orders).take(order);
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
        orders(&self.orders).keep(order, None);
    }
}

impl Orders {
    /// Keeps this of an order, in the place of what was kept; devices are given back.
    fn keep(&mut self, order: OrderId, kept: Option<Kept>) {
        let before = match kept {
            Some(kept) => self.all.insert(order, kept),
            None => self.all.remove(&order),
        };
        if let Some(Kept::Devices(granted, _)) = before {
            self.devices.give_back(granted);
        }
    }

    /// What was made, to be kept elsewhere.
    fn take(&mut self, order: OrderId) -> Option<Held> {
        match self.all.remove(&order)? {
            Kept::Made(held) => Some(held),
            devices @ Kept::Devices(..) => {
                self.all.insert(order, devices);
                None
            }
        }
    }

    /// From now on the order can be stopped. What it was given.
    fn begin(&mut self, order: OrderId, cancel: &Arc<Cancel>) -> Option<Grant> {
        match self.all.get_mut(&order)? {
            Kept::Devices(granted, switch) => {
                *switch = Some(cancel.clone());
                Some(granted.grant.clone())
            }
            Kept::Made(_) => None,
        }
    }
}

fn orders(all: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::catalog::Catalog;
    use crate::exec::CancelLevel;
    use crate::executor::{Purpose, Terms};
    use crate::lineage::Lineage;
    use crate::open::Opening;
    use crate::session::Session;

    const STUDY: &str = r#"version: 1
stages:
  long: {run: "sleep 1000 > ${outputs.o}", outputs: {o: o}, resources: {cpus: 1}}
  short: {run: "echo x > ${outputs.o}", outputs: {o: o}}
"#;

    fn order(session: &Session, name: &str, id: OrderId) -> Order {
        let instance = session.plan.instances.iter().find(|i| &*i.id == name);
        let (instance, lineage) = (instance.unwrap(), Lineage::new());
        let key = session.key(instance, &[], &lineage);
        let terms = Terms {
            id,
            run: String::new(),
            purpose: Purpose::Record,
            pins: BTreeMap::new(),
            policy: instance.policy.with_cpus(1),
            threads: instance.policy.cpus,
            offline: true,
            device: None,
        };
        Order::of(session, instance, key, &[], &lineage, terms)
    }

    fn next(heard: &Receiver<(OrderId, Heard)>, of: OrderId) -> Heard {
        loop {
            match heard.recv_timeout(Duration::from_secs(120)).unwrap() {
                (_, Heard::Note(_)) => {}
                (order, heard) if order == of => return heard,
                (order, heard) => panic!("{heard:?} of {order:?}"),
            }
        }
    }

    /// One order is stopped, and its devices are free; the other is made, and recorded.
    #[test]
    fn an_order_is_stopped_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pipeline.yaml");
        std::fs::write(&file, STUDY).unwrap();
        let mut opening = Opening::new(Arc::new(Catalog::without_kinds(|_| Ok(<_>::default()))));
        opening.file = Some(file);
        opening.store = Some(dir.path().join("store"));
        let session = opening.session_to_run().unwrap();
        let (to_here, heard) = channel();
        let tell = move |order, heard| drop(to_here.send((order, heard)));
        let cancel = Arc::new(Cancel::new().unwrap());
        let site = Site::of(&session, Path::new("/nonexistent"));
        let mut local = Local::new(site, cancel.clone(), Arc::new(tell));
        local.open().unwrap();
        let (long, short) = (OrderId(1), OrderId(2));
        for (name, id) in [("long", long), ("short", short)] {
            let order = order(&session, name, id);
            assert!(local.begin(order.clone()).is_err(), "nothing is reserved");
            let reserved = local.reserve(id, &order.policy, order.threads);
            assert_eq!(reserved, Reserved::Yes);
            local.begin(order).unwrap();
        }
        let Heard::Outcome(made) = next(&heard, short) else {
            panic!("an order ends with an outcome");
        };
        let Outcome::Made(made) = *made else {
            panic!("{made:?}");
        };
        let key = made.record.key;
        assert!(session.store.lookup(&key).is_empty(), "not recorded yet");
        local.record(short, made.record);
        let recorded = Recording::Recorded { has_others: false };
        assert!(matches!(next(&heard, short), Heard::Recorded(r) if r == recorded));
        assert_eq!(session.store.lookup(&key).len(), 1);
        local.stop(long);
        let Heard::Outcome(ended) = next(&heard, long) else {
            panic!("an order ends with an outcome");
        };
        assert!(matches!(*ended, Outcome::Cancelled), "{ended:?}");
        assert_eq!(cancel.level(), CancelLevel::None);
        assert!(orders(&local.orders).all.is_empty());
    }
}
