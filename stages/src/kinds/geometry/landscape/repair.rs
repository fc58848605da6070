//! REPAIR for networks without batch norm: between two networks, the outputs of hidden layers lose
//! their variance, and here they get it back (Jordan, Sedghi, Saukh, Entezari & Neyshabur, *REPAIR:
//! REnormalizing Permuted Activations for Interpolation Repair*, ICLR 2023, section 4).
//!
//! Decides what means and deviations layers should have, and rescales them; does not know where the
//! points of a line lie.

use std::sync::Arc;

use crate::data::Dataset;
use crate::device::Device;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::layer::{Layer, Parameter};
use crate::nn::network::Norms;
use crate::training::landscape::{Batch, Landscape};
use crate::weights::NamedTensors;

/// Images at once. Part of the definition of the bits.
const BATCH: usize = 256;

/// A hidden layer: its weight and bias, by position in [`Architecture::parameters`].
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hidden {
    weight: usize,
    bias: usize,
}

/// Mean and standard deviation of each unit of a layer.
type Moments = Vec<(f64, f64)>;

/// What the two ends of a line do on the data, layer by layer.
pub(super) struct Repair<'a> {
    device: &'a Device,
    architecture: &'a Arc<Architecture>,
    data: &'a Dataset,
    layers: Vec<Hidden>,
    ends: [Vec<Moments>; 2],
}

/// The layers before the last one.
///
/// # Errors
/// A layer that cannot be shifted, or whose outputs a norm changes.
fn hidden(architecture: &Architecture) -> Result<Vec<Hidden>, Failure> {
    fn collect(layers: &[Layer], found: &mut Vec<(usize, Option<usize>)>) -> Result<(), Failure> {
        for layer in layers {
            match layer {
                Layer::Dense { weight, bias, .. } => found.push((*weight, Some(*bias))),
                Layer::Conv { weight, bias, .. } | Layer::Depthwise { weight, bias, .. } => {
                    found.push((*weight, *bias));
                }
                Layer::Residual { body, shortcut, .. } => {
                    collect(shortcut, found)?;
                    collect(body, found)?;
                }
                Layer::BatchNorm { .. } => {
                    return Err(Failure::new(
                        "`repair` is for networks without batch norm, and this one has it",
                    )
                    .hint("leave `repair` out: with the need `train` its statistics are made anew at every point, which does the same"));
                }
                Layer::Recurrent { .. } | Layer::Lstm { .. } => {
                    return Err(Failure::new("`repair` knows no recurrent layers")
                        .hint("leave `repair` out"));
                }
                _ => {}
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    collect(&architecture.layers, &mut found)?;
    found.pop();
    let layer = |(weight, bias): (usize, Option<usize>)| {
        let name = &architecture.parameters[weight].name;
        let without = || {
            Failure::new(format!(
                "`repair` shifts the outputs of each hidden layer, and that of `{name}` has no bias"
            ))
            .hint("train networks whose layers have biases, or with batch norm, whose statistics are made anew")
        };
        let bias = bias.ok_or_else(without)?;
        Ok(Hidden { weight, bias })
    };
    found.into_iter().map(layer).collect()
}

/// Nothing stands in the way of repairing networks of this shape.
///
/// # Errors
/// What does.
pub(super) fn check(architecture: &Architecture) -> Result<(), Failure> {
    hidden(architecture).map(drop)
}

impl<'a> Repair<'a> {
    /// Measures both ends.
    pub(super) fn new(
        device: &'a Device,
        architecture: &'a Arc<Architecture>,
        ends: [&NamedTensors; 2],
        data: &'a Dataset,
    ) -> anyhow::Result<Repair<'a>> {
        let mut repair = Repair {
            device,
            architecture,
            data,
            layers: hidden(architecture)?,
            ends: [Vec::new(), Vec::new()],
        };
        for (at, tensors) in ends.into_iter().enumerate() {
            repair.ends[at] = repair.measured(tensors, &repair.layers)?;
        }
        Ok(repair)
    }

    /// Gives the network at `x` on the line, from 0 to 1, its means and deviations back: of each
    /// unit of each hidden layer, in their order, those between the ends'. A unit that does not vary
    /// is shifted alone. The ends stay as they are.
    pub(super) fn apply(&self, x: f64, tensors: &mut NamedTensors) -> anyhow::Result<()> {
        if x <= 0.0 || x >= 1.0 {
            return Ok(());
        }
        for (at, layer) in self.layers.iter().enumerate() {
            let measured = self.measured(tensors, &[*layer])?;
            let units = self.ends[0][at].iter().zip(&self.ends[1][at]);
            let wanted = units.map(|(a, b)| {
                let between = |a: f64, b: f64| (1.0 - x) * a + x * b;
                (between(a.0, b.0), between(a.1, b.1))
            });
            let changes = measured[0].iter().zip(wanted);
            let changes = changes.map(|(&(mean, deviation), (to_mean, to_deviation))| {
                let factor = match deviation > 0.0 {
                    true => to_deviation / deviation,
                    false => 1.0,
                };
                (factor, mean, to_mean)
            });
            let changes = Vec::from_iter(changes);
            let name = |position: usize| &self.architecture.parameters[position].name;
            if let Some(weight) = tensors.get_mut(name(layer.weight)) {
                let inputs = weight.data.len() / changes.len();
                let units = weight.data.chunks_exact_mut(inputs);
                for (unit, (factor, ..)) in units.zip(&changes) {
                    for w in unit {
                        *w = (f64::from(*w) * factor) as f32;
                    }
                }
            }
            if let Some(bias) = tensors.get_mut(name(layer.bias)) {
                for (b, (factor, mean, to_mean)) in bias.data.iter_mut().zip(&changes) {
                    *b = ((f64::from(*b) - mean) * factor + to_mean) as f32;
                }
            }
        }
        Ok(())
    }

    /// Of the outputs of these layers before their activation, over images and positions; sums in
    /// f64, in the order of the data.
    fn measured(&self, tensors: &NamedTensors, layers: &[Hidden]) -> anyhow::Result<Vec<Moments>> {
        let landscape = Landscape::new(self.device, self.architecture, tensors, Norms::Running)?;
        let units = |layer: &Hidden| {
            let Parameter { shape, .. } = &self.architecture.parameters[layer.bias];
            vec![(0.0f64, 0.0f64); shape[0]]
        };
        let mut sums: Vec<Moments> = layers.iter().map(units).collect();
        let mut counts = vec![0.0f64; layers.len()];
        for batch in Batch::in_order(self.data, self.data.len(), BATCH) {
            let mut see = |weight: usize, values: &[f32]| {
                let Some(at) = layers.iter().position(|layer| layer.weight == weight) else {
                    return;
                };
                for row in values.chunks_exact(sums[at].len()) {
                    counts[at] += 1.0;
                    for (sum, value) in sums[at].iter_mut().zip(row) {
                        let value = f64::from(*value);
                        sum.0 += value;
                        sum.1 += value * value;
                    }
                }
            };
            landscape.watch(&batch, &mut see)?;
        }
        for (units, count) in sums.iter_mut().zip(counts) {
            for unit in units {
                let mean = unit.0 / count;
                let variance = (unit.1 / count - mean * mean).max(0.0);
                *unit = (mean, variance.sqrt());
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::examples::tiny;
    use crate::nn::architecture::tests::architecture;
    use repro_numerics::exact::rng::Stream;
    use serde_json::json;

    /// Weights and biases drawn from a normal distribution.
    fn drawn(architecture: &Architecture, seed: u64) -> NamedTensors {
        let parameters = architecture.parameters.iter().enumerate();
        let tensor = |(position, p): (usize, &Parameter)| {
            let mut stream = Stream::new(seed, "test", 0, position as u64);
            let count = p.shape.iter().product();
            let data = (0..count).map(|_| stream.normal()).collect();
            let shape = p.shape.clone();
            (p.name.clone(), crate::weights::NamedTensor { shape, data })
        };
        parameters.map(tensor).collect()
    }

    /// The law: once repaired, each hidden layer has the means and deviations that lie between the
    /// ends', and the last layer is what it was.
    #[test]
    fn means_and_deviations_lie_between_the_ends() {
        let data = tiny(300);
        let layers = json!({"conv": {"layers": [
            {"conv": {"channels": 5}}, {"activation": "relu"}, {"dense": 7}, {"activation": "tanh"}]}});
        let architecture = Arc::new(architecture(layers, (2, 3, 2), 2));
        let device = crate::device::open().unwrap();
        let [a, b] = [1, 2].map(|seed| drawn(&architecture, seed));
        let repair = Repair::new(&device, &architecture, [&a, &b], &data).unwrap();
        assert_eq!(repair.layers.len(), 2);
        let mut between = a.clone();
        for (name, tensor) in &mut between {
            for (x, other) in tensor.data.iter_mut().zip(&b[name].data) {
                *x = 0.75 * *x + 0.25 * other;
            }
        }
        let mixed = between.clone();
        repair.apply(0.25, &mut between).unwrap();
        let found = repair.measured(&between, &repair.layers).unwrap();
        for (layer, units) in found.iter().enumerate() {
            let ends = repair.ends[0][layer].iter().zip(&repair.ends[1][layer]);
            for (found, (a, b)) in units.iter().zip(ends) {
                let is_near = |found: f64, a: f64, b: f64| {
                    let wanted = 0.75 * a + 0.25 * b;
                    (found - wanted).abs() <= 1e-4 * wanted.abs().max(1.0)
                };
                assert!(is_near(found.0, a.0, b.0), "{found:?} {a:?} {b:?}");
                assert!(is_near(found.1, a.1, b.1), "{found:?} {a:?} {b:?}");
            }
        }
        assert_eq!(between["fc2.weight"].data, mixed["fc2.weight"].data);
        assert_ne!(between["conv1.weight"].data, mixed["conv1.weight"].data);
        // The ends stay.
        let mut end = a.clone();
        repair.apply(0.0, &mut end).unwrap();
        assert_eq!(end["conv1.weight"].data, a["conv1.weight"].data);
    }
}
