//! Removing weights: which go, and the mask of those that stay.

use crate::kind::BuiltIn;

pub mod prune;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![BuiltIn::of::<prune::Prune>()]
}
