//! The layers' operations on dfdx's tape, over any device that is a [`Backend`].
//!
//! Activations are `[batch, features]` matrices, parameters flat vectors; the geometry comes in
//! typed shapes. An op computes its result through the backend and leaves a backward step on the
//! tape. Backward steps **add** to gradients, so a tensor may be used many times. Which arithmetic
//! makes the bits is the backend's business ([`repro_numerics::kernels`] on the CPU); which layers make a
//! network is the network's.
//!
//! Memory is recycled ([`recycle`]): after the first step of a training no op asks the system for
//! any. Values nobody needs any more go back at once; the gradient of an output does when its op
//! has used it.
//!
//! A new op is a function here, two methods of [`Backend`] and a kernel. Sizes that disagree with
//! the shapes are bugs of the caller, and panic; errors are the device's own (out of memory).

mod activation;
mod backend;
mod chosen;
mod conv;
mod cpu;
mod dense;
mod depthwise;
mod group_norm;
mod labels;
mod layer;
mod loss;
mod lstm;
mod matrix;
mod norm;
mod pictures;
mod pool;
mod recurrent;
pub mod recycle;
mod slots;

use dfdx::prelude::{Cpu, NoneTape, Tensor};

pub use activation::{activate, add, dropout, gelu, relu, sigmoid, tanh};
pub use backend::{
    Accumulate, Activation, Backend, Buffer, GATES, Gate, GateGradients, Gelu, Gradient,
    GroupNormBackward, LayerBackward, LstmBackward, Moments, Moving, NormBackward,
    RecurrentBackward, Rule,
};
pub use chosen::{Chosen, DeviceError};
pub use conv::conv2d;
pub use dense::dense;
pub use depthwise::depthwise_conv2d;
pub use group_norm::group_norm;
pub use labels::{BadLabel, Labels};
pub use loss::{
    absolute_error, count_correct, mean_squared_error, soft_cross_entropy, softmax_cross_entropy,
    weighted_sum, with_confidence_penalty,
};
pub use lstm::{GateParams, lstm};
pub use matrix::{Matrix, Param, Traced};
pub use norm::{BatchStats, batch_norm_eval, batch_norm_train};
pub use pictures::{Album, Frame};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub use recurrent::{RecurrentParams, recurrent};
pub use repro_numerics::shape::{
    BadShape, ConvShape, DenseShape, DepthwiseShape, GroupNormShape, Image, NormShape, PoolShape,
    RecurrentShape,
};
pub use slots::{backward, take_gradient, take_input_gradient};

/// The loss of a batch.
pub type Scalar<T = NoneTape> = Tensor<(), f32, Cpu, T>;

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
    assert_eq!(param.len(), len, "{what}: length");
}

/// The rows of `x`; panics when it has the wrong features.
fn rows_of<D: Backend, T>(what: &str, x: &Matrix<D, T>, features: usize) -> usize {
    let (n, got) = x.shape();
    assert_eq!(got, features, "{what}: features of the input");
    n
}

#[cfg(test)]
mod tests;
