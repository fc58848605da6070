//! Products of matrices, of which one may be what a convolution sees of images: the arguments of
//! `kernels/product.h`.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::shape::Image;

use super::{Done, number};
use crate::device::Device;
use crate::launch::Launch;
use crate::memory::Memory;

/// As in the text.
const TILE: usize = 64;
const SIDE: usize = 16;
/// As many steps as no sum has.
pub(super) const ENDLESS: usize = i32::MAX as usize;

/// Where element (i, j) lies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// At `i·first + j·second`.
    Matrix { first: usize, second: usize },
    /// In images: i is a position of a grid, j a tap and channel.
    Images(Window),
}

/// A window that moves over images in a grid of positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Positions: down and right.
    pub grid: (usize, usize),
    /// Columns of the window.
    pub wide: usize,
    pub stride: usize,
    /// Where its first row and column lie at the first position.
    pub from: (isize, isize),
    pub image: Image,
}

impl Place {
    fn arguments(self, launch: Launch<'_>) -> Launch<'_> {
        match self {
            Place::Matrix { first, second } => {
                (0..9).fold(launch.int(first).int(second), |launch, _| launch.int(0))
            }
            Place::Images(window) => {
                let Image {
                    height,
                    width,
                    channels,
                } = window.image;
                let launch = launch.int(0).int(0).int(window.grid.0).int(window.grid.1);
                let launch = launch.int(window.wide).int(window.stride);
                let launch = launch.signed(window.from.0).signed(window.from.1);
                launch.int(height).int(width).int(channels)
            }
        }
    }
}

/// The left operand.
pub(super) struct Left<'a> {
    pub values: &'a Memory,
    pub place: Place,
    /// A row is a tap, and a step a position.
    pub transposed: bool,
    /// To the next product's.
    pub next: usize,
}

/// The right operand: step and column.
pub(super) struct Right<'a> {
    pub values: &'a Memory,
    pub step: usize,
    pub column: usize,
    pub next: usize,
}

/// The result.
pub(super) struct To<'a> {
    pub values: &'a mut Memory,
    pub place: Place,
    pub next: usize,
    /// [`super::SET`] and its kin.
    pub store: usize,
    pub activation: Activation,
}

/// `count` products of `m` rows and `n` columns, each element a sum of `k` products in blocks and
/// parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub block: usize,
    pub part: usize,
    pub count: usize,
}

impl Product {
    pub(super) fn run(
        self,
        device: &Device,
        a: Left<'_>,
        b: Right<'_>,
        start: Option<&Memory>,
        c: To<'_>,
    ) -> Done {
        let Product {
            m,
            n,
            k,
            block,
            part,
            count,
        } = self;
        let launch = a
            .place
            .arguments(device.kernel("product").reads_all(a.values));
        let launch = launch.int(usize::from(a.transposed)).int(a.next);
        let launch = launch
            .reads_all(b.values)
            .int(b.step)
            .int(b.column)
            .int(b.next);
        let launch = launch.reads_some(start, n).writes_all(c.values);
        let launch = c.place.arguments(launch).int(c.next).int(m).int(n).int(k);
        let launch = launch
            .int(block)
            .int(part)
            .int(c.store)
            .int(number(c.activation));
        // There are many more rows than columns, and CUDA has fewer than 2^16 groups in the second
        // dimension.
        launch.run([m.div_ceil(TILE) * count, n.div_ceil(TILE)], [SIDE, SIDE])
    }
}
