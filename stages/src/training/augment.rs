//! Random changes of training images: flips and shifted crops, on bytes, before normalisation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::ImageShape;
use crate::exact::rng::Stream;

/// What may happen to a training image, each epoch anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Mirrored left to right with probability 1/2.
    #[serde(default)]
    pub flip: bool,
    /// Shifted by up to this many pixels in each direction (uniform), black coming in at the edges: torchvision's
    /// `RandomCrop(size, padding)`. 0: not at all.
    #[serde(default)]
    pub crop: usize,
}

/// What happens to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    flip: bool,
    /// Rows and columns of the padded image left out, 0 to 2·crop.
    down: usize,
    right: usize,
    crop: usize,
}

impl Augment {
    /// Nothing ever happens.
    pub fn is_none(self) -> bool {
        self == Augment::default()
    }

    /// Draws for one image: the flip, then rows, then columns, each only where it is asked for.
    pub fn draw(self, stream: &mut Stream) -> Change {
        let flip = self.flip && stream.below(2) == 1;
        let mut shift = || {
            if self.crop == 0 {
                0
            } else {
                stream.below(2 * self.crop as u32 + 1) as usize
            }
        };
        let (down, right) = (shift(), shift());
        Change {
            flip,
            down,
            right,
            crop: self.crop,
        }
    }
}

impl Change {
    /// Writes the changed image: the padded image's window at (down, right), then mirrored.
    pub fn apply(self, image: &[u8], shape: ImageShape, out: &mut [u8]) {
        let ImageShape {
            height,
            width,
            channels,
        } = shape;
        for y in 0..height {
            for x in 0..width {
                let to = (y * width + x) * channels;
                let across = if self.flip { width - 1 - x } else { x };
                // positions in the image, where they are inside it
                let from_y = (y + self.down)
                    .checked_sub(self.crop)
                    .filter(|&v| v < height);
                let from_x = (across + self.right)
                    .checked_sub(self.crop)
                    .filter(|&v| v < width);
                match (from_y, from_x) {
                    (Some(v), Some(u)) => {
                        let from = (v * width + u) * channels;
                        out[to..to + channels].copy_from_slice(&image[from..from + channels]);
                    }
                    _ => out[to..to + channels].fill(0),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape {
        height: 2,
        width: 3,
        channels: 2,
    };
    const IMAGE: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn changed(change: Change) -> Vec<u8> {
        let mut out = vec![99; 12];
        change.apply(&IMAGE, SHAPE, &mut out);
        out
    }

    #[test]
    fn changes() {
        assert_eq!(
            changed(Change {
                flip: false,
                down: 0,
                right: 0,
                crop: 0
            }),
            IMAGE
        );
        assert_eq!(
            changed(Change {
                flip: true,
                down: 0,
                right: 0,
                crop: 0
            }),
            [5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8]
        );
        // the window starts one row and one column into the padding: the image moves down and right
        assert_eq!(
            changed(Change {
                flip: false,
                down: 0,
                right: 0,
                crop: 1
            }),
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
        );
        assert_eq!(
            changed(Change {
                flip: false,
                down: 1,
                right: 2,
                crop: 1
            }),
            [3, 4, 5, 6, 0, 0, 9, 10, 11, 12, 0, 0]
        );
    }

    #[test]
    fn draws_cover_all_cases_evenly() {
        let mut stream = Stream::new(1, "test", 0, 0);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..9000 {
            let c = Augment {
                flip: true,
                crop: 1,
            }
            .draw(&mut stream);
            *seen.entry((c.flip, c.down, c.right)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 18);
        assert!(seen.values().all(|n| (380..620).contains(n)), "{seen:?}");
    }
}
