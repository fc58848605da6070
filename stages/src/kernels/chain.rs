//! The one loop nest behind dense layers and convolutions: many fma chains at once, 16 outputs wide.
//!
//! An output is a sum of *blocks* in order; a block is one chain `acc = fma(x, w, acc)` over its segments in order. The
//! vectors run across outputs, so that their width never changes an output's chain. What the operands mean (channels,
//! positions, images) is the callers' business.

use super::path::kernel;
use crate::exact::fma::Fma;

/// Outputs side by side in a panel.
pub(crate) const LANES: usize = 16;

/// A run of steps within a chain: step `i` multiplies `x[x + row·row_step + i·k_step]` with panel line `k + i`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub x: usize,
    pub k: usize,
    pub len: usize,
    /// A new block begins here; the first segment's is implied.
    pub begins: bool,
}

/// How the rows of a group of outputs read their operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub x: &'a [f32],
    /// Rows of outputs.
    pub rows: usize,
    /// From a row's first value to the next row's.
    pub row_step: usize,
    /// From one step of a chain to the next.
    pub k_step: usize,
    pub segments: &'a [Segment],
}

/// Where the outputs go: row `r` at `out[r·step..][..lanes]`.
pub(crate) struct Target<'a> {
    pub out: &'a mut [f32],
    pub step: usize,
    /// Outputs that exist, at most [`LANES`].
    pub lanes: usize,
    /// Add to what is there instead of overwriting it.
    pub add: bool,
}

kernel! {
    /// Computes `rows` × `lanes` outputs against one panel (`[k][LANES]`, padded with zeros). The first block starts from
    /// `init`; every later one is a chain from 0 whose value is then added. Rows without segments are `init`.
    ///
    /// Panics when an index leaves its slice.
    pub(crate) fn chains<F>(rows: &Rows<'_>, panel: &[f32], init: &[f32; LANES], to: &mut Target<'_>) {
        if rows.rows == 0 || to.lanes == 0 {
            return;
        }
        assert!(to.lanes <= LANES && (rows.rows - 1) * to.step + to.lanes <= to.out.len(), "chains: target");
        for s in rows.segments {
            let last = s.x + (rows.rows - 1) * rows.row_step + s.len.saturating_sub(1) * rows.k_step;
            assert!(s.len == 0 || last < rows.x.len() && (s.k + s.len) * LANES <= panel.len(), "chains: operands");
        }
        let mut row = 0;
        while row < rows.rows {
            row += match rows.rows - row {
                // SAFETY: the assertions above cover every row and step of every segment.
                6.. => unsafe { tile::<F, 6>(rows, row, panel, init, to) },
                4.. => unsafe { tile::<F, 4>(rows, row, panel, init, to) },
                2.. => unsafe { tile::<F, 2>(rows, row, panel, init, to) },
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
    panel: &[f32],
    init: &[f32; LANES],
    to: &mut Target<'_>,
) -> usize {
    let mut acc = [*init; P];
    let mut total = [[0.0f32; LANES]; P];
    let mut blocks = 0;
    let (row_step, k_step) = (rows.row_step, rows.k_step);
    for (i, s) in rows.segments.iter().enumerate() {
        if s.begins && i > 0 {
            fold(&mut total, &acc, blocks);
            blocks += 1;
            acc = [[0.0; LANES]; P];
        }
        // SAFETY: the caller's promise; the pointers are used `len` times, and only stepped beyond after the last use
        // with wrapping arithmetic.
        unsafe {
            let mut x = rows.x.as_ptr().add(s.x + row * row_step);
            let mut w = panel.as_ptr().add(s.k * LANES).cast::<[f32; LANES]>();
            for _ in 0..s.len {
                let weights = *w;
                for p in 0..P {
                    let value = *x.add(p * row_step);
                    for j in 0..LANES {
                        acc[p][j] = F::fma(value, weights[j], acc[p][j]);
                    }
                }
                x = x.wrapping_add(k_step);
                w = w.wrapping_add(1);
            }
        }
    }
    fold(&mut total, &acc, blocks);
    for (p, values) in total.iter().enumerate() {
        let out = &mut to.out[(row + p) * to.step..][..to.lanes];
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

#[inline(always)]
fn fold<const P: usize>(total: &mut [[f32; LANES]; P], acc: &[[f32; LANES]; P], blocks: usize) {
    if blocks == 0 {
        *total = *acc;
    } else {
        for p in 0..P {
            for j in 0..LANES {
                total[p][j] += acc[p][j];
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
