//! Errors of the device that was chosen.

use std::fmt::{self, Display};

use dfdx::prelude::CpuError;
use repro_gpu::Fault;

/// An error of the device that was chosen.
#[derive(Debug)]
pub enum DeviceError {
    /// The CPU, or dfdx's tape.
    Cpu(CpuError),
    /// The GPU.
    Gpu(Fault),
}

/// An op that gives nothing back.
pub(super) type Done = Result<(), DeviceError>;

impl Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Cpu(error) => write!(f, "{error}"),
            DeviceError::Gpu(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for DeviceError {}

impl From<CpuError> for DeviceError {
    fn from(error: CpuError) -> DeviceError {
        DeviceError::Cpu(error)
    }
}

impl From<Fault> for DeviceError {
    fn from(fault: Fault) -> DeviceError {
        DeviceError::Gpu(fault)
    }
}
