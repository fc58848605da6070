//! Remotes: where results are shared between machines.
//!
//! A remote is a set of names with bytes ([`Backend`]); what the names are is decided in
//! `layout.rs`. Nothing that comes from one is believed: bytes are hashed on the way in, records
//! need the signatures the project asks for.

mod backend;
pub mod backends;
pub mod census;
pub mod config;
pub mod decoding;
pub mod divergence;
pub mod encoding;
pub mod examine;
pub mod fetch;
pub mod fsck;
pub mod gc;
pub mod head;
pub mod layout;
pub mod lease;
pub mod link;
mod location;
mod marks;
pub(crate) mod name;
pub mod pack;
pub mod probe;
pub mod publish;
pub mod reading;
pub mod stopped;
mod sweeping;
mod tombstones;
pub(crate) mod wave;

pub use backend::{Backend, BackendError, BackendFault, Body, Entry, PutMode, PutOutcome, Reading};
pub use location::{BadLocation, Bucket, Location, SftpPlace};
pub use name::{BadName, Name};
