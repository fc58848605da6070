//! Activations and parameters: values in the device's memory, and a place on dfdx's tape.
//!
//! A dfdx tensor owns zero-filled memory and its gradients are zero-filled as well. A [`Matrix`] holds recycled memory
//! instead; what it shares with dfdx is an empty tensor, whose identity names its gradient and which carries the tape.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use dfdx::prelude::{
    Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tensor, Trace, WithEmptyTape,
};

use super::Backend;

/// An empty tensor: the name of a gradient, and the tape.
pub(super) type Slot<D, T = NoneTape> = Tensor<(usize,), f32, D, T>;

/// Activations: `[rows, features]`, contiguous, images flattened as NHWC. Copies share their values.
#[derive(Debug)]
pub struct Matrix<D: Backend, T = NoneTape> {
    values: Arc<D::Values>,
    rows: usize,
    features: usize,
    pool: D::Pool,
    slot: Slot<D, T>,
}

impl<D: Backend> Clone for Matrix<D> {
    fn clone(&self) -> Matrix<D> {
        Matrix {
            values: Arc::clone(&self.values),
            pool: self.pool.clone(),
            slot: self.slot.clone(),
            ..*self
        }
    }
}

impl<D: Backend> Matrix<D> {
    /// A matrix that nothing else knows.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        device: &D,
        pool: &D::Pool,
        shape: (usize, usize),
        values: D::Values,
    ) -> Result<Matrix<D>, D::Err> {
        Ok(Matrix {
            values: Arc::new(values),
            rows: shape.0,
            features: shape.1,
            pool: pool.clone(),
            slot: device.try_zeros_like(&(0,))?,
        })
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
        Matrix::new(device, pool, shape, values)
    }

    /// With a new tape, on which everything made from it is recorded.
    pub fn traced(self) -> Matrix<D, OwnedTape<f32, D>> {
        self.put_tape(OwnedTape::default())
    }

    /// [`Matrix::traced`], with gradients of an earlier pass to add to.
    pub fn traced_into(self, gradients: Gradients<f32, D>) -> Matrix<D, OwnedTape<f32, D>> {
        Matrix {
            values: self.values,
            rows: self.rows,
            features: self.features,
            pool: self.pool,
            slot: self.slot.traced(gradients),
        }
    }

    pub(super) fn put_tape<T>(self, tape: T) -> Matrix<D, T> {
        Matrix {
            values: self.values,
            rows: self.rows,
            features: self.features,
            pool: self.pool,
            slot: self.slot.put_tape(tape),
        }
    }

    /// The values, if nobody else reads them.
    pub(super) fn into_unshared(self) -> Result<D::Values, Matrix<D>> {
        let Matrix {
            values,
            rows,
            features,
            pool,
            slot,
        } = self;
        Arc::try_unwrap(values).map_err(|values| Matrix {
            values,
            rows,
            features,
            pool,
            slot,
        })
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
        self.device().read(&self.values)
    }

    /// Where they lie.
    pub fn device(&self) -> &D {
        self.slot.device()
    }

    /// Where their memory came from, and that of what is made from them.
    pub fn pool(&self) -> &D::Pool {
        &self.pool
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.features
    }

    pub(super) fn slot(&self) -> &Slot<D, T> {
        &self.slot
    }

    /// The same values on a tape of their own: one of several uses. The tapes meet again in [`super::add`].
    pub fn branch(&self) -> Matrix<D, T>
    where
        T: Default,
    {
        Matrix {
            values: Arc::clone(&self.values),
            rows: self.rows,
            features: self.features,
            pool: self.pool.clone(),
            slot: self.slot.with_empty_tape(),
        }
    }

    /// The values and the tape apart.
    pub fn split_tape(self) -> (Matrix<D>, T) {
        let (slot, tape) = self.slot.split_tape();
        let matrix = Matrix {
            values: self.values,
            rows: self.rows,
            features: self.features,
            pool: self.pool,
            slot,
        };
        (matrix, tape)
    }
}

/// A flat parameter: a dfdx tensor, whose layout is the layer's. Clones share its values and its gradient.
#[derive(Debug, Clone)]
pub struct Param<D: Backend> {
    tensor: Tensor<(usize,), f32, D>,
    slot: Slot<D>,
}

impl<D: Backend> Param<D> {
    /// Puts values on a device.
    ///
    /// # Errors
    /// The device's.
    pub fn new(device: &D, values: Vec<f32>) -> Result<Param<D>, D::Err> {
        let len = values.len();
        Ok(Param {
            tensor: device.try_tensor_from_vec(values, (len,))?,
            slot: device.try_zeros_like(&(0,))?,
        })
    }

    pub(super) fn slot(&self) -> &Slot<D> {
        &self.slot
    }
}

impl<D: Backend> Deref for Param<D> {
    type Target = Tensor<(usize,), f32, D>;
    fn deref(&self) -> &Self::Target {
        &self.tensor
    }
}

impl<D: Backend> DerefMut for Param<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.tensor
    }
}
