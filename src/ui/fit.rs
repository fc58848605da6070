//! Columns of text that fit a width: what is shortened, and what follows below. What the texts say
//! is unknown here.

use std::collections::BTreeSet;

use super::style::Colour;
use super::width::shortened;

/// Columns of text are cut no further than this.
const NARROWEST: usize = 12;
/// Columns that are no wider than this are never cut.
const SHORT: usize = 12;
/// Between two columns.
const GAP: usize = 2;

/// Lines of `rows` under `head`, with aligned columns, no wider than `limit`. Long texts are
/// shortened in the middle. Columns for which there is no room follow below, with the first `lead`
/// cells of the rows that have anything there. These distinguish rows, so they are shortened only as far as they
/// stay different. `paint(row, column, cell)` colours a cell after it was measured.
pub fn fitted(
    limit: usize,
    lead: usize,
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
            width if column < lead => different(cells, width),
            _ => NARROWEST,
        }
    };
    if total(&widths) > limit {
        let floors: Vec<usize> = (0..head.len()).map(floor).collect();
        if total(&floors) <= limit {
            narrow(&mut widths, &floors, limit);
        } else {
            // Columns follow below in any case, so only what has no room beside the leading ones
            // is cut.
            narrow(&mut widths[..lead], &floors[..lead], limit / 3);
            let room = limit.saturating_sub(total(&widths[..lead]) + GAP);
            for column in lead..widths.len() {
                widths[column] = widths[column].min(room.max(floors[column]));
            }
        }
    }
    let mut text = String::new();
    for (i, block) in blocks(&widths, lead, limit).iter().enumerate() {
        let is_below = i > 0;
        if is_below {
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
            // One that has nothing to say here was there before.
            let is_silent = block[lead..].iter().all(|column| row[*column].is_empty());
            if is_silent && is_below {
                continue;
            }
            let row: Vec<&str> = row.iter().map(String::as_str).collect();
            line(&row, &|column, cell| paint(i, column, cell));
        }
    }
    text
}

/// Numbers, intervals and times: half of such a cell would say something else.
pub fn is_figure(cell: &str) -> bool {
    let begins = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '–' | '[' | '.');
    cell.trim_start().chars().next().is_none_or(begins)
}

/// What columns of these widths take.
pub fn total(widths: &[usize]) -> usize {
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

/// Which columns stand side by side; the first ones lead every block.
fn blocks(widths: &[usize], lead: usize, limit: usize) -> Vec<Vec<usize>> {
    let leading: Vec<usize> = (0..lead.min(widths.len())).collect();
    let room = total(&widths[..leading.len()]);
    let mut blocks = vec![leading.clone()];
    let mut used = room;
    for (column, width) in widths.iter().enumerate().skip(leading.len()) {
        let more = GAP + width;
        if used + more > limit && blocks.last().is_some_and(|b| b.len() > leading.len()) {
            blocks.push(leading.clone());
            used = room;
        }
        blocks.last_mut().into_iter().for_each(|b| b.push(column));
        used += more;
    }
    blocks
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
        fitted(limit, 1, &head, &rows, Colour::Off, |_, _, cell| {
            cell.to_owned()
        })
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
        let text = fitted(
            20,
            1,
            &["instance", "loss"],
            &rows,
            Colour::Off,
            |_, _, cell| cell.to_owned(),
        );
        let names: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(names.len(), 4, "{text}");
        assert_eq!(table(usize::MAX, 12).lines().count(), 3);
        // Names keep a third of the width, and three blocks follow one another.
        assert_eq!(table(80, 12).lines().count(), 11);
    }
}
