//! Convolutions of 3×3 with stride 1 and padding 1 by Winograd's minimal filtering, F(2×2, 3×3):
//! sixteen products per channel for four outputs in place of thirty-six (Lavin & Gray 2016, *Fast
//! algorithms for convolutional neural networks*).
//!
//! The outputs of an image are cut into *tiles* of 2×2, those of the last row and column of an odd
//! size partly outside of it. A tile has 16 *frequencies* (i, j), i and j from 0 to 3. Everything
//! but the products is additions, subtractions and halves, each of which is a step of the
//! definition below. Zeros stand for whatever lies outside of an image.
//!
//! # The order of operations
//!
//! Input, from the 4×4 positions `d` around a tile (its first output's place is `d₁₁`), first along
//! columns, then along rows: `(v₀, v₁, v₂, v₃) = (d₀ - d₂, d₁ + d₂, d₂ - d₁, d₁ - d₃)`.
//!
//! Weight, from the 3×3 taps `g`, first along columns, then along rows:
//! `(u₀, u₁, u₂, u₃) = (g₀, s + h, s - h, g₂)` with `s = ½·(g₀ + g₂)` and `h = ½·g₁`.
//!
//! Output: per frequency, products `V·U` over channels ascending in blocks of 32, each a chain of
//! fma from 0, added up in order; of these `m`, first along columns, then along rows: `(y₀, y₁) =
//! ((m₀ + m₁) + m₂, (m₁ - m₂) - m₃)`; then `b` (0 without one) is added; then the activation.
//!
//! Gradient of the input: the output's order over the gradient of the output, with the taps in
//! reverse order, channels and outputs exchanged and no bias.
//!
//! Gradient of the weight: the input is transformed as above, the 2×2 gradients `e` of a tile's
//! outputs, first along columns, then along rows, to `(e₀, e₀ + e₁, e₀ - e₁, -e₁)`. The images are
//! cut into shards of 32, or are one shard where there are more than 2¹⁴ pairs of channel and
//! output; a shard's rows of tiles, image by image, into groups of as many as make at most 128
//! tiles, but at least one. Per frequency, a group is a sum of products over (image, row of tiles,
//! tile) ascending in blocks of 32, each a chain of fma from 0, added up in order; the groups of a
//! shard are added up in order, then the shards. Of these sums `u`, first along columns, then along
//! rows: `(g₀, g₁, g₂) = (u₀ + t, ½·(u₁ - u₂), t + u₃)` with `t = ½·(u₁ + u₂)`, which is added to
//! `dw`.
//!
//! # Errors
//!
//! Additions before and after the products amplify rounding errors: see docs/numerics.md for bound
//! and measurement. An infinity, a NaN or an overflow makes NaN of whole tiles, where a direct
//! convolution might have an infinity or numbers at some outputs.

mod product;
mod transform;
mod weight_gradient;

use super::super::activation::Activation;
use super::super::layer::Accumulate;
use super::super::path::Path;
use super::super::scratch;
use crate::shape::{ConvShape, Image};

/// Numbers side by side in the transforms: channels come in multiples of it.
const LANES: usize = 16;
/// Frequencies of a tile.
const FREQUENCIES: usize = 16;
/// Steps of a block of a sum, over channels or tiles: half of a direct convolution's, because
/// errors grow on the way back. A tile of the chains spends 1 of 16 cycles on adding up.
const BLOCK: usize = 32;
/// Fewest channels and outputs.
const LEAST_CHANNELS: usize = 32;
/// Least height and width: below, too much of the tiles is outside, or of the work around the
/// products.
const LEAST_SIDE: usize = 4;

/// Whether a convolution and its gradients are computed this way: by shape alone, for it decides
/// the bits. Fewer than 32 channels on either side are too little work per transformed number.
pub(super) fn applies(shape: &ConvShape) -> bool {
    let (image, outputs) = (shape.input(), shape.output().channels);
    let wide = |channels: usize| channels >= LEAST_CHANNELS && channels.is_multiple_of(LANES);
    (shape.kernel(), shape.stride(), shape.padding()) == ((3, 3), 1, 1)
        && image.height.min(image.width) >= LEAST_SIDE
        && wide(image.channels)
        && wide(outputs)
}

/// An image in tiles.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    image: Image,
    /// Rows of tiles.
    rows: usize,
    /// Tiles of a row.
    per_row: usize,
}

impl Tiling {
    fn new(image: Image) -> Tiling {
        Tiling {
            image,
            rows: image.height.div_ceil(2),
            per_row: image.width.div_ceil(2),
        }
    }
}

/// Rows of frequencies (i of (i, j)).
type Rows = &'static [usize];
const ALL_ROWS: Rows = &[0, 1, 2, 3];

/// The distance of rows of so many channels: an odd number of cache lines, lest they fall into few
/// sets of a cache.
fn apart(numbers: usize) -> usize {
    (numbers.div_ceil(LANES) | 1) * LANES
}

/// Runs `work` with so many zeros.
fn with_zeros<R>(len: usize, work: impl FnOnce(&[f32]) -> R) -> R {
    scratch::with(len, |zeros| {
        zeros.fill(0.0);
        work(zeros)
    })
}

/// [`super::layer_forward`] for shapes to which this [`applies`].
pub(super) fn layer_forward(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    product::output(path, shape, x, w, b, activation, y);
}

/// [`super::input_gradient`] for shapes to which this [`applies`].
pub(super) fn input_gradient(
    path: Path,
    shape: &ConvShape,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    how: Accumulate,
) {
    product::input_gradient(path, shape, w, dy, dx, how);
}

pub(super) use weight_gradient::to as weight_gradient;

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule is a part of the contract: whoever changes it changes results.
    #[test]
    fn applies_by_shape() {
        let shape = |height, width, channels, outputs, kernel, stride, padding| {
            let image = Image {
                height,
                width,
                channels,
            };
            ConvShape::new(image, outputs, kernel, stride, padding).unwrap()
        };
        for (h, w, c, o) in [(4, 4, 32, 32), (32, 32, 64, 48), (5, 224, 512, 80)] {
            assert!(applies(&shape(h, w, c, o, (3, 3), 1, 1)));
        }
        for (h, w, c, o) in [
            (3, 4, 32, 32),
            (4, 3, 32, 32),
            (32, 32, 3, 64),
            (32, 32, 16, 64),
            (32, 32, 64, 16),
            (32, 32, 40, 64),
            (32, 32, 64, 33),
        ] {
            assert!(!applies(&shape(h, w, c, o, (3, 3), 1, 1)));
        }
        for (kernel, stride, padding) in [
            ((3, 3), 2, 1),
            ((3, 3), 1, 0),
            ((3, 3), 1, 2),
            ((3, 5), 1, 1),
            ((1, 1), 1, 0),
            ((5, 5), 1, 2),
        ] {
            assert!(!applies(&shape(8, 8, 32, 32, kernel, stride, padding)));
        }
    }
}
