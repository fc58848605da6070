//! A convolution's gradient of its weights: products of the input, as each tap sees it, and the
//! gradient of the output, summed over positions and images.

use std::ops::Range;

use super::super::chain::{
    Grid, LANES, Panel, Rows, Segment, Start, Steps, Store, Target, WIDE, chains, ordinary, pack,
};
use super::super::elementwise::{add_into, add_piece};
use super::super::layer::Accumulate;
use super::super::margin::Margin;
use super::super::out::Out;
use super::super::path::{Path, kernel};
use super::super::shard::{Group, Groups, SHARD_IMAGES};
use super::super::{parallel, scratch};
use super::{winograd, worth_threads};
use crate::shape::{ConvShape, Image};

/// Weights up to which every shard's gradient is summed up apart: 1 MiB.
const SMALL_WEIGHTS: usize = 1 << 18;
/// Positions of a stretch of the chains: 16 KiB of a panel.
const STRETCH: usize = 128;
/// Channels up to which the rows of `dy` serve as lines of a panel where they are: further apart,
/// they fall into few sets of the cache.
const NEAR: usize = 64;
/// Weights side by side in a strip of the input.
const STRIP: usize = 14;
/// Numbers in a kernel row from which on strips pay.
const WORTH_STRIPS: usize = 96;

/// Adds to `dw`. The batch is cut into shards of 32 images and these into groups of
/// `clamp(⌈256/positions⌉, 1, 32)` images (positions of an output image). Per element: a group is
/// one chain of fma `x·dy` from 0 over (image, output row, output column) ascending; the groups of
/// a shard are added up in order, then the shards; the sum is added to `dw`.
///
/// # Panics
/// Lengths that disagree.
pub fn weight_gradient(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    to(path, shape, x, dy, dw, Accumulate::Add);
}

/// [`weight_gradient`] as `how` says.
pub(super) fn to(
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
    if winograd::applies(shape) {
        return winograd::weight_gradient(path, shape, x, dy, dw, how);
    }
    if images == 0 {
        if how == Accumulate::First {
            dw.fill(0.0);
        }
        return;
    }
    let margin = Margin::even(shape.padding());
    let gradient = WeightGradient {
        path,
        shape,
        margin,
        padded: margin.around(image),
        ordinary: ordinary(path, x, dy, None, SHARD_IMAGES * out.positions()),
        groups: Groups::new(images, out.positions()),
        threads: worth_threads(shape, images),
        x,
        dy,
    };
    if dw.len() <= SMALL_WEIGHTS {
        gradient.by_shard(images, dw, how);
    } else {
        gradient.by_weights(images, dw, how);
    }
}

/// What the sums are made from.
struct WeightGradient<'a> {
    path: Path,
    shape: &'a ConvShape,
    margin: Margin,
    padded: Image,
    ordinary: bool,
    groups: Groups,
    threads: bool,
    x: &'a [f32],
    dy: &'a [f32],
}

/// Kernel rows × panels of outputs. Its sums are `[panel][kernel row, kernel column, channel][32]`,
/// of which the last panel may fill less.
#[derive(Clone)]
struct Part {
    kernel_rows: Range<usize>,
    panels: Range<usize>,
}

impl WeightGradient<'_> {
    /// Numbers in a kernel row of weights.
    fn run(&self) -> usize {
        self.shape.kernel().1 * self.shape.input().channels
    }

    fn panels(&self) -> usize {
        self.shape.output().channels.div_ceil(WIDE)
    }

    /// Lanes of a panel, padded.
    fn width(&self, panel: usize) -> usize {
        (self.shape.output().channels - panel * WIDE)
            .min(WIDE)
            .next_multiple_of(LANES)
    }

    /// The weights in parts: `(kernel rows, panels)` of each, so that there are `wanted` parts, if
    /// possible.
    fn cut(&self, wanted: usize) -> (usize, usize) {
        let (kernel_h, panels) = (self.shape.kernel().0, self.panels());
        if !self.threads || wanted <= 1 {
            return (kernel_h, panels);
        }
        // One kernel row alone would leave the tiles empty where it is short.
        let kernel_rows = if self.run() < 24 { kernel_h } else { 1 };
        let of_panels = wanted.div_ceil(kernel_h / kernel_rows).min(panels);
        (kernel_rows, panels.div_ceil(of_panels))
    }

    /// The `which`-th part of such a cut.
    fn part(&self, (kernel_rows, panels): (usize, usize), which: usize) -> Part {
        let of_row = self.panels().div_ceil(panels);
        let (row, panel) = (which / of_row * kernel_rows, which % of_row * panels);
        Part {
            kernel_rows: row..row + kernel_rows,
            panels: panel..self.panels().min(panel + panels),
        }
    }

    /// Few weights: a task takes a shard, and all weights or a part where there are more threads
    /// than shards. The shards' sums lie side by side and are added up at the end.
    fn by_shard(&self, images: usize, dw: &mut [f32], how: Accumulate) {
        let shards = images.div_ceil(SHARD_IMAGES);
        let cut = self.cut((2 * parallel::threads()).div_ceil(shards));
        let parts = self.shape.kernel().0 / cut.0 * self.panels().div_ceil(cut.1);
        let len = cut.1 * cut.0 * self.run() * WIDE;
        scratch::with(shards * parts * len, |sums| {
            parallel::chunks(sums, len, self.threads, |task, sums| {
                let (shard, part) = (task / parts, self.part(cut, task % parts));
                let groups = self.groups.iter().filter(|g| g.shard == shard);
                for (i, group) in groups.enumerate() {
                    let features = self.shape.input().features();
                    let images = group.images.start * features..group.images.end * features;
                    let (x, image) = (&self.x[images], self.shape.input());
                    self.margin.with_padded(x, image, |x| {
                        self.add_group(&group, x, &part, i == 0, sums);
                    });
                }
            });
            let (first, rest) = sums.split_at_mut(parts * len);
            for shard in rest.chunks_exact(parts * len) {
                add_into(self.path, shard, first);
            }
            let out = Out::new(dw);
            for (i, sums) in first.chunks_exact(len).enumerate() {
                // SAFETY: one part after the other.
                self.store(&self.part(cut, i), sums, unsafe { out.share() }, how);
            }
        });
    }

    /// Many weights, few positions: a task takes all images and a part of the weights.
    fn by_weights(&self, images: usize, dw: &mut [f32], how: Accumulate) {
        let image = self.shape.input();
        let padded = self.padded.features();
        let cut = self.cut(4 * parallel::threads());
        let parts = self.shape.kernel().0 / cut.0 * self.panels().div_ceil(cut.1);
        let len = cut.1 * cut.0 * self.run() * WIDE;
        let to = Out::new(dw);
        let work = |x: &[f32]| {
            let task = |task: usize| {
                let part = self.part(cut, task);
                scratch::with(2 * len, |both| {
                    let (total, shard) = both.split_at_mut(len);
                    let mut last = None;
                    for group in self.groups.iter() {
                        let begins = last != Some(group.shard);
                        last = Some(group.shard);
                        if begins && group.shard > 1 {
                            add_piece(self.path, shard, total);
                        }
                        let x = &x[group.images.start * padded..group.images.end * padded];
                        let sums = if group.shard == 0 {
                            &mut *total
                        } else {
                            &mut *shard
                        };
                        self.add_group(&group, x, &part, begins, sums);
                    }
                    if images > SHARD_IMAGES {
                        add_piece(self.path, shard, total);
                    }
                    // SAFETY: a task writes the weights of its part, and no other task does.
                    self.store(&part, total, unsafe { to.share() }, how);
                });
            };
            parallel::indices(parts, self.threads, task);
        };
        if self.margin.is_none() {
            return work(self.x);
        }
        scratch::with(images * padded, |all| {
            parallel::chunks(all, padded, self.threads, |i, to| {
                let x = &self.x[i * image.features()..][..image.features()];
                self.margin.place(x, image, to);
            });
            work(all);
        });
    }

    /// A group's chains for a part of the weights; `x` holds its padded images. The first group is
    /// written to `sums`, the others are added.
    fn add_group(&self, group: &Group, x: &[f32], part: &Part, first: bool, sums: &mut [f32]) {
        if first {
            return self.group_sums(group, x, part, sums);
        }
        scratch::with(sums.len(), |of_group| {
            self.group_sums(group, x, part, of_group);
            add_piece(self.path, of_group, sums);
        });
    }

    /// The chains of a group, a stretch of positions at a time, so that the stretch of `dy` stays
    /// in the first-level cache for all tiles.
    fn group_sums(&self, group: &Group, x: &[f32], part: &Part, sums: &mut [f32]) {
        let (out, o) = (self.shape.output(), self.shape.output().channels);
        let dy = &self.dy[group.images.start * out.features()..group.images.end * out.features()];
        let rows = part.kernel_rows.len() * self.run();
        let strips = self.run() >= WORTH_STRIPS
            && part.kernel_rows.len() == 1
            && (part.panels.len() >= 4 || out.width < 8);
        // Rows of output positions, over all images of the group.
        let at_once = (STRETCH / out.width).max(1);
        let total = group.images.len() * out.height;
        for begin in (0..total).step_by(at_once) {
            let end = total.min(begin + at_once);
            let dy = &dy[begin * out.width * o..end * out.width * o];
            let start = if begin == 0 {
                Start::ZERO
            } else {
                Start::Resume
            };
            let segments: Vec<Segment> = (begin..end)
                .map(|at| self.segment(at, begin, part.kernel_rows.start))
                .collect();
            let each_panel = |x: &[f32], of: &Operand<'_>, sums: &mut [f32]| {
                for (panel, sums) in part.panels.clone().zip(sums.chunks_mut(rows * WIDE)) {
                    self.panel_sums(dy, panel, x, of, &start, sums);
                }
            };
            let whole = Operand {
                grid: Grid {
                    lines: part.kernel_rows.len(),
                    per_line: self.run(),
                },
                line: self.padded.width * self.shape.input().channels,
                k_step: self.shape.stride() * self.shape.input().channels,
                segments: &segments,
                strip: None,
            };
            if !strips {
                each_panel(x, &whole, sums);
                continue;
            }
            // The input as the chains of a tile read it, one step after the other.
            let len = (end - begin) * out.width;
            scratch::with(rows * len, |strip| {
                for (i, strip) in strip.chunks_mut(STRIP * len).enumerate() {
                    let wide = strip.len() / len;
                    copy_strip(
                        self.path,
                        x,
                        whole.k_step,
                        &segments,
                        i * STRIP,
                        wide,
                        strip,
                    );
                }
                let segments = [Segment {
                    x: 0,
                    k: 0,
                    len,
                    begins: true,
                }];
                let of = Operand {
                    segments: &segments,
                    strip: Some(len),
                    ..whole
                };
                each_panel(strip, &of, sums);
            });
        }
    }

    /// Output row `at` of a group, as the tap of a kernel row sees it.
    fn segment(&self, at: usize, begin: usize, kernel_row: usize) -> Segment {
        let out = self.shape.output();
        let (i, row) = (at / out.height, at % out.height);
        let line = self.padded.width * self.padded.channels;
        Segment {
            x: i * self.padded.features() + (row * self.shape.stride() + kernel_row) * line,
            k: (at - begin) * out.width,
            len: out.width,
            begins: false,
        }
    }

    /// A stretch of the chains for a panel of outputs.
    fn panel_sums(
        &self,
        dy: &[f32],
        panel: usize,
        x: &[f32],
        of: &Operand<'_>,
        start: &Start,
        sums: &mut [f32],
    ) {
        let (o, width) = (self.shape.output().channels, self.width(panel));
        let with = |panel: Panel<'_>, sums: &mut [f32]| {
            let count = of.grid.lines * of.grid.per_line;
            let at_once = of.strip.map_or(count, |_| STRIP);
            for first in (0..count).step_by(at_once) {
                let height = at_once.min(count - first);
                let rows = Rows {
                    x: of.strip.map_or(x, |len| &x[first * len..][..height * len]),
                    grid: of.strip.map_or(of.grid, |_| Grid::line(height)),
                    steps: Steps {
                        line: of.line,
                        row: 1,
                    },
                    k_step: of.strip.map_or(of.k_step, |_| height),
                    segments: of.segments,
                    ordinary: self.ordinary,
                };
                let mut to = Target {
                    out: Out::new(&mut sums[first * width..]),
                    steps: Steps {
                        line: self.run() * width,
                        row: width,
                    },
                    across: 1,
                    lanes: width,
                    store: Store::Set,
                };
                chains(self.path, &rows, panel, start, &mut to);
            }
        };
        if o <= NEAR && o.is_multiple_of(LANES) {
            let lines = &dy[panel * WIDE..];
            return with(Panel { lines, step: o }, sums);
        }
        scratch::with(dy.len() / o * width, |lines| {
            pack(self.path, dy, o, panel, lines);
            with(Panel { lines, step: width }, sums);
        });
    }

    /// Brings the sums of a part to where the weights lie.
    fn store(&self, part: &Part, sums: &[f32], dw: Out<'_>, how: Accumulate) {
        let o = self.shape.output().channels;
        let rows = part.kernel_rows.len() * self.run();
        for (panel, sums) in part.panels.clone().zip(sums.chunks(rows * WIDE)) {
            let width = self.width(panel);
            let lanes = width.min(o - panel * WIDE);
            let first = part.kernel_rows.start * self.run() * o + panel * WIDE;
            for (row, sums) in sums.chunks_exact(width).take(rows).enumerate() {
                // SAFETY: the caller owns the weights of this part.
                let dw = unsafe { dw.share() }.from(first + row * o).slice(lanes);
                match how {
                    Accumulate::First => dw.iter_mut().zip(sums).for_each(|(d, s)| *d = 0.0 + s),
                    Accumulate::Add => dw.iter_mut().zip(sums).for_each(|(d, s)| *d += s),
                }
            }
        }
    }
}

/// How the input lies for the chains.
#[derive(Clone, Copy)]
struct Operand<'a> {
    grid: Grid,
    line: usize,
    k_step: usize,
    segments: &'a [Segment],
    /// As strips of [`STRIP`] rows (the last may be narrower), each with so many steps one after
    /// the other.
    strip: Option<usize>,
}

kernel! {
    /// Copies `wide` numbers from `first` on of every step of the segments.
    fn copy_strip<F>(x: &[f32], k_step: usize, segments: &[Segment], first: usize, wide: usize, strip: &mut [f32]) {
        let mut to = 0;
        for s in segments {
            for i in 0..s.len {
                let from = s.x + i * k_step + first;
                // Two numbers too many, which the next step overwrites: a copy of fixed length is
                // one instruction.
                if let (STRIP, Some(x), Some(strip)) = (wide, x.get(from..from + LANES), strip.get_mut(to..to + LANES)) {
                    strip.copy_from_slice(x);
                } else {
                    strip[to..to + wide].copy_from_slice(&x[from..from + wide]);
                }
                to += wide;
            }
        }
    }
}
