//! Exports: results that leave the machine in a file, for people and for machines without network.
//!
//! A *bundle* is for `repro import`: pipeline, lock file, inputs and results, exactly as they are
//! ([`bundle`], [`import`]). A *crate* is for everybody else: files with a description in the words
//! of RO-Crate ([`rocrate`]). What is exported is decided here, once. Metrics alone also go to
//! TensorBoard ([`tensorboard`]), which needs no files of the project.

pub mod bundle;
pub mod import;
mod ready;
pub mod rocrate;
mod rocrate_files;
mod rocrate_graph;
mod selection;
pub mod take_in;
pub mod tensorboard;
#[cfg(test)]
mod tests;

pub use selection::{Piece, ProjectPath, Selection, is_private};
