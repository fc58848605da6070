//! A part of the data as its format has it.

use super::picture::Picture;
use crate::data::{ImageShape, Values};

/// One part as its format has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The values of all examples.
    pub values: RawValues,
    /// What is to be learnt.
    pub answers: RawAnswers,
    /// Names of a table's columns, where there are any.
    pub columns: Vec<String>,
}

/// Values before all parts have one size.
#[derive(Debug, Clone, PartialEq)]
pub enum RawValues {
    /// Images, each of its own size.
    Pictures(Vec<Picture>),
    /// Values in one shape.
    Shaped(ImageShape, Values),
}

/// What is to be learnt, before classes are known.
#[derive(Debug, Clone, PartialEq)]
pub enum RawAnswers {
    /// Names of classes, one for each example.
    Names(Vec<String>),
    /// Numbers of classes, and the classes' names where the format has them.
    Indexes(Vec<u32>, Option<Vec<String>>),
    /// Names of the numbers to be learnt, and the numbers, `[N, targets]`.
    Targets(Vec<String>, Vec<f32>),
}
