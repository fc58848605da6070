//! Images in another size: Pillow's bilinear resampling, bit for bit, and the middle of an image.
//!
//! A pixel of the result is the mean of the pixels below a triangle whose half width is one pixel
//! of the larger of both grids (so large images are smoothed as they shrink). Weights are computed
//! in f64 and rounded to 22 bits; rows are made first, then columns, each sum of whole numbers
//! rounded to a byte. Pillow up to 12 and torchvision's `Resize` on its images do the same; Pillow
//! 13 takes columns first where that is less work, and then differs by one here and there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::picture::Picture;

/// The size images are brought to: `width` and `height`, or the `shorter` side (the other keeps the
/// proportion).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub width: Option<usize>,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub height: Option<usize>,
    /// Pixels of the shorter side; the longer one is rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub shorter: Option<usize>,
}

/// Width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Columns.
    #[schemars(range(min = 1))]
    pub width: usize,
    /// Rows.
    #[schemars(range(min = 1))]
    pub height: usize,
}

/// No side becomes longer than this.
const SIDE_MAX: usize = 4096;

impl Resize {
    /// What is wrong with it.
    pub fn problem(self) -> Option<String> {
        let sides = [self.width, self.height, self.shorter];
        if sides.iter().flatten().any(|&n| n == 0 || n > SIDE_MAX) {
            return Some(format!("sides of 1 to {SIDE_MAX} pixels are possible"));
        }
        match (self.width, self.height, self.shorter) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => None,
            _ => Some("give `width` and `height`, or `shorter`".into()),
        }
    }

    /// The size an image gets.
    fn of(self, width: usize, height: usize) -> Size {
        match (self.width, self.height, self.shorter) {
            (Some(width), Some(height), _) => Size { width, height },
            (_, _, Some(side)) if width <= height => Size {
                width: side,
                height: (side * height / width.max(1)).max(1),
            },
            (_, _, Some(side)) => Size {
                width: (side * width / height.max(1)).max(1),
                height: side,
            },
            _ => Size { width, height },
        }
    }

    /// The image in its new size.
    pub(super) fn apply(self, picture: &Picture) -> Picture {
        let size = self.of(picture.width, picture.height);
        let wide = match size.width == picture.width {
            true => picture.clone(),
            false => across(picture, size.width),
        };
        match size.height == picture.height {
            true => wide,
            false => down(&wide, size.height),
        }
    }
}

impl Size {
    /// What is wrong with it.
    pub fn problem(self) -> Option<String> {
        let fits = |n: usize| (1..=SIDE_MAX).contains(&n);
        (!fits(self.width) || !fits(self.height))
            .then(|| format!("sides of 1 to {SIDE_MAX} pixels are possible"))
    }

    /// The first column and row of the middle of an image of this size, which is not smaller; where
    /// it cannot lie even, half a pixel to the even side, as torchvision's `CenterCrop`.
    pub(crate) fn corner(self, width: usize, height: usize) -> (usize, usize) {
        // Halves are rounded to the even neighbour.
        let first = |twice: usize| match (twice / 2, twice % 2) {
            (half, 1) if half % 2 == 1 => half + 1,
            (half, _) => half,
        };
        (first(width - self.width), first(height - self.height))
    }

    /// The middle of an image (see [`Size::corner`]).
    pub(super) fn centre_of(self, picture: &Picture) -> Result<Picture, String> {
        let Picture {
            width,
            height,
            channels,
            ..
        } = *picture;
        if width < self.width || height < self.height {
            return Err(format!(
                "{width}x{height} pixels (width x height) are too few for a middle of {}x{}",
                self.width, self.height
            ));
        }
        let (left, top) = self.corner(width, height);
        let rows = (top..top + self.height)
            .flat_map(|y| &picture.bytes[(y * width + left) * channels..][..self.width * channels]);
        Ok(Picture {
            name: picture.name.clone(),
            width: self.width,
            height: self.height,
            channels,
            bytes: rows.copied().collect(),
        })
    }
}

/// Bits of a weight after the point.
const PRECISION: u32 = 32 - 8 - 2;

/// For each new position the first old one and the weights of those from there on.
fn weights(old: usize, new: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let support = stretch;
    let each = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let step = 1.0 / stretch;
        // Both are rounded towards zero, as C does.
        let first = ((centre - support + 0.5) as i64).max(0) as usize;
        let end = ((centre + support + 0.5) as i64).min(old as i64) as usize;
        let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
        let exact: Vec<f64> = (first..end)
            .map(|x| triangle((x as f64 - centre + 0.5) * step))
            .collect();
        let total: f64 = exact.iter().fold(0.0, |sum, w| sum + w);
        let whole = |w: &f64| {
            let share = if total == 0.0 { *w } else { w / total };
            (0.5 + share * f64::from(1 << PRECISION)) as i32
        };
        (first, exact.iter().map(whole).collect())
    };
    (0..new).map(each).collect()
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

fn across(picture: &Picture, width: usize) -> Picture {
    let (old, channels) = (picture.width, picture.channels);
    let weights = weights(old, width);
    let mut bytes = Vec::with_capacity(width * picture.height * channels);
    for row in picture.bytes.chunks_exact(old * channels) {
        for (first, weights) in &weights {
            for c in 0..channels {
                let values = row[first * channels + c..].iter().step_by(channels);
                let terms = values.zip(weights).map(|(&v, w)| i32::from(v) * w);
                bytes.push(byte(terms.fold(HALF, |sum, term| sum + term)));
            }
        }
    }
    Picture {
        name: picture.name.clone(),
        width,
        height: picture.height,
        channels,
        bytes,
    }
}

fn down(picture: &Picture, height: usize) -> Picture {
    let line = picture.width * picture.channels;
    let mut bytes = Vec::with_capacity(line * height);
    for (first, weights) in weights(picture.height, height) {
        let mut sums = vec![HALF; line];
        for (row, w) in picture.bytes[first * line..]
            .chunks_exact(line)
            .zip(&weights)
        {
            for (sum, &v) in sums.iter_mut().zip(row) {
                *sum += i32::from(v) * w;
            }
        }
        bytes.extend(sums.into_iter().map(byte));
    }
    Picture {
        name: picture.name.clone(),
        height,
        bytes,
        ..*picture
    }
}
