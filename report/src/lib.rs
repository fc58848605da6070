//! The report of a study: what was asked, what came out, how sure that is.
//!
//! In three steps. [`collect`] asks the engine's results for everything a report tells, as plain
//! data ([`Study`]). [`figure`] has figures as data, and [`draw`] turns one into marks on a sheet.
//! [`page`], [`markdown`] and [`paper`] write what people open. The same study gives the same
//! bytes: numbers have one format ([`number`]), and nothing here asks for the time.
//!
//! No kind is named here. What is drawn follows from the shape of tables: values over epochs are
//! curves, last values are points, values over two axes of numbers are a grid.

pub mod collect;
pub mod commits;
mod declared;
pub mod draw;
pub mod figure;
mod graph;
mod made;
pub mod markdown;
pub mod marks;
mod members;
pub mod number;
pub mod observed;
pub mod page;
pub mod paper;
pub mod pdf;
mod planes;
pub mod png;
pub mod previous;
mod runs;
mod series;
mod study;
pub mod svg;
mod verdict;

pub use made::{Made, Media};
pub use study::{Arm, Claim, Given, Instance, Measured, Sides, Stage, Study, Undrawn};

/// The mean of values, and its interval at 95 % if there are two: who knows statistics gives them.
pub type MeanOf = fn(&[f64]) -> (f64, Option<[f64; 2]>);

/// A value at a place on a line (no `y`) or in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Across.
    pub x: f64,
    /// Up.
    pub y: Option<f64>,
    /// What it is, with the part of the data it is of.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// What a report needs and does not know itself.
#[derive(Debug, Clone, Copy)]
pub struct Tools {
    /// Means and their intervals.
    pub mean: MeanOf,
    /// Reads a table of `x, y, name, value`; an error where a file is none.
    pub places: fn(&std::path::Path) -> anyhow::Result<Vec<Place>>,
}
