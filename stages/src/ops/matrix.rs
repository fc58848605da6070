//! Activations and parameters: values in the device's memory, and a place on dfdx's tape.
//!
//! A dfdx tensor owns zero-filled memory and its gradients are zero-filled as well. Here values lie
//! in recycled memory of the device; what they share with dfdx is an empty tensor, whose identity
//! names their gradient and which carries the tape.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use dfdx::prelude::{
    Cpu, Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tensor, Trace, WithEmptyTape,
    ZerosTensor,
};

use super::Backend;

/// The tape of a forward pass.
pub type Traced = OwnedTape<f32, Cpu>;

/// An empty tensor: the name of a gradient, and the tape.
pub(super) type Slot<T = NoneTape> = Tensor<(usize,), f32, Cpu, T>;

/// A name that nothing else has.
fn slot() -> Slot {
    names().zeros_like(&(0usize,))
}

/// Where the tape's tensors are, whatever the device of the values. Nothing is computed there.
pub(super) fn names() -> &'static Cpu {
    static NAMES: LazyLock<Cpu> = LazyLock::new(Cpu::default);
    &NAMES
}

/// Activations: `[rows, features]`, contiguous, images flattened as NHWC. Copies share their
/// values.
#[derive(Debug)]
pub struct Matrix<D: Backend, T = NoneTape> {
    values: Arc<D::Values>,
    rows: usize,
    features: usize,
    device: D,
    pool: D::Pool,
    slot: Slot<T>,
}

impl<D: Backend> Clone for Matrix<D> {
    fn clone(&self) -> Matrix<D> {
        self.with(self.slot.clone())
    }
}

impl<D: Backend> Matrix<D> {
    /// A matrix that nothing else knows.
    pub fn new(
        device: &D,
        pool: &D::Pool,
        (rows, features): (usize, usize),
        values: D::Values,
    ) -> Matrix<D> {
        Matrix {
            values: Arc::new(values),
            rows,
            features,
            device: device.clone(),
            pool: pool.clone(),
            slot: slot(),
        }
    }

    /// A matrix whose values `fill` writes, all of them, in memory order.
    ///
    /// # Errors
    /// The device's.
    pub fn written(
        device: &D,
        pool: &D::Pool,
        shape: (usize, usize),
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Matrix<D>, D::Err> {
        let values = device.written(pool, shape.0 * shape.1, fill)?;
        Ok(Matrix::new(device, pool, shape, values))
    }

    /// With a new tape, on which everything made from it is recorded.
    pub fn traced(self) -> Matrix<D, Traced> {
        self.put_tape(OwnedTape::default())
    }

    /// [`Matrix::traced`], with gradients of an earlier pass to add to.
    pub fn traced_into(self, gradients: Gradients<f32, Cpu>) -> Matrix<D, Traced> {
        self.map(|slot| slot.traced(gradients))
    }

    pub(super) fn put_tape<T>(self, tape: T) -> Matrix<D, T> {
        self.map(|slot| slot.put_tape(tape))
    }

    fn map<T>(self, change: impl FnOnce(Slot) -> Slot<T>) -> Matrix<D, T> {
        Matrix {
            values: self.values,
            rows: self.rows,
            features: self.features,
            device: self.device,
            pool: self.pool,
            slot: change(self.slot),
        }
    }

    /// The values, if nobody else reads them.
    pub(super) fn into_unshared(self) -> Result<D::Values, Matrix<D>> {
        match Arc::try_unwrap(self.values) {
            Ok(values) => Ok(values),
            Err(values) => Err(Matrix { values, ..self }),
        }
    }
}

impl<D: Backend, T> Matrix<D, T> {
    /// `(rows, features)`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.features)
    }

    /// The device's memory.
    pub fn values(&self) -> &D::Values {
        &self.values
    }

    /// The values in memory order.
    pub fn read(&self) -> Cow<'_, [f32]> {
        self.device.read(&self.values)
    }

    /// Where they lie.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Where their memory came from, and that of what is made from them.
    pub fn pool(&self) -> &D::Pool {
        &self.pool
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.features
    }

    pub(super) fn slot(&self) -> &Slot<T> {
        &self.slot
    }

    /// The same values on a tape of their own: one of several uses. The tapes meet again in
    /// [`super::add`].
    pub fn branch(&self) -> Matrix<D, T>
    where
        T: Default,
    {
        self.with(self.slot.with_empty_tape())
    }

    /// The values and the tape apart.
    pub fn split_tape(self) -> (Matrix<D>, T) {
        let (slot, tape) = self.slot.split_tape();
        let matrix = Matrix {
            values: self.values,
            rows: self.rows,
            features: self.features,
            device: self.device,
            pool: self.pool,
            slot,
        };
        (matrix, tape)
    }

    /// The same values under another slot.
    fn with<U>(&self, slot: Slot<U>) -> Matrix<D, U> {
        Matrix {
            values: Arc::clone(&self.values),
            rows: self.rows,
            features: self.features,
            device: self.device.clone(),
            pool: self.pool.clone(),
            slot,
        }
    }
}

/// A flat parameter, whose layout is the layer's. Clones share its values and its gradient.
#[derive(Debug)]
pub struct Param<D: Backend> {
    values: Arc<D::Values>,
    len: usize,
    slot: Slot,
}

impl<D: Backend> Clone for Param<D> {
    fn clone(&self) -> Param<D> {
        Param {
            values: Arc::clone(&self.values),
            len: self.len,
            slot: self.slot.clone(),
        }
    }
}

impl<D: Backend> Param<D> {
    /// Puts values on a device.
    ///
    /// # Errors
    /// The device's.
    pub fn new(device: &D, pool: &D::Pool, values: &[f32]) -> Result<Param<D>, D::Err> {
        let len = values.len();
        let written = device.written(pool, len, |to| to.copy_from_slice(values))?;
        Ok(Param {
            values: Arc::new(written),
            len,
            slot: slot(),
        })
    }

    /// The device's memory.
    pub fn values(&self) -> &D::Values {
        &self.values
    }

    /// The same, to change.
    ///
    /// # Panics
    /// A tape that will still read them.
    pub fn values_mut(&mut self) -> &mut D::Values {
        Arc::get_mut(&mut self.values).expect("a parameter moves when no tape reads it any more")
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// Another number of them, or a tape that will still read those before.
    pub fn set(&mut self, device: &D, pool: &D::Pool, values: &[f32]) -> Result<(), D::Err> {
        assert_eq!(values.len(), self.len, "values of a parameter");
        *self.values_mut() = device.written(pool, self.len, |to| to.copy_from_slice(values))?;
        Ok(())
    }

    pub(super) fn share(&self) -> Arc<D::Values> {
        Arc::clone(&self.values)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }
}
