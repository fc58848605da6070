//! Distributions that the user gives in full, whatever they fill.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::weight::Fills;

/// U(-limit, limit).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformInit {
    /// At least 0. Keras' RandomUniform: 0.05.
    pub limit: f64,
}

/// N(0, std²).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalInit {
    /// At least 0. Keras' RandomNormal: 0.05.
    pub std: f64,
}

/// U(low, high).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeInit {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Fills for Draws {
    fn anywhere(&self) -> Option<Draws> {
        Some(*self)
    }
}

impl Fills for UniformInit {
    fn problem(&self) -> Option<String> {
        not_negative("limit", self.limit)
    }

    fn anywhere(&self) -> Option<Draws> {
        Some(Draws::Uniform(self.limit as f32))
    }
}

impl Fills for NormalInit {
    fn problem(&self) -> Option<String> {
        not_negative("std", self.std)
    }

    fn anywhere(&self) -> Option<Draws> {
        Some(Draws::Normal(self.std as f32))
    }
}

impl Fills for RangeInit {
    fn anywhere(&self) -> Option<Draws> {
        Some(Draws::Between {
            low: self.low,
            high: self.high,
        })
    }
}

fn not_negative(what: &str, x: f64) -> Option<String> {
    let good = x.is_finite() && x >= 0.0;
    (!good).then(|| format!("{what} must be finite and not negative, got {x}"))
}
