//! The shape of the loss around and between trained networks.

use crate::kind::BuiltIn;

mod align;
mod cka;
mod connect;
pub mod landscape;
mod sharpness;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<landscape::LossLandscape>(),
        BuiltIn::of::<align::Align>(),
        BuiltIn::of::<cka::Cka>(),
        BuiltIn::of::<connect::Connect>(),
        BuiltIn::of::<sharpness::Sharpness>(),
    ]
}
