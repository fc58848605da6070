//! Distributions whose numbers do not depend on the shape they fill.

use repro_numerics::exact::normal::normal_cdf;
use repro_numerics::exact::rng::Stream;

/// What numbers are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Draws {
    /// Always this.
    Constant(f32),
    /// U(-limit, limit).
    Uniform(f32),
    /// N(0, std²).
    Normal(f32),
    /// N(0, std²) cut at ±2 std.
    Truncated(f32),
    /// This or its negative.
    Signed(f32),
    /// U(low, high).
    Between { low: f64, high: f64 },
    /// N(mean, std²), drawn again until it lies within `low..=high`.
    Within {
        mean: f64,
        std: f64,
        low: f64,
        high: f64,
    },
}

/// Of a normal distribution at least this share must be kept, or drawing takes too long.
const KEPT_MIN: f32 = 1e-3;

impl Draws {
    /// N(mean, std²), all of it.
    pub(super) fn normal(mean: f64, std: f64) -> Draws {
        Draws::Within {
            mean,
            std,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        }
    }

    /// What is wrong with the numbers, if anything.
    pub(super) fn problem(self) -> Option<String> {
        match self {
            Draws::Constant(c) if !c.is_finite() => {
                Some(format!("the constant must be finite, got {c}"))
            }
            Draws::Uniform(x) | Draws::Normal(x) | Draws::Truncated(x) | Draws::Signed(x)
                if !(x.is_finite() && x >= 0.0) =>
            {
                Some(format!("must be finite and not negative, got {x}"))
            }
            Draws::Between { low, high }
                if !(low.is_finite() && high.is_finite() && low <= high) =>
            {
                Some(format!(
                    "from {low} to {high} is no range: both ends must be finite, the lower first"
                ))
            }
            Draws::Within { low, high, .. } if low > high => Some(format!(
                "from {low} to {high} is no range: the lower end comes first"
            )),
            Draws::Within { mean, std, .. }
                if !(mean.is_finite() && std.is_finite() && std >= 0.0) =>
            {
                Some(format!(
                    "mean and standard deviation must be finite and the latter not negative, got {mean} and {std}"
                ))
            }
            Draws::Within {
                mean,
                std,
                low,
                high,
            } => {
                let below = |x: f64| match std > 0.0 {
                    true => normal_cdf(((x - mean) / std) as f32),
                    false => f32::from(u8::from(x >= mean)),
                };
                let kept = below(high) - below(low);
                let is_point = std == 0.0 && (low..=high).contains(&mean);
                // written so that NaN is a problem too
                let enough = kept >= KEPT_MIN || is_point;
                (!enough).then(|| {
                    format!("from {low} to {high} lies less than 0.1 % of the normal distribution")
                })
            }
            _ => None,
        }
    }

    /// So many numbers.
    pub(super) fn take(self, len: usize, stream: &mut Stream) -> Vec<f32> {
        let mut values = Vec::with_capacity(len);
        match self {
            Draws::Constant(c) => values.resize(len, c),
            // u in [0, 1) is a multiple of 2^-24, so 2u - 1 is exact and one rounding is left
            Draws::Uniform(limit) => {
                values.extend((0..len).map(|_| (2.0 * stream.uniform() - 1.0) * limit));
            }
            // the sign of what `Uniform` takes from the same stream
            Draws::Signed(size) => {
                let sign = |u: f32| if 2.0 * u - 1.0 < 0.0 { -size } else { size };
                values.extend((0..len).map(|_| sign(stream.uniform())));
            }
            Draws::Normal(std) => values.extend((0..len).map(|_| stream.normal() * std)),
            Draws::Truncated(std) => values.extend((0..len).map(|_| {
                loop {
                    let z = stream.normal();
                    if z.abs() <= 2.0 {
                        return z * std;
                    }
                }
            })),
            Draws::Between { low, high } => values.extend(
                (0..len).map(|_| (low + (high - low) * f64::from(stream.uniform())) as f32),
            ),
            Draws::Within {
                mean,
                std,
                low,
                high,
            } => values.extend((0..len).map(|_| {
                loop {
                    let x = mean + std * f64::from(stream.normal());
                    if (low..=high).contains(&x) {
                        return x as f32;
                    }
                }
            })),
        }
        values
    }
}
