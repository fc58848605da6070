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
        let (line, shift) = (width * channels, self.crop.abs_diff(self.right));
        // Columns of the window that lie in the image, and where they begin in a row of it.
        let inside = width.saturating_sub(shift);
        let (to, from) = match self.right < self.crop {
            true => (shift.min(width), 0),
            false => (0, width - inside),
        };
        for (y, out) in out.chunks_exact_mut(line).enumerate() {
            let row = (y + self.down).checked_sub(self.crop);
            let Some(row) = row.filter(|&row| row < height && inside > 0) else {
                out.fill(0);
                continue;
            };
            let image = &image[row * line + from * channels..][..inside * channels];
            if self.flip {
                let first = (width - to - inside) * channels;
                out[..first].fill(0);
                out[first + image.len()..].fill(0);
                let pixels = out[first..][..image.len()].chunks_exact_mut(channels);
                for (out, pixel) in pixels.zip(image.rchunks_exact(channels)) {
                    out.copy_from_slice(pixel);
                }
            } else {
                let first = to * channels;
                out[..first].fill(0);
                out[first + image.len()..].fill(0);
                out[first..][..image.len()].copy_from_slice(image);
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

    /// Every change of a larger image, pixel by pixel.
    #[test]
    fn every_pixel_comes_from_where_it_should() {
        let shape = ImageShape {
            height: 4,
            width: 3,
            channels: 2,
        };
        let image: Vec<u8> = (1..=24).collect();
        for crop in 0..6 {
            for (down, right) in (0..=2 * crop).flat_map(|d| (0..=2 * crop).map(move |r| (d, r))) {
                for flip in [false, true] {
                    let change = Change {
                        flip,
                        down,
                        right,
                        crop,
                    };
                    let mut out = vec![99; 24];
                    change.apply(&image, shape, &mut out);
                    for (at, got) in out.iter().enumerate() {
                        let (y, x, c) = (at / 6, at / 2 % 3, at % 2);
                        let across = if flip { 2 - x } else { x };
                        let (v, u) = (
                            (y + down).wrapping_sub(crop),
                            (across + right).wrapping_sub(crop),
                        );
                        let want = if v < 4 && u < 3 {
                            image[(v * 3 + u) * 2 + c]
                        } else {
                            0
                        };
                        assert_eq!(*got, want, "{change:?} {at}");
                    }
                }
            }
        }
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
