//! Values of the chosen device, and how the CPU's ops take them: as they are, or as copies.

use std::ops::{Deref, DerefMut};

use dfdx::prelude::Cpu;
use repro_gpu::Memory;

use super::super::Gradient;
use super::super::recycle;
use super::{Chosen, DeviceError, Gpu};

/// Memory that is used again, here and there.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    pub(super) near: recycle::Pool,
    pub(super) far: repro_gpu::Pool,
}

/// Where values lie. All of one device lie in one place.
#[derive(Debug)]
pub enum Values {
    /// With the CPU.
    Near(recycle::Values),
    /// On the GPU.
    Far(Memory),
    /// With an op of the CPU that will give them back.
    Away,
}

/// No op gets values of another device.
const ELSEWHERE: &str = "values of the device that was chosen";

impl Values {
    pub(super) fn far(&self) -> &Memory {
        match self {
            Values::Far(memory) => memory,
            _ => panic!("{ELSEWHERE}"),
        }
    }

    pub(super) fn far_mut(&mut self) -> &mut Memory {
        match self {
            Values::Far(memory) => memory,
            _ => panic!("{ELSEWHERE}"),
        }
    }

    pub(super) fn near(&self) -> &recycle::Values {
        match self {
            Values::Near(values) => values,
            _ => panic!("{ELSEWHERE}"),
        }
    }

    pub(super) fn near_mut(&mut self) -> &mut recycle::Values {
        match self {
            Values::Near(values) => values,
            _ => panic!("{ELSEWHERE}"),
        }
    }

    pub(super) fn into_near(self) -> recycle::Values {
        match self {
            Values::Near(values) => values,
            _ => panic!("{ELSEWHERE}"),
        }
    }
}

/// A copy of values of the GPU.
fn copied(gpu: Option<&Gpu>, memory: &Memory) -> Result<recycle::Values, DeviceError> {
    let mut copy = recycle::Pool::default().take(memory.len());
    gpu.expect(ELSEWHERE).device.read(memory, &mut copy)?;
    Ok(copy)
}

/// Values that an op of the CPU reads.
pub(super) enum Seen<'a> {
    Here(&'a recycle::Values),
    Copy(recycle::Values),
}

impl<'a> Seen<'a> {
    pub(super) fn of(gpu: Option<&Gpu>, values: &'a Values) -> Result<Seen<'a>, DeviceError> {
        Ok(match values {
            Values::Far(memory) => Seen::Copy(copied(gpu, memory)?),
            values => Seen::Here(values.near()),
        })
    }
}

impl Deref for Seen<'_> {
    type Target = recycle::Values;
    fn deref(&self) -> &recycle::Values {
        match self {
            Seen::Here(values) => values,
            Seen::Copy(values) => values,
        }
    }
}

/// Values that an op of the CPU writes; it may read them before.
pub(super) struct Taken<'a> {
    near: recycle::Values,
    home: &'a mut Values,
    gpu: Option<&'a Gpu>,
}

impl<'a> Taken<'a> {
    pub(super) fn of(gpu: Option<&'a Gpu>, home: &'a mut Values) -> Result<Taken<'a>, DeviceError> {
        let near = if let Values::Far(memory) = home {
            copied(gpu, memory)?
        } else {
            std::mem::replace(home, Values::Away).into_near()
        };
        Ok(Taken { near, home, gpu })
    }

    /// The values go back to where they were.
    pub(super) fn back(self) -> Result<(), DeviceError> {
        give(self.gpu, self.near, self.home)
    }
}

fn give(gpu: Option<&Gpu>, near: recycle::Values, home: &mut Values) -> Result<(), DeviceError> {
    if let Values::Far(memory) = home {
        gpu.expect(ELSEWHERE).device.write(&near, memory)?;
    } else {
        *home = Values::Near(near);
    }
    Ok(())
}

impl Deref for Taken<'_> {
    type Target = recycle::Values;
    fn deref(&self) -> &recycle::Values {
        &self.near
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut recycle::Values {
        &mut self.near
    }
}

/// A gradient that an op of the CPU adds to.
pub(super) struct LentGradient<'a> {
    pub near: Gradient<Cpu>,
    home: &'a mut Gradient<Chosen>,
    gpu: Option<&'a Gpu>,
}

impl<'a> LentGradient<'a> {
    pub(super) fn of(
        gpu: Option<&'a Gpu>,
        home: &'a mut Gradient<Chosen>,
    ) -> Result<LentGradient<'a>, DeviceError> {
        let taken = Taken::of(gpu, &mut home.to)?;
        let near = Gradient {
            to: taken.near,
            how: home.how,
        };
        Ok(LentGradient { near, home, gpu })
    }

    /// The gradient by itself; what is left is empty until it is put back.
    pub(super) fn lift(&mut self) -> Gradient<Cpu> {
        let empty = recycle::Pool::default().take(0);
        Gradient {
            to: std::mem::replace(&mut self.near.to, empty),
            how: self.near.how,
        }
    }

    /// The gradient goes back to where it was.
    pub(super) fn back(self) -> Result<(), DeviceError> {
        give(self.gpu, self.near.to, &mut self.home.to)
    }
}
