//! How commands write tables: one of three forms, sorted as asked.

use clap::Args;

use super::output;
use crate::terminal;
use crate::ui::table::{Table, joined, sort};
use crate::ui::width;

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
