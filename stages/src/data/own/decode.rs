//! PNG and JPEG files, decoded to bytes by one algorithm each.
//!
//! PNG is lossless. JPEG decoders differ in their last bits, so one version of one decoder is
//! pinned, built without its vector instructions: its plain code is whole-number arithmetic and
//! gives the same bytes everywhere.

use std::io::Cursor;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::picture::Picture;

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// Colours are taken as if they were opaque, as in Pillow's `convert("RGB")`.
    Drop,
    /// The image is laid over black.
    Black,
    /// The image is laid over white.
    White,
}

/// What becomes of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SixteenBit {
    /// Values are rounded to 8 bits: v · 255 / 65535 to the nearest.
    Round,
}

/// Larger images are refused: nobody trains on them, and a damaged header may ask for anything.
const SIDE_MAX: usize = 1 << 15;

/// Why an image cannot be used.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
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

/// The image and its EXIF orientation (1 where there is none). What a file is, its first bytes say,
/// not its name.
pub(super) fn decode(
    bytes: &[u8],
    sixteen_bit: Option<SixteenBit>,
    transparency: Option<Transparency>,
) -> Result<(Picture, u8), Wrong> {
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
        return png(bytes, sixteen_bit, transparency);
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

fn png(
    bytes: &[u8],
    sixteen_bit: Option<SixteenBit>,
    transparency: Option<Transparency>,
) -> Result<(Picture, u8), Wrong> {
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
        png::BitDepth::Sixteen => match sixteen_bit {
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
        opaque(&raw, channels, transparency)?
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
