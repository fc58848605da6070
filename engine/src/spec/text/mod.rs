//! From a file to typed fields in which every value knows its place; or what is wrong with them.
//!
//! [`files`] and [`document`] read trees, [`params`] and [`settings`] give variables their values,
//! [`decode`] makes the types of [`model`]. What a field refers to is not known here.

pub mod arithmetic;
pub mod decode;
mod definitions;
pub mod diagnostic;
pub mod document;
pub mod elsewhere;
pub mod files;
pub mod model;
pub mod node;
pub mod params;
pub mod plain;
pub mod problem;
pub mod quick;
pub mod reference;
pub mod scalar;
pub mod schema;
pub mod secrets;
pub mod settings;
pub mod substitute;
pub mod template;
pub mod written;
