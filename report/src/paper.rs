//! Figures as files for a paper: SVG, PDF and PNG, with their numbers beside them.

use std::path::{Path, PathBuf};

use repro_engine::whole;

use crate::draw::{Style, draw};
use crate::figure::Figure;
use crate::pdf::pdf;
use crate::png::png;
use crate::svg::{Sheet, svg};

/// What a figure is written as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    /// Vectors for pages.
    Svg,
    /// Vectors for papers.
    Pdf,
    /// Pixels for slides and messages.
    Png {
        /// Dots per inch.
        dpi: f64,
    },
}

impl Format {
    /// The end of the file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Format::Svg => "svg",
            Format::Pdf => "pdf",
            Format::Png { .. } => "png",
        }
    }
}

/// Writes figures and their numbers into a directory; returns the files.
///
/// # Errors
/// A file cannot be written; a picture has too many pixels.
pub fn write(
    figures: &[&Figure],
    dir: &Path,
    formats: &[Format],
    style: &Style,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for figure in figures {
        let drawing = draw(figure, style);
        for format in formats {
            let bytes = match format {
                Format::Svg => svg(&drawing, Sheet::Paper, &style.font).into_bytes(),
                Format::Pdf => pdf(&drawing),
                Format::Png { dpi } => png(&drawing, *dpi)?,
            };
            let path = dir.join(format!("{}.{}", figure.name, format.ending()));
            whole::write_beside(&path, &bytes)?;
            files.push(path);
        }
        let path = dir.join(format!("{}.csv", figure.name));
        whole::write_beside(&path, figure.csv().as_bytes())?;
        files.push(path);
    }
    Ok(files)
}
