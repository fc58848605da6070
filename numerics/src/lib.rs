//! Arithmetic whose bits are the same on every machine: functions, random numbers, kernels.
//!
//! `docs/numerics.md` is the contract. Works on plain slices; knows no tensors, no tape, no networks
//! and no files. It is a package of its own because every other change is then spared its build,
//! which is by far the longest: each kernel is compiled once per set of instructions, optimised even
//! where the rest is not.

// One style of modules: `foo.rs` beside `foo/`.
#![warn(clippy::mod_module_files)]

pub mod exact;
pub mod kernels;
pub mod shape;
