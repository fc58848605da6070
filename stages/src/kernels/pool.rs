//! Pooling over NHWC images; windows that do not fit whole are left out.

use rayon::prelude::*;

use super::path::{Path, kernel};
use super::shard::rows_per_piece;
use crate::shape::PoolShape;

/// Runs `work` on pieces of whole images: (first image, piece of `out`).
fn pieces(
    out: &mut [f32],
    features: usize,
    work_per_image: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let images = out.len() / features;
    let piece = rows_per_piece(images, work_per_image);
    if piece >= images {
        work(0, out);
    } else {
        out.par_chunks_mut(piece * features)
            .enumerate()
            .for_each(|(i, out)| work(i * piece, out));
    }
}

fn check(shape: &PoolShape, x: usize, y: usize) {
    let images = x / shape.input().features();
    assert!(
        images * shape.input().features() == x && images * shape.output().features() == y,
        "pool: lengths"
    );
}

fn work_per_image(shape: &PoolShape) -> usize {
    shape.output().features() * shape.kernel().0 * shape.kernel().1
}

/// Writes `y`. Per element: the window is read row by row; a value replaces the largest so far when it is greater or NaN,
/// so that the first maximum and the last NaN win, as in PyTorch.
///
/// # Panics
/// Lengths that disagree.
pub fn max_forward(path: Path, shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    check(shape, x.len(), y.len());
    let features = shape.input().features();
    pieces(
        y,
        shape.output().features(),
        work_per_image(shape),
        |first, y| max_images(path, shape, &x[first * features..], y),
    );
}

kernel! {
    fn max_images<F>(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
        let (image, out, c) = (shape.input(), shape.output(), shape.input().channels);
        let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
        for (x, y) in x.chunks_exact(image.features()).zip(y.chunks_exact_mut(out.features())) {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                let (top, left) = (at / out.width * stride_h, at % out.width * stride_w);
                y.copy_from_slice(&x[(top * image.width + left) * c..][..c]);
                for kh in 0..kernel_h {
                    for kw in 0..kernel_w {
                        let x = &x[((top + kh) * image.width + left + kw) * c..][..c];
                        for j in 0..c {
                            y[j] = if wins(x[j], y[j]) { x[j] } else { y[j] };
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn wins(value: f32, best: f32) -> bool {
    (value > best) | value.is_nan()
}

/// Adds to `dx`: every `dy`, windows in row order, goes to the element that won [`max_forward`].
///
/// # Panics
/// Lengths that disagree.
pub fn max_backward(path: Path, shape: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    check(shape, x.len(), dy.len());
    assert_eq!(x.len(), dx.len(), "pool: lengths");
    let (features, outputs) = (shape.input().features(), shape.output().features());
    pieces(dx, features, work_per_image(shape), |first, dx| {
        max_images_backward(
            path,
            shape,
            &x[first * features..][..dx.len()],
            &dy[first * outputs..],
            dx,
        );
    });
}

kernel! {
    fn max_images_backward<F>(shape: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (image, out, c) = (shape.input(), shape.output(), shape.input().channels);
        let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
        let (mut best, mut winner) = (vec![0.0f32; c], vec![0u32; c]);
        let images = x.chunks_exact(image.features()).zip(dy.chunks_exact(out.features())).zip(dx.chunks_exact_mut(image.features()));
        for ((x, dy), dx) in images {
            for (at, dy) in dy.chunks_exact(c).enumerate() {
                let first = (at / out.width * stride_h) * image.width + at % out.width * stride_w;
                best.copy_from_slice(&x[first * c..][..c]);
                winner.fill(0);
                for kh in 0..kernel_h {
                    for kw in 0..kernel_w {
                        let x = &x[(first + kh * image.width + kw) * c..][..c];
                        let tap = (kh * kernel_w + kw) as u32;
                        for j in 0..c {
                            let win = wins(x[j], best[j]);
                            best[j] = if win { x[j] } else { best[j] };
                            winner[j] = if win { tap } else { winner[j] };
                        }
                    }
                }
                for kh in 0..kernel_h {
                    for kw in 0..kernel_w {
                        let dx = &mut dx[(first + kh * image.width + kw) * c..][..c];
                        let tap = (kh * kernel_w + kw) as u32;
                        for j in 0..c {
                            dx[j] = if winner[j] == tap { dx[j] + dy[j] } else { dx[j] };
                        }
                    }
                }
            }
        }
    }
}

/// Writes `y`. Per element: the window's values are added row by row from 0; the sum is divided by their number.
///
/// # Panics
/// Lengths that disagree.
pub fn avg_forward(path: Path, shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    check(shape, x.len(), y.len());
    let features = shape.input().features();
    pieces(
        y,
        shape.output().features(),
        work_per_image(shape),
        |first, y| avg_images(path, shape, &x[first * features..], y),
    );
}

kernel! {
    fn avg_images<F>(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
        let (image, out, c) = (shape.input(), shape.output(), shape.input().channels);
        let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
        let area = (kernel_h * kernel_w) as f32;
        for (x, y) in x.chunks_exact(image.features()).zip(y.chunks_exact_mut(out.features())) {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                let first = (at / out.width * stride_h) * image.width + at % out.width * stride_w;
                y.fill(0.0);
                for kh in 0..kernel_h {
                    for kw in 0..kernel_w {
                        let x = &x[(first + kh * image.width + kw) * c..][..c];
                        for j in 0..c {
                            y[j] += x[j];
                        }
                    }
                }
                for j in 0..c {
                    y[j] /= area;
                }
            }
        }
    }
}

/// Adds to `dx`: every `dy` divided by the number of values in a window, windows in row order.
///
/// # Panics
/// Lengths that disagree.
pub fn avg_backward(path: Path, shape: &PoolShape, dy: &[f32], dx: &mut [f32]) {
    check(shape, dx.len(), dy.len());
    let (features, outputs) = (shape.input().features(), shape.output().features());
    pieces(dx, features, work_per_image(shape), |first, dx| {
        avg_images_backward(path, shape, &dy[first * outputs..], dx)
    });
}

kernel! {
    fn avg_images_backward<F>(shape: &PoolShape, dy: &[f32], dx: &mut [f32]) {
        let (image, out, c) = (shape.input(), shape.output(), shape.input().channels);
        let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
        let area = (kernel_h * kernel_w) as f32;
        for (dy, dx) in dy.chunks_exact(out.features()).zip(dx.chunks_exact_mut(image.features())) {
            for (at, dy) in dy.chunks_exact(c).enumerate() {
                let first = (at / out.width * stride_h) * image.width + at % out.width * stride_w;
                for kh in 0..kernel_h {
                    for kw in 0..kernel_w {
                        let dx = &mut dx[(first + kh * image.width + kw) * c..][..c];
                        for j in 0..c {
                            dx[j] += dy[j] / area;
                        }
                    }
                }
            }
        }
    }
}
