//! Pooling.

use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::PoolShape;

use super::{Done, store};
use crate::device::Device;
use crate::launch::Launch;
use crate::memory::Memory;

fn sizes<'a>(launch: Launch<'a>, n: usize, shape: &PoolShape) -> Launch<'a> {
    let (image, out) = (shape.input(), shape.output());
    let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
    let launch = launch
        .int(n)
        .int(image.height)
        .int(image.width)
        .int(image.channels);
    let launch = launch
        .int(out.height)
        .int(out.width)
        .int(kernel_h)
        .int(kernel_w);
    launch.int(stride_h).int(stride_w).int(shape.padding())
}

/// Values of the input for so many of the output.
fn inputs(shape: &PoolShape, outputs: usize) -> usize {
    outputs / shape.output().features() * shape.input().features()
}

impl Device {
    /// The largest value of each window.
    ///
    /// # Errors
    /// The device's own.
    pub fn max_pool(&self, shape: &PoolShape, x: &Memory, y: &mut Memory) -> Done {
        let n = y.len();
        let launch = self
            .kernel("max_pool")
            .reads(x, inputs(shape, n))
            .writes(y, n);
        sizes(launch, n, shape).for_each(n)
    }

    /// The mean of each window.
    ///
    /// # Errors
    /// The device's own.
    pub fn avg_pool(&self, shape: &PoolShape, x: &Memory, y: &mut Memory) -> Done {
        let n = y.len();
        let launch = self
            .kernel("avg_pool")
            .reads(x, inputs(shape, n))
            .writes(y, n);
        sizes(launch, n, shape).for_each(n)
    }

    /// The gradient of [`Device::max_pool`].
    ///
    /// # Errors
    /// The device's own.
    pub fn max_pool_gradient(
        &self,
        shape: &PoolShape,
        x: &Memory,
        dy: &Memory,
        (dx, how): (&mut Memory, Accumulate),
    ) -> Done {
        let n = inputs(shape, dy.len());
        let ((kernel_h, kernel_w), (stride_h, stride_w)) = (shape.kernel(), shape.stride());
        if kernel_h <= stride_h && kernel_w <= stride_w {
            if how == Accumulate::First {
                self.kernel("fill")
                    .float(0.0)
                    .writes(dx, n)
                    .int(n)
                    .for_each(n)?;
            }
            let windows = dy.len();
            let launch = self.kernel("max_pool_gradient_apart").reads(x, n);
            let launch = launch.reads_all(dy).writes(dx, n);
            return sizes(launch, windows, shape).for_each(windows);
        }
        let launch = self
            .kernel("max_pool_gradient")
            .reads(x, n)
            .reads_all(dy)
            .writes(dx, n);
        sizes(launch, n, shape).int(store(how)).for_each(n)
    }

    /// The gradient of [`Device::avg_pool`].
    ///
    /// # Errors
    /// The device's own.
    pub fn avg_pool_gradient(
        &self,
        shape: &PoolShape,
        dy: &Memory,
        (dx, how): (&mut Memory, Accumulate),
    ) -> Done {
        let n = inputs(shape, dy.len());
        let launch = self.kernel("avg_pool_gradient").reads_all(dy).writes(dx, n);
        sizes(launch, n, shape).int(store(how)).for_each(n)
    }
}
