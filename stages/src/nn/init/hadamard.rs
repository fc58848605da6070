//! ZerO (Zhao et al. 2022): partial identities, and Hadamard matrices where a layer widens.

use super::weight::{Fills, Weight};
use repro_numerics::exact::rng::Stream;

/// Without any random number. Of `m` outputs and `n` inputs: `m ≤ n`: 1s on the diagonal; `m > n`:
/// the upper left `[m, n]` of the Hadamard matrix `H` of `p` rows, `p` the power of 2 from `m` up,
/// divided by `√p`. In a convolution these are the kernels' middles, all else 0.
pub(super) struct Hadamard;

impl Fills for Hadamard {
    fn fill(&self, weight: &Weight, _: &mut Stream) -> Vec<f32> {
        let (outputs, taps) = (weight.rows(), weight.taps());
        let inputs = weight.columns() / taps.max(1);
        let scale = 1.0 / (outputs.next_power_of_two() as f64).sqrt();
        let value = |o: usize, i: usize| {
            if outputs > inputs && !weight.is_depthwise {
                // Sylvester's matrix: the sign is the parity of the bits that row and column share
                let is_negative = (o & i).count_ones() % 2 == 1;
                (if is_negative { -scale } else { scale }) as f32
            } else {
                f32::from(u8::from(o == i || weight.is_depthwise))
            }
        };
        let mut values = vec![0.0; weight.len()];
        for (at, kernel) in values.chunks_exact_mut(taps.max(1)).enumerate() {
            kernel[weight.middle()] = value(at / inputs, at % inputs);
        }
        values
    }
}
