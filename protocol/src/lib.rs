//! What the engine, the stages and foreign kinds say to one another. Each format is defined here,
//! once.
//!
//! The engine decides when a job runs and what its results are called; a kind decides what the job
//! computes. Neither knows the other: both know these types.

pub mod expected;
pub mod findings;
pub mod job;
pub mod kind;
pub mod relpath;
pub mod table;
