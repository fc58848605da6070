//! What two runs, or lock files, or commits with theirs, have different: keys, the fields behind
//! them, outputs, metrics, verdicts. Two instances side by side, and what is here beside a remote.

mod compare;
mod differences;
mod instances;
pub mod remote;
mod sides;

pub use differences::{ClaimDiff, Diff, Difference, InstanceDiff, LeftOut, MetricDiff};
pub use instances::{OutputPair, Pair, of_instances};
pub use sides::{Compared, of_lock, of_names};
