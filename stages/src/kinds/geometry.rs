//! The shape of the loss around and between trained networks.

use crate::kind::BuiltIn;

pub mod landscape;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![BuiltIn::of::<landscape::LossLandscape>()]
}
