//! The seam between what decides and what executes: an order goes out, notes and one outcome come
//! back.
//!
//! An [`Order`] says everything about one execution and an [`Outcome`] everything about its end, as
//! plain data: contents and names, no function, no lock, and no path but those that the study
//! itself names. Both can be written as JSON and read elsewhere. Where an order is executed, and on
//! which devices, is the executor's business alone. [`Local`] is this machine; a simulated one
//! lives with the tests of the scheduler.
//!
//! [`Executor`] is the contract. Knows no graph, and does not decide what is executed when.

mod claims;
mod devices;
mod failed;
mod flight;
mod guard;
mod local;
mod order;
mod outcome;
mod places;
mod prepare;
mod recorder;
mod seam;
mod site;
#[cfg(test)]
mod tests;

pub(crate) use devices::alone;
#[cfg(test)]
pub(crate) use devices::{Devices, Granted};
pub use failed::{FailedDir, sweep as sweep_failed};
pub use local::{Aside, Local};
pub use order::{
    Input, Job, KindName, Order, OrderId, Origin, Purpose, Terms, check_inputs, state_keys,
};
pub use outcome::{Failed, Heard, Made, Moved, Outcome, Recording, StoreBroken};
pub use places::Places;
pub use prepare::{Prepared, Shown, place};
#[cfg(test)]
pub(crate) use recorder::{Landing, Recorder};
pub use seam::{Capacity, Executor, Reserved, Tell};
pub use site::Site;
