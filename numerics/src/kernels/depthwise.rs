//! Depthwise convolutions over NHWC images: every channel is convolved with a window of its own;
//! `w` is laid out `[kernel_h, kernel_w, channels]`.
//!
//! Vectors run across channels. Taps outside the image take no part.

use super::activation::Activation;
use super::conv::bias_gradient;
use super::layer::{Accumulate, Backward};
use super::parallel;
use super::path::{Path, kernel};
use super::scratch;
use super::shard::{SHARD_IMAGES, group_images, rows_per_piece};
use crate::exact::fma::Fma;
use crate::shape::DepthwiseShape;

/// Channels whose sums are in registers at a time.
const BLOCK: usize = 16;

/// [`forward`], then the activation.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_forward(
    path: Path,
    shape: &DepthwiseShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    forward(path, shape, x, w, b, y);
    activation.apply(path, y);
}

/// The gradient of the sums, then [`bias_gradient`], [`weight_gradient`], [`input_gradient`].
///
/// # Panics
/// Lengths that disagree.
pub fn layer_backward(path: Path, shape: &DepthwiseShape, from: Backward<'_>) {
    from.activation.unapply(path, from.y, from.dy);
    if let Some(mut db) = from.db {
        bias_gradient(path, shape.output().positions(), from.dy, db.zeroed());
    }
    let mut dw = from.dw;
    weight_gradient(path, shape, from.x, from.dy, dw.zeroed());
    if let Some(dx) = from.dx {
        input_gradient(path, shape, from.w, from.dy, dx.how, dx.to);
    }
}

/// Writes `y`. Per element: one chain of fma `x·w` over (kernel row, kernel column) ascending that
/// starts from `b` (0 without one).
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    shape: &DepthwiseShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
) {
    let (of_x, of_y) = check(shape, x.len(), w.len(), y.len());
    assert!(
        b.is_none_or(|b| b.len() == shape.output().channels),
        "depthwise: lengths"
    );
    let piece = pieces(shape, y.len() / of_y);
    parallel::chunks(y, piece * of_y, true, |i, y| {
        let x = &x[i * piece * of_x..][..y.len() / of_y * of_x];
        gather(path, shape, Direction::Forward, x, w, b, false, y);
    });
}

/// The gradient of the input. Per element: one chain of fma `dy·w` from 0 over the taps that meet
/// the input position, kernel row descending, kernel column descending.
///
/// # Panics
/// Lengths that disagree.
pub fn input_gradient(
    path: Path,
    shape: &DepthwiseShape,
    w: &[f32],
    dy: &[f32],
    how: Accumulate,
    dx: &mut [f32],
) {
    let (of_x, of_y) = check(shape, dx.len(), w.len(), dy.len());
    if how == Accumulate::First {
        dx.fill(0.0);
    }
    let piece = pieces(shape, dy.len() / of_y);
    parallel::chunks(dx, piece * of_x, true, |i, dx| {
        let dy = &dy[i * piece * of_y..][..dx.len() / of_x * of_y];
        gather(path, shape, Direction::Backward, dy, w, None, true, dx);
    });
}

/// Features of an image before and after.
fn check(shape: &DepthwiseShape, x: usize, w: usize, y: usize) -> (usize, usize) {
    let (of_x, of_y) = (shape.input().features(), shape.output().features());
    assert!(
        x / of_x * of_x == x && x / of_x * of_y == y && w == shape.weights(),
        "depthwise: lengths"
    );
    (of_x, of_y)
}

fn pieces(shape: &DepthwiseShape, images: usize) -> usize {
    rows_per_piece(images, 2 * shape.output().positions() * shape.weights())
}

/// Which way values go through the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the input to the output.
    Forward,
    /// From the output's gradient to the input's.
    Backward,
}

/// Calls `visit(kernel index, position it reads)` for the taps of one axis at position `at`, in the
/// order of the chains.
#[inline(always)]
fn taps(
    direction: Direction,
    at: usize,
    (kernel, stride, padding): (usize, usize, usize),
    size: usize,
    mut visit: impl FnMut(usize, usize),
) {
    match direction {
        Direction::Forward => {
            for k in padding.saturating_sub(at * stride)..kernel {
                let from = at * stride + k - padding;
                if from >= size {
                    break;
                }
                visit(k, from);
            }
        }
        Direction::Backward => {
            let place = at + padding;
            for k in (0..kernel.min(place + 1)).rev() {
                if (place - k).is_multiple_of(stride) && (place - k) / stride < size {
                    visit(k, (place - k) / stride);
                }
            }
        }
    }
}

kernel! {
    fn gather<F>(
        shape: &DepthwiseShape, direction: Direction, x: &[f32], w: &[f32], init: Option<&[f32]>, add: bool, y: &mut [f32],
    ) {
        let (from, to) = match direction {
            Direction::Forward => (shape.input(), shape.output()),
            Direction::Backward => (shape.output(), shape.input()),
        };
        let ((kernel_h, kernel_w), c) = (shape.kernel(), from.channels);
        let axis = |kernel| (kernel, shape.stride(), shape.padding());
        let mut offsets: Vec<(usize, usize)> = Vec::with_capacity(kernel_h * kernel_w);
        for (x, y) in x.chunks_exact(from.features()).zip(y.chunks_exact_mut(to.features())) {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                offsets.clear();
                taps(direction, at / to.width, axis(kernel_h), from.height, |kh, row| {
                    taps(direction, at % to.width, axis(kernel_w), from.width, |kw, column| {
                        offsets.push(((row * from.width + column) * c, (kh * kernel_w + kw) * c));
                    });
                });
                let whole = c / BLOCK * BLOCK;
                for j in (0..whole).step_by(BLOCK) {
                    sum::<F, BLOCK>(&offsets, x, w, init, j, add, y);
                }
                for j in whole..c {
                    sum::<F, 1>(&offsets, x, w, init, j, add, y);
                }
            }
        }
    }
}

/// Channels `j .. j + L` of one position.
#[inline(always)]
fn sum<F: Fma, const L: usize>(
    offsets: &[(usize, usize)],
    x: &[f32],
    w: &[f32],
    init: Option<&[f32]>,
    j: usize,
    add: bool,
    y: &mut [f32],
) {
    let mut acc = [0.0f32; L];
    if let Some(init) = init {
        acc.copy_from_slice(&init[j..][..L]);
    }
    for (of_x, of_w) in offsets {
        let (x, w) = (&x[of_x + j..][..L], &w[of_w + j..][..L]);
        for l in 0..L {
            acc[l] = F::fma(x[l], w[l], acc[l]);
        }
    }
    let y = &mut y[j..][..L];
    for l in 0..L {
        y[l] = if add { y[l] + acc[l] } else { acc[l] };
    }
}

/// Adds to `dw`. Per element: in the groups and shards of [`super::conv::weight_gradient`], a chain
/// of fma `x·dy` from 0 over (image, output row, output column) ascending where the tap lies in the
/// image; the sum of the shards is added to `dw`.
///
/// # Panics
/// Lengths that disagree.
pub fn weight_gradient(path: Path, shape: &DepthwiseShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (of_x, of_y) = check(shape, x.len(), dw.len(), dy.len());
    if x.is_empty() {
        return;
    }
    let kernel_h = shape.kernel().0;
    let run = shape.weights() / kernel_h;
    let shards = (x.len() / of_x).div_ceil(SHARD_IMAGES);
    let group = group_images(shape.output().positions());
    // A piece of work is (shard, kernel row).
    let work = |piece: usize, sums: &mut [f32]| {
        let (shard, kh) = (piece / kernel_h, piece % kernel_h);
        let x = x.chunks(SHARD_IMAGES * of_x).nth(shard).unwrap_or_default();
        let dy = dy
            .chunks(SHARD_IMAGES * of_y)
            .nth(shard)
            .unwrap_or_default();
        scratch::with(run, |chain| {
            let groups = x.chunks(group * of_x).zip(dy.chunks(group * of_y));
            for (i, (x, dy)) in groups.enumerate() {
                chain.fill(0.0);
                weight_chains(path, shape, kh, x, dy, chain);
                if i == 0 {
                    sums.copy_from_slice(chain);
                } else {
                    sums.iter_mut().zip(&*chain).for_each(|(s, v)| *s += v);
                }
            }
        });
    };
    scratch::with(shards * kernel_h * run, |sums| {
        let threads = x.len() * shape.weights() / shape.output().channels >= 1 << 16;
        parallel::chunks(sums, run, threads, work);
        let (total, rest) = sums.split_at_mut(kernel_h * run);
        for shard in rest.chunks_exact(total.len()) {
            total.iter_mut().zip(shard).for_each(|(t, s)| *t += s);
        }
        dw.iter_mut().zip(total).for_each(|(d, t)| *d += *t);
    });
}

kernel! {
    /// Goes on with the chains `[kernel_w, channels]` of one kernel row.
    fn weight_chains<F>(shape: &DepthwiseShape, kh: usize, x: &[f32], dy: &[f32], sums: &mut [f32]) {
        let (image, out, c) = (shape.input(), shape.output(), shape.input().channels);
        let (kernel_h, kernel_w) = shape.kernel();
        let (stride, padding) = (shape.stride(), shape.padding());
        let whole = c / BLOCK * BLOCK;
        for (x, dy) in x.chunks_exact(image.features()).zip(dy.chunks_exact(out.features())) {
            for (row, dy) in dy.chunks_exact(out.width * c).enumerate() {
                let mut from = None;
                taps(Direction::Forward, row, (kernel_h, stride, padding), image.height, |k, at| {
                    if k == kh {
                        from = Some(at);
                    }
                });
                let Some(from) = from else { continue };
                let x = &x[from * image.width * c..][..image.width * c];
                for (kw, sums) in sums.chunks_exact_mut(c).enumerate() {
                    // Columns whose tap lies in the image.
                    let first = padding.saturating_sub(kw).div_ceil(stride);
                    let end = (image.width + padding).saturating_sub(kw).div_ceil(stride).min(out.width);
                    if kw >= kernel_w || first >= end {
                        continue;
                    }
                    let x = &x[(first * stride + kw - padding) * c..];
                    let dy = &dy[first * c..end * c];
                    for j in (0..whole).step_by(BLOCK) {
                        line::<F, BLOCK>(x, dy, c, stride, j, sums);
                    }
                    for j in whole..c {
                        line::<F, 1>(x, dy, c, stride, j, sums);
                    }
                }
            }
        }
    }
}

/// One line of outputs, channels `j .. j + L`.
#[inline(always)]
fn line<F: Fma, const L: usize>(
    x: &[f32],
    dy: &[f32],
    c: usize,
    stride: usize,
    j: usize,
    sums: &mut [f32],
) {
    let sums = &mut sums[j..][..L];
    let mut acc = [0.0f32; L];
    acc.copy_from_slice(sums);
    for (i, dy) in dy.chunks_exact(c).enumerate() {
        let (x, dy) = (&x[i * stride * c + j..][..L], &dy[j..][..L]);
        for l in 0..L {
            acc[l] = F::fma(x[l], dy[l], acc[l]);
        }
    }
    sums.copy_from_slice(&acc);
}
