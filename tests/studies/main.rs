//! The shipped studies: they give the committed results, on every path, however they are
//! interrupted.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod committed;
mod real_data;
mod smoke;
mod study;

#[path = "../support/mod.rs"]
mod support;
