//! What a dense layer or a convolution is asked for besides its product: how gradients reach their
//! buffers, and from what they are made.

use super::activation::Activation;
use super::chain::Store;

/// How values reach a gradient buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// Nothing is there yet, whatever the buffer holds: `to = 0 + value`, so that a negative zero
    /// becomes positive, as if added to a buffer of zeros.
    First,
    /// `to = to + value`.
    Add,
}

impl Accumulate {
    pub(super) fn store(self) -> Store {
        match self {
            Accumulate::First => Store::ZeroPlus,
            Accumulate::Add => Store::Add,
        }
    }
}

/// A buffer for the gradient of one operand.
#[derive(Debug)]
pub struct Gradient<'a> {
    /// As long as the operand.
    pub to: &'a mut [f32],
    /// Whether it holds something already.
    pub how: Accumulate,
}

impl Gradient<'_> {
    /// The buffer, of zeros if nothing was there yet.
    pub(super) fn zeroed(&mut self) -> &mut [f32] {
        if self.how == Accumulate::First {
            self.to.fill(0.0);
            self.how = Accumulate::Add;
        }
        self.to
    }
}

/// What the gradients of a layer `y = activation(x·w + b)` are made from, and where they go.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The input.
    pub x: &'a [f32],
    /// The weight.
    pub w: &'a [f32],
    /// The output, which decides the derivative of the activation; not read with
    /// [`Activation::Identity`].
    pub y: &'a [f32],
    /// As in the forward pass.
    pub activation: Activation,
    /// Gradient of the output; used up: afterwards it holds the gradient of the sums.
    pub dy: &'a mut [f32],
    /// Of the weight.
    pub dw: Gradient<'a>,
    /// Of the bias, where there is one.
    pub db: Option<Gradient<'a>>,
    /// Of the input, where somebody needs it.
    pub dx: Option<Gradient<'a>>,
}
