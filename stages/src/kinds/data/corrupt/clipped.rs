//! Which normal distribution gives bytes of a wanted mean and deviation, after rounding and
//! clipping to 0 to 255.
//!
//! The result is the same on every machine: `erfc` and `exp` come from the `libm` crate, and
//! bisection ends at the last bit.

use std::f64::consts::FRAC_1_SQRT_2;

/// Halvings of an interval: as many as an f64 has bits to give.
const HALVINGS: usize = 60;
/// Deviations beyond this many grey levels make no difference: nearly all bytes are 0 or 255 then.
const WIDEST: f64 = 255.0 * 1024.0;

/// Mean and deviation of the normal distribution behind bytes with this `mean` and deviation `std`,
/// all in grey levels. No bytes spread more than those that are all 0 and 255: near there, the
/// widest distribution that is looked at.
pub fn normal_behind(mean: f64, std: f64) -> (f64, f64) {
    if std <= 0.0 {
        return (mean, 0.0);
    }
    // The deviation of the bytes rises with that behind them; for each of these, their mean rises
    // with the mean behind them.
    let (mut low, mut high) = (std / 4.0, WIDEST);
    for _ in 0..HALVINGS {
        // Deviations lie orders of magnitude apart.
        let middle = (low * high).sqrt();
        let (_, of_bytes) = bytes(centre(mean, middle), middle);
        if of_bytes < std {
            low = middle;
        } else {
            high = middle;
        }
    }
    (centre(mean, high), high)
}

/// The mean behind bytes of this mean, where the deviation behind them is `width`.
fn centre(mean: f64, width: f64) -> f64 {
    let (mut low, mut high) = (mean - 255.0 - 8.0 * width, mean + 255.0 + 8.0 * width);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if bytes(middle, width).0 < mean {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Mean and deviation of the bytes that a normal distribution makes.
fn bytes(mean: f64, width: f64) -> (f64, f64) {
    // P(level > edge), and E(byte) = Σ P(byte > k), E(byte²) = Σ (2k + 1) P(byte > k).
    let above = |edge: f64| 0.5 * libm::erfc((edge - mean) / width * FRAC_1_SQRT_2);
    let (mut first, mut second) = (0.0, 0.0);
    for k in 0..255 {
        let level = f64::from(k);
        let share = above(level + 0.5);
        first += share;
        second += (2.0 * level + 1.0) * share;
    }
    (first, (second - first * first).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_43_bytes_have_the_moments_asked_for() {
        // Fashion-MNIST, MNIST, a channel of CIFAR-10, and a narrow one.
        for (mean, std) in [
            (0.286, 0.353),
            (0.1307, 0.3081),
            (0.4914, 0.247),
            (0.5, 0.01),
        ] {
            let (mean, std) = (255.0 * mean, 255.0 * std);
            let (centre, width) = normal_behind(mean, std);
            let (got_mean, got_std) = bytes(centre, width);
            assert!(
                (got_mean - mean).abs() < 1e-6 && (got_std - std).abs() < 1e-6,
                "{got_mean} {got_std}"
            );
            assert!(width >= 0.99 * std);
        }
        // As the kind drew them before: what the case was found by.
        let (mean, std) = bytes(255.0 * 0.286, 255.0 * 0.353);
        assert!((mean / 255.0 - 0.325).abs() < 0.001 && (std / 255.0 - 0.284).abs() < 0.001);
    }

    #[test]
    fn what_cannot_be_had_comes_near() {
        let (centre, width) = normal_behind(127.5, 127.5);
        assert!(bytes(centre, width).1 > 127.0);
        assert_eq!(normal_behind(9.0, 0.0), (9.0, 0.0));
    }
}
