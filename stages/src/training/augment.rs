//! Random changes of training images: shifted crops and flips, on bytes, before normalisation;
//! cutout after it.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, ImageShape};
use crate::failure::Failure;
use crate::ops::Frame;
use repro_numerics::exact::rng::Stream;

/// What may happen to a training image, each epoch anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Mirrored left to right: `true` each time with probability 1/2; `alternating` in the first
    /// epoch with probability 1/2, then in turns, each image by its own first side (Jordan 2024).
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub flip: Flip,
    /// Shifted by up to this many pixels in each direction (uniform), black coming in at the edges:
    /// torchvision's `RandomCrop(size, padding)`. 0: not at all.
    #[serde(default)]
    pub crop: usize,
    /// Cutout (DeVries & Taylor 2017): one square of this side, its centre uniform over the image
    /// and clipped at the edges, is set to the mean, which is 0 after normalisation. 0: not at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0))]
    pub cutout: usize,
}

/// Whether images are mirrored left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flip {
    /// Never: written `false`.
    #[default]
    Never,
    /// Each time with probability 1/2: written `true`.
    Random,
    /// In the first epoch with probability 1/2, then in turns, so that both sides of an image are
    /// seen equally often (Jordan 2024, arXiv:2404.00498, section 3.6).
    Alternating,
}

impl Serialize for Flip {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Flip::Never => s.serialize_bool(false),
            Flip::Random => s.serialize_bool(true),
            Flip::Alternating => s.serialize_str("alternating"),
        }
    }
}

impl<'de> Deserialize<'de> for Flip {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Flip, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = Flip;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("true, false, or `alternating`")
            }
            fn visit_bool<E: serde::de::Error>(self, flips: bool) -> Result<Flip, E> {
                Ok(if flips { Flip::Random } else { Flip::Never })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Flip, E> {
                match text {
                    "alternating" => Ok(Flip::Alternating),
                    _ => Err(E::unknown_variant(text, &["true", "false", "alternating"])),
                }
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for Flip {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flip".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [{"type": "boolean"}, {"const": "alternating", "type": "string"}]})
    }
}

/// Which image is shown, and when.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The training's.
    pub seed: u64,
    /// From 0.
    pub epoch: u64,
    /// Its place in the data.
    pub image: u32,
}

impl Shown {
    /// Whether it is the turn of its mirrored side.
    fn is_mirrored(self) -> bool {
        let mut stream = Stream::new(self.seed, "first side", 0, u64::from(self.image));
        (u64::from(stream.below(2)) + self.epoch) % 2 == 1
    }
}

// Keys and states hold these parameters as text: one that came later does not show until it is
// used.
fn is_zero(side: &usize) -> bool {
    *side == 0
}

/// What happens to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    flip: bool,
    /// Rows and columns of the padded image left out, 0 to 2·crop.
    down: usize,
    right: usize,
    crop: usize,
    /// Row and column of the square's centre, and its side; 0: no square.
    centre: (usize, usize),
    side: usize,
}

impl Augment {
    /// Nothing ever happens.
    pub fn is_none(self) -> bool {
        self == Augment::default()
    }

    /// What it does can be done to these data.
    ///
    /// # Errors
    /// It changes images, and they are a table.
    pub fn check(self, data: &Dataset) -> Result<(), Failure> {
        if self.is_none() || !data.info().shape.is_table() {
            return Ok(());
        }
        let text = format!(
            "`augment` changes images, and `{}` is a table",
            data.info().name
        );
        Err(Failure::new(text).hint("take `augment` out"))
    }

    /// Draws for one image of this shape: the flip, then the crop's rows and columns, then the
    /// square's row and column, each only where it is asked for.
    pub fn draw(self, shape: ImageShape, stream: &mut Stream, shown: Shown) -> Change {
        let flip = match self.flip {
            Flip::Never => false,
            Flip::Random => stream.below(2) == 1,
            Flip::Alternating => shown.is_mirrored(),
        };
        let mut shift = || {
            if self.crop == 0 {
                0
            } else {
                stream.below(2 * self.crop as u32 + 1) as usize
            }
        };
        let (down, right) = (shift(), shift());
        let mut place = |size: usize| match self.cutout {
            0 => 0,
            _ => stream.below(size as u32) as usize,
        };
        let centre = (place(shape.height), place(shape.width));
        Change {
            flip,
            down,
            right,
            crop: self.crop,
            centre,
            side: self.cutout,
        }
    }
}

impl Change {
    /// Writes the changed image: the padded image's window at (down, right), then mirrored.
    pub fn apply<T: Copy + Default>(self, image: &[T], shape: ImageShape, out: &mut [T]) {
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
                out.fill(T::default());
                continue;
            };
            let image = &image[row * line + from * channels..][..inside * channels];
            if self.flip {
                let first = (width - to - inside) * channels;
                out[..first].fill(T::default());
                out[first + image.len()..].fill(T::default());
                let pixels = out[first..][..image.len()].chunks_exact_mut(channels);
                for (out, pixel) in pixels.zip(image.rchunks_exact(channels)) {
                    out.copy_from_slice(pixel);
                }
            } else {
                let first = to * channels;
                out[..first].fill(T::default());
                out[first + image.len()..].fill(T::default());
                out[first..][..image.len()].copy_from_slice(image);
            }
        }
    }

    /// The rows and columns of the square that lie in the image.
    fn square(self, shape: ImageShape) -> (Range<usize>, Range<usize>) {
        let span = |centre: usize, size: usize| {
            let end = (centre + self.side).saturating_sub(self.side / 2);
            centre.saturating_sub(self.side / 2)..end.min(size)
        };
        (
            span(self.centre.0, shape.height),
            span(self.centre.1, shape.width),
        )
    }

    /// The changed image of this number, for a device that shows it by itself.
    pub fn frame(self, image: u32, shape: ImageShape) -> Frame {
        // Sizes of images and crops are far below 2³¹.
        let narrow = |range: Range<usize>| range.start as u32..range.end as u32;
        let (rows, columns) = self.square(shape);
        Frame {
            image,
            offset: (
                self.down as i32 - self.crop as i32,
                self.right as i32 - self.crop as i32,
            ),
            is_mirrored: self.flip,
            cut: (narrow(rows), narrow(columns)),
        }
    }

    /// Sets the square's part within the normalised image to 0: `side` rows and columns from `side
    /// / 2` before the centre.
    pub fn cut_out(self, shape: ImageShape, row: &mut [f32]) {
        let line = shape.width * shape.channels;
        let (rows, columns) = self.square(shape);
        for y in rows {
            row[y * line + columns.start * shape.channels..y * line + columns.end * shape.channels]
                .fill(0.0);
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

    const FIRST: Shown = Shown {
        seed: 1,
        epoch: 0,
        image: 0,
    };

    /// Nothing changes.
    const SAME: Change = Change {
        flip: false,
        down: 0,
        right: 0,
        crop: 0,
        centre: (0, 0),
        side: 0,
    };

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
                crop: 0,
                ..SAME
            }),
            IMAGE
        );
        assert_eq!(
            changed(Change {
                flip: true,
                down: 0,
                right: 0,
                crop: 0,
                ..SAME
            }),
            [5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8]
        );
        // the window starts one row and one column into the padding: the image moves down and right
        assert_eq!(
            changed(Change {
                flip: false,
                down: 0,
                right: 0,
                crop: 1,
                ..SAME
            }),
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
        );
        assert_eq!(
            changed(Change {
                flip: false,
                down: 1,
                right: 2,
                crop: 1,
                ..SAME
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
                        ..SAME
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
                flip: Flip::Random,
                crop: 1,
                cutout: 0,
            }
            .draw(SHAPE, &mut stream, FIRST);
            *seen.entry((c.flip, c.down, c.right)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 18);
        assert!(seen.values().all(|n| (380..620).contains(n)), "{seen:?}");
    }

    #[test]
    fn squares_are_clipped_at_the_edges() {
        let shape = ImageShape {
            height: 4,
            width: 5,
            channels: 1,
        };
        let cut = |centre, side| {
            let mut row = [1.0; 20];
            Change {
                centre,
                side,
                ..SAME
            }
            .cut_out(shape, &mut row);
            row.chunks_exact(5)
                .map(|r| {
                    r.iter()
                        .map(|v| if *v == 0.0 { '.' } else { '#' })
                        .collect()
                })
                .collect::<Vec<String>>()
        };
        assert_eq!(cut((0, 0), 0), ["#####"; 4]);
        assert_eq!(cut((1, 2), 2), ["#..##", "#..##", "#####", "#####"]);
        assert_eq!(cut((0, 0), 2), [".####", "#####", "#####", "#####"]);
        assert_eq!(cut((3, 4), 3), ["#####", "#####", "###..", "###.."]);
        assert_eq!(cut((2, 2), 99), ["....."; 4]);
    }

    /// The square is drawn last, so that flips and crops are those of a training without it, until
    /// the next image.
    #[test]
    fn cutout_leaves_the_other_draws() {
        let with = Augment {
            flip: Flip::Random,
            crop: 2,
            cutout: 1,
        };
        let without = Augment { cutout: 0, ..with };
        let mut centres = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let draw = |a: Augment| a.draw(SHAPE, &mut Stream::new(seed, "test", 0, 0), FIRST);
            let (a, b) = (draw(with), draw(without));
            assert_eq!((a.flip, a.down, a.right), (b.flip, b.down, b.right));
            centres.insert(a.centre);
        }
        assert_eq!(centres.len(), 6, "every place is a centre");
        assert_eq!(
            serde_json::to_string(&without).unwrap(),
            r#"{"flip":true,"crop":2}"#
        );
    }

    #[test]
    fn alternating_sides_take_turns() {
        let alternating = Augment {
            flip: Flip::Alternating,
            ..Augment::default()
        };
        let mut stream = Stream::new(1, "test", 0, 0);
        let mut side = |image, epoch| {
            let shown = Shown {
                image,
                epoch,
                ..FIRST
            };
            alternating.draw(SHAPE, &mut stream, shown).flip
        };
        let first = (0..1000).filter(|image| side(*image, 0)).count();
        assert!((430..570).contains(&first), "{first}");
        for image in 0..50 {
            let sides = [0, 1, 2, 3].map(|epoch| side(image, epoch));
            assert_eq!((sides[0], sides[1]), (!sides[1], !sides[0]));
            assert_eq!(sides[..2], sides[2..]);
        }
    }

    /// Keys hold what older versions wrote.
    #[test]
    fn flips_are_written_as_before() {
        for (text, flip) in [
            ("false", Flip::Never),
            ("true", Flip::Random),
            (r#""alternating""#, Flip::Alternating),
        ] {
            assert_eq!(serde_json::from_str::<Flip>(text).unwrap(), flip);
            assert_eq!(serde_json::to_string(&flip).unwrap(), text);
        }
        let wrong = serde_json::from_str::<Flip>(r#""sometimes""#).unwrap_err();
        assert!(wrong.to_string().contains("`alternating`"), "{wrong}");
    }
}
