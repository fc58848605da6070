//! The way of gradients through a backward pass: out of dfdx's [`Gradients`], through an op, back in.
//!
//! A slot starts empty and is filled by the first op that has something for it. An op takes what it needs out, so that it
//! owns it all at once: the gradient of its output for good (its memory goes back to the pool with it), those of its
//! operands until it has added its share.
//!
//! Gradients are sums that start from +0, hence never -0: what is moved into an empty slot has the bits it would have had,
//! added to zeros.

use dfdx::prelude::{Gradients, HasShape, Storage};

use super::matrix::Slot;
use super::{Accumulate, Backend, Matrix, Param};

/// A gradient that an op adds to.
#[derive(Debug)]
pub struct Gradient<D: Backend> {
    /// As long as the operand.
    pub to: D::Values,
    /// Whether it holds something already.
    pub how: Accumulate,
}

/// The gradients of a backward pass, for one op.
pub(super) struct Slots<'a, D: Backend> {
    gradients: &'a mut Gradients<f32, D>,
    device: &'a D,
    pool: &'a D::Pool,
}

impl<'a, D: Backend> Slots<'a, D> {
    pub(super) fn new(
        gradients: &'a mut Gradients<f32, D>,
        device: &'a D,
        pool: &'a D::Pool,
    ) -> Slots<'a, D> {
        Slots {
            gradients,
            device,
            pool,
        }
    }

    /// The gradient of an op's output, for good; zeros where nobody read the output.
    pub(super) fn take(&mut self, of: &Slot<D>, len: usize) -> Result<D::Values, D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of)?;
        match self.device.take(buffer, len, self.pool) {
            Some(values) => Ok(values),
            None => self.device.written(self.pool, len, |zeros| zeros.fill(0.0)),
        }
    }

    /// The gradient of an operand, to add to; [`Slots::close`] puts it back.
    pub(super) fn open(&mut self, of: &Slot<D>, len: usize) -> Result<Gradient<D>, D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of)?;
        Ok(match self.device.take(buffer, len, self.pool) {
            Some(to) => Gradient {
                to,
                how: Accumulate::Add,
            },
            None => Gradient {
                to: self.device.values(self.pool, len)?,
                how: Accumulate::First,
            },
        })
    }

    /// [`Slots::open`] for a parameter.
    pub(super) fn open_param(&mut self, of: &Param<D>) -> Result<Gradient<D>, D::Err> {
        self.open(of.slot(), of.shape().0)
    }

    /// Ends what [`Slots::open`] began.
    ///
    /// # Panics
    /// A slot that was filled meanwhile: an op was given one operand in two roles.
    pub(super) fn close(&mut self, of: &Slot<D>, gradient: Gradient<D>) -> Result<(), D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of)?;
        assert!(
            Storage::<f32>::len(self.device, buffer) == 0,
            "an op was given one tensor in two roles"
        );
        self.device.put(buffer, gradient.to);
        Ok(())
    }

    /// Adds a finished gradient (never -0) to an operand's: moves it there when it is the first.
    pub(super) fn add(
        &mut self,
        of: &Slot<D>,
        len: usize,
        values: D::Values,
    ) -> Result<(), D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of)?;
        let Some(mut sum) = self.device.take(buffer, len, self.pool) else {
            self.device.put(buffer, values);
            return Ok(());
        };
        self.device.accumulate(&values, &mut sum)?;
        self.device.put(buffer, sum);
        Ok(())
    }

    /// [`Slots::add`] of values that are needed again.
    pub(super) fn add_copy(
        &mut self,
        of: &Slot<D>,
        len: usize,
        values: &D::Values,
    ) -> Result<(), D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of)?;
        let sum = match self.device.take(buffer, len, self.pool) {
            None => self.device.copy(values, self.pool)?,
            Some(mut sum) => {
                self.device.accumulate(values, &mut sum)?;
                sum
            }
        };
        self.device.put(buffer, sum);
        Ok(())
    }
}

/// The gradient of a parameter, taken out of `gradients`: its memory goes back to the pool when it is dropped. `None` where
/// nothing depended on it.
///
/// # Errors
/// The device's.
pub fn take_gradient<D: Backend>(
    gradients: &mut Gradients<f32, D>,
    of: &Param<D>,
    pool: &D::Pool,
) -> Result<Option<D::Values>, D::Err> {
    let len = of.shape().0;
    let buffer = gradients.get_or_alloc_mut(of.slot())?;
    Ok(of.device().take(buffer, len, pool))
}

/// The gradient of an activation, as [`take_gradient`]: for tests and probes, since ops use up those of their outputs.
///
/// # Errors
/// The device's.
pub fn take_input_gradient<D: Backend>(
    gradients: &mut Gradients<f32, D>,
    of: &Matrix<D>,
) -> Result<Option<D::Values>, D::Err> {
    let buffer = gradients.get_or_alloc_mut(of.slot())?;
    Ok(of.device().take(buffer, of.len(), of.pool()))
}
