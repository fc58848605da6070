//! Environments: the installations that a command's programs and packages come from, each declared
//! by one word.
//!
//! [`capture`] looks at an installation without running any code of it, and says two things: what
//! of it is part of a key, so that the same packages give the same key wherever they lie, and what
//! a process needs to use it ([`crate::exec::Surroundings`]). Which files a manager keeps is in
//! [`python`], [`conda`] and [`r`]; what a lock file pins is in [`lock`].

mod capture;
mod conda;
mod installed;
mod lock;
mod python;
mod r;

pub use capture::capture;
pub use installed::Captured;
use installed::{Packages, closed, dir_of, file_there, home, mark, names_in};
