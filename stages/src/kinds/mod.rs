//! The kinds, one file each.
