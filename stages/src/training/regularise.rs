//! What a step is asked for beside the loss of its images: mixed images, confident outputs that
//! cost, small changes that must not fool the network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use repro_numerics::exact::rng::Stream;

/// What a recipe asks for. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Regularisers {
    /// Images are mixed.
    pub mixup: Option<Mixup>,
    /// What confident outputs cost; 0: nothing.
    pub confidence_penalty: f64,
    /// Changed images are learnt too.
    pub adversarial: Option<Adversarial>,
}

/// Mixup (Zhang et al. 2018, equation 2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// λ is drawn from Beta(alpha, alpha), above 0 and at most 4. The paper has 0.1 to 0.4 for
    /// ImageNet and 1 for CIFAR.
    pub alpha: f64,
}

/// Adversarial training by the fast gradient sign (Goodfellow et al. 2015, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// How far each value of an image moves, in units of the normalised values; above 0.
    pub epsilon: f64,
    /// What the loss of the moved images counts beside that of the images, which counts 1;
    /// above 0.
    pub weight: f64,
}

/// Above it the way λ is drawn rejects nearly everything.
const ALPHA_MAX: f64 = 4.0;

impl Regularisers {
    /// Mistakes: the parameter of `train`, and what is wrong with it.
    pub fn problems(&self) -> Vec<(&'static [&'static str], String)> {
        let mut found: Vec<(&'static [&'static str], String)> = Vec::new();
        let mut check = |at, value: f64, good: bool, what: &str| {
            if !good {
                found.push((at, format!("must be {what}, got {value}")));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if let Some(Mixup { alpha }) = self.mixup {
            let good = positive(alpha) && alpha <= ALPHA_MAX;
            check(&["mixup", "alpha"], alpha, good, "above 0 and at most 4");
        }
        let penalty = self.confidence_penalty;
        let good = penalty.is_finite() && penalty >= 0.0;
        check(
            &["confidence_penalty"],
            penalty,
            good,
            "finite and not negative",
        );
        if let Some(Adversarial { epsilon, weight }) = self.adversarial {
            let what = "finite and above 0";
            check(
                &["adversarial", "epsilon"],
                epsilon,
                positive(epsilon),
                what,
            );
            check(&["adversarial", "weight"], weight, positive(weight), what);
        }
        found
    }
}

impl Mixup {
    /// λ of a step: Beta(alpha, alpha) by Jöhnk's method (1964), `x/(x + y)` of the first pair
    /// `x = u^(1/alpha)`, `y = v^(1/alpha)` with a sum of at most 1.
    pub fn share(self, seed: u64, epoch: u64, step: u64) -> f32 {
        let mut stream = Stream::new(seed, "mixup", epoch, step);
        let mut power = || libm::pow(stream.uniform_f64(), 1.0 / self.alpha);
        loop {
            let (x, y) = (power(), power());
            if x + y > 0.0 && x + y <= 1.0 {
                return (x / (x + y)) as f32;
            }
        }
    }
}

/// Replaces each image by `fma(share, image, (1 - share)·next)`; the next of the last is the first.
pub fn mix(share: f32, features: usize, inputs: &mut [f32]) {
    let first = inputs[..features.min(inputs.len())].to_vec();
    let rest = 1.0 - share;
    for at in (0..inputs.len()).step_by(features.max(1)) {
        let (here, after) = inputs[at..].split_at_mut(features);
        let next = if after.is_empty() {
            &first
        } else {
            &after[..features]
        };
        for (x, next) in here.iter_mut().zip(next) {
            *x = share.mul_add(*x, rest * next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of Beta(a, a) is 1/2, its variance 1/(8a + 4).
    #[test]
    fn shares_are_of_the_beta_distribution() {
        for alpha in [0.2, 1.0, 2.5] {
            let n = 20_000;
            let drawn: Vec<f64> = (0..n)
                .map(|step| f64::from(Mixup { alpha }.share(1, 0, step)))
                .collect();
            let mean = drawn.iter().sum::<f64>() / n as f64;
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let want = 1.0 / (8.0 * alpha + 4.0);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!(
                (variance / want - 1.0).abs() < 0.04,
                "{alpha}: {variance} {want}"
            );
        }
    }

    #[test]
    fn each_image_is_mixed_with_the_next() {
        let mut inputs = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0];
        mix(0.75, 2, &mut inputs);
        assert_eq!(inputs, [3.25, 6.5, 32.5, 65.0, 75.25, 150.5]);
        let mut one = [5.0, 7.0];
        mix(0.25, 2, &mut one);
        assert_eq!(one, [5.0, 7.0]);
    }
}
