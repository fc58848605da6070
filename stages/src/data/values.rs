//! The values of examples, and the size of images.

use std::fmt;

/// The values of all examples, `[N, height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Grey levels, or other whole numbers from 0 to 255.
    Bytes(Vec<u8>),
    /// Finite numbers.
    Floats(Vec<f32>),
}

/// The values of one example, `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// See [`Values::Bytes`].
    Bytes(&'a [u8]),
    /// See [`Values::Floats`].
    Floats(&'a [f32]),
}

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey), 3 (red, green, blue) or any number, innermost.
    pub channels: usize,
}

impl ImageShape {
    /// A row of a table with this many columns.
    pub fn table(columns: usize) -> ImageShape {
        ImageShape {
            height: 1,
            width: 1,
            channels: columns,
        }
    }

    /// One pixel: a row of a table.
    pub fn is_table(&self) -> bool {
        self.height == 1 && self.width == 1
    }

    /// Values of one image, which is also the number of features of one row.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// No pixel at all; never true inside a [`Dataset`](super::Dataset).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

impl From<Vec<u8>> for Values {
    fn from(bytes: Vec<u8>) -> Values {
        Values::Bytes(bytes)
    }
}

impl From<Vec<f32>> for Values {
    fn from(floats: Vec<f32>) -> Values {
        Values::Floats(floats)
    }
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Bytes(bytes) => bytes.len(),
            Values::Floats(floats) => floats.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i`, of `features` numbers. Panics when it is out of range.
    pub(crate) fn row(&self, i: usize, features: usize) -> Row<'_> {
        let range = i * features..(i + 1) * features;
        match self {
            Values::Bytes(bytes) => Row::Bytes(&bytes[range]),
            Values::Floats(floats) => Row::Floats(&floats[range]),
        }
    }

    pub(super) fn truncate(&mut self, n: usize) {
        match self {
            Values::Bytes(bytes) => bytes.truncate(n),
            Values::Floats(floats) => floats.truncate(n),
        }
    }

    pub(super) fn pick(&self, positions: &[usize], features: usize) -> Values {
        fn take<T: Copy>(all: &[T], positions: &[usize], features: usize) -> Vec<T> {
            let mut taken = Vec::with_capacity(positions.len() * features);
            for &i in positions {
                taken.extend_from_slice(&all[i * features..(i + 1) * features]);
            }
            taken
        }
        match self {
            Values::Bytes(bytes) => Values::Bytes(take(bytes, positions, features)),
            Values::Floats(floats) => Values::Floats(take(floats, positions, features)),
        }
    }
}
