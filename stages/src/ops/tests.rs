//! Tests of the ops: what they compare with is an f64 reference, numbers worked out by hand, or the
//! tape's own laws. Here is what those tests share.

use dfdx::prelude::{AsArray, Backward, Cpu, Gradients};

use super::recycle::Pool;
use super::*;
use repro_numerics::exact::rng::Stream;

mod images;
mod layers;
mod outputs;
mod tape;

type Taped = Matrix<Cpu, Traced>;

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, "op test", 0, 0);
    (0..len).map(|_| random.normal()).collect()
}

fn matrix(data: &[f32], rows: usize) -> Matrix<Cpu> {
    // Stale values are of no kind an op may rely on.
    let pool = Pool::default();
    for len in 1..200 {
        pool.take(len).fill(f32::NAN);
    }
    let shape = (rows, data.len() / rows);
    Matrix::written(&Cpu::default(), &pool, shape, |to| to.copy_from_slice(data)).unwrap()
}

fn param(data: &[f32]) -> Param<Cpu> {
    Param::new(&Cpu::default(), &Pool::default(), data).unwrap()
}

/// The gradient of a matrix or a parameter; zeros where there is none.
trait Operand {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32>;
}

impl Operand for Matrix<Cpu> {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32> {
        let found = take_input_gradient(of, self).unwrap();
        found.map_or(vec![0.0; self.values().len()], |g| g.to_vec())
    }
}

impl Operand for Param<Cpu> {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32> {
        let found = take_gradient(&Cpu::default(), &Pool::default(), of, self).unwrap();
        found.map_or(vec![0.0; self.values().len()], |g| g.to_vec())
    }
}

fn gradient(gradients: &mut Gradients<f32, Cpu>, of: &impl Operand) -> Vec<f32> {
    of.gradient(gradients)
}

/// The gradients of Σ weights·y.
fn weighted(y: Taped, weights: &[f32]) -> Gradients<f32, Cpu> {
    let weights = matrix(weights, y.shape().0);
    weighted_sum(y, &weights).unwrap().backward()
}

/// Central differences of Σ weights·f in f64, at inputs rounded to f32.
fn differences(
    inputs: &[&[f32]],
    which: usize,
    weights: &[f32],
    f: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let mut at: Vec<Vec<f64>> = inputs
        .iter()
        .map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let total = |at: &[Vec<f64>]| -> f64 {
        f(at)
            .iter()
            .zip(weights)
            .map(|(y, w)| y * f64::from(*w))
            .sum()
    };
    let step = 1e-5;
    (0..at[which].len())
        .map(|i| {
            let middle = at[which][i];
            at[which][i] = middle + step;
            let above = total(&at);
            at[which][i] = middle - step;
            let below = total(&at);
            at[which][i] = middle;
            (above - below) / (2.0 * step)
        })
        .collect()
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |m, w| m.max(w.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() < 2e-5 * scale,
            "{what}[{i}]: {g}, want {w}"
        );
    }
}

#[track_caller]
fn check(
    what: &str,
    inputs: &[&[f32]],
    got: &[Vec<f32>],
    weights: &[f32],
    f: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    for (which, got) in got.iter().enumerate() {
        close(
            &format!("{what}, input {which}"),
            got,
            &differences(inputs, which, weights, &f),
        );
    }
}
