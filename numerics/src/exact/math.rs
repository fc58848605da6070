//! Elementary functions from add, mul, div and sqrt alone.
//!
//! The f32 functions are computed in f64 (no fused operations, no tables) and rounded once, so that
//! they are nearly always correctly rounded; all are free of branches, so that loops over them
//! vectorise. `tests/functions` checks all 2^32 inputs of each; the figures here and in
//! docs/numerics.md are its. Knows no tensors.

/// Adding this rounds an f64 below 2^51 to an integer, which then stands in the low bits.
pub const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
/// The first part of ln 2; it has 32 trailing zero bits, so that its product with an exponent is
/// exact.
pub const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
/// The rest of ln 2.
pub const LN2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);

/// 1/n! for n = 13 down to 2.
pub const EXP: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// 1/n for odd n = 23 down to 3.
pub const LN: [f64; 11] = [
    1.0 / 23.0,
    1.0 / 21.0,
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
];

/// The bits of √½.
pub const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
/// The bits of an f64 below its exponent.
pub const MANTISSA: u64 = 0x000F_FFFF_FFFF_FFFF;

/// Coefficients of x³, x⁵ and x⁷ in the series of tanh; the last is subtracted.
pub const TANH: [f64; 3] = [-1.0 / 3.0, 2.0 / 15.0, 17.0 / 315.0];

/// e^x for |x| ≤ 700 (values beyond are taken as ±700): relative error below 4e-16. NaN gives NaN.
#[inline(always)]
pub fn exp_f64(x: f64) -> f64 {
    let x = if x > 700.0 { 700.0 } else { x };
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut p = EXP[0];
    for c in &EXP[1..] {
        p = p * r + c;
    }
    let value = 1.0 + (r + r * r * p);
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    value * power
}

/// Natural logarithm: relative error below 1e-15. ln 0 = -∞, below 0 NaN; subnormal f64 are out of
/// its range.
#[inline(always)]
pub fn ln_f64(x: f64) -> f64 {
    // x = 2^k · m with m in [√½, √2).
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let k = (bits as i64 >> 52) as i32 as f64;
    let m = f64::from_bits((bits & MANTISSA).wrapping_add(SQRT_HALF));
    // ln m = 2 artanh(s), by its series.
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let t = s * s;
    let mut p = LN[0];
    for c in &LN[1..] {
        p = p * t + c;
    }
    let value = k * LN2_HIGH + (2.0 * s + (2.0 * s * t * p + k * LN2_LOW));
    let value = if x == f64::INFINITY { x } else { value };
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f64::NAN }
}

/// cos x for |x| ≤ 2^20: absolute error below 4e-16; meant for learning-rate schedules.
pub fn cos_f64(x: f64) -> f64 {
    // π/2 in three parts of 33 bits: their products with k < 2^20 are exact.
    const A: f64 = f64::from_bits(0x3FF9_21FB_5440_0000);
    const B: f64 = f64::from_bits(0x3DD0_B461_1A60_0000);
    const C: f64 = f64::from_bits(0x3BA3_198A_2E03_7073);
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND;
    let k = shifted - ROUND;
    let r = ((x - k * A) - k * B) - k * C;
    let t = r * r;
    // Taylor: the terms left out are below 1e-17 for |r| ≤ π/4.
    let series = |first: f64, mut n: f64| {
        let (mut term, mut sum) = (first, first);
        for _ in 0..9 {
            term *= -t / ((n + 1.0) * (n + 2.0));
            n += 2.0;
            sum += term;
        }
        sum
    };
    match shifted.to_bits() & 3 {
        0 => series(1.0, 0.0),
        1 => -series(r, 1.0),
        2 => -series(1.0, 0.0),
        _ => series(r, 1.0),
    }
}

/// x^y for x > 0 as e^(y·ln x): relative error below 1e-15 · (1 + |y·ln x|).
pub fn pow_f64(x: f64, y: f64) -> f64 {
    exp_f64(y * ln_f64(x))
}

/// e^x, correctly rounded; overflows to ∞, underflows through the subnormals to 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_f64(f64::from(x)) as f32
}

/// Natural logarithm, correctly rounded but for 5 inputs, which are at most 0.500000001 ulp off. ln
/// 0 = -∞; below 0 NaN.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    ln_f64(f64::from(x)) as f32
}

/// Hyperbolic tangent, correctly rounded but for 276 inputs, which are at most 0.50007 ulp off;
/// keeps the sign of 0.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let t = x * x;
    // The series, where the quotient below would cancel.
    let small = x * (1.0 + t * (TANH[0] + t * (TANH[1] - t * TANH[2])));
    let e = exp_f64(2.0 * x);
    let large = (e - 1.0) / (e + 1.0);
    (if x.abs() < 0.0625 { small } else { large }) as f32
}

/// 1 / (1 + e^-x), correctly rounded but for 66 inputs, which are at most 0.500000003 ulp off.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + exp_f64(-f64::from(x)))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in representable numbers; specials must agree.
    fn ulps(got: f32, want: f32) -> u32 {
        if got.is_nan() && want.is_nan() {
            return 0;
        }
        let order = |v: f32| {
            let b = v.to_bits() as i32;
            if b < 0 { i32::MIN.wrapping_sub(b) } else { b }
        };
        if got.is_nan() || want.is_nan() {
            u32::MAX
        } else {
            order(got).abs_diff(order(want))
        }
    }

    /// Every 1019th bit pattern: 4.2 million inputs, subnormals, infinities and NaNs among them.
    fn sweep(name: &str, got: fn(f32) -> f32, want: fn(f64) -> f64) {
        let (mut worst, mut off) = (0, 0u32);
        for bits in (0..=u32::MAX).step_by(1019).chain([
            0x8000_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            1,
            0x8000_0001,
        ]) {
            let x = f32::from_bits(bits);
            let distance = ulps(got(x), want(f64::from(x)) as f32);
            assert!(
                distance <= 1,
                "{name}({x:e}) = {:e}, want {:e}",
                got(x),
                want(f64::from(x))
            );
            worst = worst.max(distance);
            off += u32::from(distance > 0);
        }
        assert!(
            off < 100,
            "{name}: {off} of 4.2 million not correctly rounded"
        );
    }

    #[test]
    fn within_one_ulp_everywhere() {
        sweep("exp", exp, f64::exp);
        sweep("ln", ln, f64::ln);
        sweep("tanh", tanh, f64::tanh);
        sweep("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
    }

    #[test]
    fn specials() {
        assert_eq!(
            (exp(f32::NEG_INFINITY), exp(f32::INFINITY), exp(0.0)),
            (0.0, f32::INFINITY, 1.0)
        );
        assert_eq!(
            (ln(0.0), ln(-0.0), ln(1.0), ln(f32::INFINITY)),
            (f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, f32::INFINITY)
        );
        assert!(
            ln(-1.0).is_nan()
                && exp(f32::NAN).is_nan()
                && tanh(f32::NAN).is_nan()
                && sigmoid(f32::NAN).is_nan()
        );
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(
            (
                tanh(f32::INFINITY),
                tanh(f32::NEG_INFINITY),
                sigmoid(f32::NEG_INFINITY)
            ),
            (1.0, -1.0, 0.0)
        );
    }

    #[test]
    fn f64_functions_are_close() {
        for i in -200_000..200_000 {
            let x = f64::from(i) * 0.00173;
            assert!((exp_f64(x) / x.exp() - 1.0).abs() < 4e-16, "exp {x}");
            assert!(
                (cos_f64(x * 30.0) - (x * 30.0).cos()).abs() < 4e-16,
                "cos {x}"
            );
            let y = x.abs() + 1e-9;
            assert!((ln_f64(y) - y.ln()).abs() <= 1e-15 * y.ln().abs(), "ln {y}");
        }
        assert!((pow_f64(0.999, 1000.0) / 0.999f64.powf(1000.0) - 1.0).abs() < 4e-15);
        assert_eq!((cos_f64(0.0), cos_f64(std::f64::consts::PI)), (1.0, -1.0));
    }

    #[test]
    fn bits_are_frozen() {
        let inputs = [
            -87.3f32,
            -3.7,
            -1.0,
            -0.01,
            1.0e-7,
            0.3,
            1.5,
            2.718_281_7,
            31.4,
            88.0,
        ];
        let bits = |f: fn(f32) -> f32| inputs.map(|x| f(x.abs()).to_bits());
        assert_eq!(bits(exp), FROZEN[0]);
        assert_eq!(bits(ln), FROZEN[1]);
        assert_eq!(bits(tanh), FROZEN[2]);
        assert_eq!(bits(sigmoid), FROZEN[3]);
    }

    const FROZEN: [[u32; 10]; 4] = [
        [
            2_121_715_822,
            1_109_510_667,
            1_076_754_516,
            1_065_437_523,
            1_065_353_217,
            1_068_288_045,
            1_083_140_607,
            1_098_020_826,
            1_444_784_022,
            2_130_215_607,
        ],
        [
            1_083_114_731,
            1_067_939_699,
            0,
            3_230_883_214,
            3_246_453_212,
            3_214_547_912,
            1_053_792_543,
            1_065_353_215,
            1_079_810_176,
            1_083_131_480,
        ],
        [
            1_065_353_216,
            1_065_332_718,
            1_061_353_430,
            1_008_981_412,
            869_711_765,
            1_049_962_222,
            1_063_761_868,
            1_065_207_739,
            1_065_353_216,
            1_065_353_216,
        ],
        [
            1_065_353_216,
            1_064_948_432,
            1_060_841_128,
            1_057_006_551,
            1_056_964_608,
            1_058_213_546,
            1_062_292_624,
            1_064_314_653,
            1_065_353_216,
            1_065_353_216,
        ],
    ];
}
