//! What an executor promises.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::places::Places;
use super::{Heard, Order, OrderId};
use crate::machine::Machine;
use crate::store::{ActionLock, Staged};

/// Hears of an order. May be called from any thread.
pub type Tell = Arc<dyn Fn(OrderId, Heard) + Send + Sync>;

/// Executes orders somewhere.
///
/// Each order that was begun gets one outcome in the end, also where it was stopped or broke down.
/// An outcome that comes twice, or after its time, does no harm: who gave the order knows which one
/// it waits for.
pub trait Executor {
    /// What it has to give in all.
    fn capacity(&self) -> Machine;

    /// Called once before the first order. Returns what people should know before it begins.
    fn open(&mut self) -> Vec<String>;

    /// Takes an order.
    ///
    /// # Errors
    /// It cannot be begun; then no outcome follows.
    fn begin(&mut self, order: Order) -> anyhow::Result<()>;

    /// What is here of an order that was made. Asked for once, after each outcome; empty for any
    /// other.
    fn collect(&mut self, order: OrderId) -> Collected;
}

/// The bytes of a result as they are here, and what keeps others from making it until it is
/// recorded.
#[derive(Default)]
pub struct Collected {
    /// Bytes that are new to the store.
    pub staged: Staged,
    /// One process at a time executes an action.
    pub lock: Option<ActionLock>,
    /// Bytes that stay outside of the store, of an order that is only compared.
    pub aside: Aside,
}

/// Outputs that lie outside of the store as long as this lives.
#[derive(Default)]
pub struct Aside {
    /// Where they lie, by name.
    pub paths: BTreeMap<Arc<str>, PathBuf>,
    pub(super) _places: Option<Places>,
}
