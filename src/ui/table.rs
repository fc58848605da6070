//! Tables of aligned columns that fit the width of the terminal, and the table of claims.

use std::collections::BTreeSet;

use super::style::Colour;
use super::width::{shortened, width};
use repro_engine::record::event::{ClaimResult, Verdict};

/// Columns of text are cut no further than this.
const NARROWEST: usize = 12;
/// Columns that are no wider than this are never cut.
const SHORT: usize = 12;
/// Between two columns.
const GAP: usize = 2;
/// The head of a column that names a row too, beside the first: the cell of a summarised matrix.
pub const CELL: &str = "cell";

/// Lines of `rows` under `head`, with aligned columns, no wider than the terminal. Long texts are
/// shortened in the middle. Columns for which there is no room follow below, with their rows' first
/// cells repeated. The first cells distinguish rows, so they are shortened only as far as they stay
/// different. `paint(row, column, cell)` colours a cell after it was measured.
pub fn aligned(
    head: &[&str],
    rows: &[Vec<String>],
    colour: Colour,
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    aligned_in(width(), head, rows, colour, paint)
}

fn aligned_in(
    limit: usize,
    head: &[&str],
    rows: &[Vec<String>],
    colour: Colour,
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    let mut widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().map(|r| r[column].chars().count());
            cells
                .chain([head[column].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let floor = |column: usize| {
        let cells = rows.iter().map(|row| row[column].as_str());
        match widths[column] {
            width if width <= SHORT || cells.clone().all(is_figure) => width,
            width if column == 0 || head[column] == CELL => different(cells, width),
            _ => NARROWEST,
        }
    };
    if total(&widths) > limit {
        let floors: Vec<usize> = (0..head.len()).map(floor).collect();
        narrow(&mut widths, &floors, limit);
    }
    let mut text = String::new();
    for (i, block) in blocks(&widths, limit).iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let mut line = |cells: &[&str], painted: &dyn Fn(usize, &str) -> String| {
            let mut out = String::new();
            for column in block {
                let cell = shortened(cells[*column], widths[*column]);
                out.push_str(&painted(*column, &cell));
                out.push_str(&" ".repeat(widths[*column] - cell.chars().count() + GAP));
            }
            text.push_str(out.trim_end());
            text.push('\n');
        };
        line(head, &|_, cell| colour.dim(cell));
        for (i, row) in rows.iter().enumerate() {
            let row: Vec<&str> = row.iter().map(String::as_str).collect();
            line(&row, &|column, cell| paint(i, column, cell));
        }
    }
    text
}

/// Numbers, intervals and times: half of such a cell would say something else.
fn is_figure(cell: &str) -> bool {
    let begins = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '–' | '[' | '.');
    cell.chars().next().is_none_or(begins)
}

/// What columns of these widths take.
fn total(widths: &[usize]) -> usize {
    let gaps = GAP * widths.len().saturating_sub(1);
    widths.iter().sum::<usize>().saturating_add(gaps)
}

/// How narrow a column of names may become: different ones stay different.
fn different<'a>(cells: impl Iterator<Item = &'a str>, width: usize) -> usize {
    let cells: BTreeSet<&str> = cells.collect();
    let stay = |width: &usize| {
        let short: BTreeSet<String> = cells.iter().map(|c| shortened(c, *width)).collect();
        short.len() == cells.len()
    };
    let narrower = (NARROWEST..width).rev().take_while(stay);
    narrower.last().unwrap_or(width)
}

/// Takes from the widest columns until all fit, or none has anything to give.
fn narrow(widths: &mut [usize], floors: &[usize], limit: usize) {
    while total(widths) > limit {
        let givers = widths
            .iter_mut()
            .zip(floors)
            .filter(|(w, floor)| **w > **floor);
        match givers.map(|(width, _)| width).max() {
            Some(widest) => *widest -= 1,
            None => return,
        }
    }
}

/// Which columns stand side by side; the first one leads every block.
fn blocks(widths: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut used = 0;
    for column in 0..widths.len() {
        let more = GAP + widths[column];
        match blocks.last_mut() {
            Some(block) if used + more <= limit || block.len() == 1 && column > 0 => {
                block.push(column);
                used += more;
            }
            Some(_) => {
                blocks.push(vec![0, column]);
                used = widths[0] + more;
            }
            None => {
                blocks.push(vec![column]);
                used = widths[column];
            }
        }
    }
    blocks
}

/// What tables of claims say of each.
struct ClaimCells {
    verdict: &'static str,
    estimate: String,
    interval: String,
}

impl ClaimCells {
    fn of(claim: &ClaimResult) -> ClaimCells {
        let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), signed);
        let confidence = claim
            .confidence
            .map_or_else(String::new, |p| format!("{} %", (p * 1e4).round() / 1e2));
        let interval = format!(
            "[{}, {}] {confidence}",
            number(claim.low),
            number(claim.high)
        );
        ClaimCells {
            verdict: match claim.verdict {
                Verdict::Holds => "holds",
                Verdict::Refuted => "refuted",
                Verdict::Inconclusive => "inconclusive",
            },
            estimate: number(claim.estimate),
            interval: interval.trim_end().to_owned(),
        }
    }
}

/// Four decimals with their sign. What rounds to nothing lies on neither side of it.
fn signed(x: f64) -> String {
    let text = format!("{x:+.4}");
    match text.as_str() {
        "-0.0000" => "+0.0000".to_owned(),
        _ => text,
    }
}

/// One line per claim; empty for none.
pub fn claims_table(claims: &[ClaimResult], colour: Colour) -> String {
    if claims.is_empty() {
        return String::new();
    }
    let row = |c: &ClaimResult| {
        let cells = ClaimCells::of(c);
        vec![
            c.name.clone(),
            cells.verdict.into(),
            cells.estimate,
            cells.interval,
            c.n.to_string(),
            c.expectation(),
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

/// The same as a Markdown table, with who says so; empty for none.
pub fn claims_markdown(claims: &[ClaimResult]) -> String {
    if claims.is_empty() {
        return String::new();
    }
    let plain = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let mut text = "| claim | source | expected | estimate | interval | n | verdict |\n".to_owned();
    text.push_str("| --- | --- | --- | ---: | --- | ---: | --- |\n");
    for claim in claims {
        let cells = ClaimCells::of(claim);
        let source = plain(claim.source.as_deref().unwrap_or("–"));
        let (name, expected) = (plain(&claim.name), plain(&claim.expectation()));
        let (interval, n) = (cells.interval, claim.n);
        let estimate = match &claim.effect_size {
            Some(effect) => format!("{} ({effect})", cells.estimate),
            None => cells.estimate,
        };
        text.push_str(&format!(
            "| `{name}` | {source} | {expected} | {estimate} | {interval} | {n} | {} |\n",
            cells.verdict
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limit: usize, columns: usize) -> String {
        let head: Vec<String> = (0..columns).map(|c| format!("metric_{c}")).collect();
        let mut head: Vec<&str> = head.iter().map(String::as_str).collect();
        head[0] = "instance";
        let row = |seed: usize| {
            let name = format!("train[lr=0.1,model=a-rather-long-name,seed={seed}]");
            let values = (1..columns).map(|c| format!("0.{c:04}"));
            [name].into_iter().chain(values).collect()
        };
        let rows: Vec<Vec<String>> = (0..2).map(row).collect();
        aligned_in(limit, &head, &rows, Colour::Off, |_, _, cell| {
            cell.to_owned()
        })
    }

    #[test]
    fn what_rounds_to_nothing_has_one_sign() {
        let shown = [-2.5e-17, 0.0, -0.00006, 0.25].map(signed);
        assert_eq!(shown, ["+0.0000", "+0.0000", "-0.0001", "+0.2500"]);
    }

    #[test]
    fn case_26_tables_fit() {
        for limit in [40, 60, 80, 120] {
            for columns in [2, 5, 12] {
                let text = table(limit, columns);
                let widest = text.lines().map(|l| l.chars().count()).max();
                assert!(widest <= Some(limit), "{limit} {columns}\n{text}");
                // Nothing is left out, and every row can be told by its beginning and its end.
                assert!(text.contains(&format!("metric_{}", columns - 1)), "{text}");
                assert!(text.contains("train[") && text.contains("=1]"), "{text}");
            }
        }
        // The parts that distinguish names are kept, wherever they are.
        let rows =
            [0.02, 0.2, 0.12].map(|lr| vec![format!("training[lr={lr},seed=0]"), "0.1".into()]);
        let text = aligned_in(
            20,
            &["instance", "loss"],
            &rows,
            Colour::Off,
            |_, _, cell| cell.to_owned(),
        );
        let names: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(names.len(), 4, "{text}");
        assert_eq!(table(usize::MAX, 12).lines().count(), 3);
        assert_eq!(table(80, 12).lines().count(), 7);
    }
}
