//! Optimizers as written in a pipeline file: which rule moves the weights in which step, and what
//! it remembers. Knows no device.
//!
//! The rules are PyTorch's (`torch.optim.SGD`, `Adam`, `AdamW`), element by element; all parameters
//! are decayed alike, biases and batch norm included, as PyTorch does by default, unless
//! [`Decays`] says otherwise. The arithmetic is [`repro_numerics::kernels::optim`]'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use repro_numerics::kernels::optim::{self, AdamPowers, Rule};

/// The rule by which weights follow gradients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Kingma & Ba 2015.
    Adam(Adam),
    /// Adam with decoupled weight decay: Loshchilov & Hutter 2019.
    Adamw(Adamw),
}

/// v ← momentum·v + g; w ← w - lr·v (Nesterov: w - lr·(g + momentum·v)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// In [0, 1).
    #[serde(default)]
    pub momentum: f64,
    /// Nesterov's variant; needs momentum.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: WeightDecay,
}

/// m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)g²; w ← w - lr/(1-β₁ᵗ) · m / (√v/√(1-β₂ᵗ) + eps).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// Learning rate.
    #[serde(default = "adam_lr")]
    pub lr: f64,
    /// Decay rates of the two averages, in [0, 1).
    #[serde(default = "adam_betas")]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "adam_eps")]
    pub eps: f64,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: WeightDecay,
}

/// [`Adam`] with weight decay apart from the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adamw {
    /// Learning rate.
    #[serde(default = "adam_lr")]
    pub lr: f64,
    /// Decay rates of the two averages, in [0, 1).
    #[serde(default = "adam_betas")]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "adam_eps")]
    pub eps: f64,
    /// w ← w·(1 - lr·weight_decay) before the step.
    #[serde(default = "adamw_decay")]
    pub weight_decay: f64,
}

/// How weights shrink.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecay {
    /// Not at all.
    #[default]
    None,
    /// This times the weight is added to the gradient (PyTorch's `weight_decay` of SGD and Adam).
    L2(f64),
    /// w ← w·(1 - lr·this) before the step.
    Decoupled(f64),
}

/// Which parameters weight decay applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decays {
    /// All that are trained, biases and the gains and shifts of norms included: PyTorch's default.
    #[default]
    All,
    /// Weights of dense layers and convolutions alone.
    Weights,
}

fn adam_lr() -> f64 {
    1e-3
}

fn adam_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn adam_eps() -> f64 {
    1e-8
}

fn adamw_decay() -> f64 {
    0.01
}

impl Optimizer {
    /// The learning rate before any schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Optimizer::Sgd(o) => o.lr,
            Optimizer::Adam(o) => o.lr,
            Optimizer::Adamw(o) => o.lr,
        }
    }

    /// Whether it says how weights shrink, be it by 0.
    pub fn says_decay(&self) -> bool {
        let plain = |decay: WeightDecay| decay != WeightDecay::None;
        match self {
            Optimizer::Sgd(o) => plain(o.weight_decay),
            Optimizer::Adam(o) => plain(o.weight_decay),
            Optimizer::Adamw(_) => true,
        }
    }

    /// What is wrong with the numbers: the field and the reason.
    pub fn problems(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut found = Vec::new();
        let mut check = |path: [&'static str; 2], value: f64, ok: bool, what: &str| {
            if !(value.is_finite() && ok) {
                found.push((path.to_vec(), format!("must be {what}, got {value}")));
            }
        };
        let (name, lr, decay) = match *self {
            Optimizer::Sgd(o) => {
                check(
                    ["sgd", "momentum"],
                    o.momentum,
                    (0.0..1.0).contains(&o.momentum),
                    "at least 0 and below 1",
                );
                ("sgd", o.lr, o.weight_decay)
            }
            Optimizer::Adam(o) => ("adam", o.lr, o.weight_decay),
            Optimizer::Adamw(o) => ("adamw", o.lr, WeightDecay::Decoupled(o.weight_decay)),
        };
        check([name, "lr"], lr, lr >= 0.0, "0 or more");
        if let WeightDecay::L2(x) | WeightDecay::Decoupled(x) = decay {
            check([name, "weight_decay"], x, x >= 0.0, "0 or more");
        }
        if let Optimizer::Adam(Adam { betas, eps, .. })
        | Optimizer::Adamw(Adamw { betas, eps, .. }) = *self
        {
            for b in betas {
                check(
                    [name, "betas"],
                    b,
                    (0.0..1.0).contains(&b),
                    "at least 0 and below 1",
                );
            }
            check([name, "eps"], eps, eps >= 0.0, "0 or more");
        }
        if let Optimizer::Sgd(Sgd {
            nesterov: true,
            momentum: 0.0,
            ..
        }) = self
        {
            found.push((
                vec!["sgd", "nesterov"],
                "Nesterov's variant needs momentum above 0".into(),
            ));
        }
        found
    }
}

/// What an optimizer remembers of one parameter, in memory layout and the host's memory, as a state
/// keeps it; empty where it needs nothing. In a training it is the device's
/// ([`crate::ops::Moments`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostMoments {
    /// Momentum, or Adam's mean of gradients.
    pub first: Vec<f32>,
    /// Adam's mean of squared gradients.
    pub second: Vec<f32>,
}

impl HostMoments {
    /// The memory before the first step.
    pub fn new(optimizer: &Optimizer, len: usize) -> HostMoments {
        match optimizer {
            Optimizer::Sgd(Sgd { momentum: 0.0, .. }) => HostMoments::default(),
            Optimizer::Sgd(_) => HostMoments {
                first: vec![0.0; len],
                second: Vec::new(),
            },
            Optimizer::Adam(_) | Optimizer::Adamw(_) => HostMoments {
                first: vec![0.0; len],
                second: vec![0.0; len],
            },
        }
    }
}

/// An optimizer with its count of steps.
#[derive(Debug, Clone)]
pub struct Stepper {
    optimizer: Optimizer,
    powers: AdamPowers,
}

impl Stepper {
    /// After so many steps.
    pub fn after(optimizer: Optimizer, steps: u64) -> Stepper {
        let powers = match optimizer.betas() {
            Some((beta1, beta2)) => AdamPowers::after(beta1, beta2, steps),
            None => AdamPowers::default(),
        };
        Stepper { optimizer, powers }
    }

    /// Begins the next step, at learning rate `lr`: the rule moves each parameter once.
    pub fn advance(&mut self, lr: f64) -> Rule {
        let lr = lr as f32;
        let corrections = match self.optimizer.betas() {
            Some((beta1, beta2)) => self.powers.advance(beta1, beta2),
            None => (1.0, 1.0),
        };
        let adam = |betas: [f64; 2], eps: f64, decay: WeightDecay| optim::Adam {
            lr,
            beta1: betas[0] as f32,
            beta2: betas[1] as f32,
            eps: eps as f32,
            decay: decay.into(),
            corrections,
        };
        match self.optimizer {
            Optimizer::Sgd(o) => Rule::Sgd(optim::Sgd {
                lr,
                momentum: o.momentum as f32,
                nesterov: o.nesterov,
                decay: o.weight_decay.into(),
            }),
            Optimizer::Adam(o) => Rule::Adam(adam(o.betas, o.eps, o.weight_decay)),
            Optimizer::Adamw(o) => {
                Rule::Adam(adam(o.betas, o.eps, WeightDecay::Decoupled(o.weight_decay)))
            }
        }
    }
}

impl Optimizer {
    fn betas(&self) -> Option<(f32, f32)> {
        match self {
            Optimizer::Sgd(_) => None,
            Optimizer::Adam(Adam { betas, .. }) | Optimizer::Adamw(Adamw { betas, .. }) => {
                Some((betas[0] as f32, betas[1] as f32))
            }
        }
    }
}

impl From<WeightDecay> for optim::Decay {
    fn from(decay: WeightDecay) -> optim::Decay {
        match decay {
            WeightDecay::None => optim::Decay::NONE,
            WeightDecay::L2(x) => optim::Decay::L2(x as f32),
            WeightDecay::Decoupled(x) => optim::Decay::Decoupled(x as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repro_numerics::kernels::Path;

    /// Applies a list of gradients to one weight of 1 and returns its way.
    fn way(optimizer: Optimizer, gradients: &[f32]) -> Vec<f32> {
        let (mut w, mut memory, mut stepper) = (
            [1.0f32],
            HostMoments::new(&optimizer, 1),
            Stepper::after(optimizer, 0),
        );
        let step = |g: &f32| {
            let part = optim::Part {
                w: &mut w,
                first: &mut memory.first,
                second: &mut memory.second,
                gradient: &[*g],
                mask: None,
            };
            let rule = stepper.advance(optimizer.lr());
            optim::step(Path::current(), rule, &mut [part]);
            w[0]
        };
        gradients.iter().map(step).collect()
    }

    fn close(got: Vec<f32>, want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((f64::from(*g) - w).abs() < 2e-7, "{got:?} {want:?}");
        }
    }

    fn sgd(nesterov: bool, weight_decay: WeightDecay) -> Optimizer {
        Optimizer::Sgd(Sgd {
            lr: 0.1,
            momentum: 0.9,
            nesterov,
            weight_decay,
        })
    }

    /// By hand, from the formulas in the documentation of `torch.optim.SGD`.
    #[test]
    fn sgd_by_hand() {
        let plain = Optimizer::Sgd(Sgd {
            lr: 0.1,
            momentum: 0.0,
            nesterov: false,
            weight_decay: WeightDecay::L2(0.01),
        });
        close(way(plain, &[0.5, 0.5]), &[0.949, 0.898051]);
        close(
            way(sgd(false, WeightDecay::L2(0.01)), &[0.5, 0.5]),
            &[0.949, 0.852151],
        );
        // v1 = 0.51, d1 = 0.51 + 0.9·0.51; g2 = 0.5 + 0.01·0.9031, v2 = 0.9·0.51 + g2, d2 = g2 +
        // 0.9·v2
        close(
            way(sgd(true, WeightDecay::L2(0.01)), &[0.5, 0.5]),
            &[0.9031, 0.9031 - 0.1 * (0.509031 + 0.9 * 0.968031)],
        );
        // decoupled: w·(1 - 0.001) first
        close(
            way(sgd(false, WeightDecay::Decoupled(0.01)), &[0.5, 0.5]),
            &[0.949, 0.949 * 0.999 - 0.095],
        );
    }

    /// By hand: g = 0.5, then -1; m = 0.05, -0.055; v = 0.00025, 0.00124975; corrections 0.1, 0.19
    /// and 0.001, 0.001999.
    #[test]
    fn adam_by_hand() {
        let (betas, eps) = (adam_betas(), adam_eps());
        let adam = Optimizer::Adam(Adam {
            lr: 0.1,
            betas,
            eps,
            weight_decay: WeightDecay::None,
        });
        close(way(adam, &[0.5, -1.0]), &[0.9, 0.936610353]);
        let adamw = Optimizer::Adamw(Adamw {
            lr: 0.1,
            betas,
            eps,
            weight_decay: 0.1,
        });
        close(way(adamw, &[0.5, -1.0]), &[0.89, 0.89 * 0.99 + 0.036610353]);
        // with L2 the decay is part of the gradient, which Adam normalises away in the first step
        let l2 = Optimizer::Adam(Adam {
            lr: 0.1,
            betas,
            eps,
            weight_decay: WeightDecay::L2(0.1),
        });
        close(way(l2, &[0.5]), &[0.9]);
    }

    #[test]
    fn counting_does_not_depend_on_where_one_starts() {
        let adam: Optimizer = serde_json::from_value(serde_json::json!({"adam": {}})).unwrap();
        let mut early = Stepper::after(adam, 40);
        let rules: Vec<Rule> = (0..60).map(|_| early.advance(0.1)).collect();
        let mut late = Stepper::after(adam, 99);
        assert_eq!(rules[59], late.advance(0.1));
        assert_eq!(early.powers, late.powers);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let problems = |json: serde_json::Value| {
            serde_json::from_value::<Optimizer>(json)
                .unwrap()
                .problems()
        };
        assert_eq!(
            problems(serde_json::json!({"sgd": {"lr": -1.0, "momentum": 1.0}})).len(),
            2
        );
        assert_eq!(
            problems(serde_json::json!({"sgd": {"lr": 1.0, "nesterov": true}}))[0].0,
            ["sgd", "nesterov"]
        );
        assert_eq!(
            problems(serde_json::json!({"adamw": {"weight_decay": -0.1, "betas": [0.9, 1.0]}}))
                .len(),
            2
        );
        assert!(problems(serde_json::json!({"adam": {"weight_decay": {"l2": 0.1}}})).is_empty());
    }
}
