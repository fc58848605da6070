//! What a training made of each example, in Parquet, one row per example. Does not know how it was
//! found out.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;

/// An example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Its number in the data set as published, or in the order of its files.
    pub image: i64,
    /// The class it should have.
    pub label: String,
    /// The first model that gave it this class, from 1.
    pub first_learnt: Option<i64>,
    /// How often a model that was right came after one that was not (or was the first).
    pub learnt: i64,
    /// How often a model that was wrong came after one that was right.
    pub forgotten: i64,
    /// How many models were right.
    pub right: i64,
    /// The logit of its class less the largest other one, of the last model.
    pub margin: f64,
    /// The mean of these over all models.
    pub margin_mean: f64,
}

const COLUMNS: [(&str, DataType, bool); 8] = [
    ("image", DataType::Int64, false),
    ("label", DataType::Utf8, false),
    ("first_learnt", DataType::Int64, true),
    ("learnt", DataType::Int64, false),
    ("forgotten", DataType::Int64, false),
    ("right", DataType::Int64, false),
    ("margin", DataType::Float64, false),
    ("margin_mean", DataType::Float64, false),
];

/// Writes them. Errors: an unwritable file.
pub fn write(path: &Path, examples: &[Example]) -> anyhow::Result<()> {
    let whole = |get: fn(&Example) -> i64| {
        Arc::new(examples.iter().map(get).collect::<Int64Array>()) as ArrayRef
    };
    let number = |get: fn(&Example) -> f64| {
        Arc::new(examples.iter().map(get).collect::<Float64Array>()) as ArrayRef
    };
    let labels = examples.iter().map(|e| Some(e.label.as_str()));
    let first = examples.iter().map(|e| e.first_learnt);
    let columns: Vec<ArrayRef> = vec![
        whole(|e| e.image),
        Arc::new(labels.collect::<StringArray>()),
        Arc::new(first.collect::<Int64Array>()),
        whole(|e| e.learnt),
        whole(|e| e.forgotten),
        whole(|e| e.right),
        number(|e| e.margin),
        number(|e| e.margin_mean),
    ];
    let bytes = super::parquet(&COLUMNS, ("repro.examples", "1"), [columns])?;
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write the table {}", path.display()))
}
