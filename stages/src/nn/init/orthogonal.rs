//! Orthogonal weights: the Q of the QR decomposition of a normal matrix (see
//! [`repro_numerics::exact::orthonormal`]), rounded once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::weight::{Fills, Weight};
use repro_numerics::exact::orthonormal::orthonormalise;
use repro_numerics::exact::rng::Stream;

/// A factor on weights that have a length of their own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// The factor.
    #[serde(default = "one")]
    pub gain: f64,
}

fn one() -> f64 {
    1.0
}

impl Gain {
    pub(super) fn problem(self) -> Option<String> {
        let good = self.gain.is_finite();
        (!good).then(|| format!("gain must be finite, got {}", self.gain))
    }
}

/// An orthogonal matrix times the gain.
pub(super) struct Orthogonal(pub Gain);

impl Fills for Orthogonal {
    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    /// `[out, in·kh·kw]` has orthonormal rows, or orthonormal columns where it has more rows.
    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        let (rows, columns) = (weight.rows(), weight.columns());
        let mut normal: Vec<f64> = (0..rows * columns)
            .map(|_| f64::from(stream.normal()))
            .collect();
        // What is made orthonormal lies in a row: columns of the matrix are gathered first.
        let is_tall = rows > columns;
        if is_tall {
            normal = transposed(&normal, rows, columns);
        }
        orthonormalise(&mut normal, rows.max(columns));
        if is_tall {
            normal = transposed(&normal, columns, rows);
        }
        normal.iter().map(|x| (self.0.gain * x) as f32).collect()
    }
}

fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let row = |c: usize| (0..rows).map(move |r| matrix[r * columns + c]);
    (0..columns).flat_map(row).collect()
}
