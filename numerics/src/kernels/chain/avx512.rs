//! The chains with AVX-512: tiles of up to 14 rows by 32 outputs, all accumulators in registers.
//!
//! A step of a tile of `P` rows and two vectors loads two vectors of weights and `P` numbers spread
//! over a vector each, for `2·P` fused multiply-adds: from 6 rows on the multipliers, not the
//! loads, are the limit, and from 4 rows on there are enough chains to hide their latency. Rows are
//! addressed in groups of four with one pointer and one stride, because there are not enough
//! registers for a pointer per row; a group must lie within a line of the grid.

mod loops;

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use loops::Distances;

use super::super::transpose::{SIDE, transpose};
use super::{LANES, Panel, Rows, Start, Store, Target};

/// Most rows of a tile: 28 accumulators, two vectors of weights and one operand leave one register
/// of 32.
const MOST_ROWS: usize = 14;

/// As [`super::chains`].
///
/// # Safety
/// The processor has AVX-512F; every index of `rows` lies within its operands and the panel, every
/// output within the target.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn chains(rows: &Rows<'_>, panel: Panel<'_>, start: &Start, to: &mut Target<'_>) {
    let grid = rows.grid;
    // SAFETY: the caller's promise.
    unsafe {
        if grid.lines == 1 || grid.per_line.is_multiple_of(4) {
            // Every four rows lie in one line: tiles of whole groups may go on across lines.
            let unit = if grid.lines == 1 { 1 } else { 4 };
            span(rows, 0..grid.rows(), unit, panel, start, to);
        } else {
            for line in 0..grid.lines {
                let first = line * grid.per_line;
                span(rows, first..first + grid.per_line, 1, panel, start, to);
            }
        }
    }
}

/// Rows of the grid in tiles of about equal height, a multiple of `unit`.
///
/// # Safety
/// As [`chains`].
#[target_feature(enable = "avx512f")]
unsafe fn span(
    rows: &Rows<'_>,
    span: std::ops::Range<usize>,
    unit: usize,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    let units = span.len() / unit;
    let tiles = units.div_ceil(MOST_ROWS / unit);
    let mut row = span.start;
    for which in 0..tiles {
        let end = span.start + (which + 1) * units / tiles * unit;
        // SAFETY: the caller's promise.
        unsafe {
            if to.lanes > LANES {
                tile::<2>(rows, row, end - row, panel, start, to);
            } else {
                tile::<1>(rows, row, end - row, panel, start, to);
            }
        }
        row = end;
    }
}

/// `count` rows from `row`, at most [`MOST_ROWS`], `V` vectors wide. Every four rows, and the rest,
/// lie in one line.
///
/// # Safety
/// As [`chains`].
#[target_feature(enable = "avx512f")]
unsafe fn tile<const V: usize>(
    rows: &Rows<'_>,
    row: usize,
    count: usize,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    let places: [usize; SIDE] = rows.grid.places(row, rows.steps);
    let outs: [usize; SIDE] = rows.grid.places(row, to.steps);
    let groups = [0, 4, 8, 12].map(|p: usize| {
        let p = p.min((count - 1) / 4 * 4);
        rows.x.as_ptr().wrapping_add(places[p])
    });
    let by = Distances {
        row: rows.steps.row * size_of::<f32>(),
        step: rows.k_step * size_of::<f32>(),
        line: panel.step * size_of::<f32>(),
    };
    let lines = panel.lines.as_ptr();
    // Where whole rows lie side by side and are only written, the loop takes them from there and
    // leaves them there.
    let width = V * LANES;
    let in_place = to.across == 1
        && to.store == Store::Set
        && (to.lanes, to.steps.row) == (width, width)
        && outs[count - 1] == outs[0] + (count - 1) * width;
    let mut held: MaybeUninit<[[f32; LANES]; SIDE * 2]> = MaybeUninit::uninit();
    let sums: *mut f32 = if in_place {
        to.out.place(outs[0])
    } else {
        held.as_mut_ptr().cast()
    };
    // A loop that has segments makes its own zeros.
    let from_zero = matches!(start, Start::With(values) if values.iter().all(|v| v.to_bits() == 0))
        && !rows.segments.is_empty();
    for p in 0..if from_zero { 0 } else { count } {
        for v in 0..V {
            // SAFETY: `start` has two vectors; of the target, the mask leaves only outputs that
            // exist; `sums` has room for these rows in the target, or for 16.
            unsafe {
                let value = match start {
                    Start::With(values) => _mm512_loadu_ps(values.as_ptr().add(v * LANES)),
                    Start::Resume if in_place => continue,
                    Start::Resume => {
                        debug_assert_eq!(to.across, 1, "chains of a transposed target are whole");
                        let place = outs[p] + v * LANES;
                        _mm512_maskz_loadu_ps(mask(to.lanes, v), to.out.place(place))
                    }
                };
                _mm512_storeu_ps(sums.add((p * V + v) * LANES), value);
            }
        }
    }
    if to.across == 1 && !in_place {
        for p in 0..count {
            let place = to.out.place(outs[p]);
            for v in 0..V {
                // Where the outputs will go is fetched while they are computed.
                // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
                #[allow(unused_unsafe, reason = "it is safe to call in later versions of Rust")]
                unsafe {
                    _mm_prefetch::<_MM_HINT_ET0>(place.wrapping_add(v * LANES).cast());
                }
            }
        }
    }
    if !rows.segments.is_empty() {
        // SAFETY: the caller's promise; `sums` as above.
        unsafe { loops::chains::<V>(count, groups, lines, rows.segments, by, sums, from_zero) };
    }
    if in_place {
        return;
    }
    // SAFETY: the loop above wrote the first `count` rows, and only these are asked for.
    let sum = |p: usize, v: usize| unsafe { _mm512_loadu_ps(sums.add((p * V + v) * LANES)) };
    if to.across == 1 {
        for (p, out) in outs.iter().enumerate().take(count) {
            let out = to.out.place(*out);
            for v in 0..V {
                // SAFETY: the mask leaves only outputs that exist.
                unsafe {
                    store(
                        out.wrapping_add(v * LANES),
                        mask(to.lanes, v),
                        to.store,
                        sum(p, v),
                    );
                };
            }
        }
        return;
    }
    for v in 0..V {
        let mut columns = [_mm512_setzero_ps(); SIDE];
        for (p, column) in columns.iter_mut().enumerate().take(count) {
            *column = sum(p, v);
        }
        transpose(&mut columns);
        let lanes = to.lanes.saturating_sub(v * LANES).min(LANES);
        for (lane, column) in columns.iter().enumerate().take(lanes) {
            let out = to.out.place(row + (v * LANES + lane) * to.across);
            // SAFETY: as above; the rows lie side by side.
            unsafe { store(out, mask(count, 0), to.store, *column) };
        }
    }
}

/// Of `count` numbers, those that the `which`-th vector holds.
fn mask(count: usize, which: usize) -> __mmask16 {
    let here = count.saturating_sub(which * LANES).min(LANES);
    ((1u32 << here) - 1) as __mmask16
}

/// Stores the values that the mask names.
///
/// # Safety
/// They exist, from `out` on.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(out: *mut f32, mask: __mmask16, how: Store, value: __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        let value = match how {
            Store::Set => value,
            Store::Relu => relu(value),
            Store::ZeroPlus => _mm512_add_ps(_mm512_setzero_ps(), value),
            Store::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), value),
            Store::AddRelu => relu(_mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), value)),
        };
        _mm512_mask_storeu_ps(out, mask, value);
    }
}

/// +0 where a value is less than or equal to 0; NaN stays.
#[target_feature(enable = "avx512f")]
#[inline]
fn relu(values: __m512) -> __m512 {
    let keep = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(values, _mm512_setzero_ps());
    _mm512_maskz_mov_ps(keep, values)
}
