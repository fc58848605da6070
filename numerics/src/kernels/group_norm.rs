//! Group norm (Wu & He 2018) and layer norm (Ba et al. 2016): statistics of an image's own values,
//! so that batches play no part. Layer norm is the case of one group and one position, every
//! feature a channel.
//!
//! A *group sum* of values per channel: value `i` of the group is added to sum `i mod 16` of
//! sixteen that start from 0, in order; then eight are added to the other eight (`l` and `l + 8`),
//! four to four, two to two, one to one.

use super::layer::Gradient;
use super::parallel;
use super::path::{Path, kernel};
use super::shard::rows_per_piece;
use super::sums::BLOCK_ROWS;
use super::{scratch, sums};
use crate::shape::GroupNormShape;

/// What one image's features are normalised with.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    /// Of every image and group, `[images, groups]`.
    pub mean: &'a [f32],
    /// `1/sqrt(variance + eps)`, `[images, groups]`.
    pub inverse_deviation: &'a [f32],
}

/// Where [`forward`] writes [`Statistics`].
#[derive(Debug)]
pub struct StatisticsMut<'a> {
    /// As in [`Statistics`].
    pub mean: &'a mut [f32],
    /// As in [`Statistics`].
    pub inverse_deviation: &'a mut [f32],
}

/// Writes `y` and the statistics. Per image, with `m` values in a group: a channel's sum is a chain
/// of additions from 0 over positions; `mean` is the group sum of these over `m`. The squares are
/// chains `fma(d, d, ·)` from 0 with `d = x - mean`; `r = 1/sqrt(group sum/m + eps)`. `y = fma((x -
/// mean)·r, gamma, beta)`.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    shape: &GroupNormShape,
    eps: f32,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
    to: StatisticsMut<'_>,
) {
    let images = check(
        shape,
        x.len(),
        y.len(),
        gamma,
        to.mean,
        to.inverse_deviation,
    );
    assert_eq!(beta.len(), gamma.len(), "group norm: lengths");
    let piece = rows_per_piece(images, 8 * shape.features());
    let (features, groups) = (piece * shape.features(), piece * shape.groups());
    let statistics = ((to.mean, groups), (to.inverse_deviation, groups));
    parallel::chunks_of_three(
        (y, features),
        statistics.0,
        statistics.1,
        |i, y, mean, r| {
            let x = &x[i * features..][..y.len()];
            scratch::with(3 * shape.channels(), |scratch| {
                forward_images(path, shape, eps, x, gamma, beta, scratch, y, mean, r);
            });
        },
    );
}

fn check(
    shape: &GroupNormShape,
    x: usize,
    y: usize,
    gamma: &[f32],
    mean: &[f32],
    r: &[f32],
) -> usize {
    let images = x / shape.features();
    assert!(
        x == images * shape.features() && y == x && gamma.len() == shape.channels(),
        "group norm: lengths"
    );
    assert!(
        mean.len() == images * shape.groups() && r.len() == mean.len(),
        "group norm: lengths"
    );
    images
}

/// The group sum of one group's values.
#[inline(always)]
fn group_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let blocks = values.chunks_exact(16);
    let rest = blocks.remainder();
    for block in blocks {
        for l in 0..16 {
            lanes[l] += block[l];
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += v;
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// Gives every channel its group's value.
#[inline(always)]
fn spread(of_groups: &[f32], channels: &mut [f32]) {
    let size = channels.len() / of_groups.len();
    for (group, v) in channels.chunks_exact_mut(size).zip(of_groups) {
        group.fill(*v);
    }
}

kernel! {
    fn forward_images<F>(
        shape: &GroupNormShape, eps: f32, x: &[f32], gamma: &[f32], beta: &[f32], scratch: &mut [f32],
        y: &mut [f32], mean: &mut [f32], r: &mut [f32],
    ) {
        let (c, groups, size) = (shape.channels(), shape.groups(), shape.channels() / shape.groups());
        let count = (shape.positions() * size) as f32;
        let (sums, rest) = scratch.split_at_mut(c);
        let (means, rs) = rest.split_at_mut(c);
        let (gamma, beta, rs) = (&gamma[..c], &beta[..c], &mut rs[..c]);
        let images = x.chunks_exact(shape.features()).zip(y.chunks_exact_mut(shape.features()));
        let statistics = mean.chunks_exact_mut(groups).zip(r.chunks_exact_mut(groups));
        for ((x, y), (mean, r)) in images.zip(statistics) {
            sums.fill(0.0);
            for x in x.chunks_exact(c) {
                for j in 0..c {
                    sums[j] += x[j];
                }
            }
            for (mean, sums) in mean.iter_mut().zip(sums.chunks_exact(size)) {
                *mean = group_sum(sums) / count;
            }
            spread(mean, means);
            sums.fill(0.0);
            for x in x.chunks_exact(c) {
                for j in 0..c {
                    let d = x[j] - means[j];
                    sums[j] = F::fma(d, d, sums[j]);
                }
            }
            for (r, sums) in r.iter_mut().zip(sums.chunks_exact(size)) {
                *r = 1.0 / (group_sum(sums) / count + eps).sqrt();
            }
            spread(r, rs);
            for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
                for j in 0..c {
                    y[j] = F::fma((x[j] - means[j]) * rs[j], gamma[j], beta[j]);
                }
            }
        }
    }
}

/// What the gradients are made from, and where they go.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The input.
    pub x: &'a [f32],
    /// As [`forward`] wrote them.
    pub statistics: Statistics<'a>,
    /// Per channel.
    pub gamma: &'a [f32],
    /// Gradient of the output; afterwards that of the input, as a value added to 0.
    pub dy: &'a mut [f32],
    /// Of gamma.
    pub dgamma: Gradient<'a>,
    /// Of beta.
    pub dbeta: Gradient<'a>,
}

/// The gradients. With `xhat = (x - mean)·r`: per image and channel `b = Σ dy` by additions and `g
/// = Σ` by `fma(dy, xhat, ·)`, chains from 0 over positions; `s` and `t` are the group sums of
/// `gamma·b` and `gamma·g`, each over `m`; `dx = 0 + r·(gamma·dy - fma(xhat, t, s))`. `dbeta` and
/// `dgamma` are sums of `dy` and of `fma(dy, xhat, ·)`: an image's positions in blocks of 32, each
/// a chain from 0; the blocks of a group of images are added up in order from 0, groups and shards
/// as in [`super::sums`].
///
/// # Panics
/// Lengths that disagree.
pub fn backward(path: Path, shape: &GroupNormShape, from: Backward<'_>) {
    let Backward {
        x,
        statistics: Statistics {
            mean,
            inverse_deviation: r,
        },
        gamma,
        dy,
        mut dgamma,
        mut dbeta,
    } = from;
    let images = check(shape, x.len(), dy.len(), gamma, mean, r);
    let c = shape.channels();
    assert!(
        dgamma.to.len() == c && dbeta.to.len() == c,
        "group norm: lengths"
    );
    scratch::with(2 * c, |total| {
        let of_dy: &[f32] = dy;
        sums::sums(shape.positions(), c, x.len(), total, |values, sums| {
            let images = values.start / shape.features()..values.end / shape.features();
            let groups = images.start * shape.groups()..images.end * shape.groups();
            let (x, dy) = (&x[values.clone()], &of_dy[values]);
            scratch::with(4 * c, |scratch| {
                add_products(
                    path,
                    shape,
                    x,
                    &mean[groups.clone()],
                    &r[groups],
                    dy,
                    scratch,
                    sums,
                );
            });
        });
        let (b, g) = total.split_at(c);
        for (to, sums) in [(dbeta.zeroed(), b), (dgamma.zeroed(), g)] {
            for (to, s) in to.iter_mut().zip(sums) {
                *to += s;
            }
        }
    });
    let piece = rows_per_piece(images, 12 * shape.features());
    let (features, groups) = (piece * shape.features(), piece * shape.groups());
    parallel::chunks(dy, features, true, |i, dy| {
        let x = &x[i * features..][..dy.len()];
        let here = i * groups..(i * groups + groups).min(mean.len());
        let (mean, r) = (&mean[here.clone()], &r[here]);
        scratch::with(4 * c, |scratch| {
            input_gradient_images(path, shape, x, mean, r, gamma, scratch, dy);
        });
    });
}

kernel! {
    fn input_gradient_images<F>(
        shape: &GroupNormShape, x: &[f32], mean: &[f32], r: &[f32], gamma: &[f32], scratch: &mut [f32], dy: &mut [f32],
    ) {
        let (c, groups, size) = (shape.channels(), shape.groups(), shape.channels() / shape.groups());
        let count = (shape.positions() * size) as f32;
        let (b, rest) = scratch.split_at_mut(c);
        let (g, rest) = rest.split_at_mut(c);
        let (means, rs) = rest.split_at_mut(c);
        let (gamma, rs) = (&gamma[..c], &mut rs[..c]);
        let features = shape.features();
        let images = x.chunks_exact(features).zip(dy.chunks_exact_mut(features));
        for ((x, dy), (mean, r)) in images.zip(mean.chunks_exact(groups).zip(r.chunks_exact(groups))) {
            spread(mean, means);
            spread(r, rs);
            b.fill(0.0);
            g.fill(0.0);
            for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                for j in 0..c {
                    b[j] += dy[j];
                    g[j] = F::fma(dy[j], (x[j] - means[j]) * rs[j], g[j]);
                }
            }
            for j in 0..c {
                b[j] *= gamma[j];
                g[j] *= gamma[j];
            }
            for sums in b.chunks_exact_mut(size).chain(g.chunks_exact_mut(size)) {
                let mean = group_sum(sums) / count;
                sums.fill(mean);
            }
            for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact_mut(c)) {
                for j in 0..c {
                    let xhat = (x[j] - means[j]) * rs[j];
                    dy[j] = 0.0 + rs[j] * (gamma[j] * dy[j] - F::fma(xhat, g[j], b[j]));
                }
            }
        }
    }
}

kernel! {
    /// Adds `dy` to the first half of `sums`, `dy·xhat` to the second.
    fn add_products<F>(
        shape: &GroupNormShape, x: &[f32], mean: &[f32], r: &[f32], dy: &[f32], scratch: &mut [f32], sums: &mut [f32],
    ) {
        let (c, groups, features) = (shape.channels(), shape.groups(), shape.features());
        let (means, rest) = scratch.split_at_mut(c);
        let (rs, block) = rest.split_at_mut(c);
        let images = x.chunks_exact(features).zip(dy.chunks_exact(features));
        for ((x, dy), (mean, r)) in images.zip(mean.chunks_exact(groups).zip(r.chunks_exact(groups))) {
            spread(mean, means);
            spread(r, rs);
            for (x, dy) in x.chunks(BLOCK_ROWS * c).zip(dy.chunks(BLOCK_ROWS * c)) {
                block.fill(0.0);
                let (b, g) = block.split_at_mut(c);
                let g = &mut g[..c];
                for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                    for j in 0..c {
                        b[j] += dy[j];
                        g[j] = F::fma(dy[j], (x[j] - means[j]) * rs[j], g[j]);
                    }
                }
                for (sum, of_block) in sums.iter_mut().zip(&*block) {
                    *sum += of_block;
                }
            }
        }
    }
}
