//! Batch norm.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::NormShape;

use super::sums::Groups;
use super::{Done, SET, number, store};
use crate::device::Device;
use crate::memory::{Memory, Pool};

/// What the gradients of a batch norm are made from, and where they go.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// Gradients flow through mean and variance.
    pub through_stats: bool,
    /// The input.
    pub x: &'a Memory,
    /// Per channel.
    pub mean: &'a Memory,
    /// Per channel.
    pub variance: &'a Memory,
    /// Per channel.
    pub gamma: &'a Memory,
    /// The output; absent with the identity.
    pub y: Option<&'a Memory>,
    /// As in the forward pass.
    pub activation: Activation,
    /// Gradient of the output; afterwards that of the input.
    pub dy: &'a mut Memory,
    /// Of gamma.
    pub dgamma: (&'a mut Memory, Accumulate),
    /// Of beta.
    pub dbeta: (&'a mut Memory, Accumulate),
}

impl Device {
    /// Mean and biased variance of each channel.
    ///
    /// # Errors
    /// The device's own.
    pub fn channel_stats(
        &self,
        pool: &Pool,
        shape: NormShape,
        x: &Memory,
        mean: &mut Memory,
        variance: &mut Memory,
    ) -> Done {
        let (n, channels) = (x.len(), shape.channels);
        let groups = Groups::of(x, shape.positions, channels);
        let count = Some((n / channels) as f32);
        let sums = groups.sums(self, pool, "group_sums", |launch| launch.reads(x, n))?;
        groups.combine(self, &sums, mean, count, SET)?;
        let squares = groups.sums(self, pool, "group_squares", |launch| {
            launch.reads(x, n).reads(mean, channels)
        })?;
        groups.combine(self, &squares, variance, count, SET)
    }

    /// `y = activation((x - mean)·gamma/sqrt(variance + eps) + beta)` per channel.
    ///
    /// # Errors
    /// The device's own.
    pub fn normalize(
        &self,
        shape: NormShape,
        x: &Memory,
        [mean, variance, gamma, beta]: [&Memory; 4],
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        let (n, channels) = (y.len(), shape.channels);
        let launch = self.kernel("batch_norm").reads(x, n);
        let of_channels = [mean, variance, gamma, beta].into_iter();
        let launch = of_channels.fold(launch, |launch, values| launch.reads(values, channels));
        let launch = launch.writes(y, n).int(n).int(channels).float(shape.eps);
        launch.int(number(activation)).for_each(n)
    }

    /// Gradients of [`Device::normalize`].
    ///
    /// # Errors
    /// The device's own.
    pub fn normalize_gradients(
        &self,
        pool: &Pool,
        shape: NormShape,
        from: NormGradients<'_>,
    ) -> Done {
        let NormGradients {
            x,
            mean,
            variance,
            gamma,
            dy,
            ..
        } = from;
        self.unactivate(from.activation, from.y, dy)?;
        let (n, channels) = (dy.len(), shape.channels);
        let groups = Groups::of(dy, shape.positions, channels);
        let b = groups.sums(self, pool, "group_sums", |launch| launch.reads(dy, n))?;
        let g = groups.sums(self, pool, "group_products", |launch| {
            let launch = launch.reads(x, n).reads(dy, n).reads(mean, channels);
            launch.reads(variance, channels).float(shape.eps)
        })?;
        groups.combine(self, &b, from.dbeta.0, None, store(from.dbeta.1))?;
        groups.combine(self, &g, from.dgamma.0, None, store(from.dgamma.1))?;
        let count = Some((n / channels) as f32);
        let (mut mean_b, mut mean_g) = (self.values(pool, channels)?, self.values(pool, channels)?);
        if from.through_stats {
            groups.combine(self, &b, &mut mean_b, count, SET)?;
            groups.combine(self, &g, &mut mean_g, count, SET)?;
        }
        let launch = self.kernel("batch_norm_gradient").reads(x, n);
        let of_channels = [mean, variance, gamma, &mean_g, &mean_b].into_iter();
        let launch = of_channels.fold(launch, |launch, values| launch.reads(values, channels));
        let launch = launch.writes(dy, n).int(n).int(channels).float(shape.eps);
        launch.int(usize::from(from.through_stats)).for_each(n)
    }
}
