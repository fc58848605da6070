//! Winograd's convolutions: transforms, sixteen products, transforms.

use super::order::{WINOGRAD_BLOCK, WINOGRAD_GROUP, winograd_shard};
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::{ConvShape, Image};

use super::product::{ENDLESS, Left, Place, Product, Right, To, Whole};
use super::{Done, SET, number, store};
use crate::device::Device;
use crate::fault::Fault;
use crate::launch::Launch;
use crate::memory::{Memory, Pool};

/// Frequencies of a tile.
const FREQUENCIES: usize = 16;
/// Values of transformed images that lie in memory at a time, at most: 256 MiB.
const AT_ONCE: usize = 1 << 26;
/// Their share of the cache.
const OF_CACHE: u64 = 8;

/// An image in tiles of 2×2.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    image: Image,
    down: usize,
    right: usize,
}

impl Tiling {
    fn new(image: Image) -> Tiling {
        Tiling {
            image,
            down: image.height.div_ceil(2),
            right: image.width.div_ceil(2),
        }
    }

    fn tiles(&self) -> usize {
        self.down * self.right
    }

    fn sizes<'a>(&self, launch: Launch<'a>, n: usize) -> Launch<'a> {
        let Image {
            height,
            width,
            channels,
        } = self.image;
        launch
            .int(n)
            .int(height)
            .int(width)
            .int(channels)
            .int(self.down)
            .int(self.right)
    }

    /// Some images, transformed by this kernel: `[16][tiles][channels]`.
    fn transformed(
        &self,
        device: &Device,
        pool: &Pool,
        kernel: &'static str,
        values: &Memory,
        (first, images): (usize, usize),
    ) -> Result<Memory, Fault> {
        let n = images * self.tiles() * self.image.channels;
        let mut to = device.values(pool, FREQUENCIES * n)?;
        let launch = device.kernel(kernel).reads_all(values).writes_all(&mut to);
        self.sizes(launch, n).int(first).for_lanes(n)?;
        Ok(to)
    }
}

/// Weights, transformed: `[16][inputs][outputs]`.
struct Weights {
    values: Memory,
    inputs: usize,
    outputs: usize,
}

impl Device {
    fn winograd_weights(
        &self,
        pool: &Pool,
        w: &Memory,
        (inputs, outputs): (usize, usize),
        exchanged: bool,
    ) -> Result<Weights, Fault> {
        let n = inputs * outputs;
        let mut values = self.values(pool, FREQUENCIES * n)?;
        let launch = self
            .kernel("winograd_weights")
            .reads(w, 9 * n)
            .writes_all(&mut values);
        launch
            .int(n)
            .int(inputs)
            .int(outputs)
            .int(usize::from(exchanged))
            .for_each(n)?;
        Ok(Weights {
            values,
            inputs,
            outputs,
        })
    }

    /// Images `from`, times weights, to images of the same size.
    fn winograd(
        &self,
        pool: &Pool,
        (from, x): (Image, &Memory),
        weights: &Weights,
        bias: Option<&Memory>,
        (to, y, store): (Image, &mut Memory, usize),
        activation: Activation,
    ) -> Done {
        let (from, to) = (Tiling::new(from), Tiling::new(to));
        let Weights {
            inputs, outputs, ..
        } = *weights;
        let images = x.len() / from.image.features();
        let of_image = FREQUENCIES * from.tiles() * inputs.max(outputs);
        let in_cache = (self.cache() / OF_CACHE) as usize / size_of::<f32>() / of_image;
        // As many as keep the device busy, though.
        let busy = Product::rows_for(self.units(), FREQUENCIES, outputs).div_ceil(from.tiles());
        let at_once = in_cache
            .max(busy)
            .min(AT_ONCE / of_image)
            .clamp(1, images.max(1));
        for first in (0..images).step_by(at_once) {
            let here = at_once.min(images - first);
            let tiles = here * from.tiles();
            let v = from.transformed(self, pool, "winograd_input", x, (first, here))?;
            let mut m = self.values(pool, FREQUENCIES * tiles * outputs)?;
            let product = Product {
                m: tiles,
                n: outputs,
                k: inputs,
                block: WINOGRAD_BLOCK,
                part: ENDLESS,
                count: FREQUENCIES,
            };
            let left = Left {
                values: &v,
                place: Place::rows(inputs),
                transposed: false,
                next: tiles * inputs,
            };
            let right = Right {
                values: &weights.values,
                step: outputs,
                column: 1,
                next: inputs * outputs,
            };
            let products = To {
                values: &mut m,
                place: Place::rows(outputs),
                next: tiles * outputs,
                store: SET,
                activation: Activation::Identity,
            };
            product.run(self, left, right, None, products)?;
            let n = tiles * outputs;
            let launch = self
                .kernel("winograd_output")
                .reads_all(&m)
                .reads_some(bias, outputs)
                .writes_all(y);
            to.sizes(launch, n)
                .int(first)
                .int(store)
                .int(number(activation))
                .for_lanes(n)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn winograd_forward(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: &Memory,
        w: &Memory,
        b: Option<&Memory>,
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        let (image, out) = (shape.input(), shape.output());
        let weights = self.winograd_weights(pool, w, (image.channels, out.channels), false)?;
        self.winograd(pool, (image, x), &weights, b, (out, y, SET), activation)
    }

    pub(super) fn winograd_input_gradient(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        w: &Memory,
        dy: &Memory,
        (dx, how): (&mut Memory, Accumulate),
    ) -> Done {
        let (image, out) = (shape.input(), shape.output());
        let weights = self.winograd_weights(pool, w, (out.channels, image.channels), true)?;
        let to = (image, dx, store(how));
        self.winograd(pool, (out, dy), &weights, None, to, Activation::Identity)
    }

    pub(super) fn winograd_weight_gradient(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: &Memory,
        dy: &Memory,
        (dw, how): (&mut Memory, Accumulate),
    ) -> Done {
        let (input, output) = (Tiling::new(shape.input()), Tiling::new(shape.output()));
        let (inputs, outputs) = (input.image.channels, output.image.channels);
        let images = x.len() / input.image.features();
        let (pairs, shard) = (inputs * outputs, winograd_shard(shape, images));
        let mut total = self.values(pool, FREQUENCIES * pairs)?;
        for first in (0..images).step_by(shard) {
            let here = shard.min(images - first);
            let tiles = here * input.tiles();
            let v = input.transformed(self, pool, "winograd_input", x, (first, here))?;
            let e = output.transformed(self, pool, "winograd_gradient", dy, (first, here))?;
            let product = Product {
                m: inputs,
                n: outputs,
                k: tiles,
                block: WINOGRAD_BLOCK,
                part: (WINOGRAD_GROUP / input.right).max(1) * input.right,
                count: FREQUENCIES,
            };
            let place = Place::Matrix {
                first: 1,
                second: inputs,
            };
            let left = Left {
                values: &v,
                place,
                transposed: false,
                next: tiles * inputs,
            };
            let right = Right {
                values: &e,
                step: outputs,
                column: 1,
                next: tiles * outputs,
            };
            let run = |values: &mut Memory| {
                product.run_in_pieces(self, pool, left, right, Whole { values, store: SET })
            };
            if first == 0 {
                run(&mut total)?;
            } else {
                let mut of_shard = self.values(pool, FREQUENCIES * pairs)?;
                run(&mut of_shard)?;
                self.accumulate(&of_shard, &mut total)?;
            }
        }
        let launch = self
            .kernel("winograd_weight_gradient")
            .reads(&total, FREQUENCIES * pairs);
        launch
            .writes(dw, 9 * pairs)
            .int(pairs)
            .int(store(how))
            .for_each(pairs)
    }
}
