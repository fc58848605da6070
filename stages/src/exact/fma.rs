//! Fused multiply-add with the same bits everywhere: the processor's own, or [`Software`] where it has none.

/// How `a·b + c` with one rounding is computed; all implementations agree on every bit but the payload of a NaN.
pub trait Fma: Copy + Send + Sync + 'static {
    /// `a·b + c`, rounded once.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// The processor's instruction; only inside functions compiled for processors that have it, else a library call.
#[derive(Debug, Clone, Copy)]
pub struct Hardware;

impl Fma for Hardware {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Built from f64 arithmetic.
#[derive(Debug, Clone, Copy)]
pub struct Software;

impl Fma for Software {
    /// The product of two f32 is exact in f64. The sum with `c` is rounded to odd (truncated, and its last bit set when
    /// anything was lost), after which the rounding to f32 is as if from the exact sum, because f64 has more than two
    /// bits to spare (Boldo & Melquiond 2008). Branch-free, so that loops over it vectorise.
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        let product = f64::from(a) * f64::from(b);
        let c = f64::from(c);
        let sum = product + c;
        // Knuth's TwoSum: `lost` is what rounding took from the sum, exactly; NaN when the sum is not finite.
        let of_c = sum - product;
        let lost = (product - (sum - of_c)) + (c - of_c);
        let inexact = u64::from(lost.abs() > 0.0);
        let bits = sum.to_bits();
        // The sum overshot when what was lost has the other sign.
        let overshot = ((bits ^ lost.to_bits()) >> 63) & inexact;
        f64::from_bits((bits - overshot) | inexact) as f32
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
}
