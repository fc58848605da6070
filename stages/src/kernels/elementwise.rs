//! Kernels whose every output depends on one element of each input.

use super::layer::Activation;
use super::parallel;
use super::path::{Path, kernel};
use super::shard::elements_per_piece;
use crate::exact::math;
use crate::exact::rng::{Stream, unit_f32};

pub use super::dense::add_into;

/// Elements that stay in a core's cache between two passes over them.
pub(super) const CACHED: usize = 1 << 12;

/// Runs `work(first element, piece of out)` on pieces of a multiple of four elements.
fn pieces(out: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = elements_per_piece(out.len());
    parallel::chunks(out, piece, true, |i, out| work(i * piece, out));
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

kernel! {
    fn add_piece<F>(a: &[f32], b: &[f32], y: &mut [f32]) {
        let (a, b) = (&a[..y.len()], &b[..y.len()]);
        for i in 0..y.len() {
            y[i] = a[i] + b[i];
        }
    }
}

/// Writes `a + b`.
///
/// # Panics
/// Lengths that disagree.
pub fn add(path: Path, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert!(
        a.len() == y.len() && b.len() == y.len(),
        "elementwise: lengths"
    );
    pieces(y, |first, y| {
        add_piece(path, &a[first..][..y.len()], &b[first..][..y.len()], y);
    });
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
            add_piece(path, &a[..y.len()], &b[..y.len()], y);
            activation.apply(path, y);
        }
    });
}

/// Copies, in pieces by several threads where that pays.
///
/// # Panics
/// Lengths that disagree.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "elementwise: lengths");
    pieces(to, |first, to| {
        to.copy_from_slice(&from[first..][..to.len()]);
    });
}

/// Elements whose draws are made together.
const DRAWN: usize = 64;

/// Whether element `first + i` is dropped, for a few `i`; `first` is a multiple of 4.
#[inline(always)]
fn dropped(rate: f32, stream: &Stream, first: u64) -> [bool; DRAWN] {
    stream
        .draws_at::<{ DRAWN / 4 }, DRAWN>(first / 4)
        .map(|draw| unit_f32(draw) < rate)
}

kernel! {
    fn dropout_piece<F>(rate: f32, stream: &Stream, first: u64, x: &[f32], y: &mut [f32]) {
        let keep = 1.0 / (1.0 - rate);
        for (i, (x, y)) in x.chunks(DRAWN).zip(y.chunks_mut(DRAWN)).enumerate() {
            let dropped = dropped(rate, stream, first + (i * DRAWN) as u64);
            if let (Ok(x), Ok(y)) = (<&[f32; DRAWN]>::try_from(x), <&mut [f32; DRAWN]>::try_from(&mut *y)) {
                for i in 0..DRAWN {
                    y[i] = if dropped[i] { 0.0 } else { x[i] * keep };
                }
                continue;
            }
            for ((x, y), dropped) in x.iter().zip(y).zip(dropped) {
                *y = if dropped { 0.0 } else { x * keep };
            }
        }
    }
}

kernel! {
    fn dropout_gradient_piece<F>(rate: f32, stream: &Stream, first: u64, dy: &mut [f32]) {
        let keep = 1.0 / (1.0 - rate);
        for (i, dy) in dy.chunks_mut(DRAWN).enumerate() {
            let dropped = dropped(rate, stream, first + (i * DRAWN) as u64);
            if let Ok(dy) = <&mut [f32; DRAWN]>::try_from(&mut *dy) {
                for i in 0..DRAWN {
                    dy[i] = 0.0 + if dropped[i] { 0.0 } else { dy[i] * keep };
                }
                continue;
            }
            for (dy, dropped) in dy.iter_mut().zip(dropped) {
                *dy = 0.0 + if dropped { 0.0 } else { *dy * keep };
            }
        }
    }
}

/// Writes +0 where draw `i` of the stream (24 bits, in `[0, 1)`) is below `rate`, else `x·(1/(1 - rate))`.
///
/// # Panics
/// Lengths that disagree.
pub fn dropout(path: Path, rate: f32, stream: &Stream, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "dropout: lengths");
    pieces(y, |first, y| {
        dropout_piece(path, rate, stream, first as u64, &x[first..][..y.len()], y);
    });
}

/// Adds to `dx` what [`dropout`] makes of `dy`.
///
/// # Panics
/// Lengths that disagree.
pub fn dropout_backward(path: Path, rate: f32, stream: &Stream, dy: &[f32], dx: &mut [f32]) {
    assert_eq!(dy.len(), dx.len(), "dropout: lengths");
    let mut value = dy.to_vec();
    dropout_gradient(path, rate, stream, &mut value);
    add_into(path, &value, dx);
}

/// Replaces `dy` by `0 +` what [`dropout`] makes of it.
pub fn dropout_gradient(path: Path, rate: f32, stream: &Stream, dy: &mut [f32]) {
    pieces(dy, |first, dy| {
        dropout_gradient_piece(path, rate, stream, first as u64, dy);
    });
}
