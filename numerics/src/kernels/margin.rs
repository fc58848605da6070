//! Zeros around images.

use super::scratch;
use crate::shape::Image;

/// Rows and columns of zeros around an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin {
    pub top: usize,
    pub left: usize,
    pub bottom: usize,
    pub right: usize,
}

impl Margin {
    /// The same on all sides.
    pub(super) fn even(padding: usize) -> Margin {
        Margin {
            top: padding,
            left: padding,
            bottom: padding,
            right: padding,
        }
    }

    /// Nothing is added.
    pub(super) fn is_none(&self) -> bool {
        [self.top, self.left, self.bottom, self.right] == [0; 4]
    }

    /// The size of an image with its margin.
    pub(super) fn around(&self, image: Image) -> Image {
        Image {
            height: self.top + image.height + self.bottom,
            width: self.left + image.width + self.right,
            channels: image.channels,
        }
    }

    /// Writes an image with its margin to all of `out`.
    pub(super) fn place(&self, x: &[f32], image: Image, out: &mut [f32]) {
        let c = image.channels;
        let (line, wide) = (image.width * c, self.around(image).width * c);
        let (above, rest) = out.split_at_mut(self.top * wide);
        let (middle, below) = rest.split_at_mut(image.height * wide);
        above.fill(0.0);
        for (row, out) in x.chunks_exact(line).zip(middle.chunks_exact_mut(wide)) {
            out[..self.left * c].fill(0.0);
            out[self.left * c..][..line].copy_from_slice(row);
            out[self.left * c + line..].fill(0.0);
        }
        below.fill(0.0);
    }

    /// Lends images with their margins; those without any are lent as they are.
    pub(super) fn with_padded<R>(
        &self,
        x: &[f32],
        image: Image,
        work: impl FnOnce(&[f32]) -> R,
    ) -> R {
        if self.is_none() {
            return work(x);
        }
        let (from, to) = (image.features(), self.around(image).features());
        scratch::with(x.len() / from * to, |padded| {
            for (x, out) in x.chunks_exact(from).zip(padded.chunks_exact_mut(to)) {
                self.place(x, image, out);
            }
            work(padded)
        })
    }
}
