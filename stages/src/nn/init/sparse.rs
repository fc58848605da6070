//! Weights most of which are 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::weight::{Fills, Weight};
use repro_numerics::exact::rng::Stream;

/// Martens' sparse weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SparseInit {
    /// How many incoming weights of every unit are not 0; of a unit with fewer inputs, all.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 1))]
    pub incoming: usize,
    /// Their standard deviation.
    #[serde(default = "one")]
    pub std: f64,
}

/// `torch.nn.init.sparse_`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TorchSparse {
    /// Share of every column that is set to 0, rounded up to whole elements.
    pub sparsity: f64,
    /// The standard deviation of the others.
    #[serde(default = "hundredth")]
    pub std: f64,
}

fn fifteen() -> usize {
    15
}

fn one() -> f64 {
    1.0
}

fn hundredth() -> f64 {
    0.01
}

fn std_problem(std: f64) -> Option<String> {
    let good = std.is_finite() && std >= 0.0;
    (!good).then(|| format!("std must be finite and not negative, got {std}"))
}

/// `count` different numbers below `below`, in random order.
fn chosen(count: usize, below: usize, stream: &mut Stream) -> Vec<usize> {
    let mut all: Vec<usize> = (0..below).collect();
    for i in 0..count {
        let left = u32::try_from(below - i).unwrap_or(u32::MAX);
        all.swap(i, i + stream.below(left) as usize);
    }
    all.truncate(count);
    all
}

impl Fills for SparseInit {
    fn problem(&self) -> Option<String> {
        match self.incoming {
            0 => Some("incoming must be at least 1: without one a unit is dead".to_owned()),
            _ => std_problem(self.std),
        }
    }

    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        let mut values = vec![0.0; weight.len()];
        for unit in values.chunks_exact_mut(weight.columns().max(1)) {
            let count = self.incoming.min(unit.len());
            for at in chosen(count, unit.len(), stream) {
                unit[at] = (self.std * f64::from(stream.normal())) as f32;
            }
        }
        values
    }
}

impl Fills for TorchSparse {
    fn problem(&self) -> Option<String> {
        match (0.0..=1.0).contains(&self.sparsity) {
            true => std_problem(self.std),
            false => Some(format!(
                "sparsity must be from 0 to 1, got {}",
                self.sparsity
            )),
        }
    }

    fn misfit(&self, weight: &Weight) -> Option<String> {
        (!weight.is_dense()).then(|| "`sparse_` fills dense weights only".to_owned())
    }

    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        let (rows, columns) = (weight.rows(), weight.columns());
        let mut values = Draws::normal(0.0, self.std).take(weight.len(), stream);
        let zeros = (self.sparsity * rows as f64).ceil() as usize;
        for column in 0..columns {
            for row in chosen(zeros.min(rows), rows, stream) {
                values[row * columns + column] = 0.0;
            }
        }
        values
    }
}
