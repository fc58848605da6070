//! The one loop nest behind dense layers and convolutions: many fma chains at once, 16 outputs wide.
//!
//! An output is a sum of *blocks* in order; a block is one chain `acc = fma(x, w, acc)` over its segments in order. The
//! vectors run across outputs, so that their width never changes an output's chain. What the operands mean (channels,
//! positions, images) is the callers' business.

use rayon::prelude::*;

use super::path::{Path, kernel};
use crate::exact::fma::{self, Fma, Magnitudes, Run};

/// Outputs side by side in a panel.
pub(crate) const LANES: usize = fma::WIDTH;

/// A run of steps within a chain: step `i` multiplies a row's `x[x + i·k_step]` with panel line `k + i`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub x: usize,
    pub k: usize,
    pub len: usize,
    /// A new block begins here; the first segment's is implied.
    pub begins: bool,
}

/// Rows of outputs in a grid of lines: `lines × per_line`, and how far apart in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub lines: usize,
    pub per_line: usize,
}

/// Distances between the rows of a [`Grid`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    /// From a line's first row to the next line's.
    pub line: usize,
    /// From a row to the next of its line.
    pub row: usize,
}

impl Grid {
    /// One line.
    pub(crate) fn line(rows: usize) -> Grid {
        Grid {
            lines: 1,
            per_line: rows,
        }
    }

    fn rows(&self) -> usize {
        self.lines * self.per_line
    }

    #[inline(always)]
    fn place(&self, row: usize, steps: Steps) -> usize {
        row / self.per_line * steps.line + row % self.per_line * steps.row
    }
}

impl Steps {
    /// Equal ones.
    pub(crate) fn even(row: usize) -> Steps {
        Steps { line: 0, row }
    }
}

/// How the rows of a group of outputs read their operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub x: &'a [f32],
    pub grid: Grid,
    /// Between the rows' first values.
    pub steps: Steps,
    /// From one step of a chain to the next.
    pub k_step: usize,
    pub segments: &'a [Segment],
    /// As [`ordinary`] said of the operands; `false` is always right.
    pub ordinary: bool,
}

/// Lines of [`LANES`] numbers, one per step of a chain: line `k` begins at `k·step`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub lines: &'a [f32],
    pub step: usize,
}

impl<'a> Panel<'a> {
    /// Lines one after the other, as [`pack`] leaves them.
    pub(crate) fn packed(lines: &'a [f32]) -> Panel<'a> {
        Panel { lines, step: LANES }
    }
}

/// The panels of a row-major matrix `w[k][n]` that is used once: read in place, but for an incomplete last one.
pub(crate) struct Panels<'a> {
    w: &'a [f32],
    n: usize,
    last: Vec<f32>,
}

impl<'a> Panels<'a> {
    pub(crate) fn new(w: &'a [f32], n: usize) -> Panels<'a> {
        let whole = n / LANES * LANES;
        let mut last = Vec::new();
        if whole < n {
            last.resize(w.len() / n * LANES, 0.0);
            for (line, row) in last.chunks_exact_mut(LANES).zip(w.chunks_exact(n)) {
                line[..n - whole].copy_from_slice(&row[whole..]);
            }
        }
        Panels { w, n, last }
    }

    /// Outputs `16·which ..` of the matrix.
    pub(crate) fn get(&self, which: usize) -> Panel<'_> {
        if (which + 1) * LANES <= self.n {
            Panel {
                lines: &self.w[(which * LANES).min(self.w.len())..],
                step: self.n,
            }
        } else {
            Panel::packed(&self.last)
        }
    }
}

/// Where the outputs go: `lanes` of them at each row's place.
pub(crate) struct Target<'a> {
    pub out: &'a mut [f32],
    pub steps: Steps,
    /// Outputs that exist, at most [`LANES`].
    pub lanes: usize,
    /// Add to what is there instead of overwriting it.
    pub add: bool,
}

kernel! {
    /// Computes `rows` × `lanes` outputs against one panel. The first block starts from
    /// `init`; every later one is a chain from 0 whose value is then added. Rows without segments are `init`.
    ///
    /// Panics when an index leaves its slice.
    pub(crate) fn chains<F>(rows: &Rows<'_>, panel: Panel<'_>, init: &[f32; LANES], to: &mut Target<'_>) {
        let count = rows.grid.rows();
        if count == 0 || to.lanes == 0 {
            return;
        }
        let last = |steps: Steps| (rows.grid.lines - 1) * steps.line + (rows.grid.per_line - 1) * steps.row;
        assert!(to.lanes <= LANES && last(to.steps) + to.lanes <= to.out.len(), "chains: target");
        for s in rows.segments {
            let last = s.x + last(rows.steps) + s.len.saturating_sub(1) * rows.k_step;
            assert!(s.len == 0 || last < rows.x.len() && (s.k + s.len - 1) * panel.step + LANES <= panel.lines.len(), "chains: operands");
        }
        let mut row = 0;
        while row < count {
            row += match count - row {
                // SAFETY: the assertions above cover every row and step of every segment.
                6.. => unsafe { tile::<F, 6>(rows, row, panel, init, to) },
                4.. => unsafe { tile::<F, 4>(rows, row, panel, init, to) },
                3 => unsafe { tile::<F, 3>(rows, row, panel, init, to) },
                2 => unsafe { tile::<F, 2>(rows, row, panel, init, to) },
                _ => unsafe { tile::<F, 1>(rows, row, panel, init, to) },
            };
        }
    }
}

/// `P` rows from `row`; returns `P`.
///
/// # Safety
/// Every index of these rows and of all segments lies within `rows.x` and `panel`.
#[inline(always)]
unsafe fn tile<F: Fma, const P: usize>(
    rows: &Rows<'_>,
    row: usize,
    panel: Panel<'_>,
    init: &[f32; LANES],
    to: &mut Target<'_>,
) -> usize {
    let mut acc = [F::begin(init); P];
    let mut total = [[0.0f32; LANES]; P];
    let mut blocks = 0;
    let mut offsets = [0; P];
    for (p, offset) in offsets.iter_mut().enumerate() {
        *offset = rows.grid.place(row + p, rows.steps);
    }
    for (i, s) in rows.segments.iter().enumerate() {
        if s.begins && i > 0 {
            fold::<F, P>(&mut total, &acc, blocks);
            blocks += 1;
            acc = [F::begin(&[0.0; LANES]); P];
        }
        // SAFETY: the caller's promise.
        unsafe {
            let run = Run {
                values: rows.x.as_ptr().add(s.x),
                offsets,
                step: rows.k_step,
                weights: panel.lines.as_ptr().add(s.k * panel.step),
                line: panel.step,
                len: s.len,
                used: to.lanes,
                ordinary: rows.ordinary,
            };
            F::run(&mut acc, &run);
        }
    }
    fold::<F, P>(&mut total, &acc, blocks);
    for (p, values) in total.iter().enumerate() {
        let out = &mut to.out[rows.grid.place(row + p, to.steps)..][..to.lanes];
        if let Ok(out) = <&mut [f32; LANES]>::try_from(&mut *out) {
            if to.add {
                for j in 0..LANES {
                    out[j] += values[j];
                }
            } else {
                *out = *values;
            }
        } else if to.add {
            for (o, v) in out.iter_mut().zip(values) {
                *o += v;
            }
        } else {
            out.copy_from_slice(&values[..to.lanes]);
        }
    }
    P
}

/// Whether the plain path may leave out its care for rare operands ([`fma::ordinary`]) in chains of at most `steps`
/// steps; other paths have no use for it and do not look.
pub(crate) fn ordinary(
    path: Path,
    x: &[f32],
    w: &[f32],
    init: Option<&[f32]>,
    steps: usize,
) -> bool {
    let of = |values: &[f32]| -> Magnitudes {
        values
            .par_chunks(1 << 16)
            .map(Magnitudes::of)
            .reduce(|| Magnitudes::ZEROS, Magnitudes::and)
    };
    path == Path::PLAIN && fma::ordinary(of(x), of(w), of(init.unwrap_or_default()), steps)
}

#[inline(always)]
fn fold<F: Fma, const P: usize>(
    total: &mut [[f32; LANES]; P],
    acc: &[F::Chains; P],
    blocks: usize,
) {
    for p in 0..P {
        let values = F::end(&acc[p]);
        if blocks == 0 {
            total[p] = values;
        } else {
            for j in 0..LANES {
                total[p][j] += values[j];
            }
        }
    }
}

/// The panels of a row-major matrix `w[k][n]`: `[ceil(n/16)][k][16]`, the last one padded with zeros.
pub(crate) fn pack(w: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut panels = vec![0.0; n.div_ceil(LANES) * k * LANES];
    for (o, panel) in panels.chunks_exact_mut(k.max(1) * LANES).enumerate() {
        let lanes = LANES.min(n - o * LANES);
        for (line, row) in panel.chunks_exact_mut(LANES).zip(w.chunks_exact(n)) {
            line[..lanes].copy_from_slice(&row[o * LANES..][..lanes]);
        }
    }
    panels
}

/// The `which`-th 16 of `values`, padded with zeros.
pub(crate) fn lanes_of(values: Option<&[f32]>, which: usize) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    if let Some(values) = values {
        let rest = &values[which * LANES..];
        let len = rest.len().min(LANES);
        lanes[..len].copy_from_slice(&rest[..len]);
    }
    lanes
}
