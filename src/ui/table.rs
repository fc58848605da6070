//! A table, and its three forms: columns on a terminal, Markdown, and CSV.
//!
//! All have the same rows in the same order. The terminal shortens texts to its width and rounds.
//! Markdown rounds in the same way and shortens nothing. CSV has every digit, and columns of their
//! own for the ends of intervals.

use anyhow::bail;
use repro_engine::similar;
use repro_report::figure::csv_line;

use super::cell::{Cell, Tone};
use super::fit::{fitted, is_figure, total};
use super::style::Colour;

/// Who is shown a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Audience {
    /// Everybody.
    All,
    /// Those who have room: Markdown and CSV.
    Pages,
    /// Programs.
    Programs,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    head: String,
    fields: Vec<String>,
    is_name: bool,
    is_figure: bool,
    audience: Audience,
}

impl Column {
    /// Of texts.
    pub fn new(head: impl Into<String>) -> Column {
        let head = head.into();
        Column {
            fields: vec![head.clone()],
            head,
            is_name: false,
            is_figure: false,
            audience: Audience::All,
        }
    }

    /// Of numbers, which stand with their points below each other.
    pub fn figure(head: impl Into<String>) -> Column {
        Column {
            is_figure: true,
            ..Column::new(head)
        }
    }

    /// Of means: programs get `head`, `head_low`, `head_high` and `head_n`.
    pub fn mean(head: impl Into<String>) -> Column {
        let column = Column::figure(head);
        let head = column.head.clone();
        let part = |part: &str| format!("{head}{part}");
        column.fields(["", "_low", "_high", "_n"].map(part))
    }

    /// One of those that tell rows apart. They come first.
    pub fn naming(self) -> Column {
        Column {
            is_name: true,
            ..self
        }
    }

    /// What programs get in its place.
    pub fn fields<S: Into<String>>(self, fields: impl IntoIterator<Item = S>) -> Column {
        Column {
            fields: fields.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Left out on the terminal.
    pub fn for_pages(self) -> Column {
        Column {
            audience: Audience::Pages,
            ..self
        }
    }

    /// In CSV alone.
    pub fn for_programs(self) -> Column {
        Column {
            audience: Audience::Programs,
            ..self
        }
    }

    /// What stands above it.
    pub fn head(&self) -> &str {
        &self.head
    }

    fn is_called(&self, name: &str) -> bool {
        self.head == name || self.fields.iter().any(|f| f == name)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With these columns.
    pub fn new(columns: Vec<Column>) -> Table {
        let rows = Vec::new();
        Table { columns, rows }
    }

    /// One more row: a cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Without columns in which no row has anything.
    pub fn without_empty(self) -> Table {
        let is_kept = |i: &usize| {
            let mut cells = self.rows.iter().map(|row| &row[*i]);
            cells.any(|cell| *cell != Cell::empty() && *cell != Cell::text(""))
        };
        let kept: Vec<usize> = (0..self.columns.len()).filter(is_kept).collect();
        self.of_columns(&kept)
    }

    fn of_columns(&self, kept: &[usize]) -> Table {
        let row = |row: &Vec<Cell>| kept.iter().map(|i| row[*i].clone()).collect();
        Table {
            columns: kept.iter().map(|i| self.columns[*i].clone()).collect(),
            rows: self.rows.iter().map(row).collect(),
        }
    }

    fn for_audience(&self, audience: Audience) -> Table {
        let is_shown = |i: &usize| self.columns[*i].audience <= audience;
        let kept: Vec<usize> = (0..self.columns.len()).filter(is_shown).collect();
        self.of_columns(&kept)
    }

    /// What people see of the cells of each column, in which numbers have equal decimals.
    fn shown(&self) -> Vec<Vec<String>> {
        let columns = 0..self.columns.len();
        let decimals: Vec<usize> = columns
            .map(|i| self.rows.iter().map(|r| r[i].decimals()).max().unwrap_or(0))
            .collect();
        let row = |row: &Vec<Cell>| {
            let cells = row.iter().zip(&decimals);
            cells.map(|(cell, d)| cell.shown(*d)).collect()
        };
        self.rows.iter().map(row).collect()
    }

    /// For a terminal of that width.
    pub fn on_terminal(&self, width: usize, colour: Colour) -> String {
        let table = self.for_audience(Audience::All);
        let mut rows = table.shown();
        for (i, column) in table.columns.iter().enumerate() {
            if column.is_figure && is_of_figures(&rows, i) {
                align_points(&mut rows, i);
            }
        }
        let head: Vec<&str> = table.columns.iter().map(|c| c.head.as_str()).collect();
        let lead = table.columns.iter().take_while(|c| c.is_name).count();
        let paint = |row: usize, column: usize, cell: &str| match table.rows[row][column].tone {
            Tone::Plain => cell.to_owned(),
            Tone::Good => colour.green(cell),
            Tone::Bad => colour.red(cell),
            Tone::Open => colour.yellow(cell),
        };
        let width_of = |i: usize| {
            let cells = rows.iter().map(|r| r[i].chars().count());
            cells.chain([head[i].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
        // Names of many axes may leave no room for what is said of them.
        let most = widths[lead..]
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
            .min(width / 2);
        if lead > 1 && total(&widths) > width && total(&widths[..lead]) + most + 2 > width {
            let name = |row: &Vec<String>| {
                let axes = (1..lead).filter(|i| !row[*i].is_empty());
                let axes = axes.map(|i| (head[i].trim_start_matches("matrix."), row[i].trim()));
                let axes: Vec<String> = axes.map(|(a, v)| format!("{a}={v}")).collect();
                match axes.is_empty() {
                    true => row[0].clone(),
                    false => format!("{}[{}]", row[0], axes.join(",")),
                }
            };
            let joined = |row: &Vec<String>| {
                let rest = row[lead..].iter().cloned();
                [name(row)].into_iter().chain(rest).collect()
            };
            let rows: Vec<Vec<String>> = rows.iter().map(joined).collect();
            let head: Vec<&str> = [&head[..1], &head[lead..]].concat();
            return fitted(
                width,
                1,
                &head,
                &rows,
                colour,
                |row, column, cell| match column {
                    0 => cell.to_owned(),
                    _ => paint(row, column + lead - 1, cell),
                },
            );
        }
        fitted(width, lead.max(1), &head, &rows, colour, paint)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let table = self.for_audience(Audience::Pages);
        // `|` or a line feed in a name would break the table.
        let plain = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(table.columns.iter().map(|c| plain(&c.head)).collect());
        let rows = table.shown();
        let rules = table.columns.iter().enumerate();
        let rules = rules.map(
            |(i, column)| match column.is_figure && is_of_figures(&rows, i) {
                true => "---:".to_owned(),
                false => "---".to_owned(),
            },
        );
        text.push_str(&line(rules.collect()));
        for row in rows {
            text.push_str(&line(row.iter().map(|cell| plain(cell)).collect()));
        }
        text
    }

    /// As CSV.
    pub fn csv(&self) -> String {
        let head: Vec<String> = self.columns.iter().flat_map(|c| c.fields.clone()).collect();
        let mut text = csv_line(&head);
        for row in &self.rows {
            let cells = self.columns.iter().zip(row);
            let fields = cells
                .flat_map(|(column, cell)| (0..column.fields.len()).map(|i| cell.field(i).plain()));
            text.push_str(&csv_line(&fields.collect::<Vec<_>>()));
        }
        text
    }
}

/// Whether all cells of a column are numbers: values of axes need not be.
fn is_of_figures(rows: &[Vec<String>], column: usize) -> bool {
    rows.iter().all(|row| is_figure(&row[column]))
}

/// Pads the cells of a column so that their first points stand below each other.
fn align_points(rows: &mut [Vec<String>], column: usize) {
    let before = |cell: &str| {
        cell.chars()
            .take_while(|c| !matches!(c, '.' | 'e' | ' '))
            .count()
    };
    let most = rows
        .iter()
        .map(|row| before(&row[column]))
        .max()
        .unwrap_or(0);
    for row in rows {
        let cell = &mut row[column];
        if !cell.is_empty() {
            *cell = " ".repeat(most - before(cell)) + cell;
        }
    }
}

/// By which column rows are sorted: `-loss` from the highest down.
///
/// # Errors
/// No table has such a column.
pub fn sort(tables: &mut [Table], by: &str) -> anyhow::Result<()> {
    let (name, falls) = match by.strip_prefix('-') {
        Some(name) => (name, true),
        None => (by, false),
    };
    let mut is_known = false;
    for table in tables.iter_mut() {
        let Some(at) = table.columns.iter().position(|c| c.is_called(name)) else {
            continue;
        };
        is_known = true;
        let fields = &table.columns[at].fields;
        let part = fields.iter().position(|f| f == name).unwrap_or(0);
        table.rows.sort_by(|a, b| {
            let (a, b) = (a[at].field(part), b[at].field(part));
            match a.compare(&b) {
                Some(order) if falls => order.reverse(),
                Some(order) => order,
                // What has no value comes last.
                None => (a == super::cell::Field::None).cmp(&(b == super::cell::Field::None)),
            }
        });
    }
    if is_known || tables.iter().all(|t| t.columns.is_empty()) {
        return Ok(());
    }
    let mut heads: Vec<&str> = Vec::new();
    for column in tables.iter().flat_map(|t| &t.columns) {
        if !column.head.is_empty() && !heads.contains(&&*column.head) {
            heads.push(&column.head);
        }
    }
    let meant = similar::likest(name, &heads);
    let hint = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", heads.join(", ")),
    };
    bail!("no column is called `{name}`; {hint}")
}

/// One table with the rows of all, and the columns that any of them has.
pub fn joined(tables: &[Table]) -> Table {
    let mut columns: Vec<Column> = Vec::new();
    for column in tables.iter().flat_map(|t| &t.columns) {
        match columns.iter_mut().find(|c| c.head == column.head) {
            // Means have all columns that values have.
            Some(known) if known.fields.len() < column.fields.len() => *known = column.clone(),
            Some(_) => {}
            None => columns.push(column.clone()),
        }
    }
    // Names lead in one table, so they do in all.
    columns.sort_by_key(|c| !c.is_name);
    let mut table = Table::new(columns);
    for one in tables {
        let at = |column: &Column| one.columns.iter().position(|c| c.head == column.head);
        let places: Vec<Option<usize>> = table.columns.iter().map(at).collect();
        for row in &one.rows {
            let cell = |i: &Option<usize>| i.map_or_else(Cell::empty, |i| row[i].clone());
            table.rows.push(places.iter().map(cell).collect());
        }
    }
    table
}

/// Columns of the axes of a matrix.
pub struct AxisColumns {
    names: Vec<String>,
}

impl AxisColumns {
    /// Of all axes that any of these has, in the order of their first appearance.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a [(String, String)]>) -> AxisColumns {
        let mut names: Vec<String> = Vec::new();
        for (axis, _) in all.into_iter().flatten() {
            if !names.contains(axis) {
                names.push(axis.clone());
            }
        }
        AxisColumns { names }
    }

    /// The columns. An axis that is called like one of the other columns is `matrix.NAME`.
    pub fn columns(&self, others: &[&str]) -> Vec<Column> {
        let head = |name: &String| match others.contains(&name.as_str()) {
            true => format!("matrix.{name}"),
            false => name.clone(),
        };
        let names = self.names.iter();
        names
            .map(|name| Column::figure(head(name)).naming())
            .collect()
    }

    /// The cells of a row.
    pub fn cells(&self, axes: &[(String, String)]) -> Vec<Cell> {
        let value = |name: &String| axes.iter().find(|(axis, _)| axis == name);
        let cell = |name| value(name).map_or_else(Cell::empty, |(_, value)| Cell::text(value));
        self.names.iter().map(cell).collect()
    }
}
