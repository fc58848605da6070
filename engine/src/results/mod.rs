//! Results: the one question about what is recorded, for commands, reports and any other program.
//!
//! [`Results`] answers for instances of the plan as it is now: states and provenance
//! ([`instances`]), metrics ([`metrics`]), verdicts ([`claims`]), what executions took ([`costs`]).
//! [`runs`] tells of runs, [`recorded`] of whatever has a key, [`diff`] what two runs have
//! different. Where the store has no metrics, they can come from a file ([`given`]). Nothing here
//! executes anything, and every answer that a command writes as JSON is serializable in that form.

pub mod claims;
pub mod costs;
pub mod diff;
mod gathered;
pub mod given;
pub mod instances;
mod judged;
pub mod logs;
pub mod metrics;
mod named;
mod query;
pub mod recorded;
pub mod runs;

pub use query::Results;
