//! The arithmetic of `exact-f32-v1` on GPUs: the text of each kernel once, for every driver, and the
//! drivers that compile and run it.
//!
//! The order of operations of every op is defined in `repro_numerics::kernels`. The texts in
//! `kernels/` follow it operation by operation, so a device gives the bits of the CPU, or it is
//! refused ([`check()`]). Drivers are found when the program runs: nothing here links to one. Knows
//! memory and ops; knows no tape, no network and no file.
//!
//! `unsafe` is in `opencl.rs` and `cuda*`, which call drivers, and in `memory.rs` and `launch.rs`,
//! which promise them valid handles.

#![warn(clippy::mod_module_files)]

mod check;
mod cuda;
mod device;
mod driver;
mod fault;
mod launch;
mod memory;
mod opencl;
mod ops;
mod text;

pub use check::check;
pub use device::{Device, Found, Search, found, search};
pub use fault::Fault;
pub use memory::{Memory, Pool};
pub use ops::{
    Done, Frame, GroupNormGradients, GroupStatistics, LstmGate, LstmGateGradients, LstmGradients,
    NormGradients, Pictures, RecurrentGradients,
};
pub use text::{CUDA_OPTIONS, program};
