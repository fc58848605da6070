//! A drawing: marks on a sheet in points, in the order they are painted. Knows neither what is
//! drawn nor how it is written.

/// The colour of a mark, by what it means. Page and paper have their own colours for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ink {
    /// Words and axes.
    Text,
    /// Words that matter less.
    Faint,
    /// Lines behind everything.
    Rule,
    /// A series, by its number.
    Series(usize),
    /// From 0 (low) to 1 (high).
    Ramp(f64),
    /// What a claim holds for.
    Good,
}

/// Where words stand relative to their point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// They begin there.
    Start,
    /// Around it.
    Middle,
    /// They end there.
    End,
}

impl Anchor {
    /// How far before their point words of this width begin.
    pub fn back(self, width: f64) -> f64 {
        match self {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        }
    }
}

/// One mark.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A line through points.
    Line {
        /// The points.
        points: Vec<(f64, f64)>,
        /// Its colour.
        ink: Ink,
        /// Its width.
        width: f64,
        /// Lengths of dashes and gaps; none: solid.
        dash: &'static [f64],
    },
    /// A filled area, half transparent.
    Area {
        /// Its outline.
        points: Vec<(f64, f64)>,
        /// Its colour.
        ink: Ink,
    },
    /// A point.
    Dot {
        /// Its centre.
        at: (f64, f64),
        /// Its radius.
        radius: f64,
        /// Its colour.
        ink: Ink,
        /// Half transparent.
        pale: bool,
        /// What it says when it is pointed at.
        tip: String,
    },
    /// A filled box.
    Box {
        /// Its upper left corner.
        at: (f64, f64),
        /// Its width and height.
        size: (f64, f64),
        /// Its colour.
        ink: Ink,
        /// What it says when it is pointed at.
        tip: String,
    },
    /// Words.
    Words {
        /// Where; on the base line.
        at: (f64, f64),
        /// Relative to that.
        anchor: Anchor,
        /// Their size.
        size: f64,
        /// Their colour.
        ink: Ink,
        /// Upwards instead of across.
        upright: bool,
        /// What they say.
        text: String,
    },
}

/// The range of an axis, and where it lies on the sheet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Frame {
    /// Left, top, right, bottom of the plot on the sheet.
    pub plot: [f64; 4],
    /// Lowest and highest value across.
    pub x: [f64; 2],
    /// Lowest and highest value up.
    pub y: [f64; 2],
}

/// A sheet with marks. A mark may belong to a series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drawing {
    /// Of the sheet.
    pub width: f64,
    /// Of the sheet.
    pub height: f64,
    /// What is read instead of it.
    pub title: String,
    /// The same at more length.
    pub description: String,
    /// What is painted.
    pub marks: Vec<(Option<usize>, Mark)>,
    /// Where the plot lies.
    pub frame: Frame,
}
