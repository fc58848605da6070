//! The elementary functions of `exact-f32-v1` against independent ones, and the software fma
//! against the processor's.
//!
//! With `REPRO_EXHAUSTIVE=1` all 2^32 inputs of every function, minutes (`all`: of the costly ones
//! too); else every 1021st. Each input is first judged by the f64 functions of `libm`, which decide
//! nearly always: when moving their value by far more than its error does not change the f32 it
//! rounds to, then that is the correctly rounded result. Where it does, [`double`] decides.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod double;

use std::sync::atomic::{AtomicU64, Ordering};

use double::Double;
use rayon::prelude::*;
use repro_numerics::exact::chains::{Run, WIDTH};
use repro_numerics::exact::fma::{Fma, Magnitudes, Software, ordinary};
use repro_numerics::exact::rng::Stream;
use repro_numerics::exact::{math, normal};
use repro_numerics::kernels::{Path, activation};

/// Every input, or a sample.
fn exhaustive() -> bool {
    std::env::var_os("REPRO_EXHAUSTIVE").is_some_and(|v| v == "1" || v == "all")
}

/// Every input of the costly functions too.
fn all() -> bool {
    std::env::var_os("REPRO_EXHAUSTIVE").is_some_and(|v| v == "all")
}

/// A function to check, and what is known of it.
struct Function {
    name: &'static str,
    /// As kernels use it, on a path.
    ours: fn(Path, &[f32], &mut [f32]),
    /// In f64, off by less than a sixteenth of `quick_error`.
    quick: fn(f64) -> f64,
    /// Relative.
    quick_error: f64,
    exact: fn(f64) -> Double,
    /// How many of the 2^32 inputs are not correctly rounded.
    off: u64,
    /// The largest error, in last places: just above 0.5 where an input is off.
    ulps: f64,
    /// How many inputs have a result so near to the middle of two f32 that either may pass.
    middles: u64,
    /// All inputs take a quarter of an hour of processor time: `REPRO_EXHAUSTIVE=1` looks at every
    /// 31st.
    costly: bool,
}

/// Many times what is known of `libm`, whose functions are off by one or two last places of an f64.
const QUICK_ERROR: f64 = 1.0 / (1u64 << 46) as f64;
/// Of functions of `x²`, which is up to 200 and magnifies the error of `x/√2`.
const QUICK_ERROR_OF_SQUARE: f64 = 1.0 / (1u64 << 40) as f64;

fn each(f: fn(f32) -> f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
}

const EXP: Function = Function {
    name: "exp",
    ours: |_, x, y| each(math::exp, x, y),
    quick: libm::exp,
    quick_error: QUICK_ERROR,
    exact: double::exp,
    off: 0,
    ulps: 0.0,
    middles: 0,
    costly: false,
};
const LN: Function = Function {
    name: "ln",
    ours: |_, x, y| each(math::ln, x, y),
    quick: libm::log,
    quick_error: QUICK_ERROR,
    exact: double::ln,
    off: 5,
    ulps: 0.500_000_001,
    middles: 0,
    costly: false,
};
const TANH: Function = Function {
    name: "tanh",
    ours: activation::tanh,
    quick: libm::tanh,
    quick_error: QUICK_ERROR,
    exact: double::tanh,
    off: 276,
    ulps: 0.500_07,
    middles: 0,
    costly: false,
};
const SIGMOID: Function = Function {
    name: "sigmoid",
    ours: activation::sigmoid,
    quick: |x| 1.0 / (1.0 + libm::exp(-x)),
    quick_error: QUICK_ERROR,
    exact: double::sigmoid,
    off: 66,
    ulps: 0.500_000_003,
    middles: 0,
    costly: false,
};

const NORMAL_CDF: Function = Function {
    name: "normal_cdf",
    ours: |_, x, y| each(normal::normal_cdf, x, y),
    quick: |x| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
    quick_error: QUICK_ERROR_OF_SQUARE,
    exact: normal_cdf_anywhere,
    off: 19,
    ulps: 0.500_000_05,
    middles: 0,
    costly: true,
};
const GELU: Function = Function {
    name: "gelu",
    ours: |_, x, y| each(normal::gelu, x, y),
    quick: |x| {
        // -∞·0 has no value; the limit is -0.
        let x = if x < -30.0 { -30.0 } else { x };
        x * (0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2))
    },
    quick_error: QUICK_ERROR_OF_SQUARE,
    exact: |x| Double::from(x) * normal_cdf_anywhere(x),
    off: 24,
    ulps: 0.500_000_04,
    // Subnormal numbers with an odd last place: half of them lies in the middle, but for x².
    middles: 1 << 24,
    costly: true,
};

/// Beyond 20 the share is 0 or 1 to more digits than an f64 has.
fn normal_cdf_anywhere(x: f64) -> Double {
    double::normal_cdf(x.clamp(-20.0, 20.0))
}

/// Inputs at a time.
const PIECE: u64 = 1 << 14;

/// What was seen of a function.
#[derive(Default, Debug)]
struct Seen {
    inputs: u64,
    doubtful: u64,
    middles: u64,
    off: u64,
    /// The largest error, and where.
    worst: (f64, u32),
    /// Of the inputs that are off, the least and the largest magnitude.
    range: Option<(f32, f32)>,
}

impl Seen {
    fn and(self, other: Seen) -> Seen {
        Seen {
            inputs: self.inputs + other.inputs,
            doubtful: self.doubtful + other.doubtful,
            middles: self.middles + other.middles,
            off: self.off + other.off,
            worst: if other.worst.0 > self.worst.0 {
                other.worst
            } else {
                self.worst
            },
            range: match (self.range, other.range) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            },
        }
    }
}

/// The correctly rounded result, unless it lies nearer to the middle of two f32 than 100 bits can
/// tell; whether it took more than an f64.
fn want(f: &Function, x: f32) -> (Option<f32>, bool) {
    let value = (f.quick)(f64::from(x));
    let (low, high) = (
        (value * (1.0 - f.quick_error)) as f32,
        (value * (1.0 + f.quick_error)) as f32,
    );
    if low.to_bits() == high.to_bits() || value.is_nan() {
        return (Some(low), false);
    }
    ((f.exact)(f64::from(x)).to_f32(), true)
}

fn look(f: &Function, x: &[f32]) -> Seen {
    let mut seen = Seen {
        inputs: x.len() as u64,
        ..Seen::default()
    };
    let mut y = vec![0.0; x.len()];
    (f.ours)(Path::PLAIN, x, &mut y);
    let mut again = vec![0.0; x.len()];
    for path in Path::all() {
        (f.ours)(path, x, &mut again);
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(
            y.iter().zip(&again).all(same),
            "{} on {}: other bits than plain",
            f.name,
            path.name()
        );
    }
    for (x, y) in x.iter().zip(&y) {
        let (want, doubtful) = want(f, *x);
        seen.doubtful += u64::from(doubtful);
        let Some(want) = want else {
            let error = (f.exact)(f64::from(*x)).ulps(*y);
            assert!(error < 0.500_000_001, "{}({x:e}) = {y:e}", f.name);
            seen.middles += 1;
            continue;
        };
        if want.to_bits() == y.to_bits() || want.is_nan() && y.is_nan() {
            continue;
        }
        assert!(
            want.is_finite() && want != 0.0,
            "{}({x:e}) = {y:e}, want {want:e}",
            f.name
        );
        seen.off += 1;
        let error = (f.exact)(f64::from(*x)).ulps(*y);
        if error > seen.worst.0 {
            seen.worst = (error, x.to_bits());
        }
        let x = x.abs();
        let (least, most) = seen.range.unwrap_or((x, x));
        seen.range = Some((least.min(x), most.max(x)));
    }
    seen
}

#[track_caller]
fn check(f: &Function) {
    let step = match (exhaustive(), f.costly && !all()) {
        (false, _) => 1021,
        (true, true) => 31,
        (true, false) => 1,
    };
    let inputs = (1u64 << 32).div_ceil(step);
    let seen = (0..inputs.div_ceil(PIECE))
        .into_par_iter()
        .map(|piece| {
            let places = piece * PIECE..inputs.min((piece + 1) * PIECE);
            let x: Vec<f32> = places.map(|i| f32::from_bits((i * step) as u32)).collect();
            look(f, &x)
        })
        .reduce(Seen::default, Seen::and);
    println!(
        "{:<8} {} of {} inputs not correctly rounded (magnitudes {:?}), at most {:.9} ulp (at {:e}); {} took more than an f64 to judge",
        f.name,
        seen.off,
        seen.inputs,
        seen.range,
        seen.worst.0,
        f32::from_bits(seen.worst.1),
        seen.doubtful,
    );
    if seen.middles > 0 {
        println!(
            "{:<8} {} too near to the middle of two f32",
            f.name, seen.middles
        );
    }
    assert!(seen.worst.0 <= f.ulps, "{}: {seen:?}", f.name);
    assert!(
        seen.middles == 0 || f.middles > 0 && seen.middles <= f.middles,
        "{}: {seen:?}",
        f.name
    );
    if step == 1 {
        assert_eq!(
            seen.off, f.off,
            "{}: the bits have changed: {seen:?}",
            f.name
        );
    } else {
        assert!(seen.off <= f.off, "{}: {seen:?}", f.name);
    }
}

#[test]
fn exp() {
    check(&EXP);
}

#[test]
fn ln() {
    check(&LN);
}

#[test]
fn tanh() {
    check(&TANH);
}

#[test]
fn sigmoid() {
    check(&SIGMOID);
}

#[test]
fn normal_cdf() {
    check(&NORMAL_CDF);
}

#[test]
fn gelu() {
    check(&GELU);
}

/// The quick judge is as good as the verdicts assume.
#[test]
fn the_quick_functions_are_within_their_error() {
    for f in [EXP, LN, TANH, SIGMOID, NORMAL_CDF, GELU] {
        let worst = (0..1u32 << 16)
            .into_par_iter()
            .map(|i| f64::from(f32::from_bits(i * 65_535)))
            .filter(|x| match f.name {
                "ln" => x.is_finite() && *x > 0.0,
                "normal_cdf" | "gelu" => x.abs() < 15.0 && *x != 0.0,
                _ => x.abs() < 300.0,
            })
            .map(|x| {
                let exact = (f.exact)(x);
                ((Double::from((f.quick)(x)) - exact).hi / exact.hi).abs()
            })
            .reduce(|| 0.0, f64::max);
        println!("{:<8} {worst:e}", f.name);
        assert!(worst < f.quick_error / 16.0, "{}: {worst:e}", f.name);
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Operands that are hard in some way: any bits; cancellation to a few last places; the middle
/// between two f32; subnormal results; few bits, which tie often.
fn operands(random: &mut Stream, sort: u64) -> (f32, f32, f32) {
    let mut any = || f32::from_bits(random.next_u32());
    let (a, b, c) = (any(), any(), any());
    let bits = c.to_bits();
    let with_exponent = |v: f32, e: u32| f32::from_bits(v.to_bits() & 0x807f_ffff | e << 23);
    match sort % 5 {
        0 => (a, b, c),
        1 => {
            let (a, b) = (with_exponent(a, 100 + bits % 50), with_exponent(b, 127));
            let near = -(a * b);
            (
                a,
                b,
                f32::from_bits(near.to_bits().wrapping_add(bits >> 8 & 7).wrapping_sub(3)),
            )
        }
        2 => {
            // (1 + i)(1 - i) = 1 - i²: half a last place of `c`, but for less than an f64 can tell.
            let i = (bits & 0x1ff) as f32 * f32::EPSILON;
            let half = (1.0 - i) / 16_777_216.0;
            let sign = if bits >> 31 == 0 { 1.0 } else { -1.0 };
            (1.0 + i, half * sign, with_exponent(a, 127))
        }
        3 => (
            with_exponent(a, 40 + bits % 40),
            with_exponent(b, 60 + (bits >> 8) % 5),
            f32::from_bits(bits & 0x81ff_ffff),
        ),
        _ => {
            let short = |v: f32| {
                with_exponent(
                    f32::from_bits(v.to_bits() & 0xfff8_0000),
                    120 + (v.to_bits() & 15),
                )
            };
            (short(a), short(b), with_exponent(c, 118 + bits % 24))
        }
    }
}

/// One at a time, and sixteen chains at a time as the plain path computes them. The other side is
/// the processor's instruction or the C library's `fmaf`.
#[test]
fn software_fma() {
    let rounds: u64 = if exhaustive() { 1 << 25 } else { 1 << 16 };
    let twice = AtomicU64::new(0);
    let pieces = 256;
    (0..pieces).into_par_iter().for_each(|piece| {
        let mut random = Stream::new(piece, "software fma", 0, 0);
        let mut double_rounding = 0;
        for round in 0..rounds / pieces {
            let (value, ..) = operands(&mut random, round);
            let mut init = [0.0; WIDTH];
            let mut weights = [0.0; WIDTH];
            for j in 0..WIDTH {
                let (a, b, c) = operands(&mut random, round);
                let want = a.mul_add(b, c);
                assert!(same(Software::fma(a, b, c), want), "{a:e} * {b:e} + {c:e}");
                double_rounding += u64::from(!same(
                    (f64::from(a) * f64::from(b) + f64::from(c)) as f32,
                    want,
                ));
                (weights[j], init[j]) = (b, c);
            }
            let fine = ordinary(
                Magnitudes::of(&[value]),
                Magnitudes::of(&weights),
                Magnitudes::of(&init),
                1,
            );
            let run = Run {
                values: &value,
                offsets: [0],
                step: 1,
                weights: weights.as_ptr(),
                line: WIDTH,
                len: 1,
                used: WIDTH,
                ordinary: fine,
            };
            let mut chains = [Software::begin(&init)];
            // SAFETY: one value and one line of weights exist.
            unsafe { Software::run(&mut chains, &run) };
            let got = Software::end(&chains[0]);
            for j in 0..WIDTH {
                let want = value.mul_add(weights[j], init[j]);
                assert!(
                    same(got[j], want),
                    "{value:e} * {:e} + {:e} in a run",
                    weights[j],
                    init[j]
                );
            }
        }
        twice.fetch_add(double_rounding, Ordering::Relaxed);
    });
    let (twice, all) = (twice.into_inner(), rounds * WIDTH as u64);
    println!(
        "fma      {all} triples; {twice} of them would be wrong if f64 were simply rounded again"
    );
    assert!(
        twice > all / 1000,
        "these operands tell nothing apart: {twice} of {all}"
    );
}
