//! The kinds, one file each.

pub mod corrupt;
pub mod download;
pub mod split;

use crate::kind::KindInfo;

pub mod average;
pub mod evaluate;
pub mod perturb;
pub mod prune;
pub mod train;

/// The kinds a pipeline can name under `uses:`, in alphabetical order.
pub fn all() -> Vec<KindInfo> {
    vec![
        KindInfo::of::<average::Average>(),
        KindInfo::of::<evaluate::Evaluate>(),
        KindInfo::of::<perturb::Perturb>(),
        KindInfo::of::<prune::Prune>(),
        KindInfo::of::<train::Train>(),
        KindInfo::of::<corrupt::Corrupt>(),
        KindInfo::of::<download::Download>(),
        KindInfo::of::<split::Split>(),
    ]
}

/// The kind of that name, those that only the engine uses included.
pub fn find(name: &str) -> Option<KindInfo> {
    all().into_iter().find(|k| k.name == name)
}
