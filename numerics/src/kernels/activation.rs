//! Activations and their derivatives, each a function of one element: over slices, in place, and
//! after a sum.

use super::elementwise::{CACHED, copy, pieces, sum_piece};
use super::path::{Path, kernel};
use crate::exact::math;

/// A function of every output element whose derivative is a function of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// The output as it is.
    #[default]
    Identity,
    /// `max(x, 0)`; NaN stays NaN; the derivative at 0 is 0.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Activation {
    /// Writes the activations of `x` to `y`.
    pub fn forward(self, path: Path, x: &[f32], y: &mut [f32]) {
        match self {
            Activation::Identity => copy(x, y),
            Activation::Relu => relu(path, x, y),
            Activation::Tanh => tanh(path, x, y),
            Activation::Sigmoid => sigmoid(path, x, y),
        }
    }

    /// Replaces sums by their activations.
    pub fn apply(self, path: Path, y: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => relu_in_place(path, y),
            Activation::Tanh => tanh_in_place(path, y),
            Activation::Sigmoid => sigmoid_in_place(path, y),
        }
    }

    /// Turns the gradient of activations `y` into that of the sums, as a value added to 0: a
    /// negative zero becomes positive. [`Activation::Identity`] leaves it as it is.
    pub fn unapply(self, path: Path, y: &[f32], dy: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => relu_gradient(path, y, dy),
            Activation::Tanh => tanh_gradient(path, y, dy),
            Activation::Sigmoid => sigmoid_gradient(path, y, dy),
        }
    }
}

macro_rules! unary {
    ($(#[$meta:meta])* $name:ident, $kernel:ident, $x:ident => $value:expr) => {
        kernel! {
            fn $kernel<F>(x: &[f32], y: &mut [f32]) {
                let x = &x[..y.len()];
                for i in 0..y.len() {
                    let $x = x[i];
                    y[i] = $value;
                }
            }
        }

        $(#[$meta])*
        ///
        /// # Panics
        /// Lengths that disagree.
        pub fn $name(path: Path, x: &[f32], y: &mut [f32]) {
            assert_eq!(x.len(), y.len(), "elementwise: lengths");
            pieces(y, |first, y| $kernel(path, &x[first..][..y.len()], y));
        }
    };
}

macro_rules! derivative {
    ($(#[$meta:meta])* $name:ident, $kernel:ident, $y:ident, $dy:ident => $value:expr) => {
        kernel! {
            fn $kernel<F>(y: &[f32], dy: &[f32], dx: &mut [f32]) {
                let (y, dy) = (&y[..dx.len()], &dy[..dx.len()]);
                for i in 0..dx.len() {
                    let ($y, $dy) = (y[i], dy[i]);
                    dx[i] += $value;
                }
            }
        }

        $(#[$meta])*
        ///
        /// # Panics
        /// Lengths that disagree.
        pub fn $name(path: Path, y: &[f32], dy: &[f32], dx: &mut [f32]) {
            assert!(y.len() == dx.len() && dy.len() == dx.len(), "elementwise: lengths");
            pieces(dx, |first, dx| $kernel(path, &y[first..][..dx.len()], &dy[first..][..dx.len()], dx));
        }
    };
}

unary! {
    /// Writes +0 where `x ≤ 0`, else `x`.
    relu, relu_piece, x => if x <= 0.0 { 0.0 } else { x }
}
derivative! {
    /// Adds to `dx`: +0 where `y ≤ 0`, else `dy`.
    relu_backward, relu_backward_piece, y, dy => if y <= 0.0 { 0.0 } else { dy }
}
unary! {
    /// Writes [`math::tanh`].
    tanh, tanh_piece, x => math::tanh(x)
}
derivative! {
    /// Adds to `dx`: `dy·(1 - y·y)`.
    tanh_backward, tanh_backward_piece, y, dy => dy * ((1.0 - y) * (1.0 + y))
}
unary! {
    /// Writes [`math::sigmoid`].
    sigmoid, sigmoid_piece, x => math::sigmoid(x)
}
derivative! {
    /// Adds to `dx`: `dy·(y·(1 - y))`.
    sigmoid_backward, sigmoid_backward_piece, y, dy => dy * (y * (1.0 - y))
}

macro_rules! in_place {
    ($(#[$meta:meta])* $name:ident, $kernel:ident, $x:ident => $value:expr) => {
        kernel! {
            fn $kernel<F>(y: &mut [f32]) {
                for v in y {
                    let $x = *v;
                    *v = $value;
                }
            }
        }

        $(#[$meta])*
        pub(super) fn $name(path: Path, y: &mut [f32]) {
            pieces(y, |_, y| $kernel(path, y));
        }
    };
}

in_place! {
    /// [`relu`] of values where they are.
    relu_in_place, relu_in_place_piece, x => if x <= 0.0 { 0.0 } else { x }
}
in_place! {
    /// [`tanh`] of values where they are.
    tanh_in_place, tanh_in_place_piece, x => math::tanh(x)
}
in_place! {
    /// [`sigmoid`] of values where they are.
    sigmoid_in_place, sigmoid_in_place_piece, x => math::sigmoid(x)
}

macro_rules! gradient_in_place {
    ($(#[$meta:meta])* $name:ident, $kernel:ident, $y:ident, $dy:ident => $value:expr) => {
        kernel! {
            fn $kernel<F>(y: &[f32], dy: &mut [f32]) {
                let y = &y[..dy.len()];
                for i in 0..dy.len() {
                    let ($y, $dy) = (y[i], dy[i]);
                    dy[i] = 0.0 + $value;
                }
            }
        }

        $(#[$meta])*
        ///
        /// # Panics
        /// Lengths that disagree.
        pub(super) fn $name(path: Path, y: &[f32], dy: &mut [f32]) {
            assert_eq!(y.len(), dy.len(), "elementwise: lengths");
            pieces(dy, |first, dy| $kernel(path, &y[first..][..dy.len()], dy));
        }
    };
}

/// [`relu`] of values where they are, on this thread.
pub(super) fn relu_here(path: Path, y: &mut [f32]) {
    relu_in_place_piece(path, y);
}

gradient_in_place! {
    /// [`relu_backward`] into a buffer of zeros, in place of `dy`.
    relu_gradient, relu_gradient_piece, y, dy => if y <= 0.0 { 0.0 } else { dy }
}
gradient_in_place! {
    /// [`tanh_backward`] into a buffer of zeros, in place of `dy`.
    tanh_gradient, tanh_gradient_piece, y, dy => dy * ((1.0 - y) * (1.0 + y))
}
gradient_in_place! {
    /// [`sigmoid_backward`] into a buffer of zeros, in place of `dy`.
    sigmoid_gradient, sigmoid_gradient_piece, y, dy => dy * (y * (1.0 - y))
}

/// Writes `activation(a + b)`.
///
/// # Panics
/// Lengths that disagree.
pub fn add_activated(path: Path, a: &[f32], b: &[f32], activation: Activation, y: &mut [f32]) {
    assert!(
        a.len() == y.len() && b.len() == y.len(),
        "elementwise: lengths"
    );
    pieces(y, |first, y| {
        let here = a[first..].chunks(CACHED).zip(b[first..].chunks(CACHED));
        for (y, (a, b)) in y.chunks_mut(CACHED).zip(here) {
            sum_piece(path, &a[..y.len()], &b[..y.len()], y);
            activation.apply(path, y);
        }
    });
}
