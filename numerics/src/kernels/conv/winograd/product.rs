//! The output and the gradient of the input: tiles of the images, transformed, times transformed
//! weights.
//!
//! A task takes as many tiles as leave their transforms in the second-level cache. Panel by panel
//! of outputs it multiplies a few tiles at a time for all frequencies and transforms the products
//! back while they are in the first-level cache.

use super::super::super::activation::Activation;
use super::super::super::chain::{
    Grid, Panel, Rows, Segment, Start, Steps, Store, Target, WIDE, chains, in_blocks, start_of,
};
use super::super::super::layer::Accumulate;
use super::super::super::out::Out;
use super::super::super::path::Path;
use super::super::super::{parallel, scratch, transpose};
use super::super::{WORTH_THREADS, worth_threads};
use super::transform::{self, Outputs, Place};
use super::{ALL_ROWS, BLOCK, FREQUENCIES, LANES, Tiling, apart, with_zeros};
use crate::exact::fma::{self, Magnitudes};
use crate::shape::ConvShape;

/// Most tiles of a task: transformed, with up to 128 channels, they take about a mebibyte at most.
const MOST_TILES: usize = 112;
/// Numbers of a task's transformed tiles from which on it takes fewer.
const CACHED: usize = 1 << 18;
/// Most rows of one of the chains' tiles.
const ROWS: usize = 14;
/// Tiles that are multiplied at a time: so many of these.
const AT_ONCE: usize = 2;
/// Inputs whose weights are brought together at a time.
const SOME: usize = 16;

/// Transformed weights in panels of 32 outputs, each `[frequency][input][32]`; of the last may be
/// 16.
struct Weights<'a> {
    panels: &'a [f32],
    inputs: usize,
    outputs: usize,
    magnitudes: Magnitudes,
}

impl Weights<'_> {
    fn len(inputs: usize, outputs: usize) -> usize {
        FREQUENCIES * inputs * outputs
    }

    fn width(&self, panel: usize) -> usize {
        WIDE.min(self.outputs - panel * WIDE)
    }

    fn panel(&self, panel: usize, frequency: usize) -> Panel<'_> {
        let (step, first) = (self.width(panel), panel * WIDE * FREQUENCIES * self.inputs);
        Panel {
            lines: &self.panels[first + frequency * self.inputs * step..][..self.inputs * step],
            step,
        }
    }
}

/// Transforms weights with the help of all threads and lends them. `gather(first input, number,
/// first output, width, to)` brings some taps together as `[9][number][width]`.
fn with_weights<R>(
    path: Path,
    (inputs, outputs): (usize, usize),
    gather: impl Fn(usize, usize, usize, usize, &mut [f32]) + Sync,
    work: impl FnOnce(&Weights<'_>) -> R,
) -> R {
    scratch::with(Weights::len(inputs, outputs), |panels| {
        let whole = WIDE * FREQUENCIES * inputs;
        let threads = panels.len() >= WORTH_THREADS;
        parallel::chunks(panels, whole, threads, |panel, u| {
            let width = u.len() / FREQUENCIES / inputs;
            for first in (0..inputs).step_by(SOME) {
                let number = SOME.min(inputs - first);
                scratch::with(9 * number * width, |taps| {
                    gather(first, number, panel * WIDE, width, taps);
                    transform::weights(path, taps, width, inputs, first, u);
                });
            }
        });
        let panels = &*panels;
        work(&Weights {
            panels,
            inputs,
            outputs,
            magnitudes: magnitudes(path, panels),
        })
    })
}

/// What the plain path asks of its operands; others do not look.
fn magnitudes(path: Path, values: &[f32]) -> Magnitudes {
    if path == Path::PLAIN {
        Magnitudes::of(values)
    } else {
        Magnitudes::ZEROS
    }
}

/// As [`super::layer_forward`].
pub(super) fn output(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    let (c, o) = (shape.input().channels, shape.output().channels);
    let gather = |first: usize, number: usize, output: usize, width: usize, to: &mut [f32]| {
        for (i, to) in to.chunks_exact_mut(width).enumerate() {
            let (tap, input) = (i / number, first + i % number);
            to.copy_from_slice(&w[(tap * c + input) * o + output..][..width]);
        }
    };
    let store = match activation {
        Activation::Relu => Store::Relu,
        _ => Store::Set,
    };
    let threads = worth_threads(shape, x.len() / shape.input().features());
    with_weights(path, (c, o), gather, |weights| {
        let of = Product {
            path,
            from: Tiling::new(shape.input()),
            to: Tiling::new(shape.output()),
            weights,
            bias: b,
            store,
            threads,
        };
        of.run(x, y);
    });
    if store == Store::Set {
        activation.apply(path, y);
    }
}

/// As [`super::input_gradient`].
pub(super) fn input_gradient(
    path: Path,
    shape: &ConvShape,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    how: Accumulate,
) {
    let (c, o) = (shape.input().channels, shape.output().channels);
    // Rows of `w` are outputs: some of them and a panel of channels change places.
    let gather = |first: usize, number: usize, channel: usize, width: usize, to: &mut [f32]| {
        for (tap, to) in to.chunks_exact_mut(number * width).enumerate() {
            for at in (0..width).step_by(transpose::SIDE) {
                let w = &w[((8 - tap) * c + channel + at) * o + first..];
                transpose::block(path, w, o, (LANES, number), &mut to[at..], width);
            }
        }
    };
    let threads = worth_threads(shape, dx.len() / shape.input().features());
    with_weights(path, (o, c), gather, |weights| {
        let of = Product {
            path,
            from: Tiling::new(shape.output()),
            to: Tiling::new(shape.input()),
            weights,
            bias: None,
            store: how.store(),
            threads,
        };
        of.run(dy, dx);
    });
}

struct Product<'a> {
    path: Path,
    from: Tiling,
    to: Tiling,
    weights: &'a Weights<'a>,
    bias: Option<&'a [f32]>,
    store: Store,
    threads: bool,
}

impl Product<'_> {
    fn run(&self, x: &[f32], y: &mut [f32]) {
        let (from, inputs) = (self.from, self.weights.inputs);
        // Rows of tiles, over all images.
        let rows = x.len() / from.image.features() * from.rows;
        let tiles = MOST_TILES.min(CACHED / FREQUENCIES / inputs);
        let tasks = rows.div_ceil((tiles / from.per_row).max(1));
        let step = apart(inputs);
        let product = Segment {
            x: 0,
            k: 0,
            len: inputs,
            begins: true,
        };
        let segments = in_blocks(std::iter::once(product), BLOCK);
        let out = Out::new(y);
        parallel::indices(tasks, self.threads, |task| {
            let (first, last) = (task * rows / tasks, (task + 1) * rows / tasks);
            let tiles = (last - first) * from.per_row;
            let frequency = apart(tiles * step);
            scratch::with(FREQUENCIES * frequency, |v| {
                with_zeros(inputs, |zeros| {
                    for row in first..last {
                        let features = from.image.features();
                        let x = &x[row / from.rows * features..][..features];
                        let place = Place {
                            first: (row - first) * from.per_row,
                            tile: step,
                            frequency,
                        };
                        transform::input(
                            self.path,
                            x,
                            from,
                            row % from.rows,
                            zeros,
                            ALL_ROWS,
                            v,
                            place,
                        );
                    }
                });
                let v = Tiles {
                    values: v,
                    step,
                    frequency,
                    first: first * from.per_row,
                    count: tiles,
                };
                // SAFETY: a task writes the outputs of its tiles, and no other task does.
                self.multiply(&v, &segments, unsafe { out.share() });
            });
        });
    }

    /// The outputs of some tiles.
    fn multiply(&self, v: &Tiles<'_>, segments: &[Segment], out: Out<'_>) {
        let ordinary = self.path == Path::PLAIN
            && fma::ordinary(
                v.magnitudes(self.weights.inputs),
                self.weights.magnitudes,
                Magnitudes::ZEROS,
                self.weights.inputs,
            );
        let frequency = apart(AT_ONCE * ROWS * WIDE);
        scratch::with(FREQUENCIES * frequency, |m| {
            for panel in 0..self.weights.outputs.div_ceil(WIDE) {
                let width = self.weights.width(panel);
                let Start::With(bias) = start_of(self.bias, panel) else {
                    unreachable!("values to start from")
                };
                // Of about equal height.
                let parts = v.count.div_ceil(ROWS);
                for part in (0..parts).step_by(AT_ONCE) {
                    let end = parts.min(part + AT_ONCE);
                    let (from, to) = (part * v.count / parts, end * v.count / parts);
                    let tiles = v.first + from..v.first + to;
                    // SAFETY: the caller's outputs are used here only.
                    let out = || unsafe { out.share() };
                    for (f, m) in m.chunks_exact_mut(frequency).enumerate() {
                        // Where outputs will go is fetched meanwhile.
                        for tile in (tiles.start + f..tiles.end).step_by(FREQUENCIES) {
                            self.fetch(tile, panel * WIDE, out());
                        }
                        let rows = Rows {
                            x: &v.values[f * v.frequency + from * v.step..],
                            grid: Grid::line(to - from),
                            steps: Steps::even(v.step),
                            k_step: 1,
                            segments,
                            ordinary,
                        };
                        let mut target = Target {
                            out: Out::new(m),
                            steps: Steps::even(width),
                            across: 1,
                            lanes: width,
                            store: Store::Set,
                        };
                        let lines = self.weights.panel(panel, f);
                        chains(self.path, &rows, lines, &Start::ZERO, &mut target);
                    }
                    let to = Outputs {
                        out: out(),
                        tiling: self.to,
                        tiles,
                        first: panel * WIDE,
                        store: self.store,
                    };
                    transform::output(self.path, m, frequency, width, &bias, to);
                }
            }
        });
    }

    /// Asks for the cache lines of a tile's outputs from channel `first` on.
    fn fetch(&self, tile: usize, first: usize, mut out: Out<'_>) {
        let (image, per_row) = (self.to.image, self.to.per_row);
        let (row, column) = (tile / per_row, tile % per_row);
        let (of_image, row) = (row / self.to.rows, row % self.to.rows);
        let at = (2 * row * image.width + 2 * column) * image.channels + first;
        let at = of_image * image.features() + at;
        for position in [0, 1, image.width, image.width + 1] {
            for lane in [0, LANES] {
                prefetch(out.place(at + position * image.channels + lane));
            }
        }
    }
}

/// Transformed tiles.
struct Tiles<'a> {
    values: &'a [f32],
    /// From a tile to the next.
    step: usize,
    /// From a frequency to the next.
    frequency: usize,
    /// Which of all tiles the first is.
    first: usize,
    count: usize,
}

impl Tiles<'_> {
    fn magnitudes(&self, channels: usize) -> Magnitudes {
        let frequencies = self.values.chunks_exact(self.frequency);
        let tiles = frequencies.flat_map(|of| of.chunks_exact(self.step).take(self.count));
        tiles
            .map(|tile| Magnitudes::of(&tile[..channels]))
            .fold(Magnitudes::ZEROS, Magnitudes::and)
    }
}

/// A hint; the place need not exist.
fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction, and it touches no memory as far as the
    // program can tell.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
