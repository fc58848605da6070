//! Removing weights: which go, the mask of those that stay, a control with others in their place,
//! how many of each layer do, and whole units, whose network is then smaller.

use crate::kind::BuiltIn;

pub mod narrow;
pub mod prune;
pub mod shuffle;
pub mod sparsity;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<narrow::Narrow>(),
        BuiltIn::of::<prune::Prune>(),
        BuiltIn::of::<shuffle::Shuffle>(),
        BuiltIn::of::<sparsity::Sparsity>(),
    ]
}
