//! The device that built-in kinds compute on. A second one is a change here: a kind names neither a
//! device nor its arithmetic.

use dfdx::prelude::Cpu;

use crate::ops::Backend;
use repro_numerics::exact::numerics::Numerics;

/// What kinds compute on.
pub type Device = Cpu;

/// Its memory between two steps.
pub type Pool = <Device as Backend>::Pool;

/// The class of its arithmetic: part of the key of every kind that computes on it.
pub const NUMERICS: Numerics = Device::NUMERICS;

/// The device, ready to compute.
///
/// # Errors
/// There is none here, or it does not answer; the CPU always does.
pub fn open() -> anyhow::Result<Device> {
    Ok(Cpu::default())
}
