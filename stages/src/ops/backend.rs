//! The seam between everything that trains and a device: its memory, forward and backward of each
//! op, the optimizer's step.
//!
//! A second device is one folder that implements [`Backend`]: networks, training, evaluation,
//! statistics and gradients are written over it and see no value of a device but through
//! [`Backend::read`].
//!
//! dfdx's own trait `Device` is not asked for: it cannot be implemented outside of dfdx, and dfdx's
//! CUDA tensors show no pointer to their memory. What dfdx does on every device is the tape. Its
//! tensors are empty ones of its CPU, names of gradients; a gradient itself is the device's, and
//! lies in dfdx's hands as a [`Buffer`] between two steps of a backward pass.

use std::borrow::Cow;
use std::fmt::{Debug, Display};

use dfdx::prelude::{Cpu, CpuError, Storage};

use super::{
    Album, ConvShape, DenseShape, DepthwiseShape, Frame, GroupNormShape, Labels, NormShape,
    PoolShape, RecurrentShape,
};
use repro_numerics::exact::numerics::Numerics;
use repro_numerics::exact::rng::Stream;
pub use repro_numerics::kernels::activation::Activation;
pub use repro_numerics::kernels::gelu::Gelu;
pub use repro_numerics::kernels::layer::Accumulate;
pub use repro_numerics::kernels::lstm::GATES;
pub use repro_numerics::kernels::optim::Rule;

/// A gradient in dfdx's hands. The CPU leaves its memory there; a device with other memory keeps
/// the values itself and leaves the number of their place.
pub type Buffer = <Cpu as Storage<f32>>::Vec;

/// A gradient that an op adds to.
#[derive(Debug)]
pub struct Gradient<D: Backend> {
    /// As long as the operand.
    pub to: D::Values,
    /// Whether it holds something already.
    pub how: Accumulate,
}

/// What the gradients of a layer `y = activation(x·w + b)` are made from, and where they go.
#[derive(Debug)]
pub struct LayerBackward<'a, D: Backend> {
    /// The input.
    pub x: &'a D::Values,
    /// The weight.
    pub w: &'a D::Values,
    /// The output; absent with [`Activation::Identity`], whose derivative needs none.
    pub y: Option<&'a D::Values>,
    /// As in the forward pass.
    pub activation: Activation,
    /// Gradient of the output; used up.
    pub dy: &'a mut D::Values,
    /// Of the weight.
    pub dw: &'a mut Gradient<D>,
    /// Of the bias, where there is one.
    pub db: Option<&'a mut Gradient<D>>,
    /// Of the input, where somebody needs it.
    pub dx: Option<&'a mut Gradient<D>>,
}

/// What the gradients of a batch norm are made from, and where they go.
#[derive(Debug)]
pub struct NormBackward<'a, D: Backend> {
    /// Gradients flow through mean and variance, which came from this very batch.
    pub through_stats: bool,
    /// The input.
    pub x: &'a D::Values,
    /// Per channel.
    pub mean: &'a D::Values,
    /// Per channel, biased.
    pub variance: &'a D::Values,
    /// Per channel.
    pub gamma: &'a D::Values,
    /// The output; absent with [`Activation::Identity`].
    pub y: Option<&'a D::Values>,
    /// As in the forward pass.
    pub activation: Activation,
    /// Gradient of the output; afterwards that of the input, as a value added to 0.
    pub dy: &'a mut D::Values,
    /// Of gamma.
    pub dgamma: &'a mut Gradient<D>,
    /// Of beta.
    pub dbeta: &'a mut Gradient<D>,
}

/// What the gradients of a group norm are made from, and where they go.
#[derive(Debug)]
pub struct GroupNormBackward<'a, D: Backend> {
    /// The input.
    pub x: &'a D::Values,
    /// Of every image and group, as the forward pass wrote it.
    pub mean: &'a D::Values,
    /// Of every image and group, as the forward pass wrote it.
    pub inverse_deviation: &'a D::Values,
    /// Per channel.
    pub gamma: &'a D::Values,
    /// Gradient of the output; afterwards that of the input, as a value added to 0.
    pub dy: &'a mut D::Values,
    /// Of gamma.
    pub dgamma: &'a mut Gradient<D>,
    /// Of beta.
    pub dbeta: &'a mut Gradient<D>,
}

/// What the gradients of a recurrent layer are made from, and where they go.
#[derive(Debug)]
pub struct RecurrentBackward<'a, D: Backend> {
    /// The images.
    pub x: &'a D::Values,
    /// Of the input.
    pub w_in: &'a D::Values,
    /// Of the earlier state.
    pub w_rec: &'a D::Values,
    /// As the forward pass wrote them.
    pub states: &'a D::Values,
    /// Gradient of the output.
    pub dy: &'a D::Values,
    /// Of the weight of the input.
    pub dw_in: &'a mut Gradient<D>,
    /// Of the bias.
    pub db: &'a mut Gradient<D>,
    /// Of the weight of the earlier state.
    pub dw_rec: &'a mut Gradient<D>,
    /// Of the images, where somebody needs it.
    pub dx: Option<&'a mut Gradient<D>>,
}

/// Parameters of a gate of an LSTM layer.
#[derive(Debug)]
pub struct Gate<'a, D: Backend> {
    /// Of the row.
    pub w: &'a D::Values,
    /// Of the sum.
    pub b: &'a D::Values,
    /// Of the earlier output.
    pub u: &'a D::Values,
}

/// Where the gradients of a gate's parameters go.
#[derive(Debug)]
pub struct GateGradients<D: Backend> {
    /// Of the weight of the row.
    pub dw: Gradient<D>,
    /// Of the bias.
    pub db: Gradient<D>,
    /// Of the weight of the earlier output.
    pub du: Gradient<D>,
}

/// What the gradients of an LSTM layer are made from, and where they go.
#[derive(Debug)]
pub struct LstmBackward<'a, D: Backend> {
    /// The images.
    pub x: &'a D::Values,
    /// As in the forward pass.
    pub gates: [Gate<'a, D>; GATES],
    /// As the forward pass wrote them.
    pub states: &'a D::Values,
    /// Gradient of the output.
    pub dy: &'a D::Values,
    /// Of the parameters.
    pub to: &'a mut [GateGradients<D>; GATES],
    /// Of the images, where somebody needs it.
    pub dx: Option<&'a mut Gradient<D>>,
}

/// What an optimizer remembers of one parameter, where it lies; absent where it needs nothing.
#[derive(Debug)]
pub struct Moments<D: Backend> {
    /// Momentum, or Adam's mean of gradients.
    pub first: Option<D::Values>,
    /// Adam's mean of squared gradients.
    pub second: Option<D::Values>,
}

/// A parameter in an optimizer's step. All have its length.
#[derive(Debug)]
pub struct Moving<'a, D: Backend> {
    /// The weights.
    pub weights: &'a mut D::Values,
    /// What the optimizer remembers of them.
    pub moments: &'a mut Moments<D>,
    /// Of the loss with respect to the weights.
    pub gradient: &'a D::Values,
    /// Where it is 0, weights and moments become 0 after the step.
    pub mask: Option<&'a D::Values>,
}

/// A device that can compute the ops and the optimizer's step. Everything has the right size
/// already; see [`repro_numerics::kernels`] for the arithmetic that `exact-f32-v1` demands. Backward methods
/// add to a [`Gradient`] or, where it says so, overwrite it.
#[allow(clippy::too_many_arguments)]
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// What its arithmetic promises.
    const NUMERICS: Numerics;
    /// What can go wrong there.
    type Err: Debug + Display + Send + Sync + 'static;
    /// Memory that is used again, instead of freed; clones are handles of the same.
    type Pool: Clone + Debug + Default + Send + Sync + 'static;
    /// Values in memory of a pool, to which it goes back when they are dropped.
    type Values: Debug + Send + Sync + 'static;
    /// Images that it shows by itself; `Infallible` where it shows none.
    type Pictures: Debug + Send + Sync + 'static;

    /// Runs ops that follow one another, for a device that gains from knowing it.
    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
    /// Bytes of memory that values can have, where the device has its own.
    fn room(&self) -> Option<u64> {
        None
    }
    /// An error on its way through dfdx's tape, which knows only the CPU's; [`Backend::off_tape`]
    /// gives it back.
    fn on_tape(&self, error: Self::Err) -> CpuError;
    /// The error that [`Backend::on_tape`] sent, or one of the tape's own.
    fn off_tape(&self, error: CpuError) -> Self::Err;
    /// Whether an error is about memory.
    fn is_short_of_memory(_: &Self::Err) -> bool {
        false
    }

    /// Memory for `len` values, which are what they happen to be.
    fn values(&self, pool: &Self::Pool, len: usize) -> Result<Self::Values, Self::Err>;
    /// `len` values that `fill` writes.
    fn written(
        &self,
        pool: &Self::Pool,
        len: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Self::Values, Self::Err>;
    /// Takes images to where the device shows them by itself ([`Backend::show`]); none where the host
    /// has to write inputs.
    fn keep(
        &self,
        pool: &Self::Pool,
        album: Album<'_>,
    ) -> Result<Option<Self::Pictures>, Self::Err>;
    /// What frames show of the images, as inputs of a network: `[frames, features]`.
    fn show(
        &self,
        pool: &Self::Pool,
        pictures: &Self::Pictures,
        frames: &[Frame],
    ) -> Result<Self::Values, Self::Err>;
    /// The values in the host's memory.
    fn read<'a>(&self, values: &'a Self::Values) -> Cow<'a, [f32]>;
    /// Takes the `len` values that [`Backend::put`] left in a buffer, which is empty then; none if
    /// it is.
    fn take(&self, buffer: &mut Buffer, len: usize, pool: &Self::Pool) -> Option<Self::Values>;
    /// Leaves values in an empty buffer.
    fn put(&self, buffer: &mut Buffer, values: Self::Values);
    /// A copy of values.
    fn copy(&self, values: &Self::Values, pool: &Self::Pool) -> Result<Self::Values, Self::Err>;
    /// `y = fma(scale, x, keep·y)`, elementwise: sums, steps, running means.
    fn scaled_add(
        &self,
        scale: f32,
        x: &Self::Values,
        keep: f32,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// `average = fma(1 - decay, x - average, average)`, elementwise: the exponential moving
    /// average.
    fn average(
        &self,
        decay: f32,
        x: &Self::Values,
        average: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// `values = 0` where the mask is 0, whatever they were.
    fn mask(&self, mask: &Self::Values, values: &mut Self::Values) -> Result<(), Self::Err>;
    /// `values = held` where the mask is 0, elsewhere unchanged.
    fn hold(
        &self,
        mask: &Self::Values,
        held: &Self::Values,
        values: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Moves parameters, each once, then sets to 0 what is masked.
    fn step<'a>(
        &self,
        rule: Rule,
        parameters: impl Iterator<Item = Moving<'a, Self>>,
    ) -> Result<(), Self::Err>;
    /// `to += from`, elementwise.
    fn accumulate(&self, from: &Self::Values, to: &mut Self::Values) -> Result<(), Self::Err>;

    /// `y = activation(x·w + b)`.
    fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Self::Values,
        w: &Self::Values,
        b: Option<&Self::Values>,
        activation: Activation,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::dense_forward`].
    fn dense_backward(
        &self,
        shape: DenseShape,
        from: LayerBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// Two-dimensional convolution, then the activation.
    fn conv2d_forward(
        &self,
        shape: ConvShape,
        x: &Self::Values,
        w: &Self::Values,
        b: Option<&Self::Values>,
        activation: Activation,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::conv2d_forward`].
    fn conv2d_backward(
        &self,
        shape: ConvShape,
        from: LayerBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// Convolution of every channel by itself, then the activation.
    fn depthwise_forward(
        &self,
        shape: DepthwiseShape,
        x: &Self::Values,
        w: &Self::Values,
        b: Option<&Self::Values>,
        activation: Activation,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::depthwise_forward`].
    fn depthwise_backward(
        &self,
        shape: DepthwiseShape,
        from: LayerBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// The largest value of each window.
    fn max_pool_forward(
        &self,
        shape: PoolShape,
        x: &Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::max_pool_forward`]: goes to the first maximum of the window.
    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Self::Values,
        dy: &Self::Values,
        dx: &mut Gradient<Self>,
    ) -> Result<(), Self::Err>;
    /// The mean of each window.
    fn avg_pool_forward(
        &self,
        shape: PoolShape,
        x: &Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradient of [`Backend::avg_pool_forward`].
    fn avg_pool_backward(
        &self,
        shape: PoolShape,
        dy: &Self::Values,
        dx: &mut Gradient<Self>,
    ) -> Result<(), Self::Err>;
    /// Mean and biased variance of each channel over the batch and all positions.
    fn channel_stats(
        &self,
        shape: NormShape,
        x: &Self::Values,
        mean: &mut Self::Values,
        variance: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// `y = activation((x - mean)·gamma/sqrt(variance + eps) + beta)` per channel.
    fn normalize_forward(
        &self,
        shape: NormShape,
        x: &Self::Values,
        mean: &Self::Values,
        variance: &Self::Values,
        gamma: &Self::Values,
        beta: &Self::Values,
        activation: Activation,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::normalize_forward`].
    fn normalize_backward(
        &self,
        shape: NormShape,
        from: NormBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// Normalises every group of channels of every image; writes `mean` and `1/sqrt(variance +
    /// 1e-5)` of each as well.
    fn group_norm_forward(
        &self,
        shape: GroupNormShape,
        x: &Self::Values,
        gamma: &Self::Values,
        beta: &Self::Values,
        mean: &mut Self::Values,
        inverse_deviation: &mut Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::group_norm_forward`].
    fn group_norm_backward(
        &self,
        shape: GroupNormShape,
        from: GroupNormBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// The states of a recurrent layer after each step, and the last of them.
    fn recurrent_forward(
        &self,
        shape: RecurrentShape,
        x: &Self::Values,
        w_in: &Self::Values,
        b: &Self::Values,
        w_rec: &Self::Values,
        states: &mut Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::recurrent_forward`].
    fn recurrent_backward(
        &self,
        shape: RecurrentShape,
        from: RecurrentBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// Everything that an LSTM layer computes ([`BLOCKS`](repro_numerics::kernels::lstm::BLOCKS) values for
    /// each step, image and unit), and its last output.
    fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Self::Values,
        gates: [Gate<'_, Self>; GATES],
        states: &mut Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Gradients of [`Backend::lstm_forward`].
    fn lstm_backward(
        &self,
        shape: RecurrentShape,
        from: LstmBackward<'_, Self>,
    ) -> Result<(), Self::Err>;
    /// `y = activation(x)`.
    fn activation_forward(
        &self,
        which: Activation,
        x: &Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// [`Backend::activation_forward`] where the values are.
    fn activation_in_place(&self, which: Activation, y: &mut Self::Values)
    -> Result<(), Self::Err>;
    /// Turns the gradient of `y` into that of `x`, as a value added to 0. `y` is absent with
    /// [`Activation::Identity`].
    fn activation_backward(
        &self,
        which: Activation,
        y: Option<&Self::Values>,
        dy: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// `y = gelu(x)`.
    fn gelu_forward(
        &self,
        which: Gelu,
        x: &Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Turns the gradient of the output into that of the input, as a value added to 0.
    fn gelu_backward(
        &self,
        which: Gelu,
        x: &Self::Values,
        dy: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Zeroes elements with probability `rate`, scales the others by `1/(1 - rate)`.
    fn dropout_forward(
        &self,
        rate: f32,
        stream: &Stream,
        x: &Self::Values,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Turns the gradient of the output into that of the input, as a value added to 0; with the
    /// same stream.
    fn dropout_backward(
        &self,
        rate: f32,
        stream: &Stream,
        dy: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// `y = activation(a + b)`, elementwise.
    fn add_forward(
        &self,
        a: &Self::Values,
        b: &Self::Values,
        activation: Activation,
        y: &mut Self::Values,
    ) -> Result<(), Self::Err>;
    /// Softmax of every row, and the mean cross-entropy in nats.
    fn cross_entropy_forward(
        &self,
        logits: &Self::Values,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Self::Values,
    ) -> Result<f32, Self::Err>;
    /// Gradient of [`Backend::cross_entropy_forward`] from its softmax.
    fn cross_entropy_backward(
        &self,
        probabilities: &Self::Values,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        dlogits: &mut Gradient<Self>,
    ) -> Result<(), Self::Err>;
    /// Softmax of every row, and the mean cross-entropy in nats against a distribution per row.
    fn soft_cross_entropy_forward(
        &self,
        classes: usize,
        logits: &Self::Values,
        targets: &Self::Values,
        probabilities: &mut Self::Values,
    ) -> Result<f32, Self::Err>;
    /// Gradient of [`Backend::soft_cross_entropy_forward`] from its softmax.
    fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        probabilities: &Self::Values,
        targets: &Self::Values,
        dloss: f32,
        dlogits: &mut Gradient<Self>,
    ) -> Result<(), Self::Err>;
    /// The mean over rows and `width` targets of the squared errors.
    fn squared_error_forward(
        &self,
        width: usize,
        outputs: &Self::Values,
        targets: &Self::Values,
    ) -> Result<f32, Self::Err>;
    /// Gradient of [`Backend::squared_error_forward`].
    fn squared_error_backward(
        &self,
        outputs: &Self::Values,
        targets: &Self::Values,
        dloss: f32,
        doutputs: &mut Gradient<Self>,
    ) -> Result<(), Self::Err>;
    /// The sum of the absolute errors, in f64 and in order.
    fn absolute_error(
        &self,
        outputs: &Self::Values,
        targets: &Self::Values,
    ) -> Result<f64, Self::Err>;
    /// Rows whose largest logit, the first one on a tie, is at the label.
    fn count_correct(&self, logits: &Self::Values, labels: &Labels) -> Result<usize, Self::Err>;
}
