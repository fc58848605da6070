//! The way of gradients through a backward pass: out of dfdx's [`Gradients`], through an op, back
//! in.
//!
//! A slot starts empty and is filled by the first op that has something for it. An op takes what it
//! needs out, so that it owns it all at once: the gradient of its output for good (its memory goes
//! back to the pool with it), those of its operands until it has added its share.
//!
//! Gradients are sums that start from +0, hence never -0: what is moved into an empty slot has the
//! bits it would have had, added to zeros.

use dfdx::prelude::{Backward, Cpu, Gradients, Tape};

use super::matrix::{Slot, Traced};
use super::{Accumulate, Backend, Buffer, Gradient, Matrix, Param, Scalar};

/// The gradients of a backward pass, for one op.
pub(super) struct Slots<'a, D: Backend> {
    gradients: &'a mut Gradients<f32, Cpu>,
    device: &'a D,
    pool: &'a D::Pool,
}

/// Leaves a backward step on the tape, that of the op which made `of`. What it captures lives until
/// then.
pub(super) fn record<D: Backend, T: Tape<f32, Cpu>>(
    tape: &mut T,
    of: &Matrix<D>,
    step: impl FnOnce(&D, &mut Slots<'_, D>) -> Result<(), D::Err> + 'static,
) {
    if !T::OWNS_TAPE {
        return;
    }
    let (device, pool) = (of.device().clone(), of.pool().clone());
    tape.add_backward_op(move |gradients| {
        let mut slots = Slots {
            gradients,
            device: &device,
            pool: &pool,
        };
        step(&device, &mut slots).map_err(|e| device.on_tape(e))
    });
}

/// The gradients of a loss, for [`take_gradient`].
///
/// # Errors
/// The device's.
pub fn backward<D: Backend>(
    device: &D,
    loss: Scalar<Traced>,
) -> Result<Gradients<f32, Cpu>, D::Err> {
    loss.try_backward().map_err(|e| device.off_tape(e))
}

impl<'a, D: Backend> Slots<'a, D> {
    fn at(&mut self, of: &Slot) -> Result<(&'a D, &'a D::Pool, &mut Buffer), D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of);
        let buffer = buffer.map_err(|e| self.device.off_tape(e))?;
        Ok((self.device, self.pool, buffer))
    }

    /// The gradient of a loss: what it is multiplied with.
    pub(super) fn of_loss(&mut self, of: &Scalar) -> Result<f32, D::Err> {
        let buffer = self.gradients.get_or_alloc_mut(of);
        Ok(buffer.map_err(|e| self.device.off_tape(e))?[0])
    }

    /// The gradient of an op's output, for good; zeros where nobody read the output.
    pub(super) fn take(&mut self, of: &Slot, len: usize) -> Result<D::Values, D::Err> {
        let (device, pool, buffer) = self.at(of)?;
        match device.take(buffer, len, pool) {
            Some(values) => Ok(values),
            None => device.written(pool, len, |zeros| zeros.fill(0.0)),
        }
    }

    /// The gradient of an operand, to add to; [`Slots::close`] puts it back.
    pub(super) fn open(&mut self, of: &Slot, len: usize) -> Result<Gradient<D>, D::Err> {
        let (device, pool, buffer) = self.at(of)?;
        Ok(match device.take(buffer, len, pool) {
            Some(to) => Gradient {
                to,
                how: Accumulate::Add,
            },
            None => Gradient {
                to: device.values(pool, len)?,
                how: Accumulate::First,
            },
        })
    }

    /// [`Slots::open`] for a parameter.
    pub(super) fn open_param(&mut self, of: &Param<D>) -> Result<Gradient<D>, D::Err> {
        self.open(of.slot(), of.len())
    }

    /// Ends what [`Slots::open`] began.
    ///
    /// # Panics
    /// A slot that was filled meanwhile: an op was given one operand in two roles.
    pub(super) fn close(&mut self, of: &Slot, gradient: Gradient<D>) -> Result<(), D::Err> {
        let (device, _, buffer) = self.at(of)?;
        assert!(buffer.is_empty(), "an op was given one tensor in two roles");
        device.put(buffer, gradient.to);
        Ok(())
    }

    /// Adds a finished gradient (never -0) to an operand's: moves it there when it is the first.
    pub(super) fn add(&mut self, of: &Slot, len: usize, values: D::Values) -> Result<(), D::Err> {
        let (device, pool, buffer) = self.at(of)?;
        let Some(mut sum) = device.take(buffer, len, pool) else {
            device.put(buffer, values);
            return Ok(());
        };
        device.accumulate(&values, &mut sum)?;
        device.put(buffer, sum);
        Ok(())
    }

    /// [`Slots::add`] of values that are needed again.
    pub(super) fn add_copy(
        &mut self,
        of: &Slot,
        len: usize,
        values: &D::Values,
    ) -> Result<(), D::Err> {
        let (device, pool, buffer) = self.at(of)?;
        let sum = match device.take(buffer, len, pool) {
            None => device.copy(values, pool)?,
            Some(mut sum) => {
                device.accumulate(values, &mut sum)?;
                sum
            }
        };
        device.put(buffer, sum);
        Ok(())
    }
}

/// The gradient of a parameter, taken out of `gradients`: its memory goes back to the pool when it
/// is dropped. `None` where nothing depended on it.
///
/// # Errors
/// The device's.
pub fn take_gradient<D: Backend>(
    device: &D,
    pool: &D::Pool,
    gradients: &mut Gradients<f32, Cpu>,
    of: &Param<D>,
) -> Result<Option<D::Values>, D::Err> {
    taken(device, pool, gradients, of.slot(), of.len())
}

/// The gradient of an activation, as [`take_gradient`]: for tests and probes, since ops use up
/// those of their outputs.
///
/// # Errors
/// The device's.
pub fn take_input_gradient<D: Backend>(
    gradients: &mut Gradients<f32, Cpu>,
    of: &Matrix<D>,
) -> Result<Option<D::Values>, D::Err> {
    taken(of.device(), of.pool(), gradients, of.slot(), of.len())
}

fn taken<D: Backend>(
    device: &D,
    pool: &D::Pool,
    gradients: &mut Gradients<f32, Cpu>,
    of: &Slot,
    len: usize,
) -> Result<Option<D::Values>, D::Err> {
    let buffer = gradients.get_or_alloc_mut(of);
    let buffer = buffer.map_err(|e| device.off_tape(e))?;
    Ok(device.take(buffer, len, pool))
}
