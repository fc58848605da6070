//! Data sets: getting them, making them of own files, splitting, preparing and corrupting them.

use crate::kind::BuiltIn;

pub mod corrupt;
pub mod dataset;
pub mod download;
pub mod split;
pub mod transform;

/// Its kinds.
pub(super) fn kinds() -> Vec<BuiltIn> {
    vec![
        BuiltIn::of::<corrupt::Corrupt>(),
        BuiltIn::of::<dataset::DatasetKind>(),
        BuiltIn::of::<download::Download>(),
        BuiltIn::of::<split::Split>(),
        BuiltIn::of::<transform::Transform>(),
    ]
}
