//! How a run is shown: the same events as plain lines, as bars on a terminal, or as JSON.
//!
//! Results go to standard output, talk to standard error.

mod bars;
pub mod lines;
mod patient;
pub mod style;
mod table;

pub use bars::Bars;
pub use lines::Lines;
pub use table::{aligned, claims_table};
