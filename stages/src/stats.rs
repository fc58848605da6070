//! Statistics of few runs: mean, spread, intervals, paired comparison.
//!
//! Every result ends in a hashed artifact, so it must have the same bits on every machine: sums run
//! in the order given, and transcendental functions come from the `libm` crate, never from the
//! system. Knows no table and no file.

mod bootstrap;
mod crossing;
mod effect;
mod exact;
mod noncentral;
mod normal;
mod ranks;
mod sequence;
mod sign;
mod student;
mod trend;
mod votes;

pub use bootstrap::bca;
pub use effect::{Effect, cohen_d, hedges_g};
pub use exact::difference;
pub use ranks::{SignedRank, hodges_lehmann, signed_rank};
pub use sequence::{anytime, evidence};
pub use sign::sign_test;
pub use student::{t_above, t_cdf, t_quantile};
pub use trend::{Made, Trend, jonckheere};
pub use votes::clopper_pearson;

/// A sample, summarised. There is no mean without its `n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of values; at least 1.
    pub n: usize,
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation (divisor n − 1); needs two values.
    pub sd: Option<f64>,
    /// The two-sided Student t interval of the mean; needs two values.
    pub interval: Option<Interval>,
}

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Summary {
    /// Half the interval's width.
    pub fn half_width(&self) -> Option<f64> {
        self.interval.map(|i| (i.high - i.low) / 2.0)
    }
}

/// The arithmetic mean; NaN without values. Equal values have exactly their own mean: a rounded one
/// would fake a spread.
pub fn mean(values: &[f64]) -> f64 {
    match values {
        [first, rest @ ..] if rest.iter().all(|v| v == first) => *first,
        _ => values.iter().sum::<f64>() / values.len() as f64,
    }
}

/// How far rounding may have moved the ends of a *t* interval: a few units in the last place of the
/// numbers it was made of, of which none is larger than `scale`; an error of the standard deviation
/// counts as often as the deviation itself.
pub fn rounding(scale: f64, n: usize, confidence: f64) -> f64 {
    const UNITS: f64 = 8.0;
    let deviations = match n {
        0 | 1 => 0.0,
        _ => t_quantile(0.5 + confidence / 2.0, (n - 1) as f64) / (n as f64).sqrt(),
    };
    UNITS * f64::EPSILON * scale * (1.0 + deviations)
}

/// The sample standard deviation, with divisor n - 1; `None` below two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let n = values.len();
    (n >= 2).then(|| {
        let mean = mean(values);
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        (squares / (n - 1) as f64).sqrt()
    })
}

/// Summarises finite values, `0 < confidence < 1`; `None` without values. Of paired data, give the
/// differences: this then is the paired t interval.
pub fn summarise(values: &[f64], confidence: f64) -> Option<Summary> {
    if values.is_empty() {
        return None;
    }
    let n = values.len();
    let mean = mean(values);
    let sd = deviation(values);
    let interval = sd.map(|sd| {
        let half = t_quantile(0.5 + confidence / 2.0, (n - 1) as f64) * sd / (n as f64).sqrt();
        Interval {
            low: mean - half,
            high: mean + half,
        }
    });
    Some(Summary {
        n,
        mean,
        sd,
        interval,
    })
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod simulated;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "{a} is not {b}");
    }

    // scipy 1.17: stats.t.interval(0.95, n - 1, mean, sd / sqrt(n))
    #[test]
    fn one_sample() {
        let s = summarise(&[0.812, 0.835, 0.821, 0.80], 0.95).unwrap();
        assert_eq!(s.n, 4);
        close(s.mean, 0.817);
        close(s.sd.unwrap(), 0.014764823060233356);
        close(s.interval.unwrap().low, 0.7935058717018962);
        close(s.interval.unwrap().high, 0.8404941282981037);
    }

    // scipy 1.17: stats.ttest_rel(a, b).confidence_interval(c)
    #[test]
    fn paired_difference() {
        let a = [0.394, 0.401, 0.388, 0.397, 0.392];
        let b = [0.361, 0.37, 0.372, 0.35, 0.391];
        let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        for (confidence, low, high) in [
            (0.95, 0.003745302695345478, 0.04745469730465457),
            (0.9, 0.00881923738818156, 0.04238076261181847),
        ] {
            let interval = summarise(&d, confidence).unwrap().interval.unwrap();
            close(interval.low, low);
            close(interval.high, high);
        }
    }

    #[test]
    fn few_and_equal_values() {
        assert_eq!(summarise(&[], 0.95), None);
        assert_eq!(
            summarise(&[3.0], 0.95),
            Some(Summary {
                n: 1,
                mean: 3.0,
                sd: None,
                interval: None
            })
        );
        let equal = summarise(&[0.1; 7], 0.95).unwrap();
        assert_eq!(
            (equal.mean, equal.sd, equal.interval),
            (
                0.1,
                Some(0.0),
                Some(Interval {
                    low: 0.1,
                    high: 0.1
                })
            )
        );
    }

    /// Artifacts hold these bits: a change must raise the revisions of `summarise` and `claim`.
    #[test]
    fn bits_are_frozen() {
        let s = summarise(&[0.812, 0.835, 0.821, 0.80], 0.95).unwrap();
        let bits = [
            s.mean,
            s.sd.unwrap(),
            s.interval.unwrap().low,
            s.interval.unwrap().high,
        ]
        .map(f64::to_bits);
        assert_eq!(
            bits,
            [
                4605534101336399806,
                4579664962789982496,
                4605322485041502337,
                4605745717631297275
            ]
        );
    }
}
