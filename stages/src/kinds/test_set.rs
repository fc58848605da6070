//! What a test set may be used for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a test set may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestSet {
    /// To choose by.
    MayChoose,
}
