//! What the stages of a pipeline compute: data, networks, exact kernels, methods, statistics.
//!
//! Knows nothing of caches, graphs or remotes: a stage is told everything by
//! [`repro_protocol::job::Job`] and answers with files. The modules are listed from the arithmetic
//! upwards; each uses only those above it.

// One style of modules: `foo.rs` beside `foo/`.
#![warn(clippy::mod_module_files)]

pub mod ops;

pub mod failure;
mod names;
mod spelling;
pub mod task;

pub mod data;
pub mod fetch;
pub mod frame;

mod observations;
mod series;
pub mod stats;
pub mod table;
pub mod weights;

pub mod device;
pub mod nn;
pub mod training;

pub mod facts;
pub mod kind;
pub mod kinds;

pub mod caches;
pub mod difference;
pub mod docs;
pub mod worker;

/// The tests of every package say in one way that they cannot run.
#[cfg(test)]
#[path = "../../tests/support/skipped.rs"]
mod skipped;
