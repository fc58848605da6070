//! Results: the one question about what is recorded, for commands, reports and any other program.
//!
//! [`Results`] answers for instances of the plan as it is now: states and provenance
//! ([`instances`]), metrics ([`metrics`]), verdicts ([`claims`]), what executions took ([`costs`]).
//! [`runs`] tells of runs, [`recorded`] of whatever has a key, [`diff`] what two runs have
//! different. Nothing here executes anything, and every answer that a command writes as JSON is
//! serializable in that form.

pub mod claims;
pub mod costs;
pub mod diff;
pub mod instances;
pub mod logs;
pub mod metrics;
mod query;
pub mod recorded;
pub mod runs;

pub use query::Results;
