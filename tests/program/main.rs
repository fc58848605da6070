//! The program as people use it, end to end: the real binary in a project of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod bad_input;
mod behaviour;
mod bisect;
mod cli;
mod devices;
mod docs;
mod editor;
mod events;
mod explain;
mod exports;
mod field;
mod from_dvc;
mod given;
mod invariants;
mod layers;
mod pipeline_features;
mod python;
mod report;
mod tables;
mod trust;

#[path = "../support/mod.rs"]
mod support;
