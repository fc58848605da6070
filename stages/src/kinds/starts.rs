//! Where training starts: what is done to weights before they are trained.

use crate::kind::BuiltIn;

pub mod gradinit;
pub mod lsuv;
pub mod perturb;
pub mod rescale;
pub mod whiten;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<gradinit::GradInit>(),
        BuiltIn::of::<lsuv::Lsuv>(),
        BuiltIn::of::<perturb::Perturb>(),
        BuiltIn::of::<rescale::Rescale>(),
        BuiltIn::of::<whiten::Whiten>(),
    ]
}
