//! Where training starts: what is done to weights before they are trained.

use crate::kind::BuiltIn;

pub mod perturb;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![BuiltIn::of::<perturb::Perturb>()]
}
