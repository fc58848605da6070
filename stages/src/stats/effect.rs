//! Effect sizes: differences in units of the spread.

use super::noncentral::noncentrality;
use super::{Interval, Summary};

/// A difference in standard deviations, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The estimate.
    pub size: f64,
    /// The exact interval for normal data, by the noncentral t distribution.
    pub interval: Option<Interval>,
}

/// Cohen's d of one sample, of differences d_z: (mean − `from`) / sd (Cohen 1988, *Statistical
/// Power Analysis*, 2.3.5). `None` without spread.
pub fn cohen_d(sample: &Summary, from: f64, confidence: f64) -> Option<Effect> {
    let sd = sample.sd.filter(|sd| *sd > 0.0)?;
    let (size, root) = ((sample.mean - from) / sd, (sample.n as f64).sqrt());
    let interval = noncentrality(size * root, (sample.n - 1) as f64, confidence);
    Some(Effect {
        size,
        interval: interval.map(|i| Interval {
            low: i.low / root,
            high: i.high / root,
        }),
    })
}

/// Hedges' g of two samples: J · (mean a − mean b) / s with the pooled standard deviation s of m =
/// n_a + n_b − 2 degrees of freedom and J = Γ(m/2) / (√(m/2)·Γ((m − 1)/2)), which takes out the
/// bias of few values (Hedges 1981). `None` without spread.
pub fn hedges_g(a: &Summary, b: &Summary) -> Option<f64> {
    let squares = |s: &Summary| s.sd.map(|sd| sd * sd * (s.n - 1) as f64);
    let freedom = (a.n + b.n - 2) as f64;
    let pooled = ((squares(a)? + squares(b)?) / freedom).sqrt();
    let log_j = libm::lgamma(freedom / 2.0)
        - 0.5 * libm::log(freedom / 2.0)
        - libm::lgamma((freedom - 1.0) / 2.0);
    (pooled > 0.0).then(|| libm::exp(log_j) * (a.mean - b.mean) / pooled)
}
