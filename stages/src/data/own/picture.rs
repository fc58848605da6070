//! Images as PNG and JPEG files have them, decoded to bytes by one algorithm each.
//!
//! PNG is lossless. JPEG decoders differ in their last bits, so one version of one decoder is pinned, built without its vector
//! instructions: its plain code is whole-number arithmetic and gives the same bytes everywhere. What changes an image beyond
//! decoding it (16 bits, transparency, EXIF orientation) happens only where [`Pixels`] asks for it.

use std::io::Cursor;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::resample::{Resize, Size};
use super::{Raw, RawValues, Shaped, some};
use crate::data::{ImageShape, Values};
use crate::kind::Failure;

/// An image, row by row, channels innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it is called in messages.
    pub name: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[height, width, channels]`.
    pub bytes: Vec<u8>,
}

/// How images become arrays of bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// `grey` or `rgb`. Without it images are grey if all of them are, else grey ones are made colour.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The size all images are brought to, after `orientation` and before `center_crop`.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// The middle of each image that is kept.
    #[serde(default)]
    pub center_crop: Option<Size>,
    /// What becomes of transparency; without it an image with transparent pixels is an error.
    #[serde(default)]
    pub transparency: Option<Transparency>,
    /// What becomes of 16 bits per channel; without it such an image is an error.
    #[serde(default)]
    pub sixteen_bit: Option<SixteenBit>,
    /// Whether a camera's note on how it was held is followed.
    #[serde(default)]
    pub orientation: Orientation,
}

/// Channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One channel: (19595·R + 38470·G + 7471·B + 32768) / 65536, rounded down, as Pillow's `convert("L")`.
    Grey,
    /// Three channels; a grey image gets its value three times.
    Rgb,
}

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// Colours are taken as if opaque, as Pillow's `convert("RGB")`.
    Drop,
    /// Laid over black.
    Black,
    /// Laid over white.
    White,
}

/// What becomes of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SixteenBit {
    /// Rounded to 8 bits: v · 255 / 65535 to the nearest.
    Round,
}

/// What becomes of EXIF orientation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Pixels stay as they are stored (torchvision, Keras); a warning tells how many images have a note.
    #[default]
    Ignore,
    /// Images are turned and mirrored as the note says.
    Apply,
}

/// Larger images are refused: nobody trains on them, and a damaged header may ask for anything.
const SIDE_MAX: usize = 1 << 15;

/// Decodes images, in order, by several threads, and says how many carry an orientation that was not followed.
///
/// # Errors
/// Names the first of those that cannot be read, and why.
pub fn decode_all<T: Sync>(
    all: &[T],
    pixels: &Pixels,
    read: impl Fn(&T) -> Result<(String, Vec<u8>), String> + Sync,
) -> Result<(Vec<Picture>, usize), Failure> {
    type Refused = (String, Option<&'static str>);
    let decoded: Vec<Result<(Picture, bool), Refused>> = all
        .par_iter()
        .map(|one| {
            let (name, bytes) = read(one).map_err(|e| (e, None))?;
            let said = |wrong: Wrong| (format!("{name}: {}", wrong.what), wrong.hint);
            let (mut picture, note) = decode(&bytes, pixels).map_err(said)?;
            let apply = pixels.orientation == Orientation::Apply;
            if apply {
                picture = picture.turned(note);
            }
            if let Some(mode) = pixels.mode {
                picture = picture.converted(mode);
            }
            if let Some(resize) = pixels.resize {
                picture = resize.apply(&picture);
            }
            if let Some(size) = pixels.center_crop {
                picture = size
                    .centre_of(&picture)
                    .map_err(|e| (format!("{name}: {e}"), None))?;
            }
            picture.name = name;
            Ok((picture, note > 1 && !apply))
        })
        .collect();
    let (mut pictures, mut wrong, mut hint, mut notes) = (Vec::new(), Vec::new(), None, 0);
    for one in decoded {
        match one {
            Ok((picture, note)) => {
                notes += usize::from(note);
                pictures.push(picture);
            }
            Err((text, how)) => {
                hint = hint.or(how);
                wrong.push(text);
            }
        }
    }
    if wrong.is_empty() {
        return Ok((pictures, notes));
    }
    let text = match wrong.len() {
        1 => format!("an image cannot be used: {}", wrong[0]),
        n => format!(
            "{n} images cannot be used: {}",
            some(&wrong).replace(", ", "; ")
        ),
    };
    let failure = Failure::new(text);
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// Why an image cannot be used.
struct Wrong {
    what: String,
    hint: Option<&'static str>,
}

impl Wrong {
    fn new(what: impl Into<String>) -> Wrong {
        Wrong {
            what: what.into(),
            hint: None,
        }
    }

    fn hint(self, hint: &'static str) -> Wrong {
        Wrong {
            hint: Some(hint),
            ..self
        }
    }
}

/// The image and its EXIF orientation (1 where there is none). What a file is, its first bytes say, not its name.
fn decode(bytes: &[u8], pixels: &Pixels) -> Result<(Picture, u8), Wrong> {
    const OTHERS: [(&[u8], &str); 8] = [
        (b"GIF8", "a GIF"),
        (b"BM", "a BMP"),
        (b"RIFF", "a WebP"),
        (b"II*\0", "a TIFF"),
        (b"MM\0*", "a TIFF"),
        (b"<", "a web page or SVG"),
        (
            b"version https://git-lfs",
            "a pointer of Git LFS, not the image",
        ),
        (b"PK", "an archive"),
    ];
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return png(bytes, pixels);
    }
    if bytes.starts_with(&[0xff, 0xd8]) {
        return jpeg(bytes);
    }
    let other = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic));
    Err(match (bytes.is_empty(), other) {
        (true, _) => Wrong::new("it is empty"),
        (_, Some((_, what))) => Wrong::new(format!("it is {what}; PNG and JPEG are read")),
        (_, None) => Wrong::new("it is neither PNG nor JPEG"),
    }
    .hint("convert it (`magick in.webp out.png`), or take it out"))
}

fn png(bytes: &[u8], pixels: &Pixels) -> Result<(Picture, u8), Wrong> {
    let damaged = |e: png::DecodingError| Wrong::new(format!("a PNG that cannot be decoded ({e})"));
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits {
        bytes: 8 * SIDE_MAX * SIDE_MAX,
    });
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| Wrong::new("it is too large"))?;
    let mut raw = vec![0; size];
    let frame = reader.next_frame(&mut raw).map_err(damaged)?;
    raw.truncate(frame.buffer_size());
    // Reads to the end mark: a file that was cut short has none.
    reader.finish().map_err(damaged)?;
    let note = reader
        .info()
        .exif_metadata
        .as_deref()
        .map_or(1, orientation);
    let raw = match frame.bit_depth {
        png::BitDepth::Sixteen => match pixels.sixteen_bit {
            Some(SixteenBit::Round) => raw
                .as_chunks::<2>()
                .0
                .iter()
                .map(|v| ((u32::from(u16::from_be_bytes(*v)) * 255 + 32767) / 65535) as u8)
                .collect(),
            None => {
                return Err(Wrong::new("it has 16 bits per channel")
                    .hint("say `sixteen_bit: round` to round them to 8"));
            }
        },
        _ => raw,
    };
    let (channels, with_alpha) = match frame.color_type {
        png::ColorType::Grayscale => (1, false),
        png::ColorType::GrayscaleAlpha => (1, true),
        png::ColorType::Rgba => (3, true),
        png::ColorType::Rgb | png::ColorType::Indexed => (3, false),
    };
    let bytes = if with_alpha {
        opaque(&raw, channels, pixels.transparency)?
    } else {
        raw
    };
    let picture = Picture {
        name: String::new(),
        width,
        height,
        channels,
        bytes,
    };
    Ok((picture, note))
}

/// Pixels without their alpha.
fn opaque(raw: &[u8], channels: usize, how: Option<Transparency>) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::with_capacity(raw.len() / (channels + 1) * channels);
    for pixel in raw.chunks_exact(channels + 1) {
        let (colours, alpha) = (&pixel[..channels], u32::from(pixel[channels]));
        let ground = match how {
            _ if alpha == 255 => 0,
            Some(Transparency::Drop) => {
                bytes.extend_from_slice(colours);
                continue;
            }
            Some(Transparency::Black) => 0,
            Some(Transparency::White) => 255,
            None => {
                return Err(Wrong::new("it has transparent pixels")
                    .hint("say `transparency: white`, `black` or `drop`"));
            }
        };
        let over = |&c: &u8| ((u32::from(c) * alpha + ground * (255 - alpha) + 127) / 255) as u8;
        bytes.extend(colours.iter().map(over));
    }
    Ok(bytes)
}

fn jpeg(bytes: &[u8]) -> Result<(Picture, u8), Wrong> {
    let damaged =
        |e: &dyn std::fmt::Debug| Wrong::new(format!("a JPEG that cannot be decoded ({e:?})"));
    // Strict: a file that was cut short is an error, not a half-grey image.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_use_unsafe(false)
        .set_max_width(SIDE_MAX)
        .set_max_height(SIDE_MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged(&e))?;
    let (space, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => (ColorSpace::RGB, 3),
        Some(ColorSpace::CMYK | ColorSpace::YCCK) => {
            return Err(Wrong::new("a JPEG in the colours of print (CMYK)")
                .hint("convert it to RGB; how the colours map is for you to decide"));
        }
        other => return Err(Wrong::new(format!("a JPEG of colours {other:?}"))),
    };
    let note = decoder.exif().map_or(1, |exif| orientation(exif));
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let bytes = decoder.decode().map_err(|e| damaged(&e))?;
    let (width, height) = decoder
        .dimensions()
        .ok_or_else(|| Wrong::new("a JPEG without a size"))?;
    check_size(width, height)?;
    if bytes.len() != width * height * channels {
        return Err(Wrong::new("a JPEG whose pixels do not fill its size"));
    }
    let picture = Picture {
        name: String::new(),
        width,
        height,
        channels,
        bytes,
    };
    Ok((picture, note))
}

fn check_size(width: usize, height: usize) -> Result<(), Wrong> {
    if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX {
        return Err(Wrong::new(format!(
            "{width}x{height} pixels; sides of 1 to {SIDE_MAX} are possible"
        )));
    }
    Ok(())
}

/// The orientation (1 to 8) in EXIF data, which are laid out as a TIFF file; 1 where none is found.
fn orientation(exif: &[u8]) -> u8 {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let big = match exif.get(..4) {
        Some(b"II*\0") => false,
        Some(b"MM\0*") => true,
        _ => return 1,
    };
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = exif.get(at..at.checked_add(len)?)?;
        let fold = |n: usize, &b: &u8| n << 8 | usize::from(b);
        Some(match big {
            true => bytes.iter().fold(0, fold),
            false => bytes.iter().rev().fold(0, fold),
        })
    };
    let search = || {
        let first = number(4, 4)?;
        (0..number(first, 2)?)
            .map(|entry| first + 2 + 12 * entry)
            .find(|&at| number(at, 2) == Some(0x0112))
            .and_then(|at| number(at + 8, 2))
    };
    match search() {
        Some(note @ 1..=8) => note as u8,
        _ => 1,
    }
}

impl Picture {
    /// Turned and mirrored so that an image with this note (1 to 8) stands upright.
    fn turned(self, note: u8) -> Picture {
        let (w, h, c) = (self.width, self.height, self.channels);
        let swapped = (5..=8).contains(&note);
        let (width, height) = if swapped { (h, w) } else { (w, h) };
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for y in 0..height {
            for x in 0..width {
                let (from_x, from_y) = match note {
                    2 => (w - 1 - x, y),
                    3 => (w - 1 - x, h - 1 - y),
                    4 => (x, h - 1 - y),
                    5 => (y, x),
                    6 => (y, h - 1 - x),
                    7 => (w - 1 - y, h - 1 - x),
                    8 => (w - 1 - y, x),
                    _ => (x, y),
                };
                bytes.extend_from_slice(&self.bytes[(from_y * w + from_x) * c..][..c]);
            }
        }
        Picture {
            width,
            height,
            bytes,
            ..self
        }
    }

    /// In these channels.
    fn converted(self, mode: Mode) -> Picture {
        let (channels, bytes) = match (mode, self.channels) {
            (Mode::Grey, 3) => {
                let luma = |[r, g, b]: &[u8; 3]| {
                    let sum = 19595 * u32::from(*r) + 38470 * u32::from(*g) + 7471 * u32::from(*b);
                    ((sum + 0x8000) >> 16) as u8
                };
                (1, self.bytes.as_chunks::<3>().0.iter().map(luma).collect())
            }
            (Mode::Rgb, 1) => (3, self.bytes.iter().flat_map(|&p| [p; 3]).collect()),
            (_, channels) => (channels, self.bytes),
        };
        Picture {
            channels,
            bytes,
            ..self
        }
    }
}

/// Brings the images of all parts to the same channels and lays them one after the other.
///
/// # Errors
/// When their sizes differ; the first offenders are named.
pub(super) fn unify(parts: Vec<(String, Raw)>) -> Result<Vec<(String, Shaped)>, Failure> {
    let pictures = |raw: &Raw| match &raw.values {
        RawValues::Pictures(all) => all.iter().map(|p| p.channels).max(),
        RawValues::Shaped(..) => None,
    };
    let colour = parts.iter().filter_map(|(_, raw)| pictures(raw)).max() == Some(3);
    let mode = if colour { Mode::Rgb } else { Mode::Grey };
    let sizes = |raw: &Raw| match &raw.values {
        RawValues::Pictures(all) => all
            .iter()
            .map(|p| (p.name.clone(), p.width, p.height))
            .collect(),
        RawValues::Shaped(..) => Vec::new(),
    };
    one_size(
        &parts
            .iter()
            .flat_map(|(_, raw)| sizes(raw))
            .collect::<Vec<_>>(),
    )?;
    let shaped = |(part, raw): (String, Raw)| {
        let (shape, values) = match raw.values {
            RawValues::Shaped(shape, values) => (shape, values),
            RawValues::Pictures(all) => {
                let Some(first) = all.first() else {
                    return Err(Failure::new(format!("`{part}` has no image")));
                };
                let shape = ImageShape {
                    height: first.height,
                    width: first.width,
                    channels: if colour { 3 } else { 1 },
                };
                let mut bytes = Vec::with_capacity(all.len() * shape.len());
                for picture in all {
                    bytes.extend(picture.converted(mode).bytes);
                }
                (shape, Values::Bytes(bytes))
            }
        };
        Ok((
            part,
            Shaped {
                shape,
                values,
                answers: raw.answers,
                columns: raw.columns,
            },
        ))
    };
    parts.into_iter().map(shaped).collect()
}

/// The size most images have is taken for the right one.
fn one_size(all: &[(String, usize, usize)]) -> Result<(), Failure> {
    let mut counts: std::collections::BTreeMap<(usize, usize), usize> = Default::default();
    for (_, width, height) in all {
        *counts.entry((*width, *height)).or_default() += 1;
    }
    if counts.len() < 2 {
        return Ok(());
    }
    let usual = counts
        .iter()
        .max_by_key(|(_, n)| **n)
        .map(|(size, _)| *size);
    let others = all.iter().filter(|(_, w, h)| Some((*w, *h)) != usual);
    let named: Vec<String> = others
        .map(|(name, w, h)| format!("{name} ({w}x{h})"))
        .collect();
    let (w, h) = usual.unwrap_or_default();
    Err(Failure::new(format!(
        "the images have {} sizes (width x height); most are {w}x{h}, others are {}",
        counts.len(),
        some(&named)
    ))
    .hint(format!(
        "say `resize: {{width: {w}, height: {h}}}`, or `resize: {{shorter: N}}` with `center_crop`, or make them equal yourself"
    )))
}

#[cfg(test)]
mod tests;
