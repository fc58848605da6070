//! The table of claims: verdict, estimate, interval and n, never one without the other.

use super::cell::{Cell, Field, Tone, signed};
use super::style::Colour;
use super::table::{Column, Table};
use super::width::width;
use repro_engine::record::event::{ClaimResult, Verdict};

/// One row per claim; of an open one its name and source. `None` for no claims.
pub fn claims_table<'a>(
    claims: impl IntoIterator<Item = Result<&'a ClaimResult, (&'a str, Option<&'a str>)>>,
) -> Option<Table> {
    let mut table = Table::new(vec![
        Column::new("claim").naming(),
        Column::new("verdict"),
        Column::figure("estimate"),
        Column::new("interval").fields(["low", "high", "confidence"]),
        Column::figure("n"),
        Column::new("expects"),
        Column::new("effect").for_pages(),
        Column::new("source").for_pages(),
    ]);
    for claim in claims {
        table.push(match claim {
            Ok(claim) => row(claim),
            Err((name, source)) => {
                let mut cells = vec![Cell::empty(); 8];
                cells[0] = Cell::text(name);
                cells[1] = Cell::text("open").toned(Tone::Open);
                cells[7] = Cell::text(source.unwrap_or_default());
                cells
            }
        });
    }
    (!table.is_empty()).then_some(table)
}

/// The verdicts of a run, as wide as the terminal; empty for none.
pub fn verdicts(claims: &[ClaimResult], colour: Colour) -> String {
    let table = claims_table(claims.iter().map(Ok));
    table.map_or_else(String::new, |table| table.on_terminal(width(), colour))
}

fn row(claim: &ClaimResult) -> Vec<Cell> {
    let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), signed);
    let confidence = claim
        .confidence
        .map_or_else(String::new, |p| format!("{} %", (p * 1e4).round() / 1e2));
    let interval = format!(
        "[{}, {}] {confidence}",
        number(claim.low),
        number(claim.high)
    );
    let tone = match claim.verdict {
        Verdict::Holds => Tone::Good,
        Verdict::Refuted => Tone::Bad,
        Verdict::Inconclusive => Tone::Open,
    };
    let ends = [claim.low, claim.high, claim.confidence].map(Field::number);
    let effect = claim.effect_size.as_ref().map(ToString::to_string);
    vec![
        Cell::text(&claim.name),
        Cell::text(claim.verdict.word()).toned(tone),
        Cell::said(number(claim.estimate), vec![Field::number(claim.estimate)]),
        Cell::said(interval.trim_end(), ends.to_vec()),
        Cell::count(claim.n),
        Cell::text(claim.expectation()),
        Cell::text(effect.unwrap_or_default()),
        Cell::text(claim.source.clone().unwrap_or_default()),
    ]
}
