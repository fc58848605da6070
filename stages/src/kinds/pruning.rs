//! Removing weights: which go, the mask of those that stay, and how many of each layer do.

use crate::kind::BuiltIn;

pub mod prune;
pub mod sparsity;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<prune::Prune>(),
        BuiltIn::of::<sparsity::Sparsity>(),
    ]
}
