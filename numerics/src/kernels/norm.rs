//! Batch normalisation: statistics per channel, and their gradients.
//!
//! Sums over batch and positions are made as [`super::sums`] says, in blocks, groups and shards.

use super::activation::Activation;
use super::elementwise::CACHED;
use super::elementwise::add_into;
use super::layer::Gradient;
use super::parallel;
use super::path::{Path, kernel};
use super::scratch;
use super::shard::rows_per_piece;
use super::sums::{BLOCK_ROWS, add_rows, sums, sums_changing};
use super::tiles::{TILE, tiles};

/// Writes mean and biased variance of each channel: `mean = Σx / m` with additions; `variance = Σ
/// fma(d, d, ·) / m` with `d = x - mean`; `m` is the number of values per channel. Without values
/// both are NaN.
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
    sums(positions, channels, x.len(), mean, |here, sums| {
        add_rows(path, &x[here], sums);
    });
    mean.iter_mut().for_each(|m| *m /= count);
    let mean: &[f32] = mean;
    sums(positions, channels, x.len(), variance, |here, sums| {
        add_squares(path, &x[here], mean, sums);
    });
    variance.iter_mut().for_each(|v| *v /= count);
}

kernel! {
    fn add_squares<F>(x: &[f32], mean: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        tiles!(width, |tile, LEN| {
            let (mut total, mut middle) = ([0.0; TILE], [0.0; TILE]);
            total[..LEN].copy_from_slice(&sums[tile..][..LEN]);
            middle[..LEN].copy_from_slice(&mean[tile..][..LEN]);
            for block in x.chunks(BLOCK_ROWS * width) {
                let mut sum = [0.0; TILE];
                for row in block.chunks_exact(width) {
                    let row = &row[tile..][..LEN];
                    for j in 0..LEN {
                        let d = row[j] - middle[j];
                        sum[j] = F::fma(d, d, sum[j]);
                    }
                }
                for j in 0..LEN {
                    total[j] += sum[j];
                }
            }
            sums[tile..][..LEN].copy_from_slice(&total[..LEN]);
        });
    }
}

/// Writes `1 / sqrt(variance + eps)`.
fn inverse_deviation(variance: &[f32], eps: f32, r: &mut [f32]) {
    for (r, v) in r.iter_mut().zip(variance) {
        *r = 1.0 / (v + eps).sqrt();
    }
}

/// Writes `y = activation(fma(xhat, gamma, beta))` with `xhat = (x - mean)·r`, `r = 1/sqrt(variance
/// + eps)`.
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
    activation: Activation,
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
    scratch::with(width, |r| {
        inverse_deviation(variance, eps, r);
        let r: &[f32] = r;
        rows(y, width, |first, y| {
            let x = &x[first..][..y.len()];
            let cached = cached_rows(width);
            for (x, y) in x.chunks(cached).zip(y.chunks_mut(cached)) {
                forward_rows(path, x, mean, r, gamma, beta, y);
                activation.apply(path, y);
            }
        });
    });
}

/// Elements of as many whole blocks of rows as stay in a core's cache between two passes over them.
fn cached_rows(width: usize) -> usize {
    (CACHED / width)
        .next_multiple_of(BLOCK_ROWS)
        .max(BLOCK_ROWS)
        * width
}

/// Runs `work` on pieces of whole rows: (first element, piece).
fn rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = rows_per_piece(out.len() / width, 4 * width) * width;
    parallel::chunks(out, piece, true, |i, out| work(i * piece, out));
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

/// What the gradients of [`forward`] are made from, and where they go.
#[derive(Debug)]
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
    /// The output; not read with [`Activation::Identity`].
    pub y: &'a [f32],
    /// As in the forward pass.
    pub activation: Activation,
    /// Gradient of the output; afterwards that of the input, as a value added to 0.
    pub dy: &'a mut [f32],
    /// Of gamma.
    pub dgamma: Gradient<'a>,
    /// Of beta.
    pub dbeta: Gradient<'a>,
}

/// The gradient of the activation first. Then, with `xhat` and `r` as in [`forward`] and sums in
/// blocks, groups and shards: `b = Σ dy` by additions, `g = Σ` by `fma(dy, xhat, ·)`; `dbeta += b`,
/// `dgamma += g`; with statistics of the batch `dx = 0 + (gamma·r)·(dy - fma(xhat, g/m, b/m))`,
/// else `dx = 0 + (gamma·r)·dy`, in the place of `dy`.
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, from: Backward<'_>) {
    let Backward {
        x,
        mean,
        y,
        activation,
        dy,
        positions,
        ..
    } = from;
    let (mut dgamma, mut dbeta) = (from.dgamma, from.dbeta);
    let width = mean.len();
    let per_channel = [
        from.variance.len(),
        from.gamma.len(),
        dgamma.to.len(),
        dbeta.to.len(),
    ];
    assert!(
        width > 0 && per_channel == [width; 4] && x.len() == dy.len(),
        "batch norm: lengths"
    );
    scratch::with(4 * width, |channels| {
        let (r, rest) = channels.split_at_mut(width);
        let (scale, totals) = rest.split_at_mut(width);
        inverse_deviation(from.variance, from.eps, r);
        let r: &[f32] = r;
        for (scale, (gamma, r)) in scale.iter_mut().zip(from.gamma.iter().zip(r)) {
            *scale = gamma * r;
        }
        let scale: &[f32] = scale;
        sums_changing(positions, width, dy, totals, |first, dy, sums| {
            let (b, g) = sums.split_at_mut(width);
            let cached = cached_rows(width);
            for (i, dy) in dy.chunks_mut(cached).enumerate() {
                let here = first + i * cached..first + i * cached + dy.len();
                if activation != Activation::Identity {
                    activation.unapply(path, &y[here.clone()], dy);
                }
                add_gradients(path, &x[here], dy, mean, r, b, g);
            }
        });
        let (b, g) = totals.split_at_mut(width);
        add_into(path, b, dbeta.zeroed());
        add_into(path, g, dgamma.zeroed());
        if !from.through_stats {
            return rows(dy, width, |_, dy| scaled_rows(path, scale, dy));
        }
        let count = (x.len() / width) as f32;
        g.iter_mut().for_each(|g| *g /= count);
        b.iter_mut().for_each(|b| *b /= count);
        let (g, b): (&[f32], &[f32]) = (g, b);
        rows(dy, width, |first, dy| {
            let x = &x[first..][..dy.len()];
            backward_rows(path, x, mean, r, scale, g, b, dy);
        });
    });
}

kernel! {
    fn add_gradients<F>(x: &[f32], dy: &[f32], mean: &[f32], r: &[f32], b: &mut [f32], g: &mut [f32]) {
        let width = b.len();
        tiles!(width, |tile, LEN| {
            let (mut of_dy, mut of_products) = ([0.0; TILE], [0.0; TILE]);
            let (mut middle, mut scale) = ([0.0; TILE], [0.0; TILE]);
            of_dy[..LEN].copy_from_slice(&b[tile..][..LEN]);
            of_products[..LEN].copy_from_slice(&g[tile..][..LEN]);
            middle[..LEN].copy_from_slice(&mean[tile..][..LEN]);
            scale[..LEN].copy_from_slice(&r[tile..][..LEN]);
            for (x, dy) in x.chunks(BLOCK_ROWS * width).zip(dy.chunks(BLOCK_ROWS * width)) {
                let (mut sum, mut products) = ([0.0; TILE], [0.0; TILE]);
                for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
                    let (x, dy) = (&x[tile..][..LEN], &dy[tile..][..LEN]);
                    for j in 0..LEN {
                        sum[j] += dy[j];
                        products[j] = F::fma(dy[j], (x[j] - middle[j]) * scale[j], products[j]);
                    }
                }
                for j in 0..LEN {
                    of_dy[j] += sum[j];
                    of_products[j] += products[j];
                }
            }
            b[tile..][..LEN].copy_from_slice(&of_dy[..LEN]);
            g[tile..][..LEN].copy_from_slice(&of_products[..LEN]);
        });
    }
}

kernel! {
    fn scaled_rows<F>(scale: &[f32], dy: &mut [f32]) {
        let width = scale.len();
        for dy in dy.chunks_exact_mut(width) {
            for j in 0..width {
                dy[j] = 0.0 + scale[j] * dy[j];
            }
        }
    }
}

kernel! {
    fn backward_rows<F>(x: &[f32], mean: &[f32], r: &[f32], scale: &[f32], g: &[f32], b: &[f32], dy: &mut [f32]) {
        let width = mean.len();
        let (r, scale, g, b) = (&r[..width], &scale[..width], &g[..width], &b[..width]);
        for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
            for j in 0..width {
                let xhat = (x[j] - mean[j]) * r[j];
                dy[j] = 0.0 + scale[j] * (dy[j] - F::fma(xhat, g[j], b[j]));
            }
        }
    }
}
