//! The normal distribution in f64, through the error function of `libm`.

use super::crossing::crossing;

/// P(Z ≤ z).
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The z with P(Z ≤ z) = `p`, for 0 < p < 1; infinite at the ends.
pub fn normal_quantile(p: f64) -> f64 {
    // Beyond 40 the tail is no f64 any more.
    const FAR: f64 = 40.0;
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    if p == 0.5 {
        return 0.0;
    }
    // The lower tail keeps its digits where it is small; 1 − p is exact for p > 1/2.
    let tail = p.min(1.0 - p);
    let (z, _) = crossing(-FAR, 0.0, |z| normal_cdf(z) < tail);
    if p < 0.5 { z } else { -z }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // scipy 1.17: stats.norm.cdf(z), stats.norm.ppf(p)
    #[test]
    fn against_scipy() {
        for (z, value) in [
            (0.0, 0.5),
            (1.0, 0.8413447460685429),
            (-1.96, 0.024997895148220435),
            (-10.0, 7.61985302416047e-24),
        ] {
            assert!((normal_cdf(z) - value).abs() <= 1e-14 * value, "{z}");
        }
        for (p, value) in [
            (0.975, 1.959963984540054),
            (0.025, -1.959963984540054),
            (0.9, 1.2815515655446004),
            (1e-12, -7.034483825301132),
        ] {
            assert!(
                (normal_quantile(p) - value).abs() < 1e-13 * value.abs(),
                "{p}"
            );
        }
    }

    proptest! {
        #[test]
        fn quantile_inverts_cdf(p in 1e-9f64..1.0) {
            prop_assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-14);
        }
    }
}
