//! Training networks, and measuring what they have learnt.

use crate::kind::BuiltIn;

pub mod evaluate;
pub mod filters;
pub mod forgetting;
pub mod probe;
mod recorded;
pub mod sensitivity;
pub mod train;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<evaluate::Evaluate>(),
        BuiltIn::of::<filters::Filters>(),
        BuiltIn::of::<forgetting::Forgetting>(),
        BuiltIn::of::<probe::Probe>(),
        BuiltIn::of::<sensitivity::Sensitivity>(),
        BuiltIn::of::<train::Train>(),
    ]
}
