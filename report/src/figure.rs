//! Figures as data: what is drawn, and what the table beside it says. Knows no sheet.

use crate::number::plain;

/// How an axis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal steps.
    #[default]
    Linear,
    /// Equal ratios; what is not above zero has no place.
    Log,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// How it runs.
    pub scale: Scale,
}

impl Axis {
    /// In equal steps.
    pub fn linear(label: impl Into<String>) -> Axis {
        Axis {
            label: label.into(),
            scale: Scale::Linear,
        }
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name: of files, and of its place in the page.
    pub name: String,
    /// What people read above it.
    pub title: String,
    /// What the drawing shows: how many repetitions, what the band is, what was left out.
    pub note: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is drawn.
    pub body: Body,
}

/// What a figure draws.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Curves with bands.
    Lines(Vec<Line>),
    /// A row for each group: its values as points, their mean with its interval.
    Rows(Vec<Entry>),
    /// A value for each place in a plane.
    Grid(Grid),
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Whose.
    pub label: String,
    /// From left to right.
    pub points: Vec<Point>,
}

/// A mean over repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub band: Option<[f64; 2]>,
    /// Repetitions.
    pub n: usize,
}

/// A group of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Whose.
    pub label: String,
    /// One for each repetition, with its name.
    pub values: Vec<(String, f64)>,
    /// Their mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub band: Option<[f64; 2]>,
}

/// Values in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Across, rising.
    pub xs: Vec<f64>,
    /// Up, rising.
    pub ys: Vec<f64>,
    /// Row by row from the bottom; `None` where nothing is known.
    pub cells: Vec<Option<f64>>,
    /// What is measured.
    pub label: String,
    /// A surface: lines of equal height are drawn.
    pub contours: bool,
}

impl Grid {
    /// The value in a column and row.
    pub fn at(&self, x: usize, y: usize) -> Option<f64> {
        self.cells.get(y * self.xs.len() + x).copied().flatten()
    }
}

impl Figure {
    /// The heads of the columns of its numbers, and the rows.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let head = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let ends = |band: Option<[f64; 2]>| match band {
            Some([low, high]) => [plain(low), plain(high)],
            None => [String::new(), String::new()],
        };
        match &self.body {
            Body::Lines(lines) => {
                let rows = lines.iter().flat_map(|line| {
                    line.points.iter().map(|p| {
                        let [low, high] = ends(p.band);
                        vec![
                            line.label.clone(),
                            plain(p.x),
                            plain(p.mean),
                            low,
                            high,
                            p.n.to_string(),
                        ]
                    })
                });
                let names = ["series", &self.x.label, "mean", "low", "high", "n"];
                (head(&names), rows.collect())
            }
            Body::Rows(entries) => {
                let rows = entries.iter().map(|e| {
                    let [low, high] = ends(e.band);
                    let n = e.values.len().to_string();
                    vec![e.label.clone(), plain(e.mean), low, high, n]
                });
                (head(&["group", "mean", "low", "high", "n"]), rows.collect())
            }
            Body::Grid(grid) => {
                let mut rows = Vec::new();
                for (j, y) in grid.ys.iter().enumerate() {
                    for (i, x) in grid.xs.iter().enumerate() {
                        if let Some(value) = grid.at(i, j) {
                            rows.push(vec![plain(*x), plain(*y), plain(value)]);
                        }
                    }
                }
                (head(&[&self.x.label, &self.y.label, &grid.label]), rows)
            }
        }
    }

    /// Its numbers as CSV.
    pub fn csv(&self) -> String {
        let (head, rows) = self.table();
        let mut text = csv_line(&head);
        rows.iter().for_each(|row| text.push_str(&csv_line(row)));
        text
    }

    /// The same with at most so many points a curve, the first and the last among them.
    pub fn thinned(&self, most: usize) -> Figure {
        let mut figure = self.clone();
        let Body::Lines(lines) = &mut figure.body else {
            return figure;
        };
        let mut longest = 0;
        for line in lines {
            let n = line.points.len();
            if n > most.max(2) {
                longest = longest.max(n);
                let most = most.max(2);
                let kept = (0..most).map(|i| line.points[i * (n - 1) / (most - 1)]);
                line.points = kept.collect();
            }
        }
        if longest > 0 {
            let said = format!(" Drawn from {most} of up to {longest} points a curve.");
            figure.note.push_str(&said);
        }
        figure
    }
}

/// A line of CSV.
pub fn csv_line(cells: &[String]) -> String {
    let quoted = cells
        .iter()
        .map(|cell| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

/// A name that files and addresses take: letters, digits and dashes.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        match c.is_ascii_alphanumeric() {
            true => slug.push(c.to_ascii_lowercase()),
            false if !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.trim_matches('-').to_owned()
}
