//! From a pipeline file to a [`Plan`](crate::plan::Plan); or everything that is wrong with it.
//!
//! Three rooms, and data moves one way through them: [`text`] reads the file into typed fields that
//! know their places, [`tying`] ties names and references to what they mean, [`expansion`] makes
//! the instances. [`load`](load()) takes a file through all three. Nothing here reads an artifact
//! or knows a key.

mod expansion;
mod load;
mod text;
mod tying;

#[cfg(test)]
mod tests;

/// YAML with places, as pipeline files are read: for files of other tools.
pub mod yaml {
    pub use super::text::diagnostic::{Diagnostics, Report, Source};
    pub use super::text::document::parse;
    pub use super::text::files::{read_all, read_text};
    pub use super::text::node::{Data, Key, Node, Written};
    pub use super::text::plain::{Plain, read as plain};
    pub use super::text::problem::{Problem, Span};
    pub use super::text::settings::merge;
}

pub use load::{Options, load};
pub use text::diagnostic::Diagnostics;
pub use text::schema::schema;
pub use text::{model, written};
pub(crate) use tying::command::quote;
pub(crate) use tying::selector::pick_value;
