//! Convolutions over NHWC images; `w` is laid out `[kernel_h, kernel_w, channels, outputs]`.
//!
//! Padding is made of zeros that take part in the chains like any other value.

use rayon::prelude::*;

use super::chain::{
    Grid, LANES, Panel, Panels, Rows, Segment, Steps, Target, chains, lanes_of, ordinary, pack,
};
use super::dense::{add_into, add_rows};
use super::layer::{Activation, Backward};
use super::path::Path;
use super::shard::{SHARD_IMAGES, combine, group_images, groups};
use crate::shape::{ConvShape, Image};

/// Work below which one thread does it all.
const WORTH_THREADS: usize = 1 << 16;

fn worth_threads(shape: &ConvShape, images: usize) -> bool {
    images * shape.output().positions() * shape.weights() >= WORTH_THREADS
}

/// Runs `work` for every image's part of `out`, with a scratch buffer per thread.
fn each_image(
    out: &mut [f32],
    features: usize,
    threads: bool,
    work: impl Fn(&mut Vec<f32>, usize, &mut [f32]) + Sync,
) {
    if threads {
        let each = |scratch: &mut Vec<f32>, (i, out): (usize, &mut [f32])| work(scratch, i, out);
        out.par_chunks_mut(features)
            .enumerate()
            .for_each_init(Vec::new, each);
    } else {
        let mut scratch = Vec::new();
        out.chunks_mut(features)
            .enumerate()
            .for_each(|(i, out)| work(&mut scratch, i, out));
    }
}

/// Zeros around an image.
#[derive(Debug, Clone, Copy)]
struct Margin {
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

impl Margin {
    fn even(padding: usize) -> Margin {
        Margin {
            top: padding,
            left: padding,
            bottom: padding,
            right: padding,
        }
    }

    fn around(&self, image: Image) -> Image {
        let (height, width) = (
            self.top + image.height + self.bottom,
            self.left + image.width + self.right,
        );
        Image {
            height,
            width,
            channels: image.channels,
        }
    }
}

/// Copies an image into the middle of `out`, whose margin is zeros already or is made so.
fn pad(x: &[f32], image: Image, margin: Margin, out: &mut Vec<f32>) {
    let padded = margin.around(image);
    if out.len() != padded.features() {
        out.clear();
        out.resize(padded.features(), 0.0);
    }
    place(x, image, margin, out);
}

fn place(x: &[f32], image: Image, margin: Margin, out: &mut [f32]) {
    let (line, wide) = (
        image.width * image.channels,
        margin.around(image).width * image.channels,
    );
    for (y, row) in x.chunks_exact(line).enumerate() {
        out[(y + margin.top) * wide + margin.left * image.channels..][..line].copy_from_slice(row);
    }
}

/// [`forward`], then the activation.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_forward(
    path: Path,
    shape: &ConvShape,
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
pub fn layer_backward(path: Path, shape: &ConvShape, from: Backward<'_>) {
    from.activation.unapply(path, from.y, from.dy);
    if let Some(mut db) = from.db {
        bias_gradient(path, shape.output().positions(), from.dy, db.zeroed());
    }
    let mut dw = from.dw;
    weight_gradient(path, shape, from.x, from.dy, dw.zeroed());
    if let Some(mut dx) = from.dx {
        input_gradient(path, shape, from.w, from.dy, dx.zeroed());
    }
}

/// Writes `y`. Per element: one chain of fma over (kernel row, kernel column, channel) ascending that starts from `b` (0
/// without one).
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
) {
    let (image, out) = (shape.input(), shape.output());
    let images = x.len() / image.features();
    assert!(
        images * out.features() == y.len() && w.len() == shape.weights(),
        "conv forward: lengths"
    );
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride) = (image.channels, out.channels, shape.stride());
    let panels = pack(w, kernel_h * kernel_w * c, o);
    let margin = Margin::even(shape.padding());
    let line = margin.around(image).width * c;
    let segments: Vec<Segment> = (0..kernel_h)
        .map(|kh| Segment {
            x: kh * line,
            k: kh * kernel_w * c,
            len: kernel_w * c,
            begins: false,
        })
        .collect();
    let ordinary = ordinary(path, x, w, b, kernel_h * kernel_w * c);
    let grid = Grid {
        lines: out.height,
        per_line: out.width,
    };
    let steps = Steps {
        line: stride * line,
        row: stride * c,
    };
    each_image(
        y,
        out.features(),
        worth_threads(shape, images),
        |padded, i, y| {
            let x = &x[i * image.features()..][..image.features()];
            pad(x, image, margin, padded);
            for (p, panel) in panels
                .chunks_exact(kernel_h * kernel_w * c * LANES)
                .enumerate()
            {
                let rows = Rows {
                    x: padded,
                    grid,
                    steps,
                    k_step: 1,
                    segments: &segments,
                    ordinary,
                };
                let mut to = Target {
                    out: &mut y[p * LANES..],
                    steps: Steps {
                        line: out.width * o,
                        row: o,
                    },
                    lanes: LANES.min(o - p * LANES),
                    add: false,
                };
                let panel = Panel::packed(panel);
                chains(path, &rows, panel, &lanes_of(b, p), &mut to);
            }
        },
    );
}

/// The taps of one axis that reach input positions ≡ `residue` (mod stride).
struct Taps {
    /// Kernel indices, descending: the output positions they lead to ascend by one.
    kernel: Vec<usize>,
    /// First input position of the class; the class goes up in steps of the stride.
    first: usize,
    /// Output position of the first tap at the first input position.
    output: isize,
    /// Input positions in the class.
    count: usize,
}

fn taps(residue: usize, size: usize, kernel: usize, stride: usize, padding: usize) -> Taps {
    let kernel: Vec<usize> = (0..kernel)
        .rev()
        .filter(|k| (residue + padding) % stride == k % stride)
        .collect();
    let output = kernel.first().map_or(0, |k| {
        ((residue + padding) as isize - *k as isize) / stride as isize
    });
    Taps {
        kernel,
        first: residue,
        output,
        count: (size - residue.min(size)).div_ceil(stride),
    }
}

/// Adds to `dx`. Per element: one chain of fma from 0 over the taps that meet the input position, kernel row descending,
/// kernel column descending, output channel ascending (for stride 1: the flipped kernel in order); where a tap's output
/// position lies outside the image, its gradient is a zero that takes part. The sum is added to `dx`.
///
/// # Panics
/// Lengths that disagree.
pub fn input_gradient(path: Path, shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (image, out) = (shape.input(), shape.output());
    let images = dx.len() / image.features();
    assert!(
        images * out.features() == dy.len() && w.len() == shape.weights(),
        "conv input gradient: lengths"
    );
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride, padding) = (
        image.channels,
        out.channels,
        shape.stride(),
        shape.padding(),
    );
    // Zeros so far out that no tap of any position leaves the buffer.
    let before = |kernel: usize| (kernel - 1 - padding) / stride;
    let after =
        |size: usize, outputs: usize| ((size - 1 + padding) / stride + 1).saturating_sub(outputs);
    let margin = Margin {
        top: before(kernel_h),
        left: before(kernel_w),
        bottom: after(image.height, out.height),
        right: after(image.width, out.width),
    };
    let line = margin.around(out).width * o;
    // Input positions fall into stride × stride classes; each is a convolution with stride 1 over dy.
    struct Class {
        rows: Taps,
        columns: Taps,
        panels: Vec<f32>,
        segments: Vec<Segment>,
    }
    let mut classes = Vec::new();
    for residue_y in 0..stride.min(image.height) {
        for residue_x in 0..stride.min(image.width) {
            let rows = taps(residue_y, image.height, kernel_h, stride, padding);
            let columns = taps(residue_x, image.width, kernel_w, stride, padding);
            let mut flipped = Vec::with_capacity(rows.kernel.len() * columns.kernel.len() * o * c);
            for kh in &rows.kernel {
                for kw in &columns.kernel {
                    let tap = &w[(kh * kernel_w + kw) * c * o..][..c * o];
                    for j in 0..o {
                        flipped.extend((0..c).map(|i| tap[i * o + j]));
                    }
                }
            }
            let run = columns.kernel.len() * o;
            let segments = (0..rows.kernel.len())
                .map(|i| Segment {
                    x: i * line,
                    k: i * run,
                    len: run,
                    begins: false,
                })
                .collect();
            classes.push(Class {
                panels: pack(&flipped, rows.kernel.len() * run, c),
                rows,
                columns,
                segments,
            });
        }
    }
    let ordinary = ordinary(path, dy, w, None, kernel_h * kernel_w * o);
    each_image(
        dx,
        image.features(),
        worth_threads(shape, images),
        |padded, i, dx| {
            pad(
                &dy[i * out.features()..][..out.features()],
                out,
                margin,
                padded,
            );
            for class in &classes {
                let k = class.rows.kernel.len() * class.columns.kernel.len() * o;
                let left = margin.left.wrapping_add_signed(class.columns.output);
                let grid = Grid {
                    lines: class.rows.count,
                    per_line: class.columns.count,
                };
                let top = margin.top.wrapping_add_signed(class.rows.output);
                // A class without taps reads nothing and adds 0.
                let x = if k == 0 {
                    &padded[..0]
                } else {
                    &padded[top * line + left * o..]
                };
                let rows = Rows {
                    x,
                    grid,
                    steps: Steps { line, row: o },
                    k_step: 1,
                    segments: &class.segments,
                    ordinary,
                };
                let first = (class.rows.first * image.width + class.columns.first) * c;
                for p in 0..c.div_ceil(LANES) {
                    let panel = &class.panels[p * k * LANES..][..k * LANES];
                    let mut to = Target {
                        out: &mut dx[first + p * LANES..],
                        steps: Steps {
                            line: stride * image.width * c,
                            row: stride * c,
                        },
                        lanes: LANES.min(c - p * LANES),
                        add: true,
                    };
                    let panel = Panel::packed(panel);
                    chains(path, &rows, panel, &[0.0; LANES], &mut to);
                }
            }
        },
    );
}

/// Adds to `dw`. The batch is cut into shards of 32 images and these into groups of `clamp(⌈256/positions⌉, 1, 32)`
/// images (positions of an output image). Per element: a group is one chain of fma `x·dy` from 0 over (image, output row,
/// output column) ascending; the groups of a shard are added up in order, then the shards; the sum is added to `dw`.
///
/// # Panics
/// Lengths that disagree.
pub fn weight_gradient(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (image, out) = (shape.input(), shape.output());
    let images = x.len() / image.features();
    assert!(
        images * out.features() == dy.len() && dw.len() == shape.weights(),
        "conv weight gradient: lengths"
    );
    if images == 0 {
        return;
    }
    let threads = worth_threads(shape, images);
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride) = (image.channels, out.channels, shape.stride());
    let margin = Margin::even(shape.padding());
    let padded_image = margin.around(image);
    let line = padded_image.width * c;
    let padded = if shape.padding() == 0 {
        Vec::new()
    } else {
        pad_all(x, image, margin, threads)
    };
    let x = if shape.padding() == 0 { x } else { &padded };
    let positions = out.positions();
    // dy as panels of 16 channels: [shard][panel][image, row, column].
    let panels_count = o.div_ceil(LANES);
    let run = kernel_w * c;
    let group = group_images(positions);
    let shards = images.div_ceil(SHARD_IMAGES);
    let panels: Vec<Panels<'_>> = {
        let one = |shard: usize| {
            let first = shard * SHARD_IMAGES;
            let count = SHARD_IMAGES.min(images - first) * positions;
            Panels::new(&dy[first * out.features()..][..count * o], o)
        };
        if threads {
            (0..shards).into_par_iter().map(one).collect()
        } else {
            (0..shards).map(one).collect()
        }
    };
    let ordinary = ordinary(path, x, dy, None, SHARD_IMAGES * positions);
    // A piece of work is (shard, panel, kernel rows): one of these, or all where one alone would leave the tiles empty. Its
    // sums are [kernel row, kernel column, channel][16].
    let kernel_rows = if run < 24 { kernel_h } else { 1 };
    let pieces = kernel_h / kernel_rows;
    let mut sums = vec![0.0; shards * panels_count * kernel_h * run * LANES];
    let work = |(piece, sums): (usize, &mut [f32])| {
        let (shard, panel, kh) = (
            piece / pieces / panels_count,
            piece / pieces % panels_count,
            piece % pieces * kernel_rows,
        );
        let first = shard * SHARD_IMAGES;
        let count = SHARD_IMAGES.min(images - first);
        let mut segments = Vec::with_capacity(count * out.height);
        for i in 0..count {
            for row in 0..out.height {
                let at = (first + i) * padded_image.features() + (row * stride + kh) * line;
                let k = (i * out.height + row) * out.width;
                segments.push(Segment {
                    x: at,
                    k,
                    len: out.width,
                    begins: row == 0 && i % group == 0,
                });
            }
        }
        let rows = Rows {
            x,
            grid: Grid {
                lines: kernel_rows,
                per_line: run,
            },
            steps: Steps { line, row: 1 },
            k_step: stride * c,
            segments: &segments,
            ordinary,
        };
        let to = &mut Target {
            out: sums,
            steps: Steps {
                line: run * LANES,
                row: LANES,
            },
            lanes: LANES.min(o - panel * LANES),
            add: false,
        };
        chains(path, &rows, panels[shard].get(panel), &[0.0; LANES], to);
    };
    if threads {
        sums.par_chunks_mut(kernel_rows * run * LANES)
            .enumerate()
            .for_each(work);
    } else {
        sums.chunks_mut(kernel_rows * run * LANES)
            .enumerate()
            .for_each(work);
    }
    let (first, rest) = sums.split_at_mut(panels_count * kernel_h * run * LANES);
    for shard in rest.chunks_exact(first.len()) {
        add_into(path, shard, first);
    }
    for panel in 0..panels_count {
        let lanes = LANES.min(o - panel * LANES);
        for row in 0..kernel_h * run {
            let from = &first[(panel * kernel_h * run + row) * LANES..][..lanes];
            for (d, s) in dw[row * o + panel * LANES..][..lanes].iter_mut().zip(from) {
                *d += s;
            }
        }
    }
}

fn pad_all(x: &[f32], image: Image, margin: Margin, threads: bool) -> Vec<f32> {
    let features = margin.around(image).features();
    let mut padded = vec![0.0; x.len() / image.features() * features];
    each_image(&mut padded, features, threads, |_, i, out| {
        place(
            &x[i * image.features()..][..image.features()],
            image,
            margin,
            out,
        )
    });
    padded
}

/// Adds to `db`, the sum of `dy` per channel over (image, position) in the groups and shards of [`weight_gradient`]: chains
/// of additions from 0.
///
/// # Panics
/// Lengths that disagree.
pub fn bias_gradient(path: Path, positions: usize, dy: &[f32], db: &mut [f32]) {
    let sums = channel_sums(path, positions, db.len(), dy, add_rows);
    add_into(path, &sums, db);
}

/// Per channel: `chain(rows of a group, sums from 0)`, the groups of a shard added up in order, then the shards.
pub(super) fn channel_sums(
    path: Path,
    positions: usize,
    width: usize,
    x: &[f32],
    chain: impl Fn(Path, &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let image = positions * width;
    assert!(
        image > 0 && x.len().is_multiple_of(image),
        "sums over channels: lengths"
    );
    let groups = groups(x.len() / image, positions);
    let mut sums = vec![0.0; groups.len() * width];
    let work = |(i, sums): (usize, &mut [f32])| {
        let images = &groups[i].images;
        chain(path, &x[images.start * image..images.end * image], sums);
    };
    if x.len() < WORTH_THREADS {
        sums.chunks_mut(width).enumerate().for_each(work);
    } else {
        sums.par_chunks_mut(width).enumerate().for_each(work);
    }
    combine(&groups, &sums, width)
}
