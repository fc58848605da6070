//! Matrices as panels: columns 32 at a time, row after row, as the chains read them.

use super::super::path::kernel;
use super::{LANES, Panel, WIDE};

/// The lines' length of a panel with so many columns.
fn width(columns: usize) -> usize {
    columns.min(WIDE).next_multiple_of(LANES)
}

/// Numbers in all packed panels of a matrix `[k][n]`.
pub(crate) fn packed_len(k: usize, n: usize) -> usize {
    k * (n / WIDE * WIDE + (n % WIDE).next_multiple_of(LANES))
}

/// The `which`-th of the packed panels of a matrix `[k][n]`.
pub(crate) fn packed_panel(panels: &[f32], k: usize, n: usize, which: usize) -> Panel<'_> {
    let step = width(n - which * WIDE);
    Panel {
        lines: &panels[which * k * WIDE..][..k * step],
        step,
    }
}

kernel! {
    /// Packs columns `which·32 ..` of a row-major matrix `w[k][n]`: lines of 16 or 32, padded with
    /// zeros.
    pub(crate) fn pack<F>(w: &[f32], n: usize, which: usize, panel: &mut [f32]) {
        let first = which * WIDE;
        let (lanes, step) = (WIDE.min(n - first), width(n - first));
        // Copies of a fixed length are a few instructions.
        if lanes == WIDE {
            for (line, row) in panel.as_chunks_mut::<WIDE>().0.iter_mut().zip(w.chunks_exact(n)) {
                if let Some(row) = row[first..].first_chunk::<WIDE>() {
                    *line = *row;
                }
            }
            return;
        }
        for (line, row) in panel.chunks_exact_mut(step).zip(w.chunks_exact(n)) {
            let row = &row[first..];
            for (j, line) in line.iter_mut().enumerate() {
                *line = if j < lanes { row[j] } else { 0.0 };
            }
        }
    }
}
