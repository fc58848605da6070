//! The kinds a pipeline can name under `uses:`, by concept.
//!
//! A concept is a folder and lists its kinds in the file of the same name; a kind is one file in
//! it, or a file and a folder.

use crate::kind::BuiltIn;

mod alike;
pub mod averaging;
pub mod data;
pub mod geometry;
mod network;
pub mod pruning;
pub mod running;
mod several;
pub mod starts;
pub mod statistics;
pub mod test_set;
pub mod training;

pub use statistics::claim::judge;

#[cfg(test)]
mod testing;

/// The kinds a pipeline can name under `uses:`, by what they are about.
pub fn by_concept() -> Vec<(&'static str, Vec<BuiltIn>)> {
    vec![
        ("data", data::kinds()),
        ("where training starts", starts::kinds()),
        ("training and evaluation", training::kinds()),
        ("pruning", pruning::kinds()),
        ("averages and ensembles", averaging::kinds()),
        ("geometry of the loss", geometry::kinds()),
        ("statistics", statistics::kinds()),
    ]
}

/// The kinds a pipeline can name under `uses:`, in alphabetical order.
pub fn all() -> Vec<BuiltIn> {
    let concepts = by_concept().into_iter();
    let mut all = Vec::from_iter(concepts.flat_map(|(_, kinds)| kinds));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The kind that decides claims: the engine uses it, pipelines do not name it.
pub fn claim() -> BuiltIn {
    BuiltIn::of::<statistics::claim::Claim>()
}

/// The kind of that name, the claim kind included.
pub fn find(name: &str) -> Option<BuiltIn> {
    all().into_iter().chain([claim()]).find(|k| k.name == name)
}
