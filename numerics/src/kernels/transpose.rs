//! Transposes blocks of matrices: numbers move, nothing is computed.

use super::path::Path;

/// Side of a block.
pub(super) const SIDE: usize = 16;

/// `to[c·to_step + r] = from[r·from_step + c]` for `rows` × `columns`, both at most [`SIDE`].
///
/// # Panics
/// An index beyond a slice.
pub(super) fn block(
    path: Path,
    from: &[f32],
    from_step: usize,
    (rows, columns): (usize, usize),
    to: &mut [f32],
    to_step: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        rows <= SIDE
            && columns <= SIDE
            && (rows - 1) * from_step + columns <= from.len()
            && (columns - 1) * to_step + rows <= to.len(),
        "transpose: lengths"
    );
    match path.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the path exists only where the processor has the instructions; the assertion
        // covers all indices.
        super::path::Instructions::Avx512 => unsafe {
            avx512(from, from_step, (rows, columns), to, to_step);
        },
        _ => {
            for r in 0..rows {
                for c in 0..columns {
                    to[c * to_step + r] = from[r * from_step + c];
                }
            }
        }
    }
}

/// Transposes a matrix `from[rows][columns]` to `to[columns][to_step]`.
pub(super) fn matrix(path: Path, from: &[f32], columns: usize, to: &mut [f32], to_step: usize) {
    let rows = from.len() / columns.max(1);
    for r in (0..rows).step_by(SIDE) {
        for c in (0..columns).step_by(SIDE) {
            let size = (SIDE.min(rows - r), SIDE.min(columns - c));
            block(
                path,
                &from[r * columns + c..],
                columns,
                size,
                &mut to[c * to_step + r..],
                to_step,
            );
        }
    }
}

/// # Safety
/// As [`block`] asserts; the processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(
    from: &[f32],
    from_step: usize,
    (rows, columns): (usize, usize),
    to: &mut [f32],
    to_step: usize,
) {
    use std::arch::x86_64::*;
    let mask = |len: usize| ((1u32 << len) - 1) as __mmask16;
    let mut m = [_mm512_setzero_ps(); SIDE];
    for (r, row) in m.iter_mut().enumerate().take(rows) {
        // SAFETY: the caller's promise; the mask leaves only numbers that exist.
        *row = unsafe { _mm512_maskz_loadu_ps(mask(columns), from.as_ptr().add(r * from_step)) };
    }
    transpose(&mut m);
    for (c, column) in m.iter().enumerate().take(columns) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr().add(c * to_step), mask(rows), *column) };
    }
}

/// Sixteen rows become sixteen columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transpose(m: &mut [std::arch::x86_64::__m512; SIDE]) {
    use std::arch::x86_64::*;
    // Pairs of rows, then fours, within each 128 bits; then the 128-bit pieces.
    let mut t = [_mm512_setzero_ps(); SIDE];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(m[2 * i], m[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(m[2 * i], m[2 * i + 1]);
    }
    let pairs = |a: __m512, b: __m512| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        (_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    };
    for i in 0..4 {
        (m[4 * i], m[4 * i + 1]) = pairs(t[4 * i], t[4 * i + 2]);
        (m[4 * i + 2], m[4 * i + 3]) = pairs(t[4 * i + 1], t[4 * i + 3]);
    }
    for c in 0..4 {
        t[c] = _mm512_shuffle_f32x4::<0x88>(m[c], m[4 + c]);
        t[4 + c] = _mm512_shuffle_f32x4::<0xdd>(m[c], m[4 + c]);
        t[8 + c] = _mm512_shuffle_f32x4::<0x88>(m[8 + c], m[12 + c]);
        t[12 + c] = _mm512_shuffle_f32x4::<0xdd>(m[8 + c], m[12 + c]);
    }
    for c in 0..4 {
        m[c] = _mm512_shuffle_f32x4::<0x88>(t[c], t[8 + c]);
        m[8 + c] = _mm512_shuffle_f32x4::<0xdd>(t[c], t[8 + c]);
        m[4 + c] = _mm512_shuffle_f32x4::<0x88>(t[4 + c], t[12 + c]);
        m[12 + c] = _mm512_shuffle_f32x4::<0xdd>(t[4 + c], t[12 + c]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_matrices_of_all_sizes() {
        let from: Vec<f32> = (0..40 * 50).map(|i| i as f32).collect();
        for path in Path::all() {
            for (rows, columns) in [(1, 1), (16, 16), (3, 16), (16, 5), (7, 9), (0, 3)] {
                let mut to = vec![-1.0; 20 * 16];
                block(path, &from, 50, (rows, columns), &mut to, 20);
                for c in 0..16 {
                    for r in 0..20 {
                        let inside = r < rows && c < columns;
                        let want = if inside { (r * 50 + c) as f32 } else { -1.0 };
                        assert_eq!(to[c * 20 + r], want, "{} {rows} {columns}", path.name());
                    }
                }
            }
            let mut to = vec![-1.0; 50 * 48];
            matrix(path, &from, 50, &mut to, 48);
            let right = |i: usize| {
                let (c, r) = (i / 48, i % 48);
                to[i] == if r < 40 { (r * 50 + c) as f32 } else { -1.0 }
            };
            assert!((0..to.len()).all(right), "{}", path.name());
        }
    }
}
