//! The seam between the ops and a device: forward and backward of each, over the device's own storage.
//!
//! A second device is one implementation of [`Backend`]. Backward methods add to the buffers they are given.

use dfdx::prelude::{Device, Storage};

use super::{ConvShape, DenseShape, Labels, Matrix, NormShape, Param, PoolShape, Scalar};
use crate::exact::rng::Stream;

/// A gradient buffer of device `D`.
pub type Buffer<D> = <D as Storage<f32>>::Vec;

/// Where the gradients of a dense or convolution layer are added.
pub struct DenseGradients<'a, D: Storage<f32>> {
    /// Of the input; `None` when nobody needs it.
    pub input: Option<&'a mut Buffer<D>>,
    /// Of the weight.
    pub weight: &'a mut Buffer<D>,
    /// Of the bias, where there is one.
    pub bias: Option<&'a mut Buffer<D>>,
}

/// An elementwise function whose derivative is a function of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

/// A dfdx device that can compute the ops. Every output has the right size already; see [`crate::kernels`] for the
/// arithmetic that `exact-f32-v1` demands.
#[allow(clippy::too_many_arguments)]
pub trait Backend: Device<f32> {
    /// `y = x·w + b`.
    fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Matrix<Self>,
        w: &Param<Self>,
        b: Option<&Param<Self>>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::dense_forward`].
    fn dense_backward(
        &self,
        shape: DenseShape,
        x: &Matrix<Self>,
        w: &Param<Self>,
        dy: &Buffer<Self>,
        to: DenseGradients<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// Two-dimensional convolution.
    fn conv2d_forward(
        &self,
        shape: ConvShape,
        x: &Matrix<Self>,
        w: &Param<Self>,
        b: Option<&Param<Self>>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::conv2d_forward`].
    fn conv2d_backward(
        &self,
        shape: ConvShape,
        x: &Matrix<Self>,
        w: &Param<Self>,
        dy: &Buffer<Self>,
        to: DenseGradients<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// The largest value of each window.
    fn max_pool_forward(
        &self,
        shape: PoolShape,
        x: &Matrix<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::max_pool_forward`]: goes to the first maximum of the window.
    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Matrix<Self>,
        dy: &Buffer<Self>,
        dx: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// The mean of each window.
    fn avg_pool_forward(
        &self,
        shape: PoolShape,
        x: &Matrix<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::avg_pool_forward`].
    fn avg_pool_backward(
        &self,
        shape: PoolShape,
        dy: &Buffer<Self>,
        dx: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// Mean and biased variance of each channel over the batch and all positions.
    fn channel_stats(
        &self,
        shape: NormShape,
        x: &Matrix<Self>,
        mean: &mut Param<Self>,
        variance: &mut Param<Self>,
    ) -> Result<(), Self::Err>;
    /// `y = (x - mean)·gamma/sqrt(variance + eps) + beta` per channel.
    fn normalize_forward(
        &self,
        shape: NormShape,
        x: &Matrix<Self>,
        mean: &Param<Self>,
        variance: &Param<Self>,
        gamma: &Param<Self>,
        beta: &Param<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::normalize_forward`]; with `through_stats` also those that reach the input by way of mean
    /// and variance.
    fn normalize_backward(
        &self,
        shape: NormShape,
        through_stats: bool,
        x: &Matrix<Self>,
        mean: &Param<Self>,
        variance: &Param<Self>,
        gamma: &Param<Self>,
        dy: &Buffer<Self>,
        dx: &mut Buffer<Self>,
        dgamma: &mut Buffer<Self>,
        dbeta: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// `running = (1 - momentum)·running + (momentum·scale)·new`, elementwise.
    fn running_update(
        &self,
        momentum: f32,
        new: &Param<Self>,
        scale: f32,
        running: &mut Param<Self>,
    ) -> Result<(), Self::Err>;
    /// An elementwise function.
    fn activation_forward(
        &self,
        which: Activation,
        x: &Matrix<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::activation_forward`], from its value `y`.
    fn activation_backward(
        &self,
        which: Activation,
        y: &Matrix<Self>,
        dy: &Buffer<Self>,
        dx: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// Zeroes elements with probability `rate`, scales the others by `1/(1 - rate)`.
    fn dropout_forward(
        &self,
        rate: f32,
        stream: &Stream,
        x: &Matrix<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::dropout_forward`] with the same stream.
    fn dropout_backward(
        &self,
        rate: f32,
        stream: &Stream,
        dy: &Buffer<Self>,
        dx: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// `y = a + b`, elementwise.
    fn add_forward(
        &self,
        a: &Matrix<Self>,
        b: &Matrix<Self>,
        y: &mut Matrix<Self>,
    ) -> Result<(), Self::Err>;
    /// `to += from`, elementwise.
    fn accumulate(&self, from: &Buffer<Self>, to: &mut Buffer<Self>) -> Result<(), Self::Err>;
    /// Softmax of every row, and the mean cross-entropy in nats.
    fn cross_entropy_forward(
        &self,
        logits: &Matrix<Self>,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Matrix<Self>,
        loss: &mut Scalar<Self>,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::cross_entropy_forward`] from its softmax.
    fn cross_entropy_backward(
        &self,
        probabilities: &Matrix<Self>,
        labels: &Labels,
        smoothing: f32,
        dloss: &Buffer<Self>,
        dlogits: &mut Buffer<Self>,
    ) -> Result<(), Self::Err>;
    /// Rows whose largest logit, the first one on a tie, is at the label.
    fn count_correct(&self, logits: &Matrix<Self>, labels: &Labels) -> Result<usize, Self::Err>;
}
