//! The exact two-sided sign test: for samples too small to trust a t interval.

use super::student::incomplete_beta;

/// The probability, if a value fell above or below `threshold` with equal chance, of a split at
/// least as uneven as this one. Values that are `tolerance` or less from the threshold are left out
/// (Dixon & Mood 1946). Without any other value it is 1.
pub fn sign_test(values: &[f64], threshold: f64, tolerance: f64) -> f64 {
    let above = values.iter().filter(|v| **v > threshold + tolerance);
    let below = values.iter().filter(|v| **v < threshold - tolerance);
    let (above, below) = (above.count() as u64, below.count() as u64);
    let (n, few) = (above + below, above.min(below));
    if 2 * few >= n {
        return 1.0;
    }
    let tail = if n <= 100 {
        // Exact: sums of binomial coefficients up to n = 100 fit in 128 bits.
        let (mut coefficient, mut sum) = (1u128, 1u128);
        for i in 0..few {
            coefficient = coefficient * u128::from(n - i) / u128::from(i + 1);
            sum += coefficient;
        }
        sum as f64 / (1u128 << n) as f64
    } else {
        incomplete_beta((n - few) as f64, few as f64 + 1.0, 0.5, 0.5)
    };
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(above: usize, n: usize) -> Vec<f64> {
        (0..n).map(|i| if i < above { 1.0 } else { -1.0 }).collect()
    }

    // scipy 1.17: stats.binomtest(k, n, 0.5).pvalue
    #[test]
    fn against_scipy() {
        for (k, n, p) in [
            (5, 5, 0.0625),
            (4, 5, 0.375),
            (3, 6, 1.0),
            (0, 3, 0.25),
            (9, 10, 0.021484375),
        ] {
            assert_eq!(sign_test(&split(k, n), 0.0, 0.0), p, "{k} of {n}");
        }
        let p = sign_test(&split(20, 60), 0.0, 0.0);
        assert!((p - 0.01348929373119186).abs() < 1e-15, "{p}");
    }

    #[test]
    fn ties_are_left_out_and_large_samples_agree() {
        assert_eq!(sign_test(&[0.5, 0.5], 0.5, 0.0), 1.0);
        assert_eq!(sign_test(&[1.0, 1.0, 1.0, 0.5], 0.5, 0.0), 0.25);
        let exact = sign_test(&split(40, 100), 0.0, 0.0);
        let smooth = 2.0 * incomplete_beta(60.0, 41.0, 0.5, 0.5);
        assert!((exact - smooth).abs() < 1e-13 * exact, "{exact} {smooth}");
        assert!(sign_test(&split(900, 2000), 0.0, 0.0) < 1e-5);
    }
}
