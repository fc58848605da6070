//! Many images on their way from files to bytes: what is done to each, and which cannot be used.
//!
//! What changes an image beyond decoding it (16 bits, transparency, EXIF orientation) happens only
//! where [`Pixels`] asks for it.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::{SixteenBit, Transparency, Wrong, decode};
use super::picture::{Mode, Picture};
use super::resample::{Resize, Size};
use crate::failure::Failure;
use crate::names::some;

/// How images become arrays of bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// The channels of all images. By default they are grey if all of them are; otherwise grey
    /// images become colour.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The size of all images: they are resized after `orientation` and before `center_crop`.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// The size of the middle part of each image that is kept.
    #[serde(default)]
    pub center_crop: Option<Size>,
    /// What to do with transparency; by default an image with transparent pixels is an error.
    #[serde(default)]
    pub transparency: Option<Transparency>,
    /// What to do with 16 bits per channel; by default such an image is an error.
    #[serde(default)]
    pub sixteen_bit: Option<SixteenBit>,
    /// What to do with the orientation that a camera noted (EXIF).
    #[serde(default)]
    pub orientation: Orientation,
}

/// What becomes of EXIF orientation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Pixels stay as they are stored (torchvision, Keras); a warning says how many images have a
    /// note.
    #[default]
    Ignore,
    /// Images are turned and mirrored as the note says.
    Apply,
}

/// Decodes images, in order, by several threads, and says how many carry an orientation that was
/// not followed.
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
            let (mut picture, note) =
                decode(&bytes, pixels.sixteen_bit, pixels.transparency).map_err(said)?;
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

#[cfg(test)]
mod tests;
