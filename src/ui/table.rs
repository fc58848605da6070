//! Tables of aligned columns, and the table of claims.

use super::style::Colour;
use crate::record::event::{ClaimResult, Verdict};

/// Lines of `rows` under `head`, columns aligned; `paint(row, column, cell)` colours a cell after it was measured.
pub fn aligned(
    head: &[&str],
    rows: &[Vec<String>],
    colour: Colour,
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|r| r[column].chars().count())
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String], painted: &dyn Fn(usize, &str) -> String| {
        let mut out = String::new();
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(&painted(column, cell));
            out.push_str(&" ".repeat(widths[column] - cell.chars().count() + 2));
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    line(&head, &|_, cell| colour.dim(cell));
    for (i, row) in rows.iter().enumerate() {
        line(row, &|column, cell| paint(i, column, cell));
    }
    text
}

/// One line per claim; empty for none.
pub fn claims_table(claims: &[ClaimResult], colour: Colour) -> String {
    if claims.is_empty() {
        return String::new();
    }
    let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:+.4}"));
    let row = |c: &ClaimResult| {
        let verdict = match c.verdict {
            Verdict::Holds => "holds",
            Verdict::Refuted => "refuted",
            Verdict::Inconclusive => "inconclusive",
        };
        let confidence = c
            .confidence
            .map_or_else(String::new, |p| format!("{} %", (p * 1e4).round() / 1e2));
        let interval = format!("[{}, {}] {confidence}", number(c.low), number(c.high));
        vec![
            c.name.clone(),
            verdict.into(),
            number(c.estimate),
            interval.trim_end().into(),
            c.n.to_string(),
            c.expect.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = claims.iter().map(row).collect();
    aligned(
        &["claim", "verdict", "estimate", "interval", "n", "expects"],
        &rows,
        colour,
        |i, column, cell| match (column, claims[i].verdict) {
            (1, Verdict::Holds) => colour.green(cell),
            (1, Verdict::Refuted) => colour.red(cell),
            (1, Verdict::Inconclusive) => colour.yellow(cell),
            _ => cell.to_owned(),
        },
    )
}
