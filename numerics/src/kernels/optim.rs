//! The optimizers' elementwise updates, over parameters, gradients and state as slices.
//!
//! Every product and sum below is one rounded f32 operation unless `fma` is written; the formulas
//! are read from left to right with the parentheses given. Schedules and what belongs to which
//! parameter are the optimizer's business.

mod parts;

pub use self::parts::Part;
use self::parts::shared;
use super::parallel;
use super::path::{Path, kernel};
use super::shard::elements_per_piece;

/// How weight decay enters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// `λ·w` is added to the gradient.
    L2(f32),
    /// The weight is first multiplied by `1 - lr·λ` (Loshchilov & Hutter 2019).
    Decoupled(f32),
}

impl Decay {
    /// No decay.
    pub const NONE: Decay = Decay::L2(0.0);

    /// What is multiplied with the weight and added to its gradient, and what the weight is
    /// multiplied with; 0 and 1 where the one or the other is left out.
    pub fn parts(self, lr: f32) -> (f32, f32) {
        match self {
            Decay::L2(lambda) => (lambda, 1.0),
            Decay::Decoupled(lambda) => (0.0, 1.0 - lr * lambda),
        }
    }
}

/// One step, with all that it needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Of [`sgd_all`].
    Sgd(Sgd),
    /// Of [`adam_all`].
    Adam(Adam),
}

impl Rule {
    /// The same step at another learning rate.
    pub fn at(self, lr: f32) -> Rule {
        match self {
            Rule::Sgd(rule) => Rule::Sgd(Sgd { lr, ..rule }),
            Rule::Adam(rule) => Rule::Adam(Adam { lr, ..rule }),
        }
    }

    /// The same step without weight decay.
    pub fn without_decay(self) -> Rule {
        let decay = Decay::NONE;
        match self {
            Rule::Sgd(rule) => Rule::Sgd(Sgd { decay, ..rule }),
            Rule::Adam(rule) => Rule::Adam(Adam { decay, ..rule }),
        }
    }
}

/// Moves parameters, then sets to 0 what is masked.
///
/// # Panics
/// Lengths that disagree.
pub fn step(path: Path, rule: Rule, parts: &mut [Part<'_>]) {
    match rule {
        Rule::Sgd(rule) => sgd_all(path, rule, parts),
        Rule::Adam(rule) => adam_all(path, rule, parts),
    }
}

/// Stochastic gradient descent, one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// 0 for none.
    pub momentum: f32,
    /// Look ahead (Nesterov's momentum in PyTorch's form).
    pub nesterov: bool,
    /// Weight decay.
    pub decay: Decay,
}

/// Updates `w` and `velocity` (zeros before the first step), as PyTorch's `SGD` without dampening:
/// `d = fma(λ, w, g)` (with L2 decay, λ ≠ 0; else `g`) · `w = w·(1 - lr·λ)` (with decoupled decay,
/// λ ≠ 0) · `v = fma(μ, v, d)` · step `= fma(μ, v, d)` with Nesterov, else `v` · `w = fma(-lr,
/// step, w)`.
///
/// # Panics
/// Lengths that disagree.
pub fn sgd(path: Path, rule: Sgd, w: &mut [f32], velocity: &mut [f32], gradient: &[f32]) {
    assert_eq!(velocity.len(), w.len(), "sgd: lengths");
    let part = Part {
        w,
        first: velocity,
        second: &mut [],
        gradient,
        mask: None,
    };
    sgd_all(path, rule, &mut [part]);
}

/// [`sgd`] of many parameters, then [`apply_mask`] on weight and velocity. The velocity may be left
/// out where the momentum is 0: then it is zeros each time.
///
/// # Panics
/// Lengths that disagree.
pub fn sgd_all(path: Path, rule: Sgd, parts: &mut [Part<'_>]) {
    shared(parts, &|part: &mut Part<'_>| {
        if part.first.is_empty() {
            let mut zeros = [0.0; ZEROS];
            let pieces = part.w.chunks_mut(ZEROS).zip(part.gradient.chunks(ZEROS));
            for (w, g) in pieces {
                let zeros = &mut zeros[..w.len()];
                zeros.fill(0.0);
                sgd_piece(path, rule, w, zeros, g);
            }
        } else {
            sgd_piece(path, rule, part.w, part.first, part.gradient);
        }
        part.each_masked(|mask, values| mask_piece(path, mask, values));
    });
}

/// Elements of a velocity that is not kept.
const ZEROS: usize = 1 << 10;

kernel! {
    fn sgd_piece<F>(rule: Sgd, w: &mut [f32], v: &mut [f32], g: &[f32]) {
        let (v, g) = (&mut v[..w.len()], &g[..w.len()]);
        let (l2, shrink) = rule.decay.parts(rule.lr);
        for i in 0..w.len() {
            let d = if l2 != 0.0 { F::fma(l2, w[i], g[i]) } else { g[i] };
            let weight = if shrink != 1.0 { w[i] * shrink } else { w[i] };
            let velocity = F::fma(rule.momentum, v[i], d);
            v[i] = velocity;
            let step = if rule.nesterov { F::fma(rule.momentum, velocity, d) } else { velocity };
            w[i] = F::fma(-rule.lr, step, weight);
        }
    }
}

/// Adam (Kingma & Ba 2015), one step; with decoupled decay it is AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Memory of the mean.
    pub beta1: f32,
    /// Memory of the square.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Weight decay.
    pub decay: Decay,
    /// `1 - beta1^t` and `1 - beta2^t`: see [`AdamPowers`].
    pub corrections: (f32, f32),
}

/// The numbers of [`adam`]'s formulas that are the same for all weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamScales {
    /// `1 - β1`.
    pub keep1: f32,
    /// `1 - β2`.
    pub keep2: f32,
    /// `-(lr / c1)`.
    pub step: f32,
    /// `sqrt(c2)`.
    pub root: f32,
}

impl Adam {
    /// Those of this step.
    #[inline(always)]
    pub fn scales(self) -> AdamScales {
        AdamScales {
            keep1: 1.0 - self.beta1,
            keep2: 1.0 - self.beta2,
            step: -(self.lr / self.corrections.0),
            root: self.corrections.1.sqrt(),
        }
    }
}

/// `beta^t` after `t` steps, by repeated multiplication in f64: part of the optimizer's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamPowers {
    /// `beta1^t`.
    pub beta1: f64,
    /// `beta2^t`.
    pub beta2: f64,
}

impl Default for AdamPowers {
    fn default() -> AdamPowers {
        AdamPowers {
            beta1: 1.0,
            beta2: 1.0,
        }
    }
}

impl AdamPowers {
    /// Those after `steps` steps.
    pub fn after(beta1: f32, beta2: f32, steps: u64) -> AdamPowers {
        let mut powers = AdamPowers::default();
        for _ in 0..steps {
            powers.advance(beta1, beta2);
            if powers.beta1 == 0.0 && powers.beta2 == 0.0 {
                break;
            }
        }
        powers
    }

    /// One step on; returns the bias corrections of that step, rounded to f32.
    pub fn advance(&mut self, beta1: f32, beta2: f32) -> (f32, f32) {
        self.beta1 *= f64::from(beta1);
        self.beta2 *= f64::from(beta2);
        ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32)
    }
}

/// Updates `w`, `mean` and `square` (zeros before the first step), with corrections `c1`, `c2`: `d`
/// and the decay of `w` as in [`sgd`] · `m = fma(1 - β1, d - m, m)` · `s = fma((1 - β2)·d, d,
/// β2·s)` · `w = fma(-(lr / c1), m / (sqrt(s) / sqrt(c2) + eps), w)`.
///
/// # Panics
/// Lengths that disagree.
pub fn adam(
    path: Path,
    rule: Adam,
    w: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    gradient: &[f32],
) {
    assert!([mean.len(), square.len()] == [w.len(); 2], "adam: lengths");
    let part = Part {
        w,
        first: mean,
        second: square,
        gradient,
        mask: None,
    };
    adam_all(path, rule, &mut [part]);
}

/// [`adam`] of many parameters, then [`apply_mask`] on weight, mean and square.
///
/// # Panics
/// Lengths that disagree.
pub fn adam_all(path: Path, rule: Adam, parts: &mut [Part<'_>]) {
    shared(parts, &|part: &mut Part<'_>| {
        let Part {
            w,
            first,
            second,
            gradient,
            ..
        } = part;
        adam_piece(path, rule, w, first, second, gradient);
        part.each_masked(|mask, values| mask_piece(path, mask, values));
    });
}

kernel! {
    fn adam_piece<F>(rule: Adam, w: &mut [f32], m: &mut [f32], s: &mut [f32], g: &[f32]) {
        let (m, s, g) = (&mut m[..w.len()], &mut s[..w.len()], &g[..w.len()]);
        let (l2, shrink) = rule.decay.parts(rule.lr);
        let AdamScales { keep1, keep2, step, root } = rule.scales();
        for i in 0..w.len() {
            let d = if l2 != 0.0 { F::fma(l2, w[i], g[i]) } else { g[i] };
            let weight = if shrink != 1.0 { w[i] * shrink } else { w[i] };
            let mean = F::fma(keep1, d - m[i], m[i]);
            let square = F::fma(keep2 * d, d, rule.beta2 * s[i]);
            m[i] = mean;
            s[i] = square;
            w[i] = F::fma(step, mean / (square.sqrt() / root + rule.eps), weight);
        }
    }
}

/// `w = 0` where the mask is 0, elsewhere unchanged: the zero is +0 whatever `w` was.
///
/// # Panics
/// Lengths that disagree.
pub fn apply_mask(path: Path, mask: &[f32], w: &mut [f32]) {
    assert_eq!(mask.len(), w.len(), "mask: lengths");
    let piece = elements_per_piece(w.len());
    parallel::chunks(w, piece, true, |i, w| {
        mask_piece(path, &mask[i * piece..][..w.len()], w);
    });
}

kernel! {
    fn mask_piece<F>(mask: &[f32], w: &mut [f32]) {
        let mask = &mask[..w.len()];
        for i in 0..w.len() {
            w[i] = if mask[i] == 0.0 { 0.0 } else { w[i] };
        }
    }
}

/// `w = held` where the mask is 0, elsewhere unchanged.
///
/// # Panics
/// Lengths that disagree.
pub fn hold(path: Path, mask: &[f32], held: &[f32], w: &mut [f32]) {
    assert_eq!(mask.len(), w.len(), "mask: lengths");
    assert_eq!(held.len(), w.len(), "held: lengths");
    let piece = elements_per_piece(w.len());
    parallel::chunks(w, piece, true, |i, w| {
        let of = |values: &[f32]| i * piece..(i * piece + w.len()).min(values.len());
        hold_piece(path, &mask[of(mask)], &held[of(held)], w);
    });
}

kernel! {
    fn hold_piece<F>(mask: &[f32], held: &[f32], w: &mut [f32]) {
        let (mask, held) = (&mask[..w.len()], &held[..w.len()]);
        for i in 0..w.len() {
            w[i] = if mask[i] == 0.0 { held[i] } else { w[i] };
        }
    }
}

/// Exponential moving average: `average = fma(1 - decay, w - average, average)`.
///
/// # Panics
/// Lengths that disagree.
pub fn ema(path: Path, decay: f32, w: &[f32], average: &mut [f32]) {
    assert_eq!(average.len(), w.len(), "ema: lengths");
    let piece = elements_per_piece(w.len());
    parallel::chunks(average, piece, true, |i, average| {
        ema_piece(path, decay, &w[i * piece..][..average.len()], average);
    });
}

kernel! {
    fn ema_piece<F>(decay: f32, w: &[f32], average: &mut [f32]) {
        let w = &w[..average.len()];
        let rate = 1.0 - decay;
        for i in 0..average.len() {
            average[i] = F::fma(rate, w[i] - average[i], average[i]);
        }
    }
}

/// `y = fma(scale, x, keep·y)`: sums, differences, shrink and perturb.
///
/// # Panics
/// Lengths that disagree.
pub fn scaled_add(path: Path, scale: f32, x: &[f32], keep: f32, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "scaled add: lengths");
    let piece = elements_per_piece(y.len());
    parallel::chunks(y, piece, true, |i, y| {
        scaled_add_piece(path, scale, &x[i * piece..][..y.len()], keep, y);
    });
}

kernel! {
    fn scaled_add_piece<F>(scale: f32, x: &[f32], keep: f32, y: &mut [f32]) {
        let x = &x[..y.len()];
        for i in 0..y.len() {
            y[i] = F::fma(scale, x[i], keep * y[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f32, want: f64) {
        assert!(
            (f64::from(got) - want).abs() < 1e-6 * want.abs().max(1.0),
            "{got}, want {want}"
        );
    }

    /// Three steps of PyTorch's formulas in f64, with a gradient of 0.5·w each time.
    fn reference(decay: Decay, nesterov: bool, adam: bool) -> f64 {
        let (mut w, mut v, mut m, mut s) = (2.0f64, 0.0, 0.0, 0.0);
        let (lr, lambda) = (0.1, 0.01);
        for t in 1..=3 {
            let mut g = 0.5 * w;
            match decay {
                Decay::L2(_) => g += lambda * w,
                Decay::Decoupled(_) => w *= 1.0 - lr * lambda,
            }
            if adam {
                m = 0.9 * m + 0.1 * g;
                s = 0.99 * s + 0.01 * g * g;
                let (mhat, shat): (f64, f64) =
                    (m / (1.0 - 0.9f64.powi(t)), s / (1.0 - 0.99f64.powi(t)));
                w -= lr * mhat / (shat.sqrt() + 1e-8);
            } else {
                v = 0.9 * v + g;
                w -= lr * if nesterov { g + 0.9 * v } else { v };
            }
        }
        w
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for path in Path::all() {
            for decay in [Decay::L2(0.01), Decay::Decoupled(0.01)] {
                for nesterov in [false, true] {
                    let (mut w, mut v) = ([2.0f32; 21], [0.0; 21]);
                    for _ in 0..3 {
                        let g = w.map(|w| 0.5 * w);
                        sgd(
                            path,
                            Sgd {
                                lr: 0.1,
                                momentum: 0.9,
                                nesterov,
                                decay,
                            },
                            &mut w,
                            &mut v,
                            &g,
                        );
                    }
                    w.iter()
                        .for_each(|w| close(*w, reference(decay, nesterov, false)));
                }
                let (mut w, mut m, mut s, mut powers) =
                    ([2.0f32; 21], [0.0; 21], [0.0; 21], AdamPowers::default());
                for _ in 0..3 {
                    let g = w.map(|w| 0.5 * w);
                    let corrections = powers.advance(0.9, 0.99);
                    adam(
                        path,
                        Adam {
                            lr: 0.1,
                            beta1: 0.9,
                            beta2: 0.99,
                            eps: 1e-8,
                            decay,
                            corrections,
                        },
                        &mut w,
                        &mut m,
                        &mut s,
                        &g,
                    );
                }
                w.iter()
                    .for_each(|w| close(*w, reference(decay, false, true)));
                assert_eq!(powers, AdamPowers::after(0.9, 0.99, 3));
            }
        }
    }

    #[test]
    fn masks_averages_and_sums() {
        let path = Path::current();
        let mut w = [-1.0, f32::NAN, 3.0];
        apply_mask(path, &[0.0, 0.0, 1.0], &mut w);
        assert_eq!(w.map(f32::to_bits), [0.0f32, 0.0, 3.0].map(f32::to_bits));
        let mut held = [5.0, f32::INFINITY, -0.0];
        hold(path, &[0.0, 0.0, 1.0], &[-0.0, 2.0, 7.0], &mut held);
        assert_eq!(
            held.map(f32::to_bits),
            [-0.0f32, 2.0, -0.0].map(f32::to_bits)
        );
        ema(path, 0.75, &[4.0, 8.0, 3.0], &mut w);
        assert_eq!(w, [1.0, 2.0, 3.0]);
        scaled_add(path, 2.0, &[1.0, 1.0, 1.0], 0.5, &mut w);
        assert_eq!(w, [2.5, 3.0, 3.5]);
    }
}
