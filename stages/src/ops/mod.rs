//! The layers' operations on dfdx's tape, over any device that is a [`Backend`].
//!
//! Activations are `[batch, features]` matrices, parameters flat vectors; the geometry comes in typed shapes. An op
//! computes its result through the backend and leaves a backward step on the tape. Backward steps **add** to the gradient
//! buffers, so a tensor may be used many times. Which arithmetic makes the bits is the backend's business
//! ([`crate::kernels`] on the CPU); which layers make a network is the network's.
//!
//! Sizes that disagree with the shapes are bugs of the caller, and panic; errors are the device's own (out of memory).

mod activation;
mod backend;
mod conv;
mod cpu;
mod dense;
mod loss;
mod norm;
mod pool;
mod tape;
pub mod view;

use dfdx::prelude::{HasShape, NoneTape, Tensor};

pub use crate::shape::{BadShape, ConvShape, DenseShape, Image, PoolShape};
pub use activation::{add, dropout, relu, sigmoid, tanh};
pub use backend::{Activation, Backend, Buffer, DenseGradients};
pub use conv::conv2d;
pub use dense::dense;
pub use loss::{BadLabel, Labels, count_correct, softmax_cross_entropy};
pub use norm::{BatchStats, NormShape, batch_norm_eval, batch_norm_train};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};

/// Activations: `[batch, features]`, contiguous, images flattened as NHWC.
pub type Matrix<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;

/// A flat parameter; its layout is the layer's.
pub type Param<D> = Tensor<(usize,), f32, D>;

/// The loss of a batch.
pub type Scalar<D, T = NoneTape> = Tensor<(), f32, D, T>;

/// Whether the gradient of an op's input is of use; the first layer of a network skips it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGradient {
    /// Compute it.
    Needed,
    /// The input is data.
    Skip,
}

/// Panics when a parameter has the wrong length.
fn assert_len<D: Backend>(what: &str, param: &Param<D>, len: usize) {
    assert_eq!(param.shape().0, len, "{what}: length");
}

/// The rows of `x`; panics when it has the wrong features.
fn rows_of<D: Backend>(what: &str, x: &Matrix<D>, features: usize) -> usize {
    let (n, got) = *x.shape();
    assert_eq!(got, features, "{what}: features of the input");
    n
}

#[cfg(test)]
mod tests;
