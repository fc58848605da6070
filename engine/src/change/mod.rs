//! What differs between the pre-images of two keys, and how people read it.

mod compare;
mod files;
mod words;

pub use compare::{changes, plain};
pub use files::{files, hunks};
pub use words::{begun, in_words};
