//! Dense layers: `y[n, o] = b[o] + Σ_i x[n, i]·w[i, o]` and its gradients. `w` is laid out
//! `[inputs, outputs]`.

use std::ops::Range;

use super::activation;
use super::activation::Activation;
use super::chain::{
    Grid, Panel, Rows, Segment, Start, Steps, Store, Target, WIDE, chains, in_blocks, ordinary,
    pack, packed_len, packed_panel, start_of,
};
use super::elementwise::{add_into, add_piece};
use super::layer::{Accumulate, Backward};
use super::out::Out;
use super::parallel;
use super::path::Path;
use super::scratch;
use super::sums::add_rows_by;
use super::transpose;

/// Longest sum of a dense layer that is one chain.
pub const WHOLE: usize = 256;
/// Sums of more products are cut into parts of this many,
pub const PART: usize = 512;
/// and these into blocks, each a chain. So errors stay those of some fifty steps.
pub const BLOCK: usize = 32;
/// Longest sum of a bias gradient that is one chain of additions; longer ones are cut into blocks.
pub const WHOLE_ROWS: usize = 64;
/// Rows of such a block.
pub const BLOCK_ROWS: usize = 16;

/// Numbers in a cache line.
const LINE: usize = 16;
/// Columns of `x` that a task takes at once.
const MOST_COLUMNS: usize = 14 * 24;
/// Multiplications below which one thread does it all.
const WORTH_THREADS: usize = 1 << 15;

/// `rows` in about `pieces` parts of equal size, none below a tile's height.
fn part(rows: usize, pieces: usize) -> usize {
    rows.div_ceil(pieces.max(1)).max(14).min(rows.max(1))
}

/// The panels of `m[k][n]`, packed with the help of all threads, lent to `work`.
fn with_panels<R>(path: Path, m: &[f32], k: usize, n: usize, work: impl FnOnce(&[f32]) -> R) -> R {
    scratch::with(packed_len(k, n), |panels| {
        let whole = (k * WIDE).max(1);
        parallel::chunks(panels, whole, k * n > WORTH_THREADS, |which, panel| {
            pack(path, m, n, which, panel);
        });
        work(panels)
    })
}

/// The blocks of a part of a sum of `all` products: `len` of them from the `at`-th on, against
/// lines `line ..` of a panel.
fn part_of(all: usize, at: usize, len: usize, line: usize) -> Vec<Segment> {
    let steps = if all <= WHOLE { WHOLE } else { BLOCK };
    let part = Segment {
        x: 0,
        k: 0,
        len,
        begins: true,
    };
    let mut blocks = in_blocks(std::iter::once(part), steps);
    for block in &mut blocks {
        block.x += at;
        block.k += line;
    }
    blocks
}

/// The output: per element, products over `i` ascending. Up to [`WHOLE`] inputs: a chain of fma
/// that starts from `b` (0 without one). More: parts of [`PART`] in blocks of [`BLOCK`], each a
/// chain; the first starts from `b`, the others from 0; the blocks of a part are added up in order,
/// then the parts. Then the activation.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_forward(
    path: Path,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    assert!(
        x.len() / inputs * outputs == y.len() && w.len() == inputs * outputs,
        "dense forward: lengths"
    );
    assert!(
        b.is_none_or(|b| b.len() == outputs),
        "dense forward: lengths"
    );
    let n = x.len() / inputs;
    if n == 0 {
        return;
    }
    let forward = Forward {
        path,
        inputs,
        outputs,
        x,
        w,
        b,
        ordinary: ordinary(path, x, w, b, inputs),
        threads: n * w.len() >= WORTH_THREADS,
    };
    if inputs.div_ceil(PART) >= MANY_PARTS {
        forward.by_part(activation, y);
    } else {
        forward.by_panel(activation, y);
    }
    if activation != Activation::Relu {
        activation.apply(path, y);
    }
}

/// Parts from which on each is a task of its own.
const MANY_PARTS: usize = 8;

struct Forward<'a> {
    path: Path,
    inputs: usize,
    outputs: usize,
    x: &'a [f32],
    w: &'a [f32],
    b: Option<&'a [f32]>,
    ordinary: bool,
    threads: bool,
}

impl Forward<'_> {
    /// A task packs a part of 32 columns of `w` (64 KiB) and multiplies its rows by it, part after
    /// part.
    fn by_panel(&self, activation: Activation, y: &mut [f32]) {
        let n = y.len() / self.outputs;
        let panels = self.outputs.div_ceil(WIDE);
        // Every task packs its panel: more of them would balance better, but pack more.
        let part = part(n, (2 * parallel::threads()).div_ceil(panels));
        let parts = n.div_ceil(part);
        let relu = activation == Activation::Relu;
        let out = Out::new(y);
        parallel::indices(panels * parts, self.threads, |piece| {
            let (which, first) = (piece / parts, piece % parts * part);
            let images = first..n.min(first + part);
            for at in (0..self.inputs).step_by(PART) {
                let store = match (at == 0, relu && at + PART >= self.inputs) {
                    (true, false) => Store::Set,
                    (true, true) => Store::Relu,
                    (false, false) => Store::Add,
                    (false, true) => Store::AddRelu,
                };
                // SAFETY: a task writes the columns of its panel in its rows, and no other task
                // does.
                let out = unsafe { out.share() };
                self.part(
                    which,
                    images.clone(),
                    at,
                    out.from(first * self.outputs),
                    store,
                );
            }
        });
    }

    /// Many inputs: a task takes a part of them for all outputs, which is one piece of `w`; the
    /// parts' sums lie side by side and are added up at the end.
    fn by_part(&self, activation: Activation, y: &mut [f32]) {
        let n = y.len() / self.outputs;
        scratch::with(self.inputs.div_ceil(PART) * y.len(), |sums| {
            parallel::chunks(sums, y.len(), self.threads, |part, sums| {
                for which in 0..self.outputs.div_ceil(WIDE) {
                    self.part(which, 0..n, part * PART, Out::new(sums), Store::Set);
                }
            });
            let sums = &*sums;
            let (part, len) = (part(n, parallel::threads()) * self.outputs, y.len());
            parallel::chunks(y, part, self.threads, |i, y| {
                y.copy_from_slice(&sums[i * part..][..y.len()]);
                for other in sums.chunks_exact(len).skip(1) {
                    add_piece(self.path, &other[i * part..][..y.len()], y);
                }
                if activation == Activation::Relu {
                    activation::relu_here(self.path, y);
                }
            });
        });
    }

    /// The part of the sums over the inputs from `at` for a panel of outputs and some images, whose
    /// first lies at `out`.
    fn part(&self, which: usize, images: Range<usize>, at: usize, out: Out<'_>, store: Store) {
        let columns = WIDE.min(self.outputs - which * WIDE);
        let step = columns.next_multiple_of(WIDE / 2);
        let len = PART.min(self.inputs - at);
        scratch::with(len * step, |lines| {
            let w = &self.w[at * self.outputs..][..len * self.outputs];
            pack(self.path, w, self.outputs, which, lines);
            let segments = part_of(self.inputs, at, len, 0);
            let rows = Rows {
                x: &self.x[images.start * self.inputs..],
                grid: Grid::line(images.len()),
                steps: Steps::even(self.inputs),
                k_step: 1,
                segments: &segments,
                ordinary: self.ordinary,
            };
            let start = if at == 0 {
                start_of(self.b, which)
            } else {
                Start::ZERO
            };
            let mut to = Target {
                out: out.from(which * WIDE),
                steps: Steps::even(self.outputs),
                across: 1,
                lanes: columns,
                store,
            };
            chains(self.path, &rows, Panel { lines, step }, &start, &mut to);
        });
    }
}

/// [`layer_forward`] without an activation.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
) {
    layer_forward(path, inputs, outputs, x, w, b, Activation::Identity, y);
}

/// The gradient of the sums, then those of bias, weight and input.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_backward(path: Path, inputs: usize, outputs: usize, from: Backward<'_>) {
    from.activation.unapply(path, from.y, from.dy);
    let dy = &*from.dy;
    if let Some(db) = from.db {
        bias_gradient_to(path, dy, db.to, db.how);
    }
    weight_gradient_to(path, inputs, outputs, from.x, dy, from.dw.to, from.dw.how);
    if let Some(dx) = from.dx {
        input_gradient_to(path, inputs, outputs, from.w, dy, dx.to, dx.how);
    }
}

/// Adds to `dx`. Per element: products over `o` ascending. Up to [`WHOLE`] outputs: a chain of fma
/// from 0, added to `dx`. More: parts of [`PART`] in blocks of [`BLOCK`], each a chain from 0; the
/// blocks of a part are added up in order, then the parts are added to `dx` in order.
///
/// # Panics
/// Lengths that disagree.
pub fn input_gradient(
    path: Path,
    inputs: usize,
    outputs: usize,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    input_gradient_to(path, inputs, outputs, w, dy, dx, Accumulate::Add);
}

/// [`input_gradient`] as `how` says. The vectors run across the batch, so that rows of `w`, of
/// which there may be many more, are read where they are: `dx` is made as its transpose.
pub(super) fn input_gradient_to(
    path: Path,
    inputs: usize,
    outputs: usize,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    how: Accumulate,
) {
    assert!(
        dx.len() / inputs * outputs == dy.len() && w.len() == inputs * outputs,
        "dense input gradient: lengths"
    );
    let n = dx.len() / inputs;
    let ordinary = ordinary(path, dy, w, None, outputs);
    let parts_of_sum: Vec<Vec<Segment>> = (0..outputs)
        .step_by(PART)
        .map(|at| part_of(outputs, at, PART.min(outputs - at), at))
        .collect();
    let threads = n * w.len() >= WORTH_THREADS;
    let panels = n.div_ceil(WIDE);
    let part = part(inputs, (4 * parallel::threads()).div_ceil(panels));
    let parts = inputs.div_ceil(part);
    scratch::with(packed_len(outputs, n), |columns| {
        parallel::chunks(columns, (outputs * WIDE).max(1), threads, |which, panel| {
            pack_columns(path, &dy[which * WIDE * outputs..], outputs, panel);
        });
        let columns = &*columns;
        let out = Out::new(dx);
        parallel::indices(panels * parts, threads, |piece| {
            let (which, first) = (piece / parts, piece % parts * part);
            let panel = packed_panel(columns, outputs, n, which);
            let mut store = how.store();
            for segments in &parts_of_sum {
                let rows = Rows {
                    x: &w[first * outputs..],
                    grid: Grid::line(part.min(inputs - first)),
                    steps: Steps::even(outputs),
                    k_step: 1,
                    segments,
                    ordinary,
                };
                // SAFETY: a task writes its part of the inputs for its images, and no other task
                // does.
                let out = unsafe { out.share() };
                let mut to = Target {
                    out: out.from(which * WIDE * inputs + first),
                    steps: Steps::even(1),
                    across: inputs,
                    lanes: WIDE.min(n - which * WIDE),
                    store,
                };
                chains(path, &rows, panel, &Start::ZERO, &mut to);
                store = Store::Add;
            }
        });
    });
}

/// The first 32 (or as many as there are) rows of `m[..][k]` as the columns of a panel, whose width
/// tells how many.
fn pack_columns(path: Path, m: &[f32], k: usize, panel: &mut [f32]) {
    let step = panel.len() / k;
    let rows = (m.len() / k).min(step);
    if rows < step {
        panel.fill(0.0);
    }
    transpose::matrix(path, &m[..rows * k], k, panel, step);
}

/// Adds to `dw`. Per element: one chain of fma `x·dy` over `n` ascending from 0; the sum is added
/// to `dw`.
///
/// # Panics
/// Lengths that disagree.
pub fn weight_gradient(
    path: Path,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    weight_gradient_to(path, inputs, outputs, x, dy, dw, Accumulate::Add);
}

/// [`weight_gradient`] as `how` says. `dy` is packed once, and a task's columns of `x`: they are
/// read again and again, and rows far apart would fall into few sets of the cache.
pub(super) fn weight_gradient_to(
    path: Path,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    how: Accumulate,
) {
    assert!(
        x.len() / inputs * outputs == dy.len() && dw.len() == inputs * outputs,
        "dense weight gradient: lengths"
    );
    let n = x.len() / inputs;
    let segments = [Segment {
        x: 0,
        k: 0,
        len: n,
        begins: true,
    }];
    let ordinary = ordinary(path, x, dy, None, n);
    let threads = n * dw.len() >= WORTH_THREADS;
    let part = part(inputs, 4 * parallel::threads()).min(MOST_COLUMNS);
    with_panels(path, dy, n, outputs, |panels| {
        parallel::chunks(dw, part * outputs, threads, |piece, dw| {
            let columns = dw.len() / outputs;
            // An odd number of cache lines apart.
            let step = columns.div_ceil(LINE) / 2 * 2 * LINE + LINE;
            scratch::with(n * step, |some| {
                for (x, some) in x.chunks_exact(inputs).zip(some.chunks_exact_mut(step)) {
                    some[..columns].copy_from_slice(&x[piece * part..][..columns]);
                }
                let rows = Rows {
                    x: some,
                    grid: Grid::line(columns),
                    steps: Steps::even(1),
                    k_step: step,
                    segments: &segments,
                    ordinary,
                };
                for which in 0..outputs.div_ceil(WIDE) {
                    let mut to = Target {
                        out: Out::new(&mut dw[which * WIDE..]),
                        steps: Steps::even(outputs),
                        across: 1,
                        lanes: WIDE.min(outputs - which * WIDE),
                        store: how.store(),
                    };
                    let panel = packed_panel(panels, n, outputs, which);
                    chains(path, &rows, panel, &Start::ZERO, &mut to);
                }
            });
        });
    });
}

/// Adds to `db`. Per element: up to [`WHOLE_ROWS`] rows, a chain of additions over `n` ascending
/// from 0; more: blocks of [`BLOCK_ROWS`] rows, each such a chain, added up in order from 0. The
/// sum is added to `db`.
///
/// # Panics
/// Lengths that disagree.
pub fn bias_gradient(path: Path, dy: &[f32], db: &mut [f32]) {
    bias_gradient_to(path, dy, db, Accumulate::Add);
}

pub(super) fn bias_gradient_to(path: Path, dy: &[f32], db: &mut [f32], how: Accumulate) {
    assert!(
        !db.is_empty() && dy.len().is_multiple_of(db.len()),
        "dense bias gradient: lengths"
    );
    scratch::with(db.len(), |sums| {
        sums.fill(0.0);
        let rows = match dy.len() / sums.len() {
            0..=WHOLE_ROWS => WHOLE_ROWS,
            _ => BLOCK_ROWS,
        };
        add_rows_by(path, rows, dy, sums);
        if how == Accumulate::First {
            db.fill(0.0);
        }
        add_into(path, sums, db);
    });
}
