//! Sums per channel over a batch, in groups and shards (`kernels/norm.h`).

use super::order::{SHARD_IMAGES, group_images};

use super::Done;
use crate::device::Device;
use crate::fault::Fault;
use crate::launch::Launch;
use crate::memory::{Memory, Pool};

/// How a batch of images is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    pub channels: usize,
    pub images: usize,
    pub positions: usize,
}

impl Groups {
    pub(super) fn of(values: &Memory, positions: usize, channels: usize) -> Groups {
        let images = values.len() / (positions * channels);
        assert_eq!(
            values.len(),
            images * positions * channels,
            "sums over channels: lengths"
        );
        Groups {
            channels,
            images,
            positions,
        }
    }

    /// Images of a group.
    pub(super) fn step(self) -> usize {
        group_images(self.positions)
    }

    /// How many groups there are.
    pub(super) fn len(self) -> usize {
        let (whole, rest) = (self.images / SHARD_IMAGES, self.images % SHARD_IMAGES);
        whole * SHARD_IMAGES.div_ceil(self.step()) + rest.div_ceil(self.step())
    }

    /// Sums of groups, which `launch` writes, given the launch of a kernel up to them.
    pub(super) fn sums<'a>(
        self,
        device: &'a Device,
        pool: &Pool,
        kernel: &'static str,
        operands: impl FnOnce(Launch<'a>) -> Launch<'a>,
    ) -> Result<Memory, Fault> {
        let len = self.len() * self.channels;
        let mut sums = device.values(pool, len)?;
        let launch = operands(device.kernel(kernel))
            .writes(&mut sums, len)
            .int(self.len());
        let launch = launch
            .int(self.channels)
            .int(self.images)
            .int(self.positions)
            .int(self.step());
        launch.for_each(len)?;
        Ok(sums)
    }

    /// Adds them up; divides by a count where there is one.
    pub(super) fn combine(
        self,
        device: &Device,
        sums: &Memory,
        to: &mut Memory,
        count: Option<f32>,
        store: usize,
    ) -> Done {
        let launch = device
            .kernel("combine")
            .reads(sums, self.len() * self.channels);
        let launch = launch
            .writes(to, self.channels)
            .int(self.len())
            .int(self.channels)
            .int(self.step());
        let launch = launch
            .int(usize::from(count.is_some()))
            .float(count.unwrap_or(1.0))
            .int(store);
        launch.for_each(self.channels)
    }
}
