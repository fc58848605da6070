//! Sums, copies and dropout: every output depends on one element of each input.

use super::parallel;
use super::path::{Path, kernel};
use super::shard::elements_per_piece;
use crate::exact::rng::{Stream, unit_f32};

/// Elements that stay in a core's cache between two passes over them.
pub(super) const CACHED: usize = 1 << 12;

/// Runs `work(first element, piece of out)` on pieces of a multiple of four elements.
pub(super) fn pieces(out: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = elements_per_piece(out.len());
    parallel::chunks(out, piece, true, |i, out| work(i * piece, out));
}

kernel! {
    pub(super) fn sum_piece<F>(a: &[f32], b: &[f32], y: &mut [f32]) {
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
        sum_piece(path, &a[first..][..y.len()], &b[first..][..y.len()], y);
    });
}

kernel! {
    /// `to[i] = to[i] + from[i]`, on this thread.
    pub(super) fn add_piece<F>(from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "add: lengths");
        for i in 0..to.len() {
            to[i] += from[i];
        }
    }
}

/// `to[i] = to[i] + from[i]`.
///
/// # Panics
/// Lengths that disagree.
pub fn add_into(path: Path, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "add: lengths");
    pieces(to, |first, to| {
        add_piece(path, &from[first..][..to.len()], to);
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

/// Writes +0 where draw `i` of the stream (24 bits, in `[0, 1)`) is below `rate`, else `x·(1/(1 -
/// rate))`.
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
