//! Averages: of weights, over checkpoints of one training or over several, and of what networks
//! say.

use crate::kind::BuiltIn;

pub mod average;
pub mod ensemble;
pub mod soup;
mod sum;
pub mod swag;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<average::Average>(),
        BuiltIn::of::<ensemble::Ensemble>(),
        BuiltIn::of::<soup::Soup>(),
        BuiltIn::of::<swag::Swag>(),
    ]
}
