//! A session: one open project, with its plan, its store and what is remembered, and the answer to
//! one question: given the contents of its inputs, does an instance have a result?
//!
//! Everything that only looks (`status`, `why`, `run -n`) and the scheduler share this code, so
//! they cannot disagree.

mod around;
mod found;
mod inside;
mod opened;
mod shown;
mod told;
mod unknown;

pub use around::{stamps, surroundings};
pub use found::{Found, Hit, LookedUp, Miss, outputs_of};
pub use opened::{Session, log_in};
pub use shown::show;
pub use told::Told;
pub use unknown::Unknown;
