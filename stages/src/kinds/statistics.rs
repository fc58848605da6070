//! Statistics over runs: tables for people, and claims that are decided.

use crate::kind::BuiltIn;

mod asked;
pub mod claim;
pub mod curve;
pub mod select;
pub mod summarise;
mod values;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<curve::Curve>(),
        BuiltIn::of::<select::Select>(),
        BuiltIn::of::<summarise::Summarise>(),
    ]
}
