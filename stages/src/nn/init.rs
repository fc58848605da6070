//! First weights. Every parameter draws from its own random stream, in file order, so the values
//! depend on nothing but the seed, the parameter's position in the network and its shape.
//!
//! A family of rules is a file: a struct with what the user says, and `impl Fills`. A new rule is
//! that file, a variant of [`Init`] and its line in `Init::rule`. What differs from the rule
//! (biases, scales, single layers) is in [`first_weights`]; data are seen by [`start`] alone.
//!
//! Fans are those of Keras' `compute_fans` and PyTorch's `_calculate_fan_in_and_fan_out`: dense
//! (in, out), convolution (kh·kw·in, kh·kw·out). All rules but `pytorch` leave biases at 0; batch
//! norm starts at gain 1, shift 0, mean 0, variance 1.

mod by_fan;
mod draws;
mod first_weights;
mod fixed;
mod fixup;
mod hadamard;
mod identity;
mod keras;
mod orthogonal;
mod pattern;
mod rule;
mod sparse;
mod start;
mod torch;
mod weight;

pub use by_fan::{Distribution, Fan, VarianceScaling};
pub use first_weights::{FirstWeights, OutputBias};
pub use fixed::{NormalInit, UniformInit};
pub use pattern::{by_layer, whole_layers};
pub use rule::Init;
pub use start::{check, doubts, first, fresh, overruled};

#[cfg(test)]
mod tests;
