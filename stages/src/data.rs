//! Labelled data sets: what they are, where their values come from, how they lie in an artifact.
//!
//! Published sets are found in [`published`] and read by [`idx`], [`cifar`] and [`svhn`] (in
//! [`mat`]); [`shapes`] draws one; [`own`] reads people's own files; [`mod@file`] is the format of
//! the artifact. Knows nothing of batches or of training.

pub mod cifar;
mod dataset;
#[cfg(test)]
pub(crate) mod examples;
pub mod file;
pub mod idx;
pub mod mat;
pub mod own;
pub mod pinned;
pub mod published;
pub mod shapes;
pub mod svhn;
mod values;

pub use dataset::{Answers, BadDataset, Dataset, Info};
pub use values::{ImageShape, Row, Values};
