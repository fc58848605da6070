//! Data sets: getting them, making them of own files, splitting and corrupting them.

use crate::kind::BuiltIn;

pub mod corrupt;
pub mod dataset;
pub mod download;
pub mod split;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<corrupt::Corrupt>(),
        BuiltIn::of::<dataset::DatasetKind>(),
        BuiltIn::of::<download::Download>(),
        BuiltIn::of::<split::Split>(),
    ]
}
