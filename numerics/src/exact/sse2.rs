//! Runs of fused multiply-adds in f64 pairs, with nothing but SSE2: every x86-64 processor has it,
//! so that its instructions need no check before use.
//!
//! The accumulators are f64 that hold f32 values. In a step the product is exact and the sum
//! rounded to 53 bits; rounding that to 24 bits gives the fused result unless the sum lies in the
//! very middle between two f32 (then what the first rounding lost decides, or the even neighbour),
//! is subnormal or too large for f32, infinite or NaN. Such sums are found for a row at a time and
//! the row's step is then done again by [`exact`], which is right for all.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::chains::{Run, WIDTH};

const PAIRS: usize = WIDTH / 2;

/// Sixteen chains: pairs of f64, each exactly an f32.
#[derive(Debug, Clone, Copy)]
pub struct Chains([__m128d; PAIRS]);

impl Chains {
    /// Starts from `values`.
    #[inline(always)]
    pub fn begin(values: &[f32; WIDTH]) -> Chains {
        // SAFETY: a vector of two f64 has their layout and no invalid bits.
        Chains(unsafe { transmute::<[f64; WIDTH], [__m128d; PAIRS]>(values.map(f64::from)) })
    }

    /// The values so far.
    #[inline(always)]
    pub fn end(&self) -> [f32; WIDTH] {
        // SAFETY: as above.
        unsafe { transmute::<[__m128d; PAIRS], [f64; WIDTH]>(self.0) }.map(|v| v as f32)
    }
}

/// As [`super::fma::Fma::run`].
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn run<const P: usize>(chains: &mut [Chains; P], run: &Run<P>) {
    // SAFETY: the caller's promise, and SSE2 is part of x86-64.
    unsafe {
        match run.used.div_ceil(4) {
            0 => {}
            1 => fours::<1, P>(chains, run),
            2 => fours::<2, P>(chains, run),
            3 => fours::<3, P>(chains, run),
            _ => fours::<4, P>(chains, run),
        }
    }
}

/// The first `4·Q` chains of every row.
///
/// # Safety
/// As [`run`].
#[inline(never)]
#[target_feature(enable = "sse2")]
unsafe fn fours<const Q: usize, const P: usize>(chains: &mut [Chains; P], run: &Run<P>) {
    let (mut values, mut line) = (run.values, run.weights);
    for _ in 0..run.len {
        let mut weights = [_mm_setzero_pd(); PAIRS];
        for q in 0..Q {
            // SAFETY: the line lies within the weights, by the caller's promise.
            let four = unsafe { _mm_loadu_ps(line.add(4 * q)) };
            weights[2 * q] = _mm_cvtps_pd(four);
            weights[2 * q + 1] = _mm_cvtps_pd(_mm_movehl_ps(four, four));
        }
        for p in 0..P {
            // SAFETY: the caller's promise.
            let value = unsafe { *values.add(run.offsets[p]) };
            row_step::<Q>(&mut chains[p], value, &weights, run.ordinary);
        }
        values = values.wrapping_add(run.step);
        line = line.wrapping_add(run.line);
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn row_step<const Q: usize>(
    chains: &mut Chains,
    value: f32,
    weights: &[__m128d; PAIRS],
    ordinary: bool,
) {
    let value = _mm_set1_pd(f64::from(value));
    let zero = _mm_setzero_si128();
    let half = _mm_set1_epi64x(1 << 28);
    let kept = _mm_set1_epi64x(-1 << 29);
    let mut next = [_mm_setzero_pd(); PAIRS];
    let mut doubtful = zero;
    for q in 0..Q {
        let mut ups = [zero; 2];
        for (i, up) in ups.iter_mut().enumerate() {
            let at = 2 * q + i;
            let sum = _mm_add_pd(_mm_mul_pd(value, weights[at]), chains.0[at]);
            // To the nearest f32, the middle upwards; the carry goes into the exponent as it
            // should.
            *up = _mm_add_epi64(_mm_castpd_si128(sum), half);
            next[at] = _mm_castsi128_pd(_mm_and_si128(*up, kept));
        }
        // The middle has become 29 zeros.
        let low = gather::<0b10_00_10_00>(ups[0], ups[1]);
        let middle = _mm_cmpeq_epi32(_mm_slli_epi32::<3>(low), zero);
        doubtful = _mm_or_si128(doubtful, middle);
    }
    if !ordinary {
        doubtful = _mm_or_si128(doubtful, out_of_range::<Q>(&next));
    }
    if _mm_movemask_epi8(doubtful) != 0 {
        exact::<Q>(chains, value, weights);
    } else {
        chains.0[..2 * Q].copy_from_slice(&next[..2 * Q]);
    }
}

/// The words of `a` and `b` that `WHICH` chooses, two of each.
#[inline]
#[target_feature(enable = "sse2")]
fn gather<const WHICH: i32>(a: __m128i, b: __m128i) -> __m128i {
    _mm_castps_si128(_mm_shuffle_ps::<WHICH>(
        _mm_castsi128_ps(a),
        _mm_castsi128_ps(b),
    ))
}

/// All ones where a rounded sum is neither 0 nor a normal f32. A sum that rounds (to 24 bits) into
/// that range is rounded right.
#[inline]
#[target_feature(enable = "sse2")]
fn out_of_range<const Q: usize>(sums: &[__m128d; PAIRS]) -> __m128i {
    // Upper halves of 2^-126 and 2^128 as f64, without the sign bit, shifted to the top.
    const LEAST: u32 = 0x3810_0000 << 1;
    const BEYOND: u32 = 0x47f0_0000 << 1;
    let shift = _mm_set1_epi32(LEAST.wrapping_add(1 << 31) as i32);
    let last = _mm_set1_epi32((BEYOND - LEAST - 1).wrapping_add(1 << 31) as i32);
    let zero = _mm_setzero_si128();
    let mut found = zero;
    for q in 0..Q {
        let (a, b) = (
            _mm_castpd_si128(sums[2 * q]),
            _mm_castpd_si128(sums[2 * q + 1]),
        );
        let high = gather::<0b11_01_11_01>(a, b);
        let magnitude = _mm_add_epi32(high, high);
        // Unsigned comparison: both sides lowered by 2^31. No sum of products of f32 has an upper
        // half of 0 but 0.
        let outside = _mm_cmpgt_epi32(_mm_sub_epi32(magnitude, shift), last);
        let some = _mm_andnot_si128(_mm_cmpeq_epi32(magnitude, zero), outside);
        found = _mm_or_si128(found, some);
    }
    found
}

/// The step by rounding to odd, as [`super::fma::Software`] does it.
#[cold]
#[inline(never)]
#[target_feature(enable = "sse2")]
fn exact<const Q: usize>(chains: &mut Chains, value: __m128d, weights: &[__m128d; PAIRS]) {
    let zero = _mm_setzero_pd();
    for (c, w) in chains.0[..2 * Q].iter_mut().zip(weights) {
        let product = _mm_mul_pd(value, *w);
        let sum = _mm_add_pd(product, *c);
        let of_c = _mm_sub_pd(sum, product);
        let lost = _mm_add_pd(
            _mm_sub_pd(product, _mm_sub_pd(sum, of_c)),
            _mm_sub_pd(*c, of_c),
        );
        // False for NaN, which comes of sums that are not finite.
        let inexact = _mm_castpd_si128(_mm_or_pd(
            _mm_cmplt_pd(lost, zero),
            _mm_cmpgt_pd(lost, zero),
        ));
        let bits = _mm_castpd_si128(sum);
        let other_sign = _mm_xor_si128(bits, _mm_castpd_si128(lost));
        let overshot = _mm_srli_epi64::<63>(_mm_and_si128(other_sign, inexact));
        let odd = _mm_or_si128(_mm_sub_epi64(bits, overshot), _mm_srli_epi64::<63>(inexact));
        *c = _mm_cvtps_pd(_mm_cvtpd_ps(_mm_castsi128_pd(odd)));
    }
}
