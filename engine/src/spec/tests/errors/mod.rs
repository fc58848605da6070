//! What is said about files that are wrong: one snapshot per class of error.

use super::*;

mod file;
mod numbers;
mod references;
mod stages;
