//! Learning-rate schedules: the factor on the optimizer's learning rate at every step.
//!
//! Time is counted in epochs, as a fraction within an epoch: step `s` of `n` per epoch is at time s
//! / n. Values are computed in f64 from +, -, ×, ÷ alone (the cosine too), so that they are the
//! same everywhere, and rounded once to f32.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::length::Length;

/// A schedule with an optional warm-up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The optimizer's learning rate throughout.
    #[default]
    Constant,
    /// The optimizer's learning rate after a warm-up.
    Warmup(Warmup),
    /// A factor at every milestone.
    Step(StepDecay),
    /// A straight line over the whole training.
    Linear(Ramp),
    /// Half a cosine over the whole training, without restarts (Loshchilov & Hutter 2017).
    Cosine(Ramp),
    /// A factor after every epoch, as PyTorch's `ExponentialLR`.
    Exponential(Decline),
    /// Straight lines between points, as NumPy's `interp`.
    PiecewiseLinear(Points),
    /// A saw tooth: from 1 down to `low` in every cycle, then back with a jump (Izmailov et al.
    /// 2018, SWA's cyclical rate).
    Cyclic(Cycle),
}

/// A linear rise of the factor: 1/n, 2/n, ... 1 over the first n steps of the time given. It
/// multiplies the schedule proper.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// How long, in epochs; 0 is none.
    #[serde(default)]
    pub epochs: f64,
}

/// See [`Schedule::Step`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// Epochs at whose start the factor is multiplied once more, rising.
    pub milestones: Vec<u64>,
    /// The multiplier.
    #[serde(default = "tenth")]
    pub factor: f64,
    /// Warm-up before it.
    #[serde(default)]
    pub warmup: Warmup,
}

/// See [`Schedule::Linear`] and [`Schedule::Cosine`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The factor after the last step.
    #[serde(default)]
    pub to: f64,
    /// Warm-up before it; the ramp itself starts when the warm-up ends.
    #[serde(default)]
    pub warmup: Warmup,
}

/// See [`Schedule::Cyclic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// Length of a cycle in epochs.
    pub epochs: f64,
    /// The factor of the last step of a cycle.
    pub low: f64,
    /// Warm-up before the first cycle.
    #[serde(default)]
    pub warmup: Warmup,
}

/// See [`Schedule::Exponential`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// The multiplier of every epoch; Zhang et al. 2017 have 0.95.
    pub factor: f64,
    /// Warm-up before it.
    #[serde(default)]
    pub warmup: Warmup,
}

/// See [`Schedule::PiecewiseLinear`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Points {
    /// Pairs of an epoch (parts of epochs too) and the factor there, with rising epochs:
    /// `[[0, 0.1], [5, 1], [30, 0]]`. Before the first and after the last the factor stays.
    pub points: Vec<[f64; 2]>,
}

fn tenth() -> f64 {
    0.1
}

/// How many steps a training has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Steps in a full epoch; at least 1.
    pub steps_per_epoch: u64,
    /// Steps in all.
    pub steps_total: u64,
}

impl Schedule {
    fn warmup(&self) -> Warmup {
        match self {
            Schedule::Constant => Warmup::default(),
            Schedule::Warmup(w) => *w,
            Schedule::Step(s) => s.warmup,
            Schedule::Linear(r) | Schedule::Cosine(r) => r.warmup,
            Schedule::Exponential(e) => e.warmup,
            Schedule::PiecewiseLinear(_) => Warmup::default(),
            Schedule::Cyclic(c) => c.warmup,
        }
    }

    /// The factor at a step (from 0).
    pub fn factor(&self, step: u64, clock: Clock) -> f64 {
        let per_epoch = clock.steps_per_epoch as f64;
        // the number of warm-up steps, at least one where a warm-up is asked for
        let warm = (self.warmup().epochs * per_epoch).round();
        let rise = if (step as f64) < warm {
            (step as f64 + 1.0) / warm
        } else {
            1.0
        };
        let after = (step as f64 - warm).max(0.0);
        let main = match self {
            Schedule::Constant | Schedule::Warmup(_) => 1.0,
            Schedule::Step(s) => {
                let epoch = step / clock.steps_per_epoch;
                s.milestones
                    .iter()
                    .filter(|&&m| m <= epoch)
                    .fold(1.0, |f, _| f * s.factor)
            }
            Schedule::Linear(r) => {
                let t = progress(after, clock.steps_total as f64 - warm);
                1.0 + (r.to - 1.0) * t
            }
            Schedule::Cosine(r) => {
                let t = progress(after, clock.steps_total as f64 - warm);
                r.to + (1.0 - r.to) * 0.5 * (1.0 + cos_pi(t))
            }
            Schedule::Exponential(e) => power(e.factor, step / clock.steps_per_epoch),
            Schedule::PiecewiseLinear(p) => between(&p.points, step as f64 / per_epoch),
            Schedule::Cyclic(c) => {
                // Izmailov et al. 2018, eq. in §3.2, with step 1 the first: t = (mod(i - 1, c) + 1)
                // / c
                let cycle = (c.epochs * per_epoch).round().max(1.0);
                let t = (after % cycle + 1.0) / cycle;
                (1.0 - t) + t * c.low
            }
        };
        rise * main
    }

    /// What the first `epochs` epochs depend on, in a form that is equal for schedules that agree
    /// there.
    pub fn prefix(&self, epochs: u64, length: Length) -> Value {
        let warmup = self.warmup();
        let main = match self {
            Schedule::Constant | Schedule::Warmup(_) => json!("constant"),
            Schedule::Step(s) => {
                let passed: Vec<u64> = s
                    .milestones
                    .iter()
                    .copied()
                    .filter(|&m| m < epochs)
                    .collect();
                if passed.is_empty() {
                    json!("constant")
                } else {
                    json!({"step": {"milestones": passed, "factor": s.factor}})
                }
            }
            Schedule::Linear(r) if r.to == 1.0 => json!("constant"),
            Schedule::Cosine(r) if r.to == 1.0 => json!("constant"),
            Schedule::Exponential(e) if e.factor == 1.0 => json!("constant"),
            Schedule::Exponential(e) => json!({"exponential": {"factor": e.factor}}),
            Schedule::PiecewiseLinear(p) => {
                // A point matters from the one before it on.
                let to_come = p.points.iter().position(|[at, _]| *at >= epochs as f64);
                let count = to_come.map_or(p.points.len(), |i| i + 1);
                json!({"piecewise_linear": p.points[..count]})
            }
            Schedule::Linear(r) => json!({"linear": {"to": r.to, "over": length}}),
            Schedule::Cosine(r) => json!({"cosine": {"to": r.to, "over": length}}),
            Schedule::Cyclic(c) => json!({"cyclic": {"epochs": c.epochs, "low": c.low}}),
        };
        json!({"main": main, "warmup_epochs": warmup.epochs})
    }

    /// What is wrong with the numbers: the field and the reason.
    pub fn problems(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut found = Vec::new();
        let mut check = |path: Vec<&'static str>, value: f64, ok: bool, what: &str| {
            if !(value.is_finite() && ok) {
                found.push((path, format!("must be {what}, got {value}")));
            }
        };
        let name = match self {
            Schedule::Constant => return found,
            Schedule::Warmup(w) => {
                check(
                    vec!["warmup", "epochs"],
                    w.epochs,
                    w.epochs >= 0.0,
                    "0 or more",
                );
                return found;
            }
            Schedule::Step(s) => {
                check(
                    vec!["step", "factor"],
                    s.factor,
                    s.factor >= 0.0,
                    "0 or more",
                );
                "step"
            }
            Schedule::Exponential(e) => {
                check(
                    vec!["exponential", "factor"],
                    e.factor,
                    e.factor >= 0.0,
                    "0 or more",
                );
                "exponential"
            }
            Schedule::PiecewiseLinear(p) => {
                let path = || vec!["piecewise_linear", "points"];
                for [at, factor] in &p.points {
                    check(path(), *at, *at >= 0.0, "0 or more");
                    check(path(), *factor, *factor >= 0.0, "0 or more");
                }
                if p.points.is_empty() {
                    found.push((path(), "must have a point at least".into()));
                }
                if !p.points.is_sorted_by(|[a, _], [b, _]| a < b) {
                    found.push((path(), "must have rising epochs".into()));
                }
                return found;
            }
            Schedule::Linear(r) => {
                check(vec!["linear", "to"], r.to, r.to >= 0.0, "0 or more");
                "linear"
            }
            Schedule::Cosine(r) => {
                check(vec!["cosine", "to"], r.to, r.to >= 0.0, "0 or more");
                "cosine"
            }
            Schedule::Cyclic(c) => {
                check(
                    vec!["cyclic", "epochs"],
                    c.epochs,
                    c.epochs > 0.0,
                    "above 0",
                );
                check(vec!["cyclic", "low"], c.low, c.low >= 0.0, "0 or more");
                "cyclic"
            }
        };
        let warm = self.warmup().epochs;
        check(
            vec![name, "warmup", "epochs"],
            warm,
            warm >= 0.0,
            "0 or more",
        );
        if let Schedule::Step(s) = self
            && !s.milestones.is_sorted_by(|a, b| a < b)
        {
            found.push((vec!["step", "milestones"], "must rise".into()));
        }
        found
    }
}

fn progress(done: f64, total: f64) -> f64 {
    if total > 0.0 {
        (done / total).min(1.0)
    } else {
        1.0
    }
}

/// `base` to a whole power, by squaring: products alone.
fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut square, mut product) = (base, 1.0);
    while exponent > 0 {
        if exponent % 2 == 1 {
            product *= square;
        }
        square *= square;
        exponent /= 2;
    }
    product
}

/// The line through the points around `x`.
fn between(points: &[[f64; 2]], x: f64) -> f64 {
    let next = points.partition_point(|[at, _]| *at <= x);
    match (next.checked_sub(1).map(|i| points[i]), points.get(next)) {
        (Some([a, from]), Some([b, to])) => from + (to - from) * ((x - a) / (b - a)),
        (Some([_, factor]), None) => factor,
        (None, Some([_, factor])) => *factor,
        (None, None) => 1.0,
    }
}

/// cos(πt) for t in [0, 1], error below 1e-15: Taylor series of the sine of the distance from the
/// middle.
fn cos_pi(t: f64) -> f64 {
    // cos(πt) = sin(π(1/2 - t)); |x| ≤ π/2
    let x = std::f64::consts::PI * (0.5 - t);
    let square = x * x;
    let (mut term, mut sum) = (x, x);
    for k in 1..=12 {
        term *= -square / f64::from(2 * k * (2 * k + 1));
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLOCK: Clock = Clock {
        steps_per_epoch: 10,
        steps_total: 100,
    };

    #[test]
    fn cosine_is_a_cosine() {
        for i in 0..=1000 {
            let t = f64::from(i) / 1000.0;
            assert!(
                (cos_pi(t) - (std::f64::consts::PI * t).cos()).abs() < 1e-15,
                "{t}"
            );
        }
        assert_eq!(cos_pi(0.5), 0.0);
    }

    #[test]
    fn shapes() {
        let cosine = Schedule::Cosine(Ramp {
            to: 0.1,
            warmup: Warmup::default(),
        });
        assert!((cosine.factor(0, CLOCK) - 1.0).abs() < 1e-15);
        assert!((cosine.factor(50, CLOCK) - 0.55).abs() < 1e-15);
        assert!((cosine.factor(100, CLOCK) - 0.1).abs() < 1e-15);
        let linear = Schedule::Linear(Ramp {
            to: 0.0,
            warmup: Warmup { epochs: 2.0 },
        });
        assert_eq!(linear.factor(0, CLOCK), 0.05);
        assert_eq!(linear.factor(19, CLOCK), 1.0);
        assert_eq!(linear.factor(60, CLOCK), 0.5);
        let step = Schedule::Step(StepDecay {
            milestones: vec![3, 6],
            factor: 0.5,
            warmup: Warmup::default(),
        });
        assert_eq!(
            [0, 29, 30, 59, 60, 99].map(|s| step.factor(s, CLOCK)),
            [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
        );
        let cyclic = Schedule::Cyclic(Cycle {
            epochs: 0.4,
            low: 0.2,
            warmup: Warmup::default(),
        });
        for (step, want) in [0.8, 0.6, 0.4, 0.2, 0.8].into_iter().enumerate() {
            assert!((cyclic.factor(step as u64, CLOCK) - want).abs() < 1e-15);
        }
    }

    /// 0.95^n after n = 0, 1, 7 and 9 epochs (the closed form of PyTorch's `ExponentialLR`), and
    /// lines through points by hand (what NumPy's `interp` computes).
    #[test]
    fn exponential_and_piecewise_linear() {
        let zhang = Schedule::Exponential(Decline {
            factor: 0.95,
            warmup: Warmup::default(),
        });
        let want = [1.0, 0.95, 0.6983372960937497, 0.6302494097246091];
        for (epoch, want) in [0, 1, 7, 9].into_iter().zip(want) {
            for step in [10 * epoch, 10 * epoch + 9] {
                assert!((zhang.factor(step, CLOCK) - want).abs() < 1e-15, "{epoch}");
            }
        }
        let lines = Schedule::PiecewiseLinear(Points {
            points: vec![[0.5, 0.2], [2.0, 1.0], [6.0, 0.0]],
        });
        let want = [0.2, 0.2, 0.466_666_666_666_666_7, 1.0, 0.75, 0.0, 0.0];
        for (step, want) in [0, 5, 10, 20, 30, 60, 99].into_iter().zip(want) {
            assert!((lines.factor(step, CLOCK) - want).abs() < 1e-15, "{step}");
        }
        let wrong = |points: &[[f64; 2]]| {
            let points = points.to_vec();
            Schedule::PiecewiseLinear(Points { points })
                .problems()
                .len()
        };
        assert_eq!(wrong(&[]), 1);
        assert_eq!(wrong(&[[1.0, 1.0], [1.0, 0.5]]), 1);
        assert_eq!(wrong(&[[-1.0, 1.0], [1.0, f64::NAN]]), 2);
        assert_eq!(wrong(&[[0.0, 1.0], [1.0, 0.5]]), 0);
    }

    fn schedules() -> impl Strategy<Value = Schedule> {
        let warmup = (0u32..30).prop_map(|w| Warmup {
            epochs: f64::from(w) / 10.0,
        });
        prop_oneof![
            Just(Schedule::Constant),
            warmup.clone().prop_map(Schedule::Warmup),
            (prop::collection::btree_set(0u64..8, 0..3), warmup.clone()).prop_map(|(m, warmup)| {
                Schedule::Step(StepDecay {
                    milestones: m.into_iter().collect(),
                    factor: 0.1,
                    warmup,
                })
            }),
            warmup
                .clone()
                .prop_map(|warmup| Schedule::Linear(Ramp { to: 0.0, warmup })),
            (0u32..3, warmup.clone()).prop_map(|(f, warmup)| Schedule::Exponential(Decline {
                factor: f64::from(f) / 2.0,
                warmup,
            })),
            prop::collection::btree_map(0u32..10, 0u32..3, 1..4).prop_map(|points| {
                let point = |(at, f): (u32, u32)| [f64::from(at), f64::from(f) / 2.0];
                Schedule::PiecewiseLinear(Points {
                    points: points.into_iter().map(point).collect(),
                })
            }),
            warmup
                .clone()
                .prop_map(|warmup| Schedule::Cosine(Ramp { to: 0.0, warmup })),
            (1u32..30, warmup).prop_map(|(c, warmup)| Schedule::Cyclic(Cycle {
                epochs: f64::from(c) / 10.0,
                low: 0.1,
                warmup
            })),
        ]
    }

    proptest! {
        #[test]
        fn factors_stay_between_zero_and_one(s in schedules(), step in 0u64..100) {
            let f = s.factor(step, CLOCK);
            prop_assert!((-1e-15..=1.0 + 1e-15).contains(&f), "{f}");
        }

        /// The law behind resuming: equal prefixes mean equal rates, whatever the rest.
        #[test]
        fn equal_prefixes_mean_equal_factors(
            a in schedules(), b in schedules(), epochs in 0u64..8, la in 8u64..12, lb in 8u64..12,
        ) {
            if a.prefix(epochs, Length::Epochs(la)) == b.prefix(epochs, Length::Epochs(lb)) {
                for step in 0..epochs * 10 {
                    let fa = a.factor(step, Clock { steps_per_epoch: 10, steps_total: la * 10 });
                    let fb = b.factor(step, Clock { steps_per_epoch: 10, steps_total: lb * 10 });
                    prop_assert_eq!(fa.to_bits(), fb.to_bits());
                }
            }
        }

        #[test]
        fn a_constant_prefix_ignores_the_total(m in 1u64..8, n in 8u64..100) {
            let s = Schedule::Step(StepDecay { milestones: vec![m], factor: 0.1, warmup: Warmup::default() });
            prop_assert_eq!(s.prefix(m, Length::Epochs(n)), Schedule::Constant.prefix(m, Length::Epochs(1)));
            prop_assert_ne!(s.prefix(m + 1, Length::Epochs(n)), Schedule::Constant.prefix(m + 1, Length::Epochs(1)));
        }
    }
}
