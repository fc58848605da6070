//! Orders that are executed where the run is: what decides claims, and stages that say so. The run
//! believes that a cluster has room for everything, so here is counted what this machine has room
//! for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::executor::{
    Capacity, Executor, Heard, Local, Order, OrderId, Outcome, Reserved, Site, Tell,
};
use repro_engine::plan::Policy;
use repro_engine::store::Record;
use repro_engine::watched;

/// What waits for devices that another run has is tried again so often.
const TICK: Duration = Duration::from_millis(200);

/// What is said to its thread.
pub enum Say {
    /// Execute this when there is room.
    Begin(Box<Order>),
    /// It has ended.
    Ended(OrderId),
    /// As of an executor.
    Stop(OrderId),
    /// As of an executor.
    Record(OrderId, Box<Record>),
    /// As of an executor.
    Discard(OrderId),
    /// The run has ended.
    End,
}

/// This machine, and what waits for it.
pub struct Here {
    local: Local,
    cancel: Arc<Cancel>,
    tell: Tell,
    room: Room,
    waiting: VecDeque<Box<Order>>,
}

/// What is free of a machine.
struct Room {
    all: Capacity,
    taken: HashMap<OrderId, (u32, u64)>,
}

impl Room {
    /// No order asks for more than there is.
    fn share(&self, policy: &Policy) -> (u32, u64) {
        let memory = policy.memory_bytes.unwrap_or(0);
        (
            policy.threads().min(self.all.cpus),
            memory.min(self.all.memory_bytes),
        )
    }

    fn has(&self, policy: &Policy) -> bool {
        let (cpus, memory) = self.share(policy);
        let taken = self.taken.values();
        let (cpus, memory) = taken.fold((cpus, memory), |(c, m), (cpus, bytes)| {
            (c + cpus, m.saturating_add(*bytes))
        });
        cpus <= self.all.cpus && memory <= self.all.memory_bytes
    }
}

/// Begins to take orders. Also what people should know.
///
/// # Errors
/// Nothing can be executed here.
pub fn start(
    site: Site,
    cancel: Arc<Cancel>,
    tell: Tell,
) -> anyhow::Result<(Sender<Say>, JoinHandle<()>, Vec<String>)> {
    let (say, said) = channel();
    let (ended, forward) = (say.clone(), tell.clone());
    let heard = move |order, heard: Heard| {
        if matches!(heard, Heard::Outcome(_)) {
            let _ = ended.send(Say::Ended(order));
        }
        forward(order, heard);
    };
    let mut local = Local::new(site, cancel.clone(), Arc::new(heard));
    let told = local.open()?;
    let here = Here {
        room: Room {
            all: local.capacity(),
            taken: HashMap::new(),
        },
        local,
        cancel,
        tell,
        waiting: VecDeque::new(),
    };
    let thread = watched::spawn("here", move || here.work(&said))?;
    Ok((say, thread, told))
}

impl Here {
    fn work(mut self, said: &Receiver<Say>) {
        loop {
            let next = match self.waiting.is_empty() {
                true => said.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => said.recv_timeout(TICK),
            };
            match next {
                Ok(Say::Begin(order)) => self.waiting.push_back(order),
                Ok(Say::Ended(order)) => drop(self.room.taken.remove(&order)),
                Ok(Say::Stop(order)) => {
                    self.waiting.retain(|waits| match waits.id == order {
                        true => {
                            tell_end(&self.tell, order, Outcome::Cancelled);
                            false
                        }
                        false => true,
                    });
                    self.local.stop(order);
                }
                Ok(Say::Record(order, record)) => self.local.record(order, *record),
                Ok(Say::Discard(order)) => self.local.discard(order),
                Ok(Say::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.cancel.level() != CancelLevel::None {
                for order in self.waiting.drain(..) {
                    tell_end(&self.tell, order.id, Outcome::Cancelled);
                }
            }
            self.begin_what_fits();
        }
    }

    fn begin_what_fits(&mut self) {
        for order in std::mem::take(&mut self.waiting) {
            let id = order.id;
            let fits = self.room.has(&order.policy)
                && self.local.reserve(id, &order.policy, order.threads) == Reserved::Yes;
            if !fits {
                self.waiting.push_back(order);
                continue;
            }
            let share = self.room.share(&order.policy);
            self.room.taken.insert(id, share);
            if let Err(e) = self.local.begin(*order) {
                self.room.taken.remove(&id);
                self.local.discard(id);
                tell_end(&self.tell, id, Outcome::not_begun(&e));
            }
        }
    }
}

fn tell_end(tell: &Tell, order: OrderId, outcome: Outcome) {
    tell(order, Heard::Outcome(Box::new(outcome)));
}
