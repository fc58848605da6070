//! What two runs, or lock files, or commits with theirs, have different: keys, the fields behind
//! them, outputs, metrics, verdicts. And two instances side by side.

mod compare;
mod differences;
mod instances;
mod sides;

pub use differences::{ClaimDiff, Diff, Difference, InstanceDiff, LeftOut, MetricDiff};
pub use instances::{OutputPair, Pair, of_instances};
pub use sides::{Compared, of_lock, of_names};
