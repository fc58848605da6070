//! Batch normalisation: statistics per channel, and their gradients.
//!
//! Sums over batch and positions are cut into groups and shards as in [`super::conv::weight_gradient`]: a group is one
//! chain from 0 over (image, position), the groups of a shard are added up in order, then the shards.

use rayon::prelude::*;

use super::conv::channel_sums;
use super::dense::{add_into, add_rows};
use super::path::{Path, kernel};
use super::shard::rows_per_piece;

/// Writes mean and biased variance of each channel: `mean = Σx / m` with additions; `variance = Σ fma(d, d, ·) / m` with
/// `d = x - mean`; `m` is the number of values per channel. Without values both are NaN.
///
/// # Panics
/// Lengths that disagree.
pub fn stats(path: Path, positions: usize, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let channels = mean.len();
    assert!(
        channels > 0 && variance.len() == channels,
        "batch norm: lengths"
    );
    let count = (x.len() / channels) as f32;
    mean.copy_from_slice(&channel_sums(path, positions, channels, x, add_rows));
    mean.iter_mut().for_each(|m| *m /= count);
    let mean: &[f32] = mean;
    let squares = |path: Path, x: &[f32], sums: &mut [f32]| add_squares(path, x, mean, sums);
    variance.copy_from_slice(&channel_sums(path, positions, channels, x, squares));
    variance.iter_mut().for_each(|v| *v /= count);
}

kernel! {
    fn add_squares<F>(x: &[f32], mean: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        let mean = &mean[..width];
        for row in x.chunks_exact(width) {
            for j in 0..width {
                let d = row[j] - mean[j];
                sums[j] = F::fma(d, d, sums[j]);
            }
        }
    }
}

/// `1 / sqrt(variance + eps)`.
fn inverse_deviation(variance: &[f32], eps: f32) -> Vec<f32> {
    variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect()
}

/// Writes `y = fma(xhat, gamma, beta)` with `xhat = (x - mean)·r`, `r = 1/sqrt(variance + eps)`.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    eps: f32,
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
) {
    let width = mean.len();
    assert!(
        width > 0 && x.len() == y.len() && x.len().is_multiple_of(width),
        "batch norm: lengths"
    );
    assert!(
        [variance, gamma, beta].iter().all(|p| p.len() == width),
        "batch norm: lengths"
    );
    let r = inverse_deviation(variance, eps);
    rows(y, width, |first, y| {
        forward_rows(path, &x[first..][..y.len()], mean, &r, gamma, beta, y)
    });
}

/// Runs `work` on pieces of whole rows: (first element, piece).
fn rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = rows_per_piece(out.len() / width, 4 * width) * width;
    if piece >= out.len() {
        work(0, out);
    } else {
        out.par_chunks_mut(piece)
            .enumerate()
            .for_each(|(i, out)| work(i * piece, out));
    }
}

kernel! {
    fn forward_rows<F>(x: &[f32], mean: &[f32], r: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        let width = mean.len();
        let (r, gamma, beta) = (&r[..width], &gamma[..width], &beta[..width]);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            for j in 0..width {
                y[j] = F::fma((x[j] - mean[j]) * r[j], gamma[j], beta[j]);
            }
        }
    }
}

/// What [`backward`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a> {
    /// Positions of an image.
    pub positions: usize,
    /// As in the forward pass.
    pub eps: f32,
    /// Mean and variance came from this very batch, and gradients flow through them.
    pub through_stats: bool,
    /// The input.
    pub x: &'a [f32],
    /// Per channel.
    pub mean: &'a [f32],
    /// Per channel, biased.
    pub variance: &'a [f32],
    /// Per channel.
    pub gamma: &'a [f32],
    /// Gradient of the output.
    pub dy: &'a [f32],
}

/// Adds to all three. With `xhat` and `r` as in [`forward`] and sums in groups and shards: `b = Σ dy` by additions, `g = Σ`
/// by `fma(dy, xhat, ·)`; `dbeta += b`, `dgamma += g`; with statistics of the batch
/// `dx += (gamma·r)·(dy - fma(xhat, g/m, b/m))`, else `dx += (gamma·r)·dy`.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(
    path: Path,
    from: Backward<'_>,
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let width = from.mean.len();
    let per_channel = [
        from.variance.len(),
        from.gamma.len(),
        dgamma.len(),
        dbeta.len(),
    ];
    assert!(
        width > 0 && per_channel == [width; 4],
        "batch norm: lengths"
    );
    assert!(
        from.x.len() == from.dy.len() && from.x.len() == dx.len(),
        "batch norm: lengths"
    );
    let r = inverse_deviation(from.variance, from.eps);
    let b = channel_sums(path, from.positions, width, from.dy, add_rows);
    let products = |path: Path, dy: &[f32], sums: &mut [f32]| {
        // The piece of x beside this piece of dy.
        let first = (dy.as_ptr() as usize - from.dy.as_ptr() as usize) / size_of::<f32>();
        add_products(path, &from.x[first..][..dy.len()], dy, from.mean, &r, sums);
    };
    let g = channel_sums(path, from.positions, width, from.dy, products);
    add_into(path, &b, dbeta);
    add_into(path, &g, dgamma);
    let scale: Vec<f32> = from.gamma.iter().zip(&r).map(|(g, r)| g * r).collect();
    if !from.through_stats {
        return rows(dx, width, |first, dx| {
            scaled_rows(path, &from.dy[first..][..dx.len()], &scale, dx)
        });
    }
    let count = (from.x.len() / width) as f32;
    let over = |sums: &[f32]| -> Vec<f32> { sums.iter().map(|s| s / count).collect() };
    let (g, b) = (over(&g), over(&b));
    rows(dx, width, |first, dx| {
        let here = first..first + dx.len();
        backward_rows(
            path,
            &from.x[here.clone()],
            &from.dy[here],
            from.mean,
            &r,
            &scale,
            &g,
            &b,
            dx,
        );
    });
}

kernel! {
    fn add_products<F>(x: &[f32], dy: &[f32], mean: &[f32], r: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        let (mean, r) = (&mean[..width], &r[..width]);
        for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
            for j in 0..width {
                sums[j] = F::fma(dy[j], (x[j] - mean[j]) * r[j], sums[j]);
            }
        }
    }
}

kernel! {
    fn scaled_rows<F>(dy: &[f32], scale: &[f32], dx: &mut [f32]) {
        let width = scale.len();
        for (dy, dx) in dy.chunks_exact(width).zip(dx.chunks_exact_mut(width)) {
            for j in 0..width {
                dx[j] += scale[j] * dy[j];
            }
        }
    }
}

kernel! {
    fn backward_rows<F>(x: &[f32], dy: &[f32], mean: &[f32], r: &[f32], scale: &[f32], g: &[f32], b: &[f32], dx: &mut [f32]) {
        let width = mean.len();
        let (r, scale, g, b) = (&r[..width], &scale[..width], &g[..width], &b[..width]);
        for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            for j in 0..width {
                let xhat = (x[j] - mean[j]) * r[j];
                dx[j] += scale[j] * (dy[j] - F::fma(xhat, g[j], b[j]));
            }
        }
    }
}
