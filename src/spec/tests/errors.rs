//! What is said about files that are wrong.
use super::*;
