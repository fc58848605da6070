//! Differences of decimal numbers as written: 0.85 − 0.86 is −0.01, although the nearest binary
//! fractions differ by a little less.

/// `a − b` in decimals: of the shortest decimal texts that mean `a` and `b`, rounded once. Where
/// their digits lie too far apart for that, the difference of the binary fractions.
pub fn difference(a: f64, b: f64) -> f64 {
    let exact = || {
        let ((a, a_power), (b, b_power)) = (decimal(a)?, decimal(b)?);
        let power = a_power.min(b_power);
        let digits = scaled(a, a_power - power)?.checked_sub(scaled(b, b_power - power)?)?;
        // The parser rounds to nearest, on every machine alike.
        format!("{digits}e{power}").parse().ok()
    };
    exact().unwrap_or(a - b)
}

/// Digits and power of ten of the shortest text that is read as `x`.
fn decimal(x: f64) -> Option<(i128, i32)> {
    let text = format!("{x:e}");
    let (mantissa, power) = text.split_once('e')?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}").parse().ok()?;
    let power = power.parse::<i32>().ok()?;
    Some((digits, power - i32::try_from(part.len()).ok()?))
}

fn scaled(digits: i128, by: i32) -> Option<i128> {
    digits.checked_mul(10i128.checked_pow(by.try_into().ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_subtracted_as_written() {
        for (a, b, d) in [
            (0.85, 0.86, -0.01),
            (0.75, 0.76, -0.01),
            (0.3, 0.1, 0.2),
            (1e21, 1.0, 1e21 - 1.0),
            (1.5, -0.5, 2.0),
            (0.5, 0.5, 0.0),
            (1e300, 1e-300, 1e300),
            (f64::MAX, f64::MIN_POSITIVE, f64::MAX),
        ] {
            assert_eq!(difference(a, b), d, "{a} - {b}");
        }
    }

    proptest! {
        #[test]
        fn near_the_binary_difference(a in -1e3f64..1e3, b in -1e3f64..1e3) {
            let off = (difference(a, b) - (a - b)).abs();
            prop_assert!(off <= 2.0 * f64::EPSILON * a.abs().max(b.abs()));
        }
    }
}
