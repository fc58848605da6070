//! Products of matrices, of which one may be what a convolution sees of images: the arguments of
//! `kernels/product.h`.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::shape::Image;

use super::{Done, SET, number};
use crate::device::Device;
use crate::launch::Launch;
use crate::memory::{Memory, Pool};

/// Outputs of a group, as in the text.
const TILE: (usize, usize) = (128, 64);
/// A product is cut into pieces until there are so many groups for each unit of the device.
const GROUPS_PER_UNIT: usize = 4;
/// Values of pieces that lie in memory at a time: 256 MiB.
const AT_ONCE: usize = 1 << 26;
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
    /// A matrix whose rows have this length.
    pub(super) fn rows(length: usize) -> Place {
        Place::Matrix {
            first: length,
            second: 1,
        }
    }

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

/// A result that is matrices, one behind the other.
pub(super) struct Whole<'a> {
    pub values: &'a mut Memory,
    /// [`super::SET`] and its kin.
    pub store: usize,
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

/// How a product is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    count: usize,
    /// Pieces of a part.
    blocks: usize,
}

impl Product {
    /// Rows of so many products of `n` columns that keep a device of so many units busy.
    pub(super) fn rows_for(units: usize, count: usize, n: usize) -> usize {
        let (rows, columns) = TILE;
        (units * GROUPS_PER_UNIT).div_ceil(count * n.div_ceil(columns)) * rows
    }

    /// Its groups, uncut.
    fn tiles(self) -> (usize, usize) {
        let (rows, columns) = TILE;
        (self.m.div_ceil(rows) * self.count, self.n.div_ceil(columns))
    }

    /// The parts of its sums, or the blocks, where it has too few groups to keep the device busy.
    fn pieces(self, units: usize) -> Option<Pieces> {
        let (rows, columns) = self.tiles();
        let wanted = (units * GROUPS_PER_UNIT).div_ceil((rows * columns).max(1));
        if wanted < 2 {
            return None;
        }
        let (parts, rest) = (self.k / self.part, self.k % self.part);
        let blocks = self.part.min(self.k).div_ceil(self.block);
        let by_part = Pieces {
            count: parts + usize::from(rest > 0),
            blocks: 1,
        };
        let by_block = Pieces {
            count: parts * blocks + rest.div_ceil(self.block),
            blocks,
        };
        let fits = |pieces: &Pieces| {
            pieces.count > 1 && pieces.count * self.m * self.n * self.count <= AT_ONCE
        };
        let enough = |pieces: &Pieces| pieces.count >= wanted || by_block == *pieces;
        [by_part, by_block]
            .into_iter()
            .find(|pieces| fits(pieces) && enough(pieces))
            .or(Some(by_part).filter(fits))
    }

    /// # Panics
    /// Operands whose numbers lie in another way than kernels read them.
    pub(super) fn run(
        self,
        device: &Device,
        a: Left<'_>,
        b: Right<'_>,
        start: Option<&Memory>,
        c: To<'_>,
    ) -> Done {
        self.launch(device, a, b, start, c, None)
    }

    /// The same to a matrix, in pieces where that keeps the device busy.
    pub(super) fn run_in_pieces(
        self,
        device: &Device,
        pool: &Pool,
        a: Left<'_>,
        b: Right<'_>,
        c: Whole<'_>,
    ) -> Done {
        let Whole { values, store } = c;
        let (size, place) = (self.m * self.n, Place::rows(self.n));
        let to = |values, next, store| To {
            values,
            place,
            next,
            store,
            activation: Activation::Identity,
        };
        let Some(pieces) = self.pieces(device.units()) else {
            return self.run(device, a, b, None, to(values, size, store));
        };
        let all = self.count * size;
        let mut cut = device.values(pool, all * pieces.count)?;
        let next = size * pieces.count;
        self.launch(device, a, b, None, to(&mut cut, next, SET), Some(pieces))?;
        let launch = device
            .kernel("add_pieces")
            .reads(&cut, all * pieces.count)
            .writes(values, all);
        let launch = launch.int(all).int(size).int(pieces.count);
        launch.int(pieces.blocks).int(store).for_each(all)
    }

    fn launch(
        self,
        device: &Device,
        a: Left<'_>,
        b: Right<'_>,
        start: Option<&Memory>,
        c: To<'_>,
        pieces: Option<Pieces>,
    ) -> Done {
        let in_columns = match a.place {
            Place::Matrix { first, second } => {
                assert!(first == 1 || second == 1, "a product of a matrix with gaps");
                second != 1
            }
            Place::Images(_) => a.transposed,
        };
        assert!(
            b.step == 1 || b.column == 1,
            "a product with a matrix with gaps"
        );
        assert!(
            matches!(
                c.place,
                Place::Matrix { second: 1, .. } | Place::Images(Window { wide: 1, .. })
            ),
            "a product to a matrix with gaps"
        );
        let kernel = match (a.place, in_columns, b.column == 1) {
            (Place::Matrix { .. }, false, true) => "product_rows",
            (Place::Matrix { .. }, false, false) => "product_rows_columns",
            (Place::Matrix { .. }, true, true) => "product_columns",
            (Place::Images(_), false, true) => "product_positions",
            (Place::Images(_), true, true) => "product_taps",
            (_, _, false) => panic!("no op has such a product"),
        };
        let launch = a.place.arguments(device.kernel(kernel).reads_all(a.values));
        let launch = launch.int(a.next).reads_all(b.values);
        let launch = launch.int(b.step).int(b.column).int(b.next);
        let launch = launch.reads_some(start, self.n).writes_all(c.values);
        let launch = c.place.arguments(launch).int(c.next);
        let launch = launch.int(self.m).int(self.n).int(self.k);
        let launch = launch.int(self.block).int(self.part);
        let Pieces { count, blocks } = pieces.unwrap_or(WHOLE);
        let launch = launch.int(count).int(blocks).int(c.store);
        let (rows, columns) = self.tiles();
        // There are many more rows than columns, and CUDA has fewer than 2^16 groups in the second
        // dimension.
        launch
            .int(number(c.activation))
            .run([rows * count, columns], [device.items(), 1])
    }
}

/// A product that is not cut.
const WHOLE: Pieces = Pieces {
    count: 1,
    blocks: 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn product(m: usize, n: usize, k: usize, block: usize, part: usize) -> Product {
        Product {
            m,
            n,
            k,
            block,
            part,
            count: 1,
        }
    }

    /// Where the text lets a piece begin and end.
    fn steps(product: Product, pieces: Pieces, piece: usize) -> (usize, usize) {
        let first = piece / pieces.blocks * product.part;
        let from = first + piece % pieces.blocks * product.block;
        let end = product.k.min(first + product.part);
        match pieces.blocks {
            1 => (from, end),
            _ => (from, end.min(from + product.block)),
        }
    }

    #[test]
    fn a_device_that_is_busy_gets_whole_products() {
        assert_eq!(product(128 * 8, 64, 9000, 32, 512).pieces(2), None);
        assert_eq!(
            product(1, 1, 500, 32, 512).pieces(100),
            Some(Pieces {
                count: 16,
                blocks: 16
            })
        );
        assert_eq!(product(1, 1, 500, ENDLESS, ENDLESS).pieces(100), None);
        assert_eq!(product(1, 1, 0, 32, 512).pieces(100), None);
    }

    #[test]
    fn parts_are_cut_only_where_there_are_too_few() {
        let of = |units| product(100, 60, 5000, 32, 512).pieces(units);
        assert_eq!(
            of(1),
            Some(Pieces {
                count: 10,
                blocks: 1
            })
        );
        assert_eq!(
            of(2),
            Some(Pieces {
                count: 10,
                blocks: 1
            })
        );
        assert_eq!(
            of(3),
            Some(Pieces {
                count: 157,
                blocks: 16
            })
        );
        // Sums of so many blocks do not fit into memory, those of parts do.
        let large = |units| product(1 << 13, 1 << 10, 5000, 512, 1024).pieces(units);
        assert_eq!(
            large(10_000),
            Some(Pieces {
                count: 5,
                blocks: 1
            })
        );
    }

    /// Each piece begins where the one before ends, at a bound of blocks.
    #[test]
    fn pieces_follow_one_another() {
        for (k, block, part) in [
            (1, 1, 1),
            (500, 32, 512),
            (5000, 32, 512),
            (5671, 324, 2592),
            (97, 10, 25),
        ] {
            for units in [1, 7, 132, 4000] {
                let product = product(3, 5, k, block, part);
                let Some(pieces) = product.pieces(units) else {
                    continue;
                };
                let mut at = 0;
                for piece in 0..pieces.count {
                    let (from, end) = steps(product, pieces, piece);
                    assert_eq!(from, at, "{k} {block} {part} {units} {piece}");
                    assert!(end > from && (from % part) % block == 0);
                    at = end;
                }
                assert_eq!(at, k);
            }
        }
    }
}
