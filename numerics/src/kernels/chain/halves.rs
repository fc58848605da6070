//! The chains in halves of 16 outputs, for AVX2 and for the plain path: loops over [`Fma`], which
//! the compiler turns into the path's vectors.

use super::super::path::{Path, kernel};
use super::{LANES, Panel, Rows, Start, Target};
use crate::exact::chains::Run;
use crate::exact::fma::Fma;

/// As [`super::chains`].
///
/// # Safety
/// Every index of `rows` lies within its operands and the panel, every output within the target.
pub(super) unsafe fn chains(
    path: Path,
    rows: &Rows<'_>,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    let mut first = 0;
    while first < to.lanes {
        half(path, rows, panel, start, to, first);
        first += LANES;
    }
}

kernel! {
    /// Outputs `first ..` of the panel, at most 16. Only [`chains`] may call it, whose promise it
    /// rests on.
    fn half<F>(rows: &Rows<'_>, panel: Panel<'_>, start: &Start, to: &mut Target<'_>, first: usize) {
        let count = rows.grid.rows();
        let mut row = 0;
        while row < count {
            row += match count - row {
                // SAFETY: `chains` was promised that all indices are right.
                6.. => unsafe { tile::<F, 6>(rows, row, panel, start, to, first) },
                // SAFETY: as above.
                4.. => unsafe { tile::<F, 4>(rows, row, panel, start, to, first) },
                // SAFETY: as above.
                3 => unsafe { tile::<F, 3>(rows, row, panel, start, to, first) },
                // SAFETY: as above.
                2 => unsafe { tile::<F, 2>(rows, row, panel, start, to, first) },
                // SAFETY: as above.
                _ => unsafe { tile::<F, 1>(rows, row, panel, start, to, first) },
            };
        }
    }
}

/// `P` rows from `row`; returns `P`.
///
/// # Safety
/// As [`chains`].
#[inline(always)]
unsafe fn tile<F: Fma, const P: usize>(
    rows: &Rows<'_>,
    row: usize,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
    first: usize,
) -> usize {
    let used = (to.lanes - first).min(LANES);
    let mut acc = [F::begin(&[0.0; LANES]); P];
    let outs: [usize; P] = rows.grid.places(row, to.steps);
    for (acc, out) in acc.iter_mut().zip(outs) {
        let mut from = [0.0; LANES];
        match start {
            Start::With(values) => from.copy_from_slice(&values[first..first + LANES]),
            Start::Resume => {
                let place = out + first * to.across;
                for (j, from) in from.iter_mut().enumerate().take(used) {
                    // SAFETY: the caller's promise: the output exists.
                    *from = unsafe { *to.out.place(place + j * to.across) };
                }
            }
        }
        *acc = F::begin(&from);
    }
    let mut total = [[0.0f32; LANES]; P];
    let mut blocks = 0;
    let offsets: [usize; P] = rows.grid.places(row, rows.steps);
    for (i, s) in rows.segments.iter().enumerate() {
        if s.begins && i > 0 {
            fold::<F, P>(&mut total, &acc, blocks);
            blocks += 1;
            acc = [F::begin(&[0.0; LANES]); P];
        }
        if s.len == 0 {
            continue;
        }
        // SAFETY: the caller's promise.
        unsafe {
            let run = Run {
                values: rows.x.as_ptr().add(s.x),
                offsets,
                step: rows.k_step,
                weights: panel.lines.as_ptr().add(s.k * panel.step + first),
                line: panel.step,
                len: s.len,
                used,
                ordinary: rows.ordinary,
            };
            F::run(&mut acc, &run);
        }
    }
    fold::<F, P>(&mut total, &acc, blocks);
    for (values, out) in total.iter().zip(outs) {
        let place = out + first * to.across;
        for (j, value) in values[..used].iter().enumerate() {
            let at = to.out.place(place + j * to.across);
            // SAFETY: the caller's promise: the output exists.
            unsafe { *at = to.store.of(*at, *value) };
        }
    }
    P
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
