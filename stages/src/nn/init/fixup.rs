//! Fixup (Zhang et al. 2019): residual networks without normalisation.

use super::super::architecture::Architecture;
use super::super::layer::Role;
use super::draws::Draws;
use super::weight::{Fills, Position, Weight, count_blocks};
use repro_numerics::exact::rng::Stream;

/// Of `L` residual blocks with `m` weights each: the last weight of a block and the classifier are
/// 0, a block's others N(0, 2/fan_out) times `L^(-1/(2m-2))`, all other weights N(0, 2/fan_out).
pub(super) struct Fixup;

impl Fills for Fixup {
    fn doubt(&self, network: &Architecture) -> Option<String> {
        let is_normalised = network.parameters.iter().any(|p| p.role == Role::Gain);
        if count_blocks(&network.layers) == 0 {
            return Some(
                "Fixup is for residual networks, and this one has no residual blocks: its last weight starts at 0, all others as N(0, 2/fan_out)"
                    .to_owned(),
            );
        }
        is_normalised.then(|| {
            "Fixup is for networks without normalisation, and this one has norms: the last weight of each block and of the network start at 0 all the same"
                .to_owned()
        })
    }

    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        let std = (2.0 / weight.fan_out).sqrt();
        let draws = match weight.place {
            Position::BlockEnd | Position::Output => Draws::Constant(0.0),
            Position::Elsewhere => Draws::normal(0.0, std),
            Position::Block { weights, blocks } => {
                let root = (2 * weights - 2) as f64;
                let shrunk = repro_numerics::exact::math::pow_f64(blocks as f64, -1.0 / root);
                Draws::normal(0.0, std * shrunk)
            }
        };
        draws.take(weight.len(), stream)
    }
}
