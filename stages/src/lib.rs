//! What the stages of a pipeline compute: data, networks, exact kernels, methods, statistics.
//!
//! Knows nothing of caches, graphs or remotes: a stage is told everything by [`job::Job`] and answers with files.

pub mod check;
pub mod data;
pub mod docs;
pub mod exact;
pub mod fetch;
pub mod job;
pub mod kernels;
pub mod kind;
pub mod kinds;
pub mod nn;
pub mod ops;
pub mod select;
pub mod stats;
pub mod table;
pub mod training;
pub mod weights;
pub mod worker;
