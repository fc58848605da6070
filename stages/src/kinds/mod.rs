//! The kinds, one file each.

use crate::kind::KindInfo;

/// The kinds a pipeline can name under `uses:`, in alphabetical order.
pub fn all() -> Vec<KindInfo> {
    vec![]
}

/// The kind of that name, those that only the engine uses included.
pub fn find(name: &str) -> Option<KindInfo> {
    all().into_iter().find(|k| k.name == name)
}
