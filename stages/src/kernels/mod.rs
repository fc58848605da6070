//! The kernels that define the bits of `exact-f32-v1`, over plain slices.
//!
//! Each kernel's documentation states the order of its operations: that is the definition, and it depends on shapes and
//! parameters only. Sources are compiled once per [`Path`]; threads (the ambient rayon pool) share outputs or shards, never
//! one sum. Knows no tensors and no tape.

mod chain;
pub mod conv;
pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod gelu;
pub mod group_norm;
pub mod layer;
pub mod loss;
mod margin;
pub mod norm;
pub mod optim;
mod out;
mod path;
pub mod pool;
mod scratch;
mod shard;
pub mod soft_loss;
mod sums;
mod tiles;
mod transpose;

pub use path::{BadPath, Path};

#[cfg(test)]
mod tests;
