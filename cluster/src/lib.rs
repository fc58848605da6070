//! Runs on batch systems: what misses is sent to a cluster in array jobs of bundles, and its
//! results are taken back, with the same keys and the same bits.
//!
//! A bundle is a list of actions that one element of an array job executes on a node, with the
//! ordinary program and a store of its own ([`node`]). There is no daemon, no socket and no
//! heartbeat. Bytes travel through a remote that the project has. A result under its key is the
//! only truth; what the batch system says tells only whether somebody is still at it. So an element
//! that runs twice finds its results, and one that is lost is executed again.
//!
//! [`executor`] implements the engine's seam. Its decisions are made by [`manager`]: what is packed
//! together ([`pack`]), submitted ([`system`], by description), listened to ([`parts`]), asked after
//! and done again. [`journal`] is what another run needs to go on where this one ended. What a stage
//! computes, and how a result is judged outside of a cluster, is unknown here.

mod calls;
mod courier;
mod desk;
mod executor;
mod here;
mod inquiry;
mod journal;
mod manager;
mod outlook;
mod pack;
mod parts;
mod shipment;
mod ticket;

pub mod config;
pub mod jobs;
pub mod node;
pub mod system;

pub use executor::{Left, destinations, is_elsewhere, run, settings_of};
pub use ticket::{Asked, Detach};
