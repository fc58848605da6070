//! What holds for every file.
use super::*;
