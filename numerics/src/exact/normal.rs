//! The normal distribution function and GELU, of add, mul and div alone, like [`super::math`].
//!
//! In f64, rounded once. The tail is Mills' ratio: `Φ(-a) = e^(-a²/2)·P(s)/(1 + a)` with
//! `s = (a - 4)/(a + 4)`, so that its relative error stays small however small it gets. Knows no
//! tensors.

use super::math::exp_f64;

/// Magnitudes beyond this are taken as this: `Φ(-16)` is 6e-58, which is 0 in f32.
pub const FAR: f64 = 16.0;

/// `P`, highest power first: the Chebyshev interpolation of degree 17 of `Φ(-a)·e^(a²/2)·(1 + a)`
/// over `0 ≤ a ≤ 16` in powers of `s`, made with mpmath's `chebyfit` at 60 digits; its error is
/// 2.5e-15.
pub const MILLS: [f64; 18] = [
    1.0407017216317331e-07,
    4.893943733188247e-07,
    2.5791769969539016e-07,
    -2.641860114970629e-06,
    -3.3591434517374336e-06,
    1.3663451591599992e-05,
    2.123399444363338e-05,
    -8.786651248582637e-05,
    -9.442912085502438e-05,
    0.0006948994371690423,
    -0.0002856229716390933,
    -0.00500237879485962,
    0.017936097455149666,
    -0.03219783742012576,
    0.028600364054741288,
    0.013999634724326094,
    -0.09670347732654042,
    0.4720532065098448,
];

/// 1/√(2π).
pub const DENSITY: f64 = 0.398_942_280_401_432_7;
/// √(2/π) (Hendrycks & Gimpel 2016).
pub const TANH_SCALE: f64 = 0.797_884_560_802_865_4;
/// The weight of the cube.
pub const TANH_CUBE: f64 = 0.044_715;

/// `x`, brought to ±[`FAR`]; NaN stays NaN.
#[inline(always)]
fn near(x: f64) -> f64 {
    let x = if x > FAR { FAR } else { x };
    if x < -FAR { -FAR } else { x }
}

/// `Φ(x)` and `e^(-x²/2)` for `|x| ≤ 16`; exact products need an `x` of 26 bits or fewer, as an f32
/// has.
#[inline(always)]
fn normal_parts(x: f64) -> (f64, f64) {
    let a = x.abs();
    let bell = exp_f64(-0.5 * (a * a));
    let s = (a - 4.0) / (a + 4.0);
    let mut p = MILLS[0];
    for c in &MILLS[1..] {
        p = p * s + c;
    }
    let tail = bell * p / (1.0 + a);
    (if x > 0.0 { 1.0 - tail } else { tail }, bell)
}

/// `Φ(x)`, the share of a standard normal distribution below `x`, at most 1 ulp off; below -14.2 it
/// underflows to 0.
#[inline(always)]
pub fn normal_cdf(x: f32) -> f32 {
    normal_parts(near(f64::from(x))).0 as f32
}

/// GELU (Hendrycks & Gimpel 2016), `x·Φ(x)`, at most 1 ulp off; `-∞` gives -0, the limit.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    let limited = near(x);
    let factor = if x < -FAR { limited } else { x };
    (factor * normal_parts(limited).0) as f32
}

/// The derivative of [`gelu`], `Φ(x) + x·φ(x)`, at most 1 ulp off.
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    let x = near(f64::from(x));
    let (below, bell) = normal_parts(x);
    (below + x * (DENSITY * bell)) as f32
}

/// `u = √(2/π)·(x + 0.044715·x³)` and `1/(1 + e^-2u)`, which is `(1 + tanh u)/2`.
#[inline(always)]
fn tanh_parts(x: f64) -> f64 {
    let u = TANH_SCALE * (x + TANH_CUBE * (x * x * x));
    1.0 / (1.0 + exp_f64(-2.0 * u))
}

/// GELU's approximation by tanh, `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, at most 1 ulp off;
/// `-∞` gives -0.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let limited = near(x);
    let factor = if x < -FAR { limited } else { x };
    (factor * tanh_parts(limited)) as f32
}

/// The derivative of [`gelu_tanh`], at most 1 ulp off.
#[inline(always)]
pub fn gelu_tanh_slope(x: f32) -> f32 {
    let x = near(f64::from(x));
    let s = tanh_parts(x);
    let du = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * (x * x));
    (s + x * (s * (1.0 - s)) * (2.0 * du)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(got: f32, want: f32) -> u32 {
        let order = |v: f32| {
            let b = v.to_bits() as i32;
            if b < 0 { i32::MIN.wrapping_sub(b) } else { b }
        };
        match (got.is_nan(), want.is_nan()) {
            (true, true) => 0,
            (false, false) => order(got).abs_diff(order(want)),
            _ => u32::MAX,
        }
    }

    /// Every 4093rd finite bit pattern against `want`.
    fn sweep(name: &str, got: fn(f32) -> f32, want: fn(f64) -> f64) {
        let mut off = 0;
        for bits in (0..=u32::MAX).step_by(4093) {
            let x = f32::from_bits(bits);
            if x.is_infinite() {
                continue;
            }
            let (got, want) = (got(x), want(f64::from(x)) as f32);
            assert!(
                ulps(got, want) <= 1,
                "{name}({x:e}) = {got:e}, want {want:e}"
            );
            // a half of an odd subnormal is a tie, for the reference too
            off += u32::from(got != want && want.abs() >= f32::MIN_POSITIVE);
        }
        assert!(off < 40, "{name}: {off} of a million not correctly rounded");
    }

    fn cdf(x: f64) -> f64 {
        0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn half_tanh(x: f64) -> f64 {
        // (1 + tanh u)/2 without cancellation
        1.0 / (1.0 + libm::exp(-2.0 * TANH_SCALE * (x + TANH_CUBE * x * x * x)))
    }

    #[test]
    fn within_one_ulp_everywhere() {
        sweep("Φ", normal_cdf, cdf);
        sweep("gelu", gelu, |x| x * cdf(x));
        sweep("gelu'", gelu_slope, |x| {
            cdf(x) + x * DENSITY * libm::exp(-0.5 * x * x)
        });
        sweep("gelu_tanh", gelu_tanh, |x| x * half_tanh(x));
        sweep("gelu_tanh'", gelu_tanh_slope, |x| {
            let s = half_tanh(x);
            let du = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
            // the last factors may be 0·∞ far out
            if x.abs() > 30.0 {
                s
            } else {
                s + 2.0 * x * s * half_tanh(-x) * du
            }
        });
    }

    #[test]
    fn limits() {
        let inf = f32::INFINITY;
        for f in [gelu, gelu_tanh] {
            assert_eq!((f(inf), f(0.0)), (inf, 0.0));
            assert_eq!(f(-inf).to_bits(), (-0.0f32).to_bits());
            assert_eq!(f(-0.0).to_bits(), (-0.0f32).to_bits());
            assert!(f(f32::NAN).is_nan());
        }
        for f in [gelu_slope, gelu_tanh_slope] {
            assert_eq!((f(inf), f(0.0), f(-inf)), (1.0, 0.5, 0.0));
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!(
            (normal_cdf(inf), normal_cdf(-inf), normal_cdf(0.0)),
            (1.0, 0.0, 0.5)
        );
    }

    #[test]
    fn bits_are_frozen() {
        let inputs = [
            -13.7f32, -5.3, -1.0, -0.751, -0.01, 1.0e-7, 0.3, 1.5, 4.2, 31.4,
        ];
        let bits = |f: fn(f32) -> f32| inputs.map(|x| f(x).to_bits());
        let got = [gelu, gelu_slope, gelu_tanh, gelu_tanh_slope].map(bits);
        assert_eq!(got, FROZEN);
    }

    const FROZEN: [[u32; 10]; 4] = [
        [
            2_147_488_611,
            3_030_696_147,
            3_189_929_606,
            3_190_688_998,
            3_147_991_139,
            861_323_158,
            1_044_238_985,
            1_068_706_891,
            1_082_549_744,
            1_106_981_683,
        ],
        [
            2_147_551_635,
            3_050_951_382,
            3_182_076_237,
            968_045_023,
            1_056_696_891,
            1_056_964_609,
            1_060_862_421,
            1_066_422_505,
            1_065_355_181,
            1_065_353_216,
        ],
        [
            2_147_483_648,
            3_001_765_589,
            3_189_939_857,
            3_190_693_643,
            3_147_991_139,
            861_323_158,
            1_044_238_817,
            1_068_705_065,
            1_082_549_807,
            1_106_981_683,
        ],
        [
            2_147_483_648,
            3_025_813_690,
            3_182_029_075,
            975_510_306,
            1_056_696_891,
            1_056_964_609,
            1_060_861_879,
            1_066_424_532,
            1_065_354_340,
            1_065_353_216,
        ],
    ];
}
