//! The gradient of the weight: products of transformed inputs and transformed gradients, summed
//! over tiles.
//!
//! A task takes a shard, and all rows of frequencies and all outputs or a part of them: so that
//! there is work for all threads and its sums stay in the second-level cache. Of a group's tiles,
//! it transforms what its part of the sums needs.

use std::ops::Range;

use super::super::super::chain::{
    Grid, Panel, Rows, Segment, Start, Steps, Store, Target, WIDE, chains,
};
use super::super::super::elementwise::add_into;
use super::super::super::layer::Accumulate;
use super::super::super::out::Out;
use super::super::super::path::Path;
use super::super::super::shard::SHARD_IMAGES;
use super::super::super::{parallel, scratch};
use super::super::worth_threads;
use super::transform::{self, Place};
use super::{BLOCK, FREQUENCIES, LANES, Tiling, apart, with_zeros};
use crate::exact::fma::{self, Magnitudes};
use crate::shape::ConvShape;

/// Tiles of a group.
const GROUP: usize = 128;
/// Pairs of channel and output up to which shards are summed up apart.
const SMALL: usize = 1 << 14;
/// Numbers of a task's sums from which on it is cut, if it can be.
const CACHED: usize = 1 << 18;

/// The gradient as [`super`] defines it, as `how` says.
///
/// # Panics
/// Lengths that disagree.
pub(in super::super) fn to(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    how: Accumulate,
) {
    let (image, out) = (shape.input(), shape.output());
    let (inputs, outputs) = (image.channels, out.channels);
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
    let shard_images = if inputs * outputs <= SMALL {
        SHARD_IMAGES
    } else {
        images
    };
    let gradient = WeightGradient {
        path,
        x,
        dy,
        input: Tiling::new(image),
        output: Tiling::new(out),
        frequency: inputs * outputs + LANES,
    };
    let threads = worth_threads(shape, images);
    let shards = images.div_ceil(shard_images);
    let cut = gradient.cut(shards, threads);
    let len = FREQUENCIES * gradient.frequency;
    scratch::with(shards * len, |sums| {
        let all = Out::new(sums);
        parallel::indices(shards * cut.tasks(), threads, |task| {
            let (shard, part) = (task / cut.tasks(), cut.part(task % cut.tasks()));
            let first = shard * shard_images;
            let of_shard = first..images.min(first + shard_images);
            // SAFETY: a task writes the sums of its part of a shard, and no other task does.
            let sums = unsafe { all.share() }.from(shard * len);
            gradient.part(&part, of_shard, sums);
        });
        let (sums, others) = sums.split_at_mut(len);
        for shard in others.chunks_exact(len) {
            add_into(path, shard, sums);
        }
        let (sums, dw) = (&*sums, Out::new(dw));
        let panels = outputs.div_ceil(WIDE);
        parallel::indices(panels * 2, threads, |task| {
            let (panel, half) = (task / 2, task % 2);
            let rows = half * inputs / 2..(half + 1) * inputs / 2;
            let sums = &sums[panel * WIDE * inputs..];
            let (width, first) = (gradient.width(panel), panel * WIDE);
            // SAFETY: a task writes the weights of its inputs and outputs, and no other task does.
            let dw = unsafe { dw.share() };
            transform::weight_gradient(
                path,
                sums,
                gradient.frequency,
                width,
                rows,
                (inputs, outputs),
                first,
                how,
                dw,
            );
        });
    });
}

/// What the sums are made from. They lie `[frequency][panel][input][32]`, of the last panel perhaps
/// 16.
struct WeightGradient<'a> {
    path: Path,
    x: &'a [f32],
    dy: &'a [f32],
    input: Tiling,
    output: Tiling,
    /// From a frequency's sums to the next one's.
    frequency: usize,
}

/// Rows of frequencies × panels of outputs.
struct Part {
    rows: super::Rows,
    panels: Range<usize>,
}

/// The sums in parts.
struct Cut {
    rows: &'static [super::Rows],
    panels: usize,
    /// Panels of a part.
    at_once: usize,
}

impl Cut {
    fn tasks(&self) -> usize {
        self.rows.len() * self.panels.div_ceil(self.at_once)
    }

    fn part(&self, which: usize) -> Part {
        let first = which / self.rows.len() * self.at_once;
        Part {
            rows: self.rows[which % self.rows.len()],
            panels: first..self.panels.min(first + self.at_once),
        }
    }
}

impl WeightGradient<'_> {
    fn inputs(&self) -> usize {
        self.input.image.channels
    }

    fn outputs(&self) -> usize {
        self.output.image.channels
    }

    fn width(&self, panel: usize) -> usize {
        WIDE.min(self.outputs() - panel * WIDE)
    }

    /// Two tasks per thread, if there are threads, and each with few enough sums. Rows of
    /// frequencies first: of these, parts of the transforms are no more work than the whole.
    fn cut(&self, shards: usize, threads: bool) -> Cut {
        let wanted = match threads {
            true => (2 * parallel::threads()).div_ceil(shards),
            false => 1,
        };
        let wanted = wanted.max((FREQUENCIES * self.inputs() * self.outputs()).div_ceil(CACHED));
        let rows: &[super::Rows] = match wanted {
            1 => &[super::ALL_ROWS],
            2 => &[&[0, 3], &[1, 2]],
            _ => &[&[0], &[1], &[2], &[3]],
        };
        let panels = self.outputs().div_ceil(WIDE);
        let parts = wanted.div_ceil(rows.len()).min(panels);
        Cut {
            rows,
            panels,
            at_once: panels.div_ceil(parts),
        }
    }

    /// A part's sums over some images.
    fn part(&self, part: &Part, images: Range<usize>, sums: Out<'_>) {
        let (input, output) = (self.input, self.output);
        let step = apart(self.inputs());
        let outputs = part.panels.start * WIDE..self.outputs().min(part.panels.end * WIDE);
        let at_once = (GROUP / input.per_row).max(1);
        let frequencies = part.rows.len() * 4;
        let most = at_once * input.per_row;
        let of_v = apart(most * step);
        let of_m = apart(most * outputs.len());
        let rows = images.len() * input.rows;
        scratch::with(frequencies * of_v, |v| {
            scratch::with(frequencies * of_m, |m| {
                for first in (0..rows).step_by(at_once) {
                    let last = rows.min(first + at_once);
                    let tiles = (last - first) * input.per_row;
                    for row in first..last {
                        let image = images.start + row / input.rows;
                        let x = &self.x[image * input.image.features()..];
                        let dy = &self.dy[image * output.image.features()..];
                        let place = Place {
                            first: (row - first) * input.per_row,
                            tile: step,
                            frequency: of_v,
                        };
                        let row = row % input.rows;
                        with_zeros(self.inputs(), |zeros| {
                            let x = &x[..input.image.features()];
                            transform::input(self.path, x, input, row, zeros, part.rows, v, place);
                        });
                        with_zeros(self.outputs(), |zeros| {
                            transform::gradient(
                                self.path,
                                &dy[..output.image.features()],
                                output,
                                row,
                                outputs.clone(),
                                zeros,
                                part.rows,
                                m,
                                place.first,
                                tiles,
                                of_m,
                            );
                        });
                    }
                    // SAFETY: the caller's sums are used here only.
                    let sums = unsafe { sums.share() };
                    let group = Group {
                        v: (v, of_v),
                        m: (m, of_m),
                        step,
                        tiles,
                        first: first == 0,
                    };
                    self.group(part, &group, sums);
                }
            });
        });
    }

    /// A group's chains: the first group's are written to the sums, the others' are added.
    fn group(&self, part: &Part, group: &Group<'_>, sums: Out<'_>) {
        let tiles = (0..group.tiles).step_by(BLOCK);
        let segments: Vec<Segment> = tiles
            .map(|tile| Segment {
                x: tile * group.step,
                k: tile,
                len: BLOCK.min(group.tiles - tile),
                begins: true,
            })
            .collect();
        let outputs = self.outputs().min(part.panels.end * WIDE) - part.panels.start * WIDE;
        for f in 0..part.rows.len() * 4 {
            let frequency = part.rows[f / 4] * 4 + f % 4;
            let v = &group.v.0[f * group.v.1..][..group.tiles * group.step];
            let m = &group.m.0[f * group.m.1..][..group.tiles * outputs];
            let ordinary = self.path == Path::PLAIN && {
                let tiles = v.chunks_exact(group.step);
                let of_v = tiles.map(|tile| Magnitudes::of(&tile[..self.inputs()]));
                let of_v = of_v.fold(Magnitudes::ZEROS, Magnitudes::and);
                fma::ordinary(of_v, Magnitudes::of(m), Magnitudes::ZEROS, group.tiles)
            };
            for panel in part.panels.clone() {
                let width = self.width(panel);
                let first = (panel - part.panels.start) * WIDE * group.tiles;
                let lines = Panel {
                    lines: &m[first..][..group.tiles * width],
                    step: width,
                };
                let rows = Rows {
                    x: v,
                    grid: Grid::line(self.inputs()),
                    steps: Steps::even(1),
                    k_step: group.step,
                    segments: &segments,
                    ordinary,
                };
                // SAFETY: the caller's sums are used here only.
                let out = unsafe { sums.share() };
                let first = frequency * self.frequency + panel * WIDE * self.inputs();
                let mut to = Target {
                    out: out.from(first),
                    steps: Steps::even(width),
                    across: 1,
                    lanes: width,
                    store: if group.first { Store::Set } else { Store::Add },
                };
                chains(self.path, &rows, lines, &Start::ZERO, &mut to);
            }
        }
    }
}

/// A group of tiles, transformed.
struct Group<'a> {
    /// Inputs, and how far apart their frequencies are.
    v: (&'a [f32], usize),
    /// Gradients, likewise.
    m: (&'a [f32], usize),
    /// From a tile's inputs to the next one's.
    step: usize,
    tiles: usize,
    first: bool,
}
