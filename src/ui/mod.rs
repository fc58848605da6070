//! How a run is shown: the same events as plain lines, as bars on a terminal, or as JSON.
//!
//! Results go to standard output, talk to standard error.

mod bars;
pub mod cell;
mod claims;
mod course;
mod echo;
mod estimate;
mod fit;
pub mod lines;
mod notices;
mod patient;
mod planned;
mod repeated;
pub mod style;
pub mod table;
mod width;

pub use bars::Bars;
pub use claims::{claims_table, verdicts};
pub use lines::Lines;
pub use notices::{moved_text, notices};
pub use planned::{Planned, stage_of};
pub use repeated::once;
pub use width::width;
