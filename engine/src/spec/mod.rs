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

pub use load::{Options, load};
pub use text::diagnostic::Diagnostics;
pub use text::model;
pub use text::schema::schema;
pub(crate) use tying::command::quote;
pub(crate) use tying::selector::pick_value;
