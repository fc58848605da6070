//! What the stages of a pipeline compute: data, networks, exact kernels, methods, statistics.
//!
//! Knows nothing of caches, graphs or remotes: a stage is told everything by [`job::Job`] and answers with files.

pub mod data;
pub mod job;
pub mod kind;
pub mod kinds;
