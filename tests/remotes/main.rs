//! Everything that leaves the machine: remotes on real servers, sharing, damage, lies and
//! collection.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod beside;
mod cluster;
mod cut_connections;
mod hostile_remote;
mod remote_backends;
mod remote_gc;
mod remotes;
mod sharing;

#[path = "../support/mod.rs"]
mod support;
