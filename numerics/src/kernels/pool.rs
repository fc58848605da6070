//! Pooling over NHWC images; windows that do not fit whole into the padded image are left out. Of a
//! window that reaches into the padding only the part within the image is read and written.

use super::layer::{Accumulate, Gradient};
use super::parallel;
use super::path::{Path, kernel};
use super::shard::rows_per_piece;
use super::tiles::{TILE, tiles};
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
    parallel::chunks(out, piece * features, true, |i, out| work(i * piece, out));
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

/// Writes `y`. Per element: the window is read row by row; a value replaces the largest so far when
/// it is greater or NaN, so that the first maximum and the last NaN win, as in PyTorch.
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
        |first, y| max_images(path, Steps::of(shape), &x[first * features..], y),
    );
}

/// Sizes of a pooling as loops need them: places in values, not in pixels.
#[derive(Debug, Clone, Copy)]
struct Steps {
    /// Of one image.
    input: usize,
    output: usize,
    channels: usize,
    /// Windows in a row.
    across: usize,
    /// From one row of the image to the next.
    line: usize,
    down: Axis,
    right: Axis,
}

/// The windows of one axis, in positions.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Axis {
    /// The part of window `at` that lies in the image: its first position and how many.
    #[inline(always)]
    fn part(&self, at: usize) -> (usize, usize) {
        let end = (at * self.stride + self.kernel - self.padding).min(self.size);
        let first = (at * self.stride).saturating_sub(self.padding);
        (first, end - first)
    }
}

/// The part of a window that lies in the image.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Where it begins.
    first: usize,
    rows: usize,
    columns: usize,
}

impl Steps {
    fn of(shape: &PoolShape) -> Steps {
        let (image, out) = (shape.input(), shape.output());
        let line = image.width * image.channels;
        Steps {
            input: image.features(),
            output: out.features(),
            channels: image.channels,
            across: out.width,
            line,
            down: Axis {
                size: image.height,
                kernel: shape.kernel().0,
                stride: shape.stride().0,
                padding: shape.padding(),
            },
            right: Axis {
                size: image.width,
                kernel: shape.kernel().1,
                stride: shape.stride().1,
                padding: shape.padding(),
            },
        }
    }

    #[inline(always)]
    fn window(&self, at: usize) -> Window {
        let (row, rows) = self.down.part(at / self.across);
        let (column, columns) = self.right.part(at % self.across);
        Window {
            first: row * self.line + column * self.channels,
            rows,
            columns,
        }
    }

    /// Positions of a whole window.
    fn area(&self) -> f32 {
        (self.down.kernel * self.right.kernel) as f32
    }
}

kernel! {
    fn max_images<F>(steps: Steps, x: &[f32], y: &mut [f32]) {
        let c = steps.channels;
        for (x, y) in x.chunks_exact(steps.input).zip(y.chunks_exact_mut(steps.output)) {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                let Window { first, rows, columns } = steps.window(at);
                tiles!(c, |tile, LEN| {
                    let mut best = [0.0; TILE];
                    best[..LEN].copy_from_slice(&x[first + tile..][..LEN]);
                    for kh in 0..rows {
                        for kw in 0..columns {
                            let x = &x[first + kh * steps.line + kw * c + tile..][..LEN];
                            for j in 0..LEN {
                                best[j] = if wins(x[j], best[j]) { x[j] } else { best[j] };
                            }
                        }
                    }
                    y[tile..][..LEN].copy_from_slice(&best[..LEN]);
                });
            }
        }
    }
}

/// `a` where the condition holds, else `b`, without a branch: a branch would keep the loop from
/// using vectors.
#[inline(always)]
fn select(condition: bool, a: f32, b: f32) -> f32 {
    let mask = u32::from(condition).wrapping_neg();
    f32::from_bits((a.to_bits() & mask) | (b.to_bits() & !mask))
}

#[inline(always)]
fn wins(value: f32, best: f32) -> bool {
    (value > best) | value.is_nan()
}

/// Adds to `dx`: every `dy`, windows in row order, goes to the element that won [`max_forward`].
///
/// # Panics
/// Lengths that disagree.
pub fn max_backward(path: Path, shape: &PoolShape, x: &[f32], dy: &[f32], dx: Gradient<'_>) {
    check(shape, x.len(), dy.len());
    assert_eq!(x.len(), dx.to.len(), "pool: lengths");
    let (features, outputs) = (shape.input().features(), shape.output().features());
    let fill = Fill::of(shape, dx.how);
    pieces(dx.to, features, work_per_image(shape), |first, dx| {
        let x = &x[first * features..][..dx.len()];
        max_images_backward(path, Steps::of(shape), fill, x, &dy[first * outputs..], dx);
    });
}

/// How a gradient reaches the elements of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// They are added to.
    Add,
    /// They are zeroed, then added to.
    ZeroThenAdd,
    /// Every element belongs to exactly one window and is written once.
    Write,
}

impl Fill {
    fn of(shape: &PoolShape, how: Accumulate) -> Fill {
        let (image, out, (kernel_h, kernel_w)) = (shape.input(), shape.output(), shape.kernel());
        let tiled = shape.padding() == 0
            && shape.kernel() == shape.stride()
            && (out.height * kernel_h, out.width * kernel_w) == (image.height, image.width);
        match how {
            Accumulate::Add => Fill::Add,
            Accumulate::First if tiled => Fill::Write,
            Accumulate::First => Fill::ZeroThenAdd,
        }
    }
}

kernel! {
    fn max_images_backward<F>(steps: Steps, fill: Fill, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let c = steps.channels;
        let images = x.chunks_exact(steps.input).zip(dy.chunks_exact(steps.output)).zip(dx.chunks_exact_mut(steps.input));
        for ((x, dy), dx) in images {
            if fill == Fill::ZeroThenAdd {
                dx.fill(0.0);
            }
            for (at, dy) in dy.chunks_exact(c).enumerate() {
                let Window { first, rows, columns } = steps.window(at);
                tiles!(c, |tile, LEN| {
                    let (mut best, mut winner) = ([0.0; TILE], [0u32; TILE]);
                    best[..LEN].copy_from_slice(&x[first + tile..][..LEN]);
                    let mut tap = 0;
                    for kh in 0..rows {
                        for kw in 0..columns {
                            let x = &x[first + kh * steps.line + kw * c + tile..][..LEN];
                            for j in 0..LEN {
                                let win = wins(x[j], best[j]);
                                best[j] = if win { x[j] } else { best[j] };
                                winner[j] = if win { tap } else { winner[j] };
                            }
                            tap += 1;
                        }
                    }
                    let dy = &dy[tile..][..LEN];
                    let mut tap = 0;
                    for kh in 0..rows {
                        for kw in 0..columns {
                            let dx = &mut dx[first + kh * steps.line + kw * c + tile..][..LEN];
                            if fill == Fill::Write {
                                for j in 0..LEN {
                                    dx[j] = select(winner[j] == tap, 0.0 + dy[j], 0.0);
                                }
                            } else {
                                for j in 0..LEN {
                                    dx[j] = select(winner[j] == tap, dx[j] + dy[j], dx[j]);
                                }
                            }
                            tap += 1;
                        }
                    }
                });
            }
        }
    }
}

/// Writes `y`. Per element: the window's values are added row by row from 0; the sum is divided by
/// the positions of a whole window, padding counted as zeros (PyTorch's default).
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
        |first, y| avg_images(path, Steps::of(shape), &x[first * features..], y),
    );
}

kernel! {
    fn avg_images<F>(steps: Steps, x: &[f32], y: &mut [f32]) {
        let c = steps.channels;
        let area = steps.area();
        for (x, y) in x.chunks_exact(steps.input).zip(y.chunks_exact_mut(steps.output)) {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                let Window { first, rows, columns } = steps.window(at);
                tiles!(c, |tile, LEN| {
                    let mut sum = [0.0; TILE];
                    for kh in 0..rows {
                        for kw in 0..columns {
                            let x = &x[first + kh * steps.line + kw * c + tile..][..LEN];
                            for j in 0..LEN {
                                sum[j] += x[j];
                            }
                        }
                    }
                    let y = &mut y[tile..][..LEN];
                    for j in 0..LEN {
                        y[j] = sum[j] / area;
                    }
                });
            }
        }
    }
}

/// Adds to `dx`: every `dy` divided by the positions of a whole window, windows in row order.
///
/// # Panics
/// Lengths that disagree.
pub fn avg_backward(path: Path, shape: &PoolShape, dy: &[f32], dx: Gradient<'_>) {
    check(shape, dx.to.len(), dy.len());
    let (features, outputs) = (shape.input().features(), shape.output().features());
    let fill = Fill::of(shape, dx.how);
    pieces(dx.to, features, work_per_image(shape), |first, dx| {
        avg_images_backward(path, Steps::of(shape), fill, &dy[first * outputs..], dx);
    });
}

kernel! {
    fn avg_images_backward<F>(steps: Steps, fill: Fill, dy: &[f32], dx: &mut [f32]) {
        let c = steps.channels;
        let area = steps.area();
        for (dy, dx) in dy.chunks_exact(steps.output).zip(dx.chunks_exact_mut(steps.input)) {
            if fill == Fill::ZeroThenAdd {
                dx.fill(0.0);
            }
            for (at, dy) in dy.chunks_exact(c).enumerate() {
                let Window { first, rows, columns } = steps.window(at);
                tiles!(c, |tile, LEN| {
                    let mut share = [0.0; TILE];
                    for j in 0..LEN {
                        share[j] = dy[tile + j] / area;
                    }
                    for kh in 0..rows {
                        for kw in 0..columns {
                            let dx = &mut dx[first + kh * steps.line + kw * c + tile..][..LEN];
                            for j in 0..LEN {
                                dx[j] = if fill == Fill::Write { 0.0 } else { dx[j] } + share[j];
                            }
                        }
                    }
                });
            }
        }
    }
}
