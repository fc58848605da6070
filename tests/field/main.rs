//! What people of this field hit with other tools, and with this one: each test is named by the fault it holds off, and every module
//! holds one family of faults. A number in a test's name is the line of the collected cases it was made from.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

#[path = "../support/lab.rs"]
mod lab;
#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod data;
mod durability;
mod language;
mod ordering;
mod placing;
mod processes;
mod sharing;
mod statistics;
mod terminal;
