//! What an executor promises.

use std::sync::Arc;

use super::{Heard, Order, OrderId};
use crate::machine::Machine;
use crate::store::Record;

/// Hears of an order. May be called from any thread.
pub type Tell = Arc<dyn Fn(OrderId, Heard) + Send + Sync>;

/// Executes orders somewhere.
///
/// Each order that was begun gets one outcome in the end, also where it was stopped or broke down.
/// Each that was made is then recorded or discarded. An answer that comes twice, or after its time,
/// does no harm: who gave the order knows which one it waits for.
pub trait Executor {
    /// What it has to give in all.
    fn capacity(&self) -> Machine;

    /// Called once before the first order. Returns what people should know before it begins.
    ///
    /// # Errors
    /// Nothing can be executed.
    fn open(&mut self) -> anyhow::Result<Vec<String>>;

    /// Takes an order.
    ///
    /// # Errors
    /// It cannot be begun; then no outcome follows.
    fn begin(&mut self, order: Order) -> anyhow::Result<()>;

    /// Records the result of an order that was made, under this record. What was made is the
    /// executor's until then; nobody else makes it before it is recorded. Answered once, with
    /// [`Heard::Recorded`].
    fn record(&mut self, order: OrderId, record: Record);

    /// What was made for an order is of no use. Nothing happens where nothing is kept, or where it
    /// is being recorded.
    fn discard(&mut self, order: OrderId);
}
