//! Exact arithmetic: functions and random numbers whose bits are the same on every machine.
//!
//! `exact-f32-v1` builds everything from IEEE-754 add, mul, div, sqrt and fused multiply-add;
//! nothing here calls the system's mathematical library.

#![expect(
    clippy::needless_range_loop,
    reason = "an index walks several chains at once"
)]

pub mod chains;
pub mod fma;
pub mod half;
pub mod math;
pub mod normal;
pub mod numerics;
pub mod orthonormal;
pub mod rng;
#[cfg(target_arch = "x86_64")]
mod sse2;
pub mod symmetric;
