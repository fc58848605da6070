//! Values of the chosen device, and how the CPU's ops take them.

use dfdx::prelude::Cpu;
use repro_gpu::Memory;

use super::super::Gradient;
use super::super::recycle;
use super::Chosen;

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

/// A gradient that an op of the CPU adds to.
pub(super) struct LentGradient<'a> {
    pub near: Gradient<Cpu>,
    home: &'a mut Gradient<Chosen>,
}

/// Takes a gradient from where it lies, until it goes [back](LentGradient::back).
pub(super) fn lend(home: &mut Gradient<Chosen>) -> LentGradient<'_> {
    let near = Gradient {
        to: std::mem::replace(&mut home.to, Values::Away).into_near(),
        how: home.how,
    };
    LentGradient { near, home }
}

impl LentGradient<'_> {
    /// The gradient by itself; what is left is empty until it is put back.
    pub(super) fn lift(&mut self) -> Gradient<Cpu> {
        let empty = recycle::Pool::default().take(0);
        Gradient {
            to: std::mem::replace(&mut self.near.to, empty),
            how: self.near.how,
        }
    }

    /// The gradient goes back to where it was.
    pub(super) fn back(self) {
        self.home.to = Values::Near(self.near.to);
    }
}
