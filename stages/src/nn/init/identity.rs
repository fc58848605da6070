//! Weights that hand their input on.

use super::orthogonal::Gain;
use super::weight::{Fills, Weight};
use repro_numerics::exact::rng::Stream;

/// Output `i` is input `i`, times the gain: 1s on the diagonal of a dense weight, in the middle of
/// a convolution's kernels (`torch.nn.init.eye_` and `dirac_`), and of every kernel of a depthwise
/// one.
pub(super) struct Identity(pub Gain);

/// Only of dense weights.
pub(super) struct Eye(pub Gain);

/// Only of convolutions.
pub(super) struct Dirac;

impl Fills for Identity {
    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn fill(&self, weight: &Weight, _: &mut Stream) -> Vec<f32> {
        diagonal(weight, self.0.gain as f32)
    }
}

impl Fills for Eye {
    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn misfit(&self, weight: &Weight) -> Option<String> {
        (!weight.is_dense()).then(|| "it fills dense weights only; `identity` fills all".to_owned())
    }

    fn fill(&self, weight: &Weight, _: &mut Stream) -> Vec<f32> {
        diagonal(weight, self.0.gain as f32)
    }
}

impl Fills for Dirac {
    fn misfit(&self, weight: &Weight) -> Option<String> {
        let text = "`dirac_` fills convolutions only; `identity` fills all";
        weight.is_dense().then(|| text.to_owned())
    }

    fn fill(&self, weight: &Weight, _: &mut Stream) -> Vec<f32> {
        diagonal(weight, 1.0)
    }
}

fn diagonal(weight: &Weight, value: f32) -> Vec<f32> {
    let (rows, taps) = (weight.rows(), weight.taps());
    let inputs = weight.columns() / taps.max(1);
    let mut values = vec![0.0; weight.len()];
    for row in 0..rows {
        let input = if weight.is_depthwise { 0 } else { row };
        if input < inputs {
            values[(row * inputs + input) * taps + weight.middle()] = value;
        }
    }
    values
}
