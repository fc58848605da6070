//! The engine of `repro`: it reads a pipeline file, gives every stage instance a key made of everything that can
//! influence its result, runs what has no cached result, and keeps what it made in a content-addressed store.
//!
//! Data moves one way; the modules are listed in that order. No module names what a stage computes.

pub mod catalog;
pub mod digest;
pub mod job;
pub mod plan;
pub mod relpath;
pub mod spec;
