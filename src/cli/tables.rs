//! How commands write tables: one of three forms, sorted as asked; and the columns that say whose a
//! row is.

use std::collections::HashMap;

use clap::Args;

use super::output;
use crate::terminal;
use crate::ui::cell::Cell;
use crate::ui::table::{AxisColumns, Column, Table, joined, sort};
use crate::ui::width;
use repro_engine::plan::{Instance, Plan};
use repro_report::collect::axes_of;

/// Options of every command that writes a table.
#[derive(Debug, Clone, Default, Args)]
pub struct TableArgs {
    /// Sort the rows by this column; `-COLUMN` puts the highest first.
    #[arg(
        long,
        value_name = "COLUMN",
        allow_hyphen_values = true,
        conflicts_with = "json"
    )]
    sort: Option<String>,
    /// Write Markdown, for a README.
    #[arg(long, alias = "markdown", conflicts_with = "json")]
    md: bool,
    /// Write CSV: one table with every digit, and a column for each end of an interval.
    #[arg(long, conflicts_with_all = ["json", "md"])]
    csv: bool,
}

impl TableArgs {
    /// Whether people read it on a terminal: they are told more than the table.
    pub fn is_for_terminal(&self) -> bool {
        !self.md && !self.csv
    }

    /// For what is not shown as a table on the terminal.
    ///
    /// # Errors
    /// Sorting was asked for.
    pub fn refuse_sort(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.sort.is_none(),
            "`--sort` sorts tables; add `--md` or `--csv`"
        );
        Ok(())
    }

    /// The tables as a text; CSV has one for all.
    ///
    /// # Errors
    /// No table has the column to sort by.
    fn text(&self, mut tables: Vec<Table>) -> anyhow::Result<String> {
        if let Some(by) = &self.sort {
            sort(&mut tables, by)?;
        }
        if self.csv {
            return Ok(match tables.is_empty() {
                true => String::new(),
                false => joined(&tables).csv(),
            });
        }
        let (width, colour) = (width(), output::colour());
        let texts = tables.iter().map(|table| match self.md {
            true => table.markdown(),
            false => table.on_terminal(width, colour),
        });
        Ok(texts.collect::<Vec<_>>().join("\n"))
    }

    /// Writes the tables, and what people read below them.
    ///
    /// # Errors
    /// No table has the column to sort by; standard output cannot be written.
    pub fn write(&self, tables: Vec<Table>, below: &str) -> anyhow::Result<()> {
        let text = self.text(tables)?;
        match self.csv {
            true => {
                // Programs get what is there, and people are told why it is nothing.
                if text.is_empty() && !below.is_empty() {
                    terminal::say(below.trim_end());
                }
                Ok(terminal::print_bytes(text.as_bytes())?)
            }
            false if self.md && !text.is_empty() && !below.is_empty() => {
                output::text(&format!("{text}\n{below}"))
            }
            false => output::text(&(text + below)),
        }
    }
}

/// Names and values of axes.
pub type Axes = Vec<(String, String)>;

/// A row for each of these instances, with its stage and axes in front.
pub fn by_instance<'a>(
    plan: &Plan,
    columns: Vec<Column>,
    rows: impl Iterator<Item = (&'a str, Vec<Cell>)>,
) -> Table {
    let by_name = by_name(plan);
    let rows: Vec<(&str, Axes, Vec<Cell>)> = rows
        .map(|(name, cells)| {
            let (stage, axes) = whose(&by_name, name);
            (stage, axes, cells)
        })
        .collect();
    let axes = AxisColumns::of(rows.iter().map(|(_, axes, _)| axes.as_slice()));
    let heads: Vec<&str> = columns.iter().map(Column::head).collect();
    let mut all = vec![Column::new("stage").naming()];
    all.extend(axes.columns(&[&["stage"], &heads[..]].concat()));
    all.extend(columns);
    let mut table = Table::new(all);
    for (stage, own, cells) in rows {
        let front = [Cell::text(stage)].into_iter().chain(axes.cells(&own));
        table.push(front.chain(cells).collect());
    }
    table
}

/// The instances of a plan by name.
pub fn by_name(plan: &Plan) -> HashMap<&str, &Instance> {
    plan.instances.iter().map(|i| (&*i.id, i)).collect()
}

/// Stage and axes of an instance; one that is not in the plan is its own stage.
pub fn whose<'a>(by_name: &HashMap<&str, &'a Instance>, name: &'a str) -> (&'a str, Axes) {
    match by_name.get(name) {
        Some(instance) => (&instance.stage, axes_of(&instance.axes)),
        None => (name, Vec::new()),
    }
}
