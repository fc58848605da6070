//! The images of all parts in one size and the same channels.

use super::picture::Mode;
use super::raw::{Raw, RawAnswers, RawValues};
use crate::data::{ImageShape, Values};
use crate::failure::Failure;
use crate::names::some;

/// A part in one shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shaped {
    pub(super) shape: ImageShape,
    pub(super) values: Values,
    pub(super) answers: RawAnswers,
    pub(super) columns: Vec<String>,
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
