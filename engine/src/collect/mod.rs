//! Collecting: what a store or a remote may lose, because no project needs it.
//!
//! Here is said who needs what: projects that used the store ([`local`]); this clone with all its
//! branches, beside what other clones say on the remote ([`remote`]); people ([`pins`]). What then
//! goes is decided by `store/gc.rs` and `remote/gc.rs`.

pub mod local;
pub mod pins;
pub mod remote;

use std::time::Duration;

pub use crate::remote::gc::Mode;

/// In which ages are told.
pub const DAY: Duration = Duration::from_secs(86_400);
