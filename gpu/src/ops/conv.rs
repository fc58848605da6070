//! Convolutions: direct ones as products of what the taps see, and the choice between these and
//! Winograd's.

use super::order::{BLOCK, is_winograd, taps};
use super::order::{SHARD_IMAGES, group_images};
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::ConvShape;

use super::product::{ENDLESS, Left, Place, Product, Right, To, Whole, Window};
use super::sums::Groups;
use super::{Done, SET, store};
use crate::device::Device;
use crate::memory::{Memory, Pool};

/// Images in so many values; panics where lengths disagree.
fn images_of(shape: &ConvShape, x: &Memory, w: &Memory, y: &Memory) -> usize {
    let images = x.len() / shape.input().features();
    let lengths = [
        images * shape.input().features(),
        shape.weights(),
        images * shape.output().features(),
    ];
    assert_eq!([x.len(), w.len(), y.len()], lengths, "convolution: lengths");
    images
}

/// What the taps see of the input.
fn window(shape: &ConvShape) -> Window {
    let (out, padding) = (shape.output(), shape.padding() as isize);
    Window {
        grid: (out.height, out.width),
        wide: shape.kernel().1,
        stride: shape.stride(),
        from: (-padding, -padding),
        image: shape.input(),
    }
}

impl Device {
    /// Two-dimensional convolution, then the activation.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    #[allow(clippy::too_many_arguments)]
    pub fn conv_forward(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: &Memory,
        w: &Memory,
        b: Option<&Memory>,
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        let images = images_of(shape, x, w, y);
        if is_winograd(shape) {
            return self.winograd_forward(pool, shape, x, w, b, activation, y);
        }
        let outputs = shape.output().channels;
        let product = Product {
            m: images * shape.output().positions(),
            n: outputs,
            k: shape.weights() / outputs,
            block: BLOCK,
            part: ENDLESS,
            count: 1,
        };
        let x = Left {
            values: x,
            place: Place::Images(window(shape)),
            transposed: false,
            next: 0,
        };
        let w = Right {
            values: w,
            step: outputs,
            column: 1,
            next: 0,
        };
        product.run(
            self,
            x,
            w,
            b,
            To {
                values: y,
                place: Place::rows(outputs),
                next: 0,
                store: SET,
                activation,
            },
        )
    }

    /// The gradient of the bias, of all layers whose outputs are images.
    ///
    /// # Errors
    /// The device's own.
    pub fn conv_bias_gradient(
        &self,
        pool: &Pool,
        positions: usize,
        dy: &Memory,
        (db, how): (&mut Memory, Accumulate),
    ) -> Done {
        let groups = Groups::of(dy, positions, db.len());
        let sums = groups.sums(self, pool, "group_sums", |launch| launch.reads_all(dy))?;
        groups.combine(self, &sums, db, None, store(how))
    }

    /// The gradient of the weight.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn conv_weight_gradient(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: &Memory,
        dy: &Memory,
        (dw, how): (&mut Memory, Accumulate),
    ) -> Done {
        let images = images_of(shape, x, dw, dy);
        if images == 0 && how == Accumulate::Add {
            return Ok(());
        }
        if images > 0 && is_winograd(shape) {
            return self.winograd_weight_gradient(pool, shape, x, dy, (dw, how));
        }
        let (outputs, positions) = (shape.output().channels, shape.output().positions());
        let product = Product {
            m: shape.weights() / outputs,
            n: outputs,
            k: images * positions,
            block: group_images(positions) * positions,
            part: SHARD_IMAGES * positions,
            count: 1,
        };
        let x = Left {
            values: x,
            place: Place::Images(window(shape)),
            transposed: true,
            next: 0,
        };
        let dy = Right {
            values: dy,
            step: outputs,
            column: 1,
            next: 0,
        };
        let to = Whole {
            values: dw,
            store: store(how),
        };
        product.run_in_pieces(self, pool, x, dy, to)
    }

    /// The gradient of the input: a product for every class of input positions modulo the stride.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn conv_input_gradient(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        w: &Memory,
        dy: &Memory,
        (dx, how): (&mut Memory, Accumulate),
    ) -> Done {
        let images = images_of(shape, dx, w, dy);
        if is_winograd(shape) {
            return self.winograd_input_gradient(pool, shape, w, dy, (dx, how));
        }
        let (image, out, stride) = (shape.input(), shape.output(), shape.stride());
        let (kernel_h, kernel_w) = shape.kernel();
        for residue_y in 0..stride.min(image.height) {
            for residue_x in 0..stride.min(image.width) {
                let rows = taps(residue_y, image.height, kernel_h, stride, shape.padding());
                let columns = taps(residue_x, image.width, kernel_w, stride, shape.padding());
                let k = rows.kernel.len() * columns.kernel.len() * out.channels;
                let mut of_class = self.values(pool, k * image.channels)?;
                let n = of_class.len();
                let first = |kernel: &[usize]| kernel.first().copied().unwrap_or(0);
                let launch = self
                    .kernel("weights_of_class")
                    .reads_all(w)
                    .writes(&mut of_class, n);
                let launch = launch
                    .int(n)
                    .int(kernel_w)
                    .int(image.channels)
                    .int(out.channels);
                let launch = launch.int(first(&rows.kernel)).int(first(&columns.kernel));
                launch
                    .int(columns.kernel.len().max(1))
                    .int(stride)
                    .for_each(n)?;

                let grid = (rows.count, columns.count);
                let product = Product {
                    m: images * rows.count * columns.count,
                    n: image.channels,
                    k,
                    block: BLOCK,
                    part: ENDLESS,
                    count: 1,
                };
                let seen = Window {
                    grid,
                    wide: columns.kernel.len().max(1),
                    stride: 1,
                    from: (rows.output, columns.output),
                    image: out,
                };
                let place = Window {
                    grid,
                    wide: 1,
                    stride,
                    from: (rows.first as isize, columns.first as isize),
                    image,
                };
                let dy = Left {
                    values: dy,
                    place: Place::Images(seen),
                    transposed: false,
                    next: 0,
                };
                let w = Right {
                    values: &of_class,
                    step: image.channels,
                    column: 1,
                    next: 0,
                };
                let to = To {
                    values: dx,
                    place: Place::Images(place),
                    next: 0,
                    store: store(how),
                    activation: Activation::Identity,
                };
                product.run(self, dy, w, None, to)?;
            }
        }
        Ok(())
    }
}
