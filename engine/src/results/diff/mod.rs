//! What two runs, or a lock file and the present one, have different: keys, the fields behind them,
//! outputs, metrics, verdicts.

mod compare;
mod differences;
mod sides;

pub use differences::{ClaimDiff, Diff, Difference, InstanceDiff, LeftOut, MetricDiff};
pub use sides::{of_lock, of_runs};
