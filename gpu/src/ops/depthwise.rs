//! Depthwise convolutions.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::DepthwiseShape;

use super::sums::Groups;
use super::{Done, number, store};
use crate::device::Device;
use crate::launch::Launch;
use crate::memory::{Memory, Pool};

fn sizes<'a>(launch: Launch<'a>, n: usize, shape: &DepthwiseShape) -> Launch<'a> {
    let (image, out, (kernel_h, kernel_w)) = (shape.input(), shape.output(), shape.kernel());
    let launch = launch
        .int(n)
        .int(image.height)
        .int(image.width)
        .int(image.channels);
    let launch = launch.int(out.height).int(out.width);
    let launch = launch.int(kernel_h).int(kernel_w);
    launch.int(shape.stride()).int(shape.padding())
}

/// Images in so many values; panics where lengths disagree.
fn images_of(shape: &DepthwiseShape, x: &Memory, w: &Memory, y: &Memory) -> usize {
    let (of_x, of_y) = (shape.input().features(), shape.output().features());
    let images = x.len() / of_x;
    let lengths = [images * of_x, shape.weights(), images * of_y];
    assert_eq!([x.len(), w.len(), y.len()], lengths, "depthwise: lengths");
    images
}

impl Device {
    /// A depthwise convolution, then the activation.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn depthwise(
        &self,
        shape: &DepthwiseShape,
        x: &Memory,
        w: &Memory,
        b: Option<&Memory>,
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        images_of(shape, x, w, y);
        let n = y.len();
        let launch = self.kernel("depthwise").reads_all(x).reads_all(w);
        let launch = launch.reads_some(b, shape.output().channels).writes(y, n);
        sizes(launch, n, shape).int(number(activation)).for_each(n)
    }

    /// Gradient of the weight.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn depthwise_weight_gradient(
        &self,
        pool: &Pool,
        shape: &DepthwiseShape,
        x: &Memory,
        dy: &Memory,
        (dw, how): (&mut Memory, Accumulate),
    ) -> Done {
        let images = images_of(shape, x, dw, dy);
        let groups = Groups {
            channels: shape.weights(),
            images,
            positions: shape.output().positions(),
        };
        let n = groups.len() * shape.weights();
        let mut sums = self.values(pool, n)?;
        let launch = self
            .kernel("depthwise_weight_sums")
            .reads_all(x)
            .reads_all(dy)
            .writes(&mut sums, n);
        sizes(launch, n, shape)
            .int(images)
            .int(groups.step())
            .for_each(n)?;
        groups.combine(self, &sums, dw, None, store(how))
    }

    /// Gradient of the input.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn depthwise_input_gradient(
        &self,
        shape: &DepthwiseShape,
        w: &Memory,
        dy: &Memory,
        (dx, how): (&mut Memory, Accumulate),
    ) -> Done {
        images_of(shape, dx, w, dy);
        let n = dx.len();
        let launch = self.kernel("depthwise_input_gradient").reads_all(dy);
        let launch = launch.reads_all(w).writes(dx, n);
        sizes(launch, n, shape).int(store(how)).for_each(n)
    }
}
