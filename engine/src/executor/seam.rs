//! What an executor promises.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Heard, Order, OrderId};
use crate::digest::{Content, Digest};
use crate::exec::CancelLevel;
use crate::plan::{InstanceIndex, Policy};
use crate::store::Record;

/// Hears of an order. May be called from any thread.
pub type Tell = Arc<dyn Fn(OrderId, Heard) + Send + Sync>;

/// What an executor has in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Cores it may keep busy.
    pub cpus: u32,
    /// Memory it may use; a huge number where that cannot be told.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpus: u32,
    /// Whatever is ready may begin at once: the place finds room for it, or lets it wait.
    pub is_elastic: bool,
}

/// Whether the devices of an order are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reserved {
    /// They are.
    Yes,
    /// Other orders have them, and will end.
    ByThisRun,
    /// Somebody else has them, and nobody tells when they are free.
    ByOthers,
}

/// Executes orders somewhere.
///
/// Each order that was begun gets one outcome in the end, also where it was stopped or broke down.
/// Each that was made is then recorded or discarded. An answer that comes twice, or after its time,
/// does no harm: who gave the order knows which one it waits for.
pub trait Executor {
    /// What it has to give in all.
    fn capacity(&self) -> Capacity;

    /// Called once before the first order. Returns what people should know before it begins.
    ///
    /// # Errors
    /// Nothing can be executed.
    fn open(&mut self) -> anyhow::Result<Vec<String>>;

    /// Sets aside the devices of an order that is about to begin: the GPUs that its policy asks
    /// for, and cores of its own for so many `threads`. They are free again when the order ends, or
    /// is discarded.
    fn reserve(&mut self, order: OrderId, policy: &Policy, threads: Option<u32>) -> Reserved;

    /// Takes an order whose devices are reserved.
    ///
    /// # Errors
    /// It cannot be begun; then no outcome follows.
    fn begin(&mut self, order: Order) -> anyhow::Result<()>;

    /// Stops an order: its processes have their `grace:` to save. Its outcome comes all the same.
    /// Nothing happens where it has ended.
    fn stop(&mut self, order: OrderId);

    /// Records the result of an order that was made, under this record. What was made is the
    /// executor's until then; nobody else makes it before it is recorded. Answered once, with
    /// [`Heard::Recorded`].
    fn record(&mut self, order: OrderId, record: Record);

    /// What is kept for an order is of no use: what was made, or devices of one that does not
    /// begin. Nothing happens where nothing is kept, or where it is being recorded.
    fn discard(&mut self, order: OrderId);

    /// Hears of every instance that has a result, in the order in which they get it. Of use to who
    /// executes orders together with what follows from them.
    fn learn(&mut self, _index: InstanceIndex, _key: &Digest, _outputs: &Arc<[Content]>) {}

    /// What an interruption does here, in words; `None`: what it does on this machine.
    fn interruption(&self, _level: CancelLevel) -> Option<String> {
        None
    }
}
