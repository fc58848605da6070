//! The elementary functions to about 100 bits, slowly: numbers are unevaluated sums of two f64
//! (Dekker 1971; Joldes, Muller & Popescu 2017). Shares no code with what it judges; knows nothing
//! of f32 but how to round to it.

/// `hi + lo`, with `lo` at most half a last place of `hi`.
#[derive(Debug, Clone, Copy)]
pub struct Double {
    pub hi: f64,
    pub lo: f64,
}

/// Every function here is off by less than this, relatively: each takes a few hundred operations at
/// most, each off by a few times 2^-106, and errors of early terms of a series or fraction die out.
pub const ERROR: f64 = 1.0 / (1u128 << 92) as f64;

const ONE: Double = Double { hi: 1.0, lo: 0.0 };
/// ln 2 to 107 bits.
const LN_2: Double = Double {
    hi: std::f64::consts::LN_2,
    lo: 2.319_046_813_846_299_6e-17,
};

/// `a + b` without loss.
fn two_sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    let of_b = hi - a;
    Double {
        hi,
        lo: (a - (hi - of_b)) + (b - of_b),
    }
}

impl From<f64> for Double {
    fn from(hi: f64) -> Double {
        Double { hi, lo: 0.0 }
    }
}

impl std::ops::Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        Double {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl std::ops::Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let (high, low) = (two_sum(self.hi, other.hi), two_sum(self.lo, other.lo));
        let first = two_sum(high.hi, high.lo + low.hi);
        two_sum(first.hi, first.lo + low.lo)
    }
}

impl std::ops::Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl std::ops::Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let hi = self.hi * other.hi;
        let lost = self.hi.mul_add(other.hi, -hi);
        two_sum(hi, lost + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl std::ops::Div for Double {
    type Output = Double;
    fn div(self, other: Double) -> Double {
        let first = Double::from(self.hi / other.hi);
        let rest = self - first * other;
        let second = Double::from(rest.hi / other.hi);
        let rest = rest - second * other;
        first + second + Double::from(rest.hi / other.hi)
    }
}

/// `2^k` for a normal result.
fn power_of_2(k: i32) -> f64 {
    f64::from_bits(((1023 + k) as u64) << 52)
}

/// `first + first·t/(a·b) + ..`, the divisors being the next two integers each time.
fn series(first: Double, mut n: f64, t: Double) -> Double {
    let (mut term, mut sum) = (first, first);
    for _ in 0..20 {
        term = term * t / Double::from((n + 1.0) * (n + 2.0));
        n += 2.0;
        sum = sum + term;
    }
    sum
}

/// e^x for |x| < 700.
pub fn exp(x: f64) -> Double {
    let k = (x * std::f64::consts::LOG2_E).round();
    let r = Double::from(x) - Double::from(k) * LN_2;
    // cosh r + sinh r: |r| is at most 0.35, the first terms left out are below 2^-220.
    let t = r * r;
    let value = series(ONE, 0.0, t) + series(r, 1.0, t);
    let power = power_of_2(k as i32);
    Double {
        hi: value.hi * power,
        lo: value.lo * power,
    }
}

/// ln x for a normal x > 0.
pub fn ln(x: f64) -> Double {
    let bits = x.to_bits();
    let mut k = (bits >> 52) as i32 - 1023;
    let mut m = f64::from_bits((bits & ((1 << 52) - 1)) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        (m, k) = (m / 2.0, k + 1);
    }
    // 2 artanh s: s² is below 2^-5, the first term left out below 2^-125 of the sum.
    let s = Double::from(m - 1.0) / two_sum(m, 1.0);
    let t = s * s;
    let (mut power, mut sum) = (s, s);
    for n in 1..24 {
        power = power * t;
        sum = sum + power / Double::from(f64::from(2 * n + 1));
    }
    Double::from(f64::from(k)) * LN_2 + sum + sum
}

/// tanh x.
pub fn tanh(x: f64) -> Double {
    if x.abs() < 1.0 {
        let t = Double::from(x) * Double::from(x);
        series(Double::from(x), 1.0, t) / series(ONE, 0.0, t)
    } else {
        let e = exp(2.0 * x);
        (e - ONE) / (e + ONE)
    }
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f64) -> Double {
    ONE / (ONE + exp(-x))
}

/// 1/√(2π).
const DENSITY: Double = Double {
    hi: 0.3989422804014327,
    lo: -2.49232720227773e-17,
};

/// Φ(x), the share of a standard normal distribution below `x`, for an `x` of at most 26 bits (its
/// square must be exact) and at most 30.
pub fn normal_cdf(x: f64) -> Double {
    let a = Double::from(x.abs());
    let density = exp(-0.5 * (x * x)) * DENSITY;
    if x.abs() < 2.5 {
        // ½ ± φ(a)·(a + a³/3 + a⁵/(3·5) + ..); below -2 up to seven bits cancel.
        let (mut term, mut sum) = (a, a);
        for n in 1..60 {
            term = term * a * a / Double::from(f64::from(2 * n + 1));
            sum = sum + term;
        }
        let part = density * sum;
        let half = Double::from(0.5);
        return if x < 0.0 { half - part } else { half + part };
    }
    // Laplace's continued fraction of Mills' ratio, from its end: φ(a)/(a + 1/(a + 2/(a + ..))).
    let mut below = a;
    for n in (1..300).rev() {
        below = a + Double::from(f64::from(n)) / below;
    }
    let tail = density / below;
    if x < 0.0 { tail } else { ONE - tail }
}

impl Double {
    /// The nearest f32 if this number, off by up to [`ERROR`], leaves no doubt.
    pub fn to_f32(self) -> Option<f32> {
        let slack = self.hi.abs() * ERROR;
        let round = |lo: f64| {
            // Rounded to odd, so that the rounding to f32 is the only one.
            let sum = two_sum(self.hi, lo);
            if sum.lo == 0.0 {
                return sum.hi as f32;
            }
            let over = u64::from((sum.lo > 0.0) != (sum.hi > 0.0));
            f64::from_bits((sum.hi.to_bits() - over) | 1) as f32
        };
        let (low, high) = (round(self.lo - slack), round(self.lo + slack));
        (low.to_bits() == high.to_bits()).then_some(low)
    }

    /// How far `got` is from this number, in last places of an f32 of its size.
    pub fn ulps(self, got: f32) -> f64 {
        let exponent = ((self.hi.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(-126);
        ((self - Double::from(f64::from(got))).hi / power_of_2(exponent - 23)).abs()
    }
}

/// Against values to 40 digits (Python's `decimal` with 130 digits: `Decimal(x).exp()` and so on, Φ
/// by its series).
#[test]
fn these_are_right_to_a_hundred_bits() {
    let same = |got: Double, hi: f64, lo: f64| {
        let error = (got - Double { hi, lo }).hi / hi;
        assert!(error.abs() < ERROR, "{got:?}, want {hi:e} + {lo:e}");
    };
    KNOWN
        .iter()
        .for_each(|(f, x, hi, lo)| same(f(*x), *hi, *lo));
}

type Known = (fn(f64) -> Double, f64, f64, f64);
const KNOWN: [Known; 22] = [
    (exp, 1.0, std::f64::consts::E, 1.4456468917292502e-16),
    (
        exp,
        -2.9802322387695312e-08,
        0.9999999701976781,
        -4.4116299007469435e-24,
    ),
    (exp, -100.5, 2.256340135917036e-44, 1.4495434372921381e-60),
    (exp, 88.25, 2.120742930535254e+38, 1.3744173199953419e+22),
    (ln, 10.0, std::f64::consts::LN_10, -2.1707562233822494e-16),
    (
        ln,
        0.9999999403953552,
        -5.960464655174753e-08,
        -4.411633089059919e-24,
    ),
    (ln, 0.75, -0.2876820724517809, -2.607160616442564e-17),
    (
        ln,
        8.96831017167883e-43,
        -96.81746172707814,
        6.125627748100428e-15,
    ),
    (
        tanh,
        0.0003662109375,
        0.00036621092112909624,
        1.0841974053497277e-20,
    ),
    (tanh, 0.0625, 0.062418746747512514, 1.5112489404944624e-19),
    (tanh, 0.75, 0.6351489523872873, 1.7012977006564836e-17),
    (tanh, 3.5, 0.9981778976111987, 2.5870171246124584e-17),
    (
        sigmoid,
        9.5367431640625e-07,
        0.5000002384185791,
        -1.8070036208090097e-20,
    ),
    (sigmoid, -0.5, 0.37754066879814546, -2.695376417313478e-17),
    (sigmoid, -90.0, 8.194012623990515e-40, 7.410727010388849e-56),
    (sigmoid, 12.0, 0.9999938558253978, -7.43154129049498e-18),
    (
        normal_cdf,
        -13.5,
        7.818807305657891e-42,
        -2.154204819188238e-58,
    ),
    (
        normal_cdf,
        -2.75,
        0.002979763235054557,
        -8.361096827434876e-20,
    ),
    (
        normal_cdf,
        -2.25,
        0.012224472655044703,
        5.289738210594361e-19,
    ),
    (
        normal_cdf,
        -9.5367431640625e-07,
        0.49999961953899347,
        -1.4556217398238906e-17,
    ),
    (normal_cdf, 1.5, 0.9331927987311419, 1.9181303749492976e-17),
    (normal_cdf, 4.0, 0.9999683287581669, 5.72832992261269e-20),
];
