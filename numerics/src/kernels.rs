//! The kernels that define the bits of `exact-f32-v1`, over plain slices.
//!
//! Each kernel's documentation states the order of its operations: that is the definition, and it
//! depends on shapes and parameters only. Sources are compiled once per [`Path`]; threads
//! ([`parallel`]) share outputs or shards, never one sum. Knows no tensors and no tape.
//!
//! # Special values
//!
//! The orders hold for all numbers, not only for usual ones; `tests/special_values.rs` says so of
//! every path.
//! - Rounding is to nearest, ties to even. Subnormal numbers are operands and results like others:
//!   nothing is flushed to 0.
//! - An operation on a NaN gives a NaN, and no kernel loses one: relu passes it on, it wins in a
//!   maximum, a row of logits with one has a NaN as loss and counts as wrong. *Which* NaN (sign,
//!   payload) is no part of the contract, since processors differ in that; files of weights hold
//!   only the one positive quiet NaN, tables hold none.
//! - Overflow gives an infinity, and `0·∞` is NaN as IEEE 754 has it: the zeros around a
//!   convolution's image are multiplied like any other value. A Winograd convolution
//!   (`conv/winograd.rs`) adds and subtracts neighbours first, so an infinity makes NaN of a whole
//!   tile.
//! - The sign of zero follows IEEE 754 through the order of operations. Where an order starts from
//!   `+0`, a sum of negative zeros is `+0`; relu gives `+0` for both zeros; a gradient's first
//!   value is added to `+0`.

#![expect(
    clippy::needless_range_loop,
    clippy::too_many_arguments,
    reason = "an index walks several arrays of one tile, and a kernel is called with its buffers"
)]

pub mod activation;
mod chain;
pub mod conv;
pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod gelu;
pub mod group_norm;
pub mod layer;
pub mod loss;
pub mod lstm;
mod margin;
pub mod norm;
pub mod optim;
mod out;
pub mod parallel;
mod path;
pub mod pool;
pub mod recurrent;
mod scratch;
mod shard;
pub mod soft_loss;
pub mod squared_error;
mod sums;
mod tiles;
mod transpose;

pub use path::{BadPath, Path};

#[cfg(test)]
mod tests;
