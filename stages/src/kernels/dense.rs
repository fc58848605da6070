//! Dense layers: `y[n, o] = b[o] + Σ_i x[n, i]·w[i, o]` and its gradients. `w` is laid out `[inputs, outputs]`.

use rayon::prelude::*;

use super::chain::{
    Grid, LANES, Panel, Rows, Segment, Steps, Target, chains, lanes_of, ordinary, pack,
};
use super::layer::{Activation, Backward};
use super::path::{Path, kernel};
use super::shard::{elements_per_piece, rows_per_piece};

/// Longest chain of a dense layer: sums over more inputs (or outputs, backward) are cut into blocks of this many.
pub const BLOCK: usize = 512;

fn blocks(len: usize) -> Vec<Segment> {
    (0..len)
        .step_by(BLOCK)
        .map(|at| Segment {
            x: at,
            k: at,
            len: BLOCK.min(len - at),
            begins: true,
        })
        .collect()
}

/// `out[r, ..] (+)= init + x[r, ..k]·panels`, rows shared among threads.
fn product(
    path: Path,
    x: &[f32],
    k: usize,
    panels: &[f32],
    init: Option<&[f32]>,
    out: &mut [f32],
    width: usize,
    add: bool,
) {
    if out.is_empty() {
        return;
    }
    let ordinary = ordinary(path, x, panels, init, k);
    let segments = blocks(k);
    let rows = out.len() / width;
    let piece = rows_per_piece(rows, 2 * k * width);
    let work = |(i, out): (usize, &mut [f32])| {
        let rows = Rows {
            x: &x[i * piece * k..],
            grid: Grid::line(out.len() / width),
            steps: Steps::even(k),
            k_step: 1,
            segments: &segments,
            ordinary,
        };
        for (o, panel) in panels.chunks_exact(k * LANES).enumerate() {
            let lanes = LANES.min(width - o * LANES);
            let mut to = Target {
                out: &mut out[o * LANES..],
                steps: Steps::even(width),
                lanes,
                add,
            };
            let panel = Panel::packed(panel);
            chains(path, &rows, panel, &lanes_of(init, o), &mut to);
        }
    };
    if piece >= rows {
        work((0, out))
    } else {
        out.par_chunks_mut(piece * width).enumerate().for_each(work)
    }
}

/// [`forward`], then the activation.
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
    forward(path, inputs, outputs, x, w, b, y);
    activation.apply(path, y);
}

/// The gradient of the sums, then [`bias_gradient`], [`weight_gradient`], [`input_gradient`].
///
/// # Panics
/// Lengths that disagree.
pub fn layer_backward(path: Path, inputs: usize, outputs: usize, from: Backward<'_>) {
    from.activation.unapply(path, from.y, from.dy);
    if let Some(mut db) = from.db {
        bias_gradient(path, from.dy, db.zeroed());
    }
    let mut dw = from.dw;
    weight_gradient(path, inputs, outputs, from.x, from.dy, dw.zeroed());
    if let Some(mut dx) = from.dx {
        input_gradient(path, inputs, outputs, from.w, from.dy, dx.zeroed());
    }
}

/// Writes `y`. Per element: a chain of fma over `i` ascending that starts from `b` (0 without one); beyond [`BLOCK`]
/// inputs each further block is a chain from 0, added to the sum in order.
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
    assert!(
        x.len() / inputs * outputs == y.len() && w.len() == inputs * outputs,
        "dense forward: lengths"
    );
    product(
        path,
        x,
        inputs,
        &pack(w, inputs, outputs),
        b,
        y,
        outputs,
        false,
    );
}

/// Adds to `dx`. Per element: blocks of [`BLOCK`] outputs, each a chain of fma over `o` ascending from 0, added up in
/// order; the sum is added to `dx`.
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
    assert!(
        dx.len() / inputs * outputs == dy.len() && w.len() == inputs * outputs,
        "dense input gradient: lengths"
    );
    product(
        path,
        dy,
        outputs,
        &pack_transposed(w, inputs, outputs),
        None,
        dx,
        inputs,
        true,
    );
}

/// The panels of the transpose of `w[i][o]`: `[ceil(i/16)][o][16]`.
fn pack_transposed(w: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let mut panels = vec![0.0; inputs.div_ceil(LANES) * outputs * LANES];
    for (i, row) in w.chunks_exact(outputs).enumerate() {
        let panel = &mut panels[i / LANES * outputs * LANES + i % LANES..];
        for (line, v) in panel.chunks_mut(LANES).zip(row) {
            line[0] = *v;
        }
    }
    panels
}

/// Adds to `dw`. Per element: one chain of fma `x·dy` over `n` ascending from 0; the sum is added to `dw`.
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
    assert!(
        x.len() / inputs * outputs == dy.len() && dw.len() == inputs * outputs,
        "dense weight gradient: lengths"
    );
    let n = x.len() / inputs;
    // Packed, for every input reads it again and rows far apart fall into few sets of the cache.
    let panels = pack(dy, n, outputs);
    let segments = [Segment {
        x: 0,
        k: 0,
        len: n,
        begins: true,
    }];
    let ordinary = ordinary(path, x, dy, None, n);
    let piece = rows_per_piece(inputs, 2 * n * outputs);
    let work = |(i, dw): (usize, &mut [f32])| {
        let first = (i * piece).min(x.len());
        let rows = Rows {
            x: &x[first..],
            grid: Grid::line(dw.len() / outputs),
            steps: Steps::even(1),
            k_step: inputs,
            segments: &segments,
            ordinary,
        };
        for o in 0..outputs.div_ceil(LANES) {
            let lanes = LANES.min(outputs - o * LANES);
            let mut to = Target {
                out: &mut dw[o * LANES..],
                steps: Steps::even(outputs),
                lanes,
                add: true,
            };
            chains(
                path,
                &rows,
                Panel::packed(&panels[o * n * LANES..][..n * LANES]),
                &[0.0; LANES],
                &mut to,
            );
        }
    };
    if piece >= inputs {
        work((0, dw))
    } else {
        dw.par_chunks_mut(piece * outputs)
            .enumerate()
            .for_each(work)
    }
}

/// Adds to `db`. Per element: a chain of additions over `n` ascending from 0; the sum is added to `db`.
///
/// # Panics
/// Lengths that disagree.
pub fn bias_gradient(path: Path, dy: &[f32], db: &mut [f32]) {
    assert!(
        !db.is_empty() && dy.len() % db.len() == 0,
        "dense bias gradient: lengths"
    );
    let mut sums = vec![0.0; db.len()];
    add_rows(path, dy, &mut sums);
    add_into(path, &sums, db);
}

kernel! {
    /// Adds every row of `rows` to `sums`, in order.
    pub(super) fn add_rows<F>(rows: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        for row in rows.chunks_exact(width) {
            for j in 0..width {
                sums[j] += row[j];
            }
        }
    }
}

kernel! {
    fn add_into_piece<F>(from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "add: lengths");
        for i in 0..to.len() {
            to[i] += from[i];
        }
    }
}

/// `to[i] = to[i] + from[i]`.
///
/// # Panics
/// Lengths that disagree.
pub fn add_into(path: Path, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "add: lengths");
    let piece = elements_per_piece(to.len());
    if piece >= to.len() {
        return add_into_piece(path, from, to);
    }
    to.par_chunks_mut(piece)
        .zip(from.par_chunks(piece))
        .for_each(|(to, from)| add_into_piece(path, from, to));
}
