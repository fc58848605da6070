//! Fused multiply-add with the same bits everywhere: the processor's own, or [`Software`] where it
//! has none; one at a time, and as runs of many chains side by side.

use super::chains::{Run, WIDTH};
#[cfg(target_arch = "x86_64")]
use super::sse2;

/// How `a·b + c` with one rounding is computed; all implementations agree on every bit but the
/// payload of a NaN.
pub trait Fma: Copy + Send + Sync + 'static {
    /// [`WIDTH`] chains in progress.
    type Chains: Copy;

    /// `a·b + c`, rounded once.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// Chains that start from these values.
    fn begin(values: &[f32; WIDTH]) -> Self::Chains;

    /// The values of the chains so far.
    fn end(chains: &Self::Chains) -> [f32; WIDTH];

    /// Every chain takes `run.len` steps `acc = fma(value, weight, acc)`: chain `j` of row `p`
    /// multiplies `values[offsets[p] + i·step]` with `weights[i·line + j]` in step `i`. Chains from
    /// `run.used` up may be left as they are.
    ///
    /// # Safety
    /// All these indices lie within what `values` and `weights` point to.
    unsafe fn run<const P: usize>(chains: &mut [Self::Chains; P], run: &Run<P>);
}

/// The run spelled out, for `F` of which loops over [`Fma::fma`] vectorise.
///
/// # Safety
/// As [`Fma::run`].
#[inline(always)]
unsafe fn run_each<F: Fma, const P: usize>(chains: &mut [[f32; WIDTH]; P], run: &Run<P>) {
    let (mut values, mut weights) = (run.values, run.weights);
    for _ in 0..run.len {
        // SAFETY: the caller's promise; the pointers only step beyond after the last use, with
        // wrapping arithmetic.
        let line = unsafe { weights.cast::<[f32; WIDTH]>().read() };
        for p in 0..P {
            // SAFETY: as above.
            let value = unsafe { *values.add(run.offsets[p]) };
            for j in 0..WIDTH {
                chains[p][j] = F::fma(value, line[j], chains[p][j]);
            }
        }
        values = values.wrapping_add(run.step);
        weights = weights.wrapping_add(run.line);
    }
}

/// The processor's instruction; only inside functions compiled for processors that have it, else a
/// library call.
#[derive(Debug, Clone, Copy)]
pub struct Hardware;

impl Fma for Hardware {
    type Chains = [f32; WIDTH];

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn begin(values: &[f32; WIDTH]) -> [f32; WIDTH] {
        *values
    }

    #[inline(always)]
    fn end(chains: &[f32; WIDTH]) -> [f32; WIDTH] {
        *chains
    }

    #[inline(always)]
    unsafe fn run<const P: usize>(chains: &mut [[f32; WIDTH]; P], run: &Run<P>) {
        // SAFETY: the caller's promise.
        unsafe { run_each::<Hardware, P>(chains, run) }
    }
}

/// Built from f64 arithmetic.
#[derive(Debug, Clone, Copy)]
pub struct Software;

impl Fma for Software {
    #[cfg(target_arch = "x86_64")]
    type Chains = sse2::Chains;
    #[cfg(not(target_arch = "x86_64"))]
    type Chains = [f32; WIDTH];

    /// The product of two f32 is exact in f64: 48 bits, exponents between -298 and 256. The sum
    /// with `c` is rounded to odd (truncated, and its last bit set when anything was lost), after
    /// which the rounding to f32 is as if from the exact sum, because f64 has more than two bits to
    /// spare (Boldo & Melquiond 2008); a subnormal result has fewer bits still. Branch-free, so
    /// that loops over it vectorise.
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        let product = f64::from(a) * f64::from(b);
        let c = f64::from(c);
        let sum = product + c;
        // Knuth's TwoSum: `lost` is what rounding took from the sum, exactly; NaN when the sum is
        // not finite.
        let of_c = sum - product;
        let lost = (product - (sum - of_c)) + (c - of_c);
        let inexact = u64::from(lost.abs() > 0.0);
        let bits = sum.to_bits();
        // The sum overshot when what was lost has the other sign.
        let overshot = ((bits ^ lost.to_bits()) >> 63) & inexact;
        f64::from_bits((bits - overshot) | inexact) as f32
    }

    #[inline(always)]
    fn begin(values: &[f32; WIDTH]) -> Self::Chains {
        #[cfg(target_arch = "x86_64")]
        return sse2::Chains::begin(values);
        #[cfg(not(target_arch = "x86_64"))]
        return *values;
    }

    #[inline(always)]
    fn end(chains: &Self::Chains) -> [f32; WIDTH] {
        #[cfg(target_arch = "x86_64")]
        return chains.end();
        #[cfg(not(target_arch = "x86_64"))]
        return *chains;
    }

    #[inline(always)]
    unsafe fn run<const P: usize>(chains: &mut [Self::Chains; P], run: &Run<P>) {
        // SAFETY: the caller's promise.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            sse2::run(chains, run);
        }
        // SAFETY: the caller's promise.
        #[cfg(not(target_arch = "x86_64"))]
        unsafe {
            run_each::<Software, P>(chains, run)
        }
    }
}

/// Whether chains of at most `steps` products from `values` and `weights` that start from `init`
/// are all [`Run::ordinary`]. Sufficient, not necessary.
///
/// Above: the sum of the products' magnitudes stays below 2^121, and so does the start. Below: all
/// products, and with them all sums, are multiples of 2^-149, so that a sum that is subnormal in
/// f32 is exact.
pub fn ordinary(values: Magnitudes, weights: Magnitudes, init: Magnitudes, steps: usize) -> bool {
    let finite = [values, weights, init].iter().all(|m| m.most < 255);
    // Biased exponents: a product's last place is 2^(least - 2·127 - 2·23).
    let exact_below = values.least + weights.least >= 2 * 127 + 2 * 23 - 149;
    let doublings = steps.checked_ilog2().map_or(0, |l| l as i32 + 1);
    let small = values.most + weights.most - 2 * 127 + 2 + doublings <= 121;
    finite && exact_below && small && doublings <= 24 && init.most - 127 < 120
}

/// The largest and the least biased exponent in a slice; of zeros only, 0 and 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Magnitudes {
    /// Of the numbers that are not 0; subnormal ones count as 0, infinities and NaN as 255.
    pub least: i32,
    /// As above.
    pub most: i32,
}

impl Magnitudes {
    /// Of no numbers, or of zeros.
    pub const ZEROS: Magnitudes = Magnitudes {
        least: 255,
        most: 0,
    };

    /// Looks at every value.
    pub fn of(values: &[f32]) -> Magnitudes {
        let (mut least, mut most) = (i32::MAX, 0);
        for v in values {
            let bits = (v.to_bits() & 0x7fff_ffff) as i32;
            most = if bits > most { bits } else { most };
            // Zeros wrap to the largest number.
            let below = bits.wrapping_sub(1) & i32::MAX;
            least = if below < least { below } else { least };
        }
        Magnitudes {
            least: least.saturating_add(1) >> 23,
            most: most >> 23,
        }
    }

    /// Of both.
    pub fn and(self, other: Magnitudes) -> Magnitudes {
        Magnitudes {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rng::Stream;

    #[track_caller]
    fn agree(a: f32, b: f32, c: f32) {
        let (soft, hard) = (Software::fma(a, b, c), a.mul_add(b, c));
        assert!(
            soft.to_bits() == hard.to_bits() || soft.is_nan() && hard.is_nan(),
            "{a:e} ({:08x}) * {b:e} ({:08x}) + {c:e} ({:08x}) = {hard:e}, got {soft:e}",
            a.to_bits(),
            b.to_bits(),
            c.to_bits()
        );
    }

    #[test]
    fn corners() {
        let tiny = f32::from_bits(1);
        let mut values = vec![
            0.0,
            1.0,
            1.0 + f32::EPSILON,
            1.0 - f32::EPSILON / 2.0,
            3.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            tiny,
            3.0 * tiny,
        ];
        values.extend([
            f32::MIN_POSITIVE - tiny,
            f32::INFINITY,
            f32::NAN,
            1.0e-23,
            1.0e-30,
            0.5 * f32::MAX,
            16_777_216.0,
            16_777_217.0,
        ]);
        values.extend(values.clone().iter().map(|v| -v));
        for &a in &values {
            for &b in &values {
                for &c in &values {
                    agree(a, b, c);
                }
            }
        }
    }

    #[test]
    fn random_bit_patterns() {
        let mut random = Stream::new(1, "fma", 0, 0);
        for _ in 0..2_000_000 {
            let mut next = || f32::from_bits(random.next_u32());
            agree(next(), next(), next());
        }
    }

    #[test]
    fn near_cancellation_and_near_underflow() {
        let mut random = Stream::new(2, "fma", 0, 0);
        for i in 0..2_000_000u32 {
            let a = f32::from_bits(random.next_u32());
            let b = random.uniform() + 0.5;
            // c within a few places of -a·b: massive cancellation, and ties.
            let c = -(a * b);
            agree(
                a,
                b,
                f32::from_bits(c.to_bits().wrapping_add(random.below(5)).wrapping_sub(2)),
            );
            // A product of about 2^-126..2^-160 and a subnormal c.
            let small = f32::from_bits((40 + i % 40) << 23 | random.next_u32() >> 9);
            let smaller = f32::from_bits((60 + i % 5) << 23 | random.next_u32() >> 9);
            agree(
                small,
                smaller,
                f32::from_bits(random.next_u32() & 0x80ff_ffff),
            );
        }
    }

    /// Three rows of chains against scalars, with the care the operands ask for and with all of it.
    #[track_caller]
    fn runs_agree(
        values: &[f32],
        weights: &[[f32; WIDTH]],
        init: &[f32; WIDTH],
        used: usize,
    ) -> bool {
        let len = weights.len();
        assert!(values.len() >= 3 * len);
        let all = Magnitudes::of(weights.as_flattened());
        let fine = ordinary(Magnitudes::of(values), all, Magnitudes::of(init), len);
        for ordinary in [fine, false] {
            let run = Run {
                values: values.as_ptr(),
                offsets: [0, len, 2 * len],
                step: 1,
                weights: weights.as_ptr().cast(),
                line: WIDTH,
                len,
                used,
                ordinary,
            };
            let mut chains = [Software::begin(init); 3];
            // SAFETY: three rows of `len` values and `len` lines of weights exist.
            unsafe { Software::run(&mut chains, &run) };
            for (p, chains) in chains.iter().enumerate() {
                let got = Software::end(chains);
                for j in 0..used {
                    let terms = values[p * len..][..len].iter().zip(weights);
                    let want = terms.fold(init[j], |acc, (v, w)| v.mul_add(w[j], acc));
                    assert!(
                        got[j].to_bits() == want.to_bits() || got[j].is_nan() && want.is_nan(),
                        "row {p}, chain {j} of {used}: {want:e}, got {:e} (ordinary: {ordinary})",
                        got[j]
                    );
                }
            }
        }
        fine
    }

    /// Runs of seeded operands; how many of 2000 were ordinary.
    #[track_caller]
    fn runs(
        seed: u64,
        mut value: impl FnMut(&mut Stream) -> f32,
        mut start: impl FnMut(&mut Stream) -> f32,
    ) -> u32 {
        let mut random = Stream::new(seed, "fma runs", 0, 0);
        let mut fine = 0;
        for i in 0..2000 {
            let len = 1 + random.below(9) as usize;
            let values: Vec<f32> = (0..3 * len).map(|_| value(&mut random)).collect();
            let weights: Vec<[f32; WIDTH]> = (0..len)
                .map(|_| [0.0; WIDTH].map(|_| value(&mut random)))
                .collect();
            let init = [0.0; WIDTH].map(|_| start(&mut random));
            fine += u32::from(runs_agree(&values, &weights, &init, 1 + i % WIDTH));
        }
        fine
    }

    #[test]
    fn runs_of_usual_and_of_any_numbers() {
        assert_eq!(runs(1, Stream::normal, Stream::normal), 2000);
        let any = |r: &mut Stream| f32::from_bits(r.next_u32());
        assert!(runs(2, any, any) < 200);
        // Sparse ones, of both zeros.
        let sparse = |r: &mut Stream| [0.0, -0.0, r.normal()][r.below(3) as usize];
        assert_eq!(runs(3, sparse, sparse), 2000);
    }

    #[test]
    fn runs_through_ties() {
        // Few bits: sums often lie in the very middle.
        let short = |r: &mut Stream| (r.below(9) as f32 - 4.0) * 0.5;
        let odd = |r: &mut Stream| 8_388_608.0 * (1.0 + r.uniform());
        assert_eq!(runs(4, short, odd), 2000);
    }

    /// One chain among sixteen whose 53-bit sum is a tie that the exact sum is not.
    #[test]
    fn a_run_with_one_double_rounding() {
        let mut random = Stream::new(5, "fma runs", 0, 0);
        let mut caught = 0;
        for _ in 0..2000 {
            let i = 1.0 + random.below(300) as f32;
            let ulp = f32::EPSILON;
            // (1 + iu)(1 - iu) = 1 - i²u²: beside c in [64, 128) the last term is lost in f64.
            let value = 1.0 + i * ulp;
            let critical = (1.0 - i * ulp) / 262_144.0;
            let mut weights = [0.0; WIDTH].map(|_| random.normal());
            let at = random.below(16) as usize;
            weights[at] = if random.below(2) == 0 {
                critical
            } else {
                -critical
            };
            let init = [0.0; WIDTH].map(|_| 64.0 * (1.0 + random.uniform()));
            assert!(runs_agree(&[value; 3], &[weights], &init, WIDTH));
            let twice = f64::from(value) * f64::from(weights[at]) + f64::from(init[at]);
            caught += u32::from(twice as f32 != value.mul_add(weights[at], init[at]));
        }
        assert!(caught > 300, "only {caught} cases tell the difference");
    }

    #[test]
    fn runs_at_the_edges_of_the_ordinary() {
        // The least operands that are ordinary, and sums among the subnormals.
        let scaled = |exponent: i32| {
            move |r: &mut Stream| {
                (1.0 + r.uniform())
                    * (if r.below(2) == 0 { 1.0 } else { -1.0 })
                    * 2f32.powi(exponent)
            }
        };
        let subnormal = |r: &mut Stream| f32::from_bits(r.next_u32() & 0x80ff_ffff);
        assert_eq!(runs(6, scaled(-51), subnormal), 2000);
        assert_eq!(runs(7, scaled(-52), subnormal), 0);
        assert_eq!(runs(8, scaled(-63), subnormal), 0);
        // The largest, and beyond.
        assert_eq!(runs(9, scaled(57), scaled(119)), 2000);
        assert!(runs(10, scaled(63), scaled(127)) == 0);
        let infinite = |r: &mut Stream| {
            [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, r.normal()][r.below(4) as usize]
        };
        assert!(runs(11, infinite, infinite) < 20);
        assert!(!ordinary(
            Magnitudes::of(&[f32::INFINITY]),
            Magnitudes::of(&[0.0]),
            Magnitudes::ZEROS,
            1
        ));
        assert!(!ordinary(
            Magnitudes::of(&[f32::NAN]),
            Magnitudes::of(&[0.0]),
            Magnitudes::ZEROS,
            1
        ));
        assert!(ordinary(
            Magnitudes::of(&[-0.0]),
            Magnitudes::of(&[]),
            Magnitudes::ZEROS,
            0
        ));
    }
}
