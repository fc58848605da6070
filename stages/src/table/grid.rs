//! Values on a line or in a plane, in Parquet: `x, y, split, name, value`, one row per value.
//!
//! The shape that contours and heat maps take. On a line `y` is null. Does not know what the
//! coordinates mean.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow_array::{ArrayRef, Float64Array, StringArray};
use arrow_schema::DataType;

/// A value at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// Where, in a plane.
    pub y: Option<f64>,
    /// Which part of the data it is of.
    pub split: String,
    /// What it is.
    pub name: &'static str,
    /// The value.
    pub value: f64,
}

const COLUMNS: [(&str, DataType, bool); 5] = [
    ("x", DataType::Float64, false),
    ("y", DataType::Float64, true),
    ("split", DataType::Utf8, false),
    ("name", DataType::Utf8, false),
    ("value", DataType::Float64, false),
];

/// Writes them. Errors: a NaN value, an unwritable file.
pub fn write(path: &Path, points: &[Point]) -> anyhow::Result<()> {
    if let Some(p) = points.iter().find(|p| p.value.is_nan()) {
        bail!(
            "the value of `{}` at x = {} is not a number (NaN)",
            p.name,
            p.x
        );
    }
    let text = |get: fn(&Point) -> &str| {
        Arc::new(points.iter().map(get).map(Some).collect::<StringArray>()) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(points.iter().map(|p| p.x).collect::<Float64Array>()),
        Arc::new(points.iter().map(|p| p.y).collect::<Float64Array>()),
        text(|p| &p.split),
        text(|p| p.name),
        Arc::new(points.iter().map(|p| p.value).collect::<Float64Array>()),
    ];
    let bytes = super::parquet(&COLUMNS, ("repro.grid", "1"), [columns])?;
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write the table {}", path.display()))
}
