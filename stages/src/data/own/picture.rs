//! An image as bytes: turned, and in other channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One channel: (19595·R + 38470·G + 7471·B + 32768) / 65536, rounded down, as Pillow's
    /// `convert("L")`.
    Grey,
    /// Three channels; a grey image gets its value three times.
    Rgb,
}

impl Picture {
    /// Turned and mirrored so that an image with this note (1 to 8) stands upright.
    pub(super) fn turned(self, note: u8) -> Picture {
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
    pub(super) fn converted(self, mode: Mode) -> Picture {
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
