//! The chains with AVX-512: tiles of up to 14 rows by 32 outputs, all accumulators in registers.
//!
//! A step of a tile of `P` rows and two vectors loads two vectors of weights and `P` numbers spread over a vector each,
//! for `2·P` fused multiply-adds: from 6 rows on the multipliers, not the loads, are the limit, and from 4 rows on there
//! are enough chains to hide their latency. Rows are addressed in groups of four with one pointer and one stride, because
//! there are not enough registers for a pointer per row; a group must lie within a line of the grid.

use std::arch::x86_64::*;

use super::super::transpose::{SIDE, transpose};
use super::{LANES, Panel, Rows, Segment, Start, Store, Target};

/// Most rows of a tile: 28 accumulators, two vectors of weights and one operand leave one register of 32.
const MOST_ROWS: usize = 14;

/// Steps by which operands are fetched before their use.
const AHEAD: usize = 8;

/// As [`super::chains`].
///
/// # Safety
/// The processor has AVX-512F; every index of `rows` lies within its operands and the panel, every output within the
/// target.
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
    for tile in 0..tiles {
        let end = span.start + (tile + 1) * units / tiles * unit;
        // SAFETY: the caller's promise.
        unsafe {
            if to.lanes > LANES {
                tall::<2>(rows, row, end - row, panel, start, to);
            } else {
                tall::<1>(rows, row, end - row, panel, start, to);
            }
        }
        row = end;
    }
}

/// # Safety
/// As [`chains`], for `count` rows from `row`, at most [`MOST_ROWS`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tall<const V: usize>(
    rows: &Rows<'_>,
    row: usize,
    count: usize,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    macro_rules! by_rows {
        ($($n:literal => $g:literal, $r:literal);+) => {
            match count {
                // SAFETY: the caller's promise.
                $( $n => unsafe { tile::<$g, $r, V>(rows, row, panel, start, to) }, )+
                _ => unreachable!("a tile of {count} rows"),
            }
        };
    }
    by_rows!(1 => 0, 1; 2 => 0, 2; 3 => 0, 3; 4 => 1, 0; 5 => 1, 1; 6 => 1, 2; 7 => 1, 3; 8 => 2, 0; 9 => 2, 1;
        10 => 2, 2; 11 => 2, 3; 12 => 3, 0; 13 => 3, 1; 14 => 3, 2)
}

/// The finished sums of a tile.
type Sums<const V: usize> = [[__m512; V]; SIDE];

/// `4·G + R` rows from `row`, `V` vectors wide. Every four rows, and the rest, lie in one line.
///
/// # Safety
/// As [`chains`].
#[target_feature(enable = "avx512f")]
unsafe fn tile<const G: usize, const R: usize, const V: usize>(
    rows: &Rows<'_>,
    row: usize,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    let place = |p: usize| rows.grid.place(row + p, rows.steps);
    let mut groups = [0; G];
    for (g, group) in groups.iter_mut().enumerate() {
        *group = place(4 * g);
    }
    let rest = if R > 0 { place(4 * G) } else { 0 };
    let mut sums: Sums<V> = [[_mm512_setzero_ps(); V]; SIDE];
    for (p, sums) in sums.iter_mut().enumerate().take(4 * G + R) {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `start` has two vectors; of the target, the mask leaves only outputs that exist.
            *sum = unsafe {
                match start {
                    Start::With(values) => _mm512_loadu_ps(values.as_ptr().add(v * LANES)),
                    Start::Resume => {
                        debug_assert_eq!(to.across, 1, "chains of a transposed target are whole");
                        let place = rows.grid.place(row + p, to.steps) + v * LANES;
                        _mm512_maskz_loadu_ps(mask(to.lanes, v), to.out.place(place))
                    }
                }
            };
        }
    }
    if to.across == 1 {
        for p in 0..4 * G + R {
            let place = to.out.place(rows.grid.place(row + p, to.steps));
            for v in 0..V {
                // Where the outputs will go is fetched while they are computed.
                _mm_prefetch::<_MM_HINT_ET0>(place.wrapping_add(v * LANES).cast());
            }
        }
    }
    let mut segments = rows.segments;
    let mut blocks = 0;
    while let [_, others @ ..] = segments {
        let len = 1 + others.iter().take_while(|s| !s.begins).count();
        let (block, later) = segments.split_at(len);
        segments = later;
        // SAFETY: the caller's promise.
        unsafe {
            if blocks == 0 {
                self::block::<G, R, V>(rows, groups, rest, block, panel, &mut sums);
            } else {
                let mut next: Sums<V> = [[_mm512_setzero_ps(); V]; SIDE];
                self::block::<G, R, V>(rows, groups, rest, block, panel, &mut next);
                for (sums, next) in sums.iter_mut().zip(&next).take(4 * G + R) {
                    for v in 0..V {
                        sums[v] = _mm512_add_ps(sums[v], next[v]);
                    }
                }
            }
        }
        blocks += 1;
    }
    if to.across == 1 {
        for (p, sums) in sums.iter().enumerate().take(4 * G + R) {
            let out = to.out.place(rows.grid.place(row + p, to.steps));
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: the mask leaves only outputs that exist.
                unsafe {
                    store(
                        out.wrapping_add(v * LANES),
                        mask(to.lanes, v),
                        to.store,
                        *sum,
                    )
                };
            }
        }
        return;
    }
    for v in 0..V {
        let mut columns = [_mm512_setzero_ps(); SIDE];
        for (column, sums) in columns.iter_mut().zip(&sums) {
            *column = sums[v];
        }
        transpose(&mut columns);
        let lanes = to.lanes.saturating_sub(v * LANES).min(LANES);
        for (lane, column) in columns.iter().enumerate().take(lanes) {
            let out = to.out.place(row + (v * LANES + lane) * to.across);
            // SAFETY: as above; the rows lie side by side.
            unsafe { store(out, mask(4 * G + R, 0), to.store, *column) };
        }
    }
}

/// Of `count` numbers, those that the `which`-th vector holds.
fn mask(count: usize, which: usize) -> __mmask16 {
    let here = count.saturating_sub(which * LANES).min(LANES);
    ((1u32 << here) - 1) as __mmask16
}

/// One block of the chains, from the values in `sums` to the values in `sums`.
///
/// # Safety
/// As [`chains`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn block<const G: usize, const R: usize, const V: usize>(
    rows: &Rows<'_>,
    groups: [usize; G],
    rest: usize,
    segments: &[Segment],
    panel: Panel<'_>,
    sums: &mut Sums<V>,
) {
    let (k_step, line) = (
        rows.k_step * size_of::<f32>(),
        panel.step * size_of::<f32>(),
    );
    let ahead = AHEAD * k_step;
    let mut acc = [[[_mm512_setzero_ps(); V]; 4]; G];
    let mut acc_rest = [[_mm512_setzero_ps(); V]; R];
    for g in 0..G {
        for p in 0..4 {
            acc[g][p] = sums[4 * g + p];
        }
    }
    for p in 0..R {
        acc_rest[p] = sums[4 * G + p];
    }
    for s in segments {
        let mut weights = panel.lines.as_ptr().wrapping_add(s.k * panel.step);
        let mut at = [std::ptr::null::<f32>(); G];
        for g in 0..G {
            at[g] = rows.x.as_ptr().wrapping_add(groups[g] + s.x);
        }
        let mut at_rest = rows.x.as_ptr().wrapping_add(rest + s.x);
        for _ in 0..s.len {
            // In bytes, so that one register serves rows 1 and 2 of a group, and another row 3. Hidden from the compiler,
            // which would rather keep a pointer for each row, in memory for lack of registers.
            let mut one = rows.steps.row * size_of::<f32>();
            let mut three = 3 * one;
            opaque(&mut one);
            opaque(&mut three);
            let mut w = [_mm512_setzero_ps(); V];
            for v in 0..V {
                // SAFETY: the line lies within the panel, by the caller's promise; pointers only step beyond their
                // slices after their last use, with wrapping arithmetic.
                w[v] = unsafe { _mm512_loadu_ps(weights.wrapping_add(v * LANES)) };
            }
            for g in 0..G {
                for p in 0..4 {
                    let of = [0, one, 2 * one, three][p];
                    // SAFETY: as above.
                    let x = unsafe { _mm512_set1_ps(*at[g].wrapping_byte_add(of)) };
                    for v in 0..V {
                        acc[g][p][v] = _mm512_fmadd_ps(x, w[v], acc[g][p][v]);
                    }
                }
                at[g] = at[g].wrapping_byte_add(k_step);
            }
            if G > 0 {
                _mm_prefetch::<_MM_HINT_T0>(at[0].wrapping_byte_add(ahead).cast());
                _mm_prefetch::<_MM_HINT_T0>(at_rest.wrapping_byte_add(ahead).cast());
            }
            for p in 0..R {
                // SAFETY: as above.
                let x = unsafe { _mm512_set1_ps(*at_rest.wrapping_byte_add(p * one)) };
                for v in 0..V {
                    acc_rest[p][v] = _mm512_fmadd_ps(x, w[v], acc_rest[p][v]);
                }
            }
            at_rest = at_rest.wrapping_byte_add(k_step);
            weights = weights.wrapping_byte_add(line);
        }
    }
    for g in 0..G {
        for p in 0..4 {
            sums[4 * g + p] = acc[g][p];
        }
    }
    for p in 0..R {
        sums[4 * G + p] = acc_rest[p];
    }
}

/// A number of which the compiler knows nothing.
#[inline(always)]
fn opaque(number: &mut usize) {
    // SAFETY: no instructions.
    unsafe {
        std::arch::asm!(
            "/* {0} */",
            inout(reg) * number,
            options(pure, nomem, nostack, preserves_flags)
        )
    };
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
