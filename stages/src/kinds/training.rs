//! Training networks, and measuring what they have learnt.

use crate::kind::BuiltIn;

pub mod evaluate;
mod recorded;
pub mod train;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<evaluate::Evaluate>(),
        BuiltIn::of::<train::Train>(),
    ]
}
