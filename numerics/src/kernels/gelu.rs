//! GELU, whose derivative needs the input, not the output.

use super::parallel;
use super::path::{Path, kernel};
use super::shard::elements_per_piece;
use crate::exact::normal;

/// Which GELU (Hendrycks & Gimpel 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x·Φ(x)`: [`normal::gelu`], PyTorch's default.
    Exact,
    /// By way of tanh: [`normal::gelu_tanh`], PyTorch's `approximate="tanh"`.
    Tanh,
}

/// Writes `gelu(x)`.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(path: Path, which: Gelu, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "gelu: lengths");
    let work = |x: &[f32], y: &mut [f32]| match which {
        Gelu::Exact => exact_piece(path, x, y),
        Gelu::Tanh => tanh_piece(path, x, y),
    };
    let piece = elements_per_piece(y.len());
    parallel::chunks(y, piece, true, |i, y| work(&x[i * piece..][..y.len()], y));
}

/// Turns the gradient of `gelu(x)` into that of `x`: `0 + dy·gelu'(x)`, the derivative rounded to
/// f32 before the product.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, which: Gelu, x: &[f32], dy: &mut [f32]) {
    assert_eq!(x.len(), dy.len(), "gelu: lengths");
    let work = |x: &[f32], dy: &mut [f32]| match which {
        Gelu::Exact => exact_backward_piece(path, x, dy),
        Gelu::Tanh => tanh_backward_piece(path, x, dy),
    };
    let piece = elements_per_piece(x.len());
    parallel::chunks(dy, piece, true, |i, dy| {
        work(&x[i * piece..][..dy.len()], dy);
    });
}

macro_rules! pieces {
    ($forward:ident, $backward:ident, $value:path, $slope:path) => {
        kernel! {
            fn $forward<F>(x: &[f32], y: &mut [f32]) {
                let x = &x[..y.len()];
                for i in 0..y.len() {
                    y[i] = $value(x[i]);
                }
            }
        }

        kernel! {
            fn $backward<F>(x: &[f32], dy: &mut [f32]) {
                let x = &x[..dy.len()];
                for i in 0..dy.len() {
                    dy[i] = 0.0 + dy[i] * $slope(x[i]);
                }
            }
        }
    };
}

pieces!(
    exact_piece,
    exact_backward_piece,
    normal::gelu,
    normal::gelu_slope
);
pieces!(
    tanh_piece,
    tanh_backward_piece,
    normal::gelu_tanh,
    normal::gelu_tanh_slope
);
