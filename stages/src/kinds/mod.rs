//! The kinds, one file each.

pub mod corrupt;
pub mod download;
pub mod split;

use crate::kind::KindInfo;

/// The kinds a pipeline can name under `uses:`, in alphabetical order.
pub fn all() -> Vec<KindInfo> {
    vec![
        KindInfo::of::<corrupt::Corrupt>(),
        KindInfo::of::<download::Download>(),
        KindInfo::of::<split::Split>(),
    ]
}

/// The kind of that name, those that only the engine uses included.
pub fn find(name: &str) -> Option<KindInfo> {
    all().into_iter().find(|k| k.name == name)
}
