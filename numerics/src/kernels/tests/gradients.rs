//! Gradient buffers of both sorts, and central differences in f64.

use crate::kernels::layer::{Accumulate, Gradient};

/// A buffer that holds `old` already, or a first one full of rubbish.
pub(super) fn buffer(old: Option<&[f32]>, len: usize) -> Vec<f32> {
    old.map_or_else(|| vec![7.0; len], <[f32]>::to_vec)
}

pub(super) fn gradient<'a>(to: &'a mut [f32], old: Option<&[f32]>) -> Gradient<'a> {
    let how = if old.is_some() {
        Accumulate::Add
    } else {
        Accumulate::First
    };
    Gradient { to, how }
}

/// Central differences of `Σ weights·f` in f64 against `got`, for one of the inputs.
#[track_caller]
pub(super) fn differences(
    what: &str,
    got: &[f32],
    inputs: &[&[f32]],
    which: usize,
    weights: &[f32],
    f: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let mut at: Vec<Vec<f64>> = inputs
        .iter()
        .map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let total = |at: &[Vec<f64>]| -> f64 {
        let y = f(at);
        assert_eq!(y.len(), weights.len());
        y.iter().zip(weights).map(|(y, w)| y * f64::from(*w)).sum()
    };
    let step = 1e-5;
    for i in 0..at[which].len() {
        let middle = at[which][i];
        at[which][i] = middle + step;
        let above = total(&at);
        at[which][i] = middle - step;
        let below = total(&at);
        at[which][i] = middle;
        let want = (above - below) / (2.0 * step);
        assert!(
            (f64::from(got[i]) - want).abs() < 3e-5 * (1.0 + want.abs()),
            "{what}, input {which}[{i}]: {}, want {want}",
            got[i]
        );
    }
}
