//! What a training measures on its way.

use serde::{Deserialize, Serialize};

use repro_protocol::table::Row;

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Epochs done (begun, for the last of a training counted in steps).
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// `train`, `test` or `validation`; none for what belongs to neither.
    pub split: Option<String>,
    /// `loss` and `accuracy`, or `mse`, `mae` and `r2`; `learning_rate`.
    pub name: String,
    /// The value.
    pub value: f64,
}

impl Measured {
    /// As a row of the table.
    pub fn row(&self, seed: u64) -> Row {
        Row {
            seed: i64::try_from(seed).ok(),
            epoch: i64::try_from(self.epoch).ok(),
            step: i64::try_from(self.step).ok(),
            split: self.split.clone(),
            name: self.name.clone(),
            value: self.value,
            ..Row::default()
        }
    }
}
