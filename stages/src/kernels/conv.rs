//! Convolutions over NHWC images; `w` is laid out `[kernel_h, kernel_w, channels, outputs]`.
//!
//! Padding is made of zeros that take part in the chains like any other value. A task takes a few images, copies them
//! into a buffer with their margins, and goes over the panels of weights, so that both stay in the second-level cache.

use std::ops::Range;

use rayon::prelude::*;

use super::chain::{
    Grid, LANES, Panel, Rows, Segment, Start, Steps, Store, Target, WIDE, chains, ordinary, pack,
    packed_len, packed_panel, start_of,
};
use super::dense::{add_into, add_piece, add_rows};
use super::layer::{Accumulate, Activation, Backward};
use super::margin::Margin;
use super::out::Out;
use super::path::Path;
use super::scratch;
use super::shard::{Group, SHARD_IMAGES, groups};
use super::sums::sums;
use super::transpose;
use crate::shape::ConvShape;

/// Multiplications below which one thread does it all.
const WORTH_THREADS: usize = 1 << 16;
/// Numbers of padded images that a task goes over at a time: half of a usual second-level cache.
const BLOCK: usize = 1 << 17;
/// Weights up to which every shard's gradient is summed up apart: 1 MiB.
const SMALL_WEIGHTS: usize = 1 << 18;
/// Positions of a stretch of a weight gradient's chains: 16 KiB of a panel.
const STRETCH: usize = 128;

fn worth_threads(shape: &ConvShape, images: usize) -> bool {
    images * shape.output().positions() * shape.weights() >= WORTH_THREADS
}

/// Images of a task: as many as fill [`BLOCK`], and few enough for all threads to have some.
fn images_per_task(images: usize, padded: usize, threads: bool) -> usize {
    let cached = (BLOCK / padded.max(1)).max(1);
    let shared = if threads {
        images.div_ceil(4 * rayon::current_num_threads())
    } else {
        images
    };
    cached.min(shared).max(1)
}

/// Runs `work` on chunks of `out`, on the pool's threads if `threads`.
fn each_chunk(out: &mut [f32], len: usize, threads: bool, work: impl Fn(usize, &mut [f32]) + Sync) {
    if threads && out.len() > len {
        out.par_chunks_mut(len)
            .enumerate()
            .for_each(|(i, chunk)| work(i, chunk));
    } else {
        out.chunks_mut(len)
            .enumerate()
            .for_each(|(i, chunk)| work(i, chunk));
    }
}

/// The output: per element, one chain of fma over (kernel row, kernel column, channel) ascending that starts from `b` (0
/// without one); then the activation.
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
    let (image, out) = (shape.input(), shape.output());
    let images = x.len() / image.features();
    assert!(
        images * out.features() == y.len() && w.len() == shape.weights(),
        "conv forward: lengths"
    );
    assert!(
        b.is_none_or(|b| b.len() == out.channels),
        "conv forward: lengths"
    );
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride) = (image.channels, out.channels, shape.stride());
    let k = kernel_h * kernel_w * c;
    let margin = Margin::even(shape.padding());
    let padded = margin.around(image);
    let line = padded.width * c;
    let segments: Vec<Segment> = (0..kernel_h)
        .map(|kh| Segment {
            x: kh * line,
            k: kh * kernel_w * c,
            len: kernel_w * c,
            begins: false,
        })
        .collect();
    let ordinary = ordinary(path, x, w, b, k);
    let threads = worth_threads(shape, images);
    let block = images_per_task(images, padded.features(), threads);
    let store = match activation {
        Activation::Relu => Store::Relu,
        _ => Store::Set,
    };
    scratch::with(packed_len(k, o), |panels| {
        each_chunk(panels, k * WIDE, k * o >= WORTH_THREADS, |which, panel| {
            pack(w, o, which, panel)
        });
        let panels = &*panels;
        each_chunk(y, block * out.features(), threads, |i, y| {
            let count = y.len() / out.features();
            let x = &x[i * block * image.features()..][..count * image.features()];
            margin.with_padded(x, image, |x| {
                for which in 0..o.div_ceil(WIDE) {
                    let (panel, start) = (packed_panel(panels, k, o, which), start_of(b, which));
                    for i in 0..count {
                        let rows = Rows {
                            x: &x[i * padded.features()..][..padded.features()],
                            grid: Grid {
                                lines: out.height,
                                per_line: out.width,
                            },
                            steps: Steps {
                                line: stride * line,
                                row: stride * c,
                            },
                            k_step: 1,
                            segments: &segments,
                            ordinary,
                        };
                        let mut to = Target {
                            out: Out::new(&mut y[i * out.features() + which * WIDE..]),
                            steps: Steps {
                                line: out.width * o,
                                row: o,
                            },
                            across: 1,
                            lanes: WIDE.min(o - which * WIDE),
                            store,
                        };
                        chains(path, &rows, panel, &start, &mut to);
                    }
                }
            });
        });
    });
    if store == Store::Set {
        activation.apply(path, y);
    }
}

/// [`layer_forward`] without an activation.
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
    layer_forward(path, shape, x, w, b, Activation::Identity, y);
}

/// The gradient of the sums, then those of bias, weight and input.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_backward(path: Path, shape: &ConvShape, from: Backward<'_>) {
    match from.db {
        None => from.activation.unapply(path, from.y, from.dy),
        Some(db) => {
            let (activation, y) = (from.activation, from.y);
            let (len, channels) = (from.dy.len(), shape.output().channels);
            let dy = Out::new(from.dy);
            // Both while a group's gradients are at hand.
            let sums = group_sums(shape.output().positions(), channels, len, |at, sums| {
                // SAFETY: groups have no image in common.
                let dy = unsafe { dy.share() }.from(at.start).slice(at.len());
                if activation != Activation::Identity {
                    activation.unapply(path, &y[at], dy);
                }
                add_rows(path, dy, sums);
            });
            if db.how == Accumulate::First {
                db.to.fill(0.0);
            }
            add_into(path, &sums, db.to);
        }
    }
    let dy = &*from.dy;
    weight_gradient_to(path, shape, from.x, dy, from.dw.to, from.dw.how);
    if let Some(dx) = from.dx {
        input_gradient_to(path, shape, from.w, dy, dx.to, dx.how);
    }
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

/// Input positions ≡ residues (mod stride): their gradient is a convolution with stride 1 over `dy`.
struct Class {
    rows: Taps,
    columns: Taps,
    /// Steps of a chain.
    k: usize,
    segments: Vec<Segment>,
    /// Where its panels begin.
    first: usize,
}

/// Adds to `dx`. Per element: one chain of fma from 0 over the taps that meet the input position, kernel row descending,
/// kernel column descending, output channel ascending (for stride 1: the flipped kernel in order); where a tap's output
/// position lies outside the image, its gradient is a zero that takes part. The sum is added to `dx`.
///
/// # Panics
/// Lengths that disagree.
pub fn input_gradient(path: Path, shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    input_gradient_to(path, shape, w, dy, dx, Accumulate::Add);
}

fn input_gradient_to(
    path: Path,
    shape: &ConvShape,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    how: Accumulate,
) {
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
    let padded = margin.around(out);
    let line = padded.width * o;
    let mut classes = Vec::new();
    let mut len = 0;
    for residue_y in 0..stride.min(image.height) {
        for residue_x in 0..stride.min(image.width) {
            let rows = taps(residue_y, image.height, kernel_h, stride, padding);
            let columns = taps(residue_x, image.width, kernel_w, stride, padding);
            let run = columns.kernel.len() * o;
            let segments = (0..rows.kernel.len())
                .map(|i| Segment {
                    x: i * line,
                    k: i * run,
                    len: run,
                    begins: false,
                })
                .collect();
            let (k, first) = (rows.kernel.len() * run, len);
            len += packed_len(k, c);
            classes.push(Class {
                rows,
                columns,
                k,
                segments,
                first,
            });
        }
    }
    let ordinary = ordinary(path, dy, w, None, kernel_h * kernel_w * o);
    let threads = worth_threads(shape, images);
    let block = images_per_task(images, padded.features(), threads);
    scratch::with(len, |panels| {
        for class in classes.iter().filter(|class| class.k > 0) {
            let panels = &mut panels[class.first..][..packed_len(class.k, c)];
            let threads = class.k * c >= WORTH_THREADS;
            each_chunk(panels, class.k * WIDE, threads, |which, panel| {
                class.pack(path, shape, w, which, panel)
            });
        }
        let panels = &*panels;
        each_chunk(dx, block * image.features(), threads, |i, dx| {
            let count = dx.len() / image.features();
            let dy = &dy[i * block * out.features()..][..count * out.features()];
            margin.with_padded(dy, out, |dy| {
                for class in &classes {
                    let panels = &panels[class.first..][..packed_len(class.k, c)];
                    let left = margin.left.wrapping_add_signed(class.columns.output);
                    let top = margin.top.wrapping_add_signed(class.rows.output);
                    let first = (class.rows.first * image.width + class.columns.first) * c;
                    for which in 0..c.div_ceil(WIDE) {
                        let panel = packed_panel(panels, class.k, c, which);
                        for i in 0..count {
                            let dy = &dy[i * padded.features()..][..padded.features()];
                            let rows = Rows {
                                // A class without taps reads nothing and adds 0.
                                x: if class.k == 0 {
                                    &[]
                                } else {
                                    &dy[top * line + left * o..]
                                },
                                grid: Grid {
                                    lines: class.rows.count,
                                    per_line: class.columns.count,
                                },
                                steps: Steps { line, row: o },
                                k_step: 1,
                                segments: &class.segments,
                                ordinary,
                            };
                            let dx = &mut dx[i * image.features()..][..image.features()];
                            let mut to = Target {
                                out: Out::new(&mut dx[first + which * WIDE..]),
                                steps: Steps {
                                    line: stride * image.width * c,
                                    row: stride * c,
                                },
                                across: 1,
                                lanes: WIDE.min(c - which * WIDE),
                                store: how.store(),
                            };
                            chains(path, &rows, panel, &Start::ZERO, &mut to);
                        }
                    }
                }
            });
        });
    });
}

impl Class {
    /// Channels `32·which ..` of the flipped kernel: lines over (kernel row, kernel column, output channel).
    fn pack(&self, path: Path, shape: &ConvShape, w: &[f32], which: usize, panel: &mut [f32]) {
        let (c, o) = (shape.input().channels, shape.output().channels);
        let step = panel.len() / self.k;
        let channels = which * WIDE..c.min(which * WIDE + step);
        if channels.len() < step {
            panel.fill(0.0);
        }
        let taps = self.rows.kernel.iter().flat_map(|kh| {
            let columns = self.columns.kernel.iter();
            columns.map(move |kw| kh * shape.kernel().1 + kw)
        });
        for (tap, lines) in taps.zip(panel.chunks_exact_mut(o * step)) {
            let w = &w[tap * c * o..][..c * o];
            transpose::matrix(
                path,
                &w[channels.start * o..channels.end * o],
                o,
                lines,
                step,
            );
        }
    }
}

/// Adds to `dw`. The batch is cut into shards of 32 images and these into groups of `clamp(⌈256/positions⌉, 1, 32)`
/// images (positions of an output image). Per element: a group is one chain of fma `x·dy` from 0 over (image, output row,
/// output column) ascending; the groups of a shard are added up in order, then the shards; the sum is added to `dw`.
///
/// # Panics
/// Lengths that disagree.
pub fn weight_gradient(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    weight_gradient_to(path, shape, x, dy, dw, Accumulate::Add);
}

fn weight_gradient_to(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    how: Accumulate,
) {
    let (image, out) = (shape.input(), shape.output());
    let images = x.len() / image.features();
    assert!(
        images * out.features() == dy.len() && dw.len() == shape.weights(),
        "conv weight gradient: lengths"
    );
    if images == 0 {
        if how == Accumulate::First {
            dw.fill(0.0);
        }
        return;
    }
    let gradient = WeightGradient {
        path,
        shape,
        ordinary: ordinary(path, x, dy, None, SHARD_IMAGES * out.positions()),
        groups: groups(images, out.positions()),
        x,
        dy,
    };
    if dw.len() <= SMALL_WEIGHTS {
        gradient.by_shard(images, dw, how);
    } else {
        gradient.by_panel(images, dw, how);
    }
}

/// What the sums of a weight gradient are made from.
struct WeightGradient<'a> {
    path: Path,
    shape: &'a ConvShape,
    ordinary: bool,
    groups: Vec<Group>,
    x: &'a [f32],
    dy: &'a [f32],
}

/// Kernel rows × a panel of outputs.
#[derive(Clone, Copy)]
struct Part {
    kernel_row: usize,
    kernel_rows: usize,
    panel: usize,
}

impl WeightGradient<'_> {
    /// Numbers in a kernel row of weights.
    fn run(&self) -> usize {
        self.shape.kernel().1 * self.shape.input().channels
    }

    /// Lanes of a panel, padded.
    fn width(&self, panel: usize) -> usize {
        (self.shape.output().channels - panel * WIDE)
            .min(WIDE)
            .next_multiple_of(LANES)
    }

    fn len(&self, part: Part) -> usize {
        part.kernel_rows * self.run() * self.width(part.panel)
    }

    /// Kernel rows of a part: one, or all where one alone would leave the tiles empty.
    fn kernel_rows(&self) -> usize {
        if self.run() < 24 {
            self.shape.kernel().0
        } else {
            1
        }
    }

    /// Few weights, many positions: a task takes a shard, and all weights, or a part where there are more threads than
    /// shards. The shards' sums lie side by side and are added up at the end.
    fn by_shard(&self, images: usize, dw: &mut [f32], how: Accumulate) {
        let (panels, kernel_h) = (
            self.shape.output().channels.div_ceil(WIDE),
            self.shape.kernel().0,
        );
        let shards = images.div_ceil(SHARD_IMAGES);
        let threads = worth_threads(self.shape, images);
        let wanted = 4 * rayon::current_num_threads();
        let kernel_rows = if !threads || shards >= wanted {
            kernel_h
        } else {
            self.kernel_rows()
        };
        let split_panels = threads && shards * (kernel_h / kernel_rows) < wanted;
        let per_task = if split_panels { 1 } else { panels };
        // Of a part as if all panels were full.
        let len = kernel_rows * self.run() * WIDE;
        let of_shard = kernel_h / kernel_rows * panels * len;
        scratch::with(shards * of_shard, |sums| {
            let tasks = of_shard / (len * per_task);
            each_chunk(sums, len * per_task, threads, |task, sums| {
                let (shard, task) = (task / tasks, task % tasks);
                let of_row = panels / per_task;
                let parts = (0..per_task).map(|i| Part {
                    kernel_row: task / of_row * kernel_rows,
                    kernel_rows,
                    panel: task % of_row * per_task + i,
                });
                let groups = self.groups.iter().filter(|g| g.shard == shard);
                for (i, group) in groups.enumerate() {
                    self.with_group(group, |x| {
                        for (part, sums) in parts.clone().zip(sums.chunks_exact_mut(len)) {
                            self.add_group(group, x, part, i == 0, sums);
                        }
                    });
                }
            });
            let (first, rest) = sums.split_at_mut(of_shard);
            for shard in rest.chunks_exact(of_shard) {
                add_into(self.path, shard, first);
            }
            let out = Out::new(dw);
            for (i, sums) in first.chunks_exact(len).enumerate() {
                let part = Part {
                    kernel_row: i / panels * kernel_rows,
                    kernel_rows,
                    panel: i % panels,
                };
                // SAFETY: one part after the other.
                self.store(part, sums, unsafe { out.share() }, how);
            }
        });
    }

    /// Many weights, few positions: a task takes all images and a part of the weights.
    fn by_panel(&self, images: usize, dw: &mut [f32], how: Accumulate) {
        let (image, out) = (self.shape.input(), self.shape.output());
        let (panels, kernel_h) = (out.channels.div_ceil(WIDE), self.shape.kernel().0);
        let threads = worth_threads(self.shape, images);
        let margin = Margin::even(self.shape.padding());
        let padded = margin.around(image).features();
        let kernel_rows = if panels >= 4 * rayon::current_num_threads() {
            kernel_h
        } else {
            self.kernel_rows()
        };
        let of_row = kernel_h / kernel_rows;
        let to = Out::new(dw);
        let work = |x: &[f32]| {
            let task = |task: usize| {
                let part = Part {
                    kernel_row: task % of_row * kernel_rows,
                    kernel_rows,
                    panel: task / of_row,
                };
                let len = self.len(part);
                scratch::with(2 * len, |both| {
                    let (total, shard) = both.split_at_mut(len);
                    for (i, group) in self.groups.iter().enumerate() {
                        let begins = i == 0 || self.groups[i - 1].shard != group.shard;
                        if begins && group.shard > 1 {
                            add_into(self.path, shard, total);
                        }
                        let x = &x[group.images.start * padded..group.images.end * padded];
                        let sums = if group.shard == 0 {
                            &mut *total
                        } else {
                            &mut *shard
                        };
                        self.add_group(group, x, part, begins, sums);
                    }
                    if images > SHARD_IMAGES {
                        add_into(self.path, shard, total);
                    }
                    // SAFETY: a task writes the weights of its part, and no other task does.
                    self.store(part, total, unsafe { to.share() }, how);
                });
            };
            if threads {
                (0..panels * of_row).into_par_iter().for_each(task);
            } else {
                (0..panels * of_row).for_each(task);
            }
        };
        if margin.is_none() {
            return work(self.x);
        }
        scratch::with(images * padded, |all| {
            each_chunk(all, padded, threads, |i, to| {
                margin.place(
                    &self.x[i * image.features()..][..image.features()],
                    image,
                    to,
                )
            });
            work(all)
        });
    }

    /// Lends the padded images of a group.
    fn with_group(&self, group: &Group, work: impl FnOnce(&[f32])) {
        let image = self.shape.input();
        let features = image.features();
        let x = &self.x[group.images.start * features..group.images.end * features];
        Margin::even(self.shape.padding()).with_padded(x, image, work);
    }

    /// A group's chains for a part of the weights; `x` holds its padded images. The first group is written to `sums`, the
    /// others are added.
    fn add_group(&self, group: &Group, x: &[f32], part: Part, first: bool, sums: &mut [f32]) {
        let len = self.len(part);
        if first {
            return self.group_sums(group, x, part, &mut sums[..len]);
        }
        scratch::with(len, |of_group| {
            self.group_sums(group, x, part, of_group);
            add_piece(self.path, of_group, &mut sums[..len]);
        });
    }

    /// The chains of a group, a stretch at a time, so that the stretch of `dy` stays in the first-level cache for all tiles.
    fn group_sums(&self, group: &Group, x: &[f32], part: Part, sums: &mut [f32]) {
        let (image, out) = (self.shape.input(), self.shape.output());
        let padded = Margin::even(self.shape.padding()).around(image);
        let (c, o, stride) = (image.channels, out.channels, self.shape.stride());
        let line = padded.width * c;
        let dy = &self.dy[group.images.start * out.features()..group.images.end * out.features()];
        let width = self.width(part.panel);
        // Rows of output positions, over all images of the group.
        let rows_at_once = (STRETCH / out.width).max(1);
        let rows_total = group.images.len() * out.height;
        for begin in (0..rows_total).step_by(rows_at_once) {
            let end = rows_total.min(begin + rows_at_once);
            let segments: Vec<Segment> = (begin..end)
                .map(|at| {
                    let (i, row) = (at / out.height, at % out.height);
                    Segment {
                        x: i * padded.features() + (row * stride + part.kernel_row) * line,
                        k: (at - begin) * out.width,
                        len: out.width,
                        begins: false,
                    }
                })
                .collect();
            let rows = Rows {
                x,
                grid: Grid {
                    lines: part.kernel_rows,
                    per_line: self.run(),
                },
                steps: Steps { line, row: 1 },
                k_step: stride * c,
                segments: &segments,
                ordinary: self.ordinary,
            };
            let start = if begin == 0 {
                Start::ZERO
            } else {
                Start::Resume
            };
            let mut to = Target {
                out: Out::new(sums),
                steps: Steps {
                    line: self.run() * width,
                    row: width,
                },
                across: 1,
                lanes: width,
                store: Store::Set,
            };
            let dy = &dy[begin * out.width * o..end * out.width * o];
            if o == width {
                // The rows of dy are the panel's lines.
                let panel = Panel { lines: dy, step: o };
                chains(self.path, &rows, panel, &start, &mut to);
                continue;
            }
            scratch::with(dy.len() / o * width, |lines| {
                pack(dy, o, part.panel, lines);
                let panel = Panel { lines, step: width };
                chains(self.path, &rows, panel, &start, &mut to);
            });
        }
    }

    /// Brings the sums of a part to where the weights lie.
    fn store(&self, part: Part, sums: &[f32], dw: Out<'_>, how: Accumulate) {
        let o = self.shape.output().channels;
        let width = self.width(part.panel);
        let lanes = width.min(o - part.panel * WIDE);
        let first = part.kernel_row * self.run() * o + part.panel * WIDE;
        for (row, sums) in sums[..self.len(part)].chunks_exact(width).enumerate() {
            // SAFETY: the caller owns the weights of this part.
            let dw = unsafe { dw.share() }.from(first + row * o).slice(lanes);
            for (d, s) in dw.iter_mut().zip(sums) {
                *d = how.store().of(*d, *s);
            }
        }
    }
}

/// Adds to `db`, the sum of `dy` per channel over (image, position) in the groups and shards of [`weight_gradient`]: chains
/// of additions from 0.
///
/// # Panics
/// Lengths that disagree.
pub fn bias_gradient(path: Path, positions: usize, dy: &[f32], db: &mut [f32]) {
    bias_gradient_to(path, positions, dy, db, Accumulate::Add);
}

fn bias_gradient_to(path: Path, positions: usize, dy: &[f32], db: &mut [f32], how: Accumulate) {
    let sums = channel_sums(path, positions, db.len(), dy, add_rows);
    if how == Accumulate::First {
        db.fill(0.0);
    }
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
    group_sums(positions, width, x.len(), |at, sums| {
        chain(path, &x[at], sums)
    })
}

/// As [`channel_sums`], of `len` numbers; `chain` is told which of them are the group's.
fn group_sums(
    positions: usize,
    width: usize,
    len: usize,
    chain: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut total = vec![0.0; width];
    sums(positions, width, len, &mut total, chain);
    total
}
