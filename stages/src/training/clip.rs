//! Gradients cut to a norm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::Backend;

/// How gradients are kept from becoming too large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// All gradients together are scaled to this norm if theirs is larger, as by PyTorch's
    /// `clip_grad_norm_`: each is multiplied by `min(1, this / (norm + 1e-6))`.
    Norm(f64),
}

impl Clip {
    /// What is wrong with the number.
    pub fn problem(self) -> Option<String> {
        let Clip::Norm(norm) = self;
        let good = norm.is_finite() && norm > 0.0;
        (!good).then(|| format!("must be finite and above 0, got {norm}"))
    }

    /// Scales the gradients of a step. The norm is the root of the sum of all squares, in f64 and
    /// in the order of parameters and elements; each product is rounded once.
    pub(super) fn apply<D: Backend>(
        self,
        device: &D,
        pool: &D::Pool,
        gradients: &mut [Option<D::Values>],
    ) -> Result<(), D::Err> {
        let Clip::Norm(most) = self;
        let square = |x: &f32| f64::from(*x) * f64::from(*x);
        let sum = |values: &D::Values| device.read(values).iter().map(square).sum::<f64>();
        let norm = gradients.iter().flatten().map(sum).sum::<f64>().sqrt();
        let factor = most / (norm + 1e-6);
        if factor >= 1.0 {
            return Ok(());
        }
        for gradient in gradients.iter_mut().flatten() {
            let before = device.copy(gradient, pool)?;
            device.scaled_add(0.0, &before, factor as f32, gradient)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use super::*;
    use crate::ops::recycle::Pool;

    /// The arithmetic of PyTorch's `clip_grad_norm_`, by hand: the norm is 85 = √(3² + 4² + 12² +
    /// 84²), and each gradient is multiplied by 5 / (85 + 1e-6).
    #[test]
    fn gradients_are_scaled_together() {
        let (device, pool) = (Cpu::default(), Pool::default());
        let put = |values: &[f32]| {
            let fill = |to: &mut [f32]| to.copy_from_slice(values);
            Some(device.written(&pool, values.len(), fill).unwrap())
        };
        let clipped = |most: f64| {
            let mut gradients = [put(&[3.0, -4.0, 12.0]), None, put(&[84.0, 0.0])];
            Clip::Norm(most)
                .apply(&device, &pool, &mut gradients)
                .unwrap();
            let read = |g: &<Cpu as Backend>::Values| device.read(g).into_owned();
            gradients
                .iter()
                .flatten()
                .map(read)
                .collect::<Vec<_>>()
                .concat()
        };
        let want = [
            0.176470586159,
            -0.235294114879,
            0.705882344637,
            4.941176412457,
            0.0,
        ];
        for (got, want) in clipped(5.0).iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 4e-7, "{got} {want}");
        }
        assert_eq!(clipped(85.1), [3.0, -4.0, 12.0, 84.0, 0.0], "small enough");
    }
}
