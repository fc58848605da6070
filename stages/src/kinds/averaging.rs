//! Averages of weights: over checkpoints of one training, or over several.

use crate::kind::BuiltIn;

pub mod average;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![BuiltIn::of::<average::Average>()]
}
