//! Matrices as panels: columns 32 at a time, row after row, as the chains read them.

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

/// Packs columns `which·32 ..` of a row-major matrix `w[k][n]`: lines of 16 or 32, padded with zeros.
pub(crate) fn pack(w: &[f32], n: usize, which: usize, panel: &mut [f32]) {
    let first = which * WIDE;
    let (lanes, step) = (WIDE.min(n - first), width(n - first));
    for (line, row) in panel.chunks_exact_mut(step).zip(w.chunks_exact(n)) {
        match <&[f32; WIDE]>::try_from(&row[first..first + lanes]) {
            Ok(row) => line.copy_from_slice(row),
            Err(_) => {
                line[..lanes].copy_from_slice(&row[first..first + lanes]);
                line[lanes..].fill(0.0);
            }
        }
    }
}
