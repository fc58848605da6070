//! Group norm and layer norm.

use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::GroupNormShape;

use super::sums::Groups;
use super::{Done, store};
use crate::device::Device;
use crate::launch::Launch;
use crate::memory::{Memory, Pool};

/// What one image's features are normalised with, `[images, groups]` each.
#[derive(Debug)]
pub struct GroupStatistics<M> {
    /// Of the values.
    pub mean: M,
    /// `1/sqrt(variance + eps)`.
    pub inverse_deviation: M,
}

/// What the gradients of a group norm are made from, and where they go.
#[derive(Debug)]
pub struct GroupNormGradients<'a> {
    /// The input.
    pub x: &'a Memory,
    /// As the forward pass wrote them.
    pub statistics: GroupStatistics<&'a Memory>,
    /// Per channel.
    pub gamma: &'a Memory,
    /// Gradient of the output; afterwards that of the input.
    pub dy: &'a mut Memory,
    /// Of gamma.
    pub dgamma: (&'a mut Memory, Accumulate),
    /// Of beta.
    pub dbeta: (&'a mut Memory, Accumulate),
}

/// A batch, as kernels are told of it.
#[derive(Debug, Clone, Copy)]
struct Batch<'a> {
    shape: &'a GroupNormShape,
    images: usize,
}

impl Batch<'_> {
    /// Panics where lengths disagree.
    fn of<'a>(shape: &'a GroupNormShape, x: &Memory, mean: &Memory) -> Batch<'a> {
        let images = x.len() / shape.features();
        let lengths = (images * shape.features(), images * shape.groups());
        assert_eq!((x.len(), mean.len()), lengths, "group norm: lengths");
        Batch { shape, images }
    }

    /// Values per channel and image.
    fn sums(self) -> usize {
        self.images * self.shape.channels()
    }

    /// Values per group and image.
    fn statistics(self) -> usize {
        self.images * self.shape.groups()
    }

    fn sizes(self, launch: Launch<'_>, n: usize) -> Launch<'_> {
        let launch = launch.int(n).int(self.shape.channels());
        launch.int(self.shape.groups()).int(self.shape.positions())
    }

    /// Of the sums of the channels of each group: their mean, or with an eps `1/sqrt(mean + eps)`.
    fn statistic(self, device: &Device, sums: &Memory, eps: Option<f32>, to: &mut Memory) -> Done {
        let size = self.shape.channels() / self.shape.groups();
        let n = self.statistics();
        let launch = device.kernel("group_statistic").reads(sums, self.sums());
        let launch = launch.writes(to, n).int(n).int(size);
        let launch = launch.float((self.shape.positions() * size) as f32);
        launch
            .int(usize::from(eps.is_some()))
            .float(eps.unwrap_or(0.0))
            .for_each(n)
    }
}

impl Device {
    /// `y = (x - mean)·inverse_deviation·gamma + beta`, and the statistics.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    #[allow(clippy::too_many_arguments)]
    pub fn group_norm(
        &self,
        pool: &Pool,
        shape: &GroupNormShape,
        eps: f32,
        x: &Memory,
        [gamma, beta]: [&Memory; 2],
        to: GroupStatistics<&mut Memory>,
        y: &mut Memory,
    ) -> Done {
        let GroupStatistics {
            mean,
            inverse_deviation,
        } = to;
        let (batch, n) = (Batch::of(shape, x, mean), x.len());
        let mut sums = self.values(pool, batch.sums())?;
        let launch = self.kernel("image_sums").reads(x, n).reads_some(None, 0);
        let launch = launch.writes(&mut sums, batch.sums());
        batch.sizes(launch, batch.sums()).for_each(batch.sums())?;
        batch.statistic(self, &sums, None, mean)?;
        let launch = self.kernel("image_sums").reads(x, n);
        let launch = launch
            .reads_some(Some(mean), batch.statistics())
            .writes(&mut sums, batch.sums());
        batch.sizes(launch, batch.sums()).for_each(batch.sums())?;
        batch.statistic(self, &sums, Some(eps), inverse_deviation)?;
        let launch = self.kernel("group_norm").reads(x, n);
        let launch = launch
            .reads(mean, batch.statistics())
            .reads(inverse_deviation, batch.statistics());
        let launch = launch
            .reads(gamma, shape.channels())
            .reads(beta, shape.channels())
            .writes(y, n);
        batch.sizes(launch, n).for_each(n)
    }

    /// Gradients of [`Device::group_norm`].
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn group_norm_gradients(
        &self,
        pool: &Pool,
        shape: &GroupNormShape,
        from: GroupNormGradients<'_>,
    ) -> Done {
        let GroupNormGradients {
            x,
            statistics:
                GroupStatistics {
                    mean,
                    inverse_deviation,
                },
            gamma,
            dy,
            ..
        } = from;
        let (batch, n, channels) = (Batch::of(shape, x, mean), x.len(), shape.channels());
        let groups = Groups::of(x, shape.positions(), channels);
        let all = groups.len() * channels;
        let (mut b, mut g) = (self.values(pool, all)?, self.values(pool, all)?);
        let operands = |kernel, dy: &Memory| {
            let launch = self.kernel(kernel).reads(x, n).reads(dy, n);
            launch
                .reads(mean, batch.statistics())
                .reads(inverse_deviation, batch.statistics())
        };
        let launch = operands("group_norm_sums", dy)
            .writes(&mut b, all)
            .writes(&mut g, all);
        batch
            .sizes(launch, all)
            .int(batch.images)
            .int(groups.step())
            .for_each(all)?;
        groups.combine(self, &b, from.dbeta.0, None, store(from.dbeta.1))?;
        groups.combine(self, &g, from.dgamma.0, None, store(from.dgamma.1))?;

        let [mut b, mut g] = [
            self.values(pool, batch.sums())?,
            self.values(pool, batch.sums())?,
        ];
        let launch = operands("image_products", dy).reads(gamma, channels);
        let launch = launch
            .writes(&mut b, batch.sums())
            .writes(&mut g, batch.sums());
        batch.sizes(launch, batch.sums()).for_each(batch.sums())?;
        let of_groups = || self.values(pool, batch.statistics());
        let (mut s, mut t) = (of_groups()?, of_groups()?);
        batch.statistic(self, &b, None, &mut s)?;
        batch.statistic(self, &g, None, &mut t)?;
        let launch = self.kernel("group_norm_gradient").reads(x, n);
        let launch = launch
            .reads(mean, batch.statistics())
            .reads(inverse_deviation, batch.statistics())
            .reads(gamma, channels);
        let launch = launch
            .reads(&s, batch.statistics())
            .reads(&t, batch.statistics())
            .writes(dy, n);
        batch.sizes(launch, n).for_each(n)
    }
}
