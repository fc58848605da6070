//! How long a training lasts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The length of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the training data; 0 gives the first weights as they are.
    Epochs(#[schemars(range(min = 0))] u64),
    /// Optimizer steps; the last epoch may be cut short.
    Steps(#[schemars(range(min = 1))] u64),
}

/// A reason to stop before the length is reached, looked at after every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopAt {
    /// The epoch's running train accuracy (training mode, as in Ash & Adams' code) is at least this, in (0, 1].
    TrainAccuracy(f64),
}

impl Length {
    /// Steps in all, with so many in an epoch.
    pub fn steps_total(self, steps_per_epoch: u64) -> u64 {
        match self {
            Length::Epochs(n) => n.saturating_mul(steps_per_epoch),
            Length::Steps(n) => n,
        }
    }
}
