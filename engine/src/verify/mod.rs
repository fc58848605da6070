//! Verifying: recorded actions are executed again and compared, bit by bit.
//!
//! [`Replayer`] does it for one instance after the other and leaves no trace; [`Verifier`] signs
//! what agrees, keeps an account of what does not, and tells a remote.

mod again;
mod replayer;
mod verifier;

pub use again::Again;
use replayer::Recorded;
pub use replayer::{Compared, ComparedOutput, ReplayOptions, Replayer};
pub use verifier::{Verified, Verifier, Witness};
