//! Records by column, and which of their cells are values.
//!
//! The columns `epoch`, `step`, `seed`, `split`, `stage` and `run` say what a record is about; with
//! `name` (or `metric`) and `value` every record is one value. What is not a number is kept by
//! name, so that a message can say why it has no value.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use serde_json::{Map, Value};

use super::json::MARK;
use super::{Row, Table};

/// A cell of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Number(f64),
    Text(String),
    Truth(bool),
    Missing,
}

/// Records by column; every column has as many cells as there are records.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) count: usize,
    pub(super) columns: Vec<(String, Vec<Cell>)>,
}

impl Records {
    pub(super) fn of(maps: &[Map<String, Value>]) -> anyhow::Result<Records> {
        let mut records = Records {
            count: maps.len(),
            columns: Vec::new(),
        };
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (row, map) in maps.iter().enumerate() {
            records.flatten("", map, row, &mut places)?;
        }
        Ok(records)
    }

    fn flatten(
        &mut self,
        prefix: &str,
        map: &Map<String, Value>,
        row: usize,
        places: &mut BTreeMap<String, usize>,
    ) -> anyhow::Result<()> {
        for (name, value) in map {
            self.put(format!("{prefix}{name}"), value, row, places)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        name: String,
        value: &Value,
        row: usize,
        places: &mut BTreeMap<String, usize>,
    ) -> anyhow::Result<()> {
        match value {
            Value::Object(map) => self.flatten(&format!("{name}."), map, row, places),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.put(format!("{name}.{i}"), item, row, places)?;
                }
                Ok(())
            }
            scalar => {
                let count = self.count;
                let at = *places.entry(name.clone()).or_insert_with(|| {
                    self.columns.push((name, vec![Cell::Missing; count]));
                    self.columns.len() - 1
                });
                self.columns[at].1[row] = cell(scalar);
                ensure!(
                    self.columns.len() <= COLUMNS_MAX,
                    "it holds more than {COLUMNS_MAX} names"
                );
                Ok(())
            }
        }
    }

    /// The values, and by name what is none.
    pub(super) fn rows(self) -> anyhow::Result<Table> {
        ensure!(self.count > 0, "it has no rows");
        let find = |names: &[&str]| {
            let at = |name: &&str| self.columns.iter().position(|(n, _)| n == name);
            names.iter().find_map(at)
        };
        let whole = |at: Option<usize>| {
            at.filter(|&at| {
                let is_whole = |c: &Cell| match c {
                    Cell::Number(x) => x.fract() == 0.0 && x.abs() < 9e15,
                    Cell::Missing => true,
                    Cell::Text(_) | Cell::Truth(_) => false,
                };
                self.columns[at].1.iter().all(is_whole)
            })
        };
        let text = |at: Option<usize>| {
            let is_text = |c: &Cell| matches!(c, Cell::Text(_) | Cell::Missing);
            at.filter(|&at| self.columns[at].1.iter().all(is_text))
        };
        let (seed, epoch, step) = (
            whole(find(&["seed"])),
            whole(find(&["epoch"])),
            whole(find(&["step"])),
        );
        let (stage, split) = (text(find(&["stage"])), text(find(&["split"])));
        let run = find(&["run"]);
        let name = text(find(&["name", "metric"]));
        let value = find(&["value"]).filter(|_| name.is_some());
        let number = |at: Option<usize>, row: usize| match &self.columns[at?].1[row] {
            Cell::Number(x) => Some(*x as i64),
            _ => None,
        };
        let word = |at: Option<usize>, row: usize| match &self.columns[at?].1[row] {
            Cell::Text(text) => Some(text.clone()),
            Cell::Number(x) => Some(x.to_string()),
            Cell::Truth(truth) => Some(truth.to_string()),
            Cell::Missing => None,
        };
        let mut table = Table::default();
        let roles = [seed, epoch, step, stage, split, run, value.and(name)];
        for at in roles.into_iter().flatten() {
            let name = self.columns[at].0.clone();
            let what = "says what the others are about; it is no value itself";
            table.other.insert(name, what.to_owned());
        }
        let mut empty = BTreeSet::new();
        for row in 0..self.count {
            let about = Row {
                run: word(run, row),
                stage: word(stage, row),
                seed: number(seed, row),
                epoch: number(epoch, row),
                step: number(step, row),
                split: word(split, row),
                ..Row::default()
            };
            for (at, (column, cells)) in self.columns.iter().enumerate() {
                if roles.contains(&Some(at)) || column.is_empty() || column.starts_with("Unnamed:")
                {
                    continue;
                }
                let is_value = value == Some(at);
                if value.is_some() && !is_value {
                    continue;
                }
                let called = match is_value {
                    true => word(name, row).unwrap_or_default(),
                    false => column.clone(),
                };
                match &cells[row] {
                    Cell::Number(value) => table.rows.push(Row {
                        name: called,
                        value: *value,
                        ..about.clone()
                    }),
                    Cell::Text(text) => {
                        let what = format!("is the text `{}`, not a number", short(text));
                        table.other.entry(called).or_insert(what);
                    }
                    Cell::Truth(truth) => {
                        let what = format!("is {truth}, not a number; write 0 or 1");
                        table.other.entry(called).or_insert(what);
                    }
                    Cell::Missing => {
                        empty.insert(called);
                    }
                }
            }
        }
        for name in empty {
            table
                .other
                .entry(name)
                .or_insert("is empty (null)".to_owned());
        }
        let has = |name: &str| table.rows.iter().any(|r| r.name == name);
        let other = table.other.iter().filter(|(name, _)| !has(name));
        table.other = other.map(|(n, w)| (n.clone(), w.clone())).collect();
        if table.rows.is_empty() {
            let found = table
                .other
                .iter()
                .map(|(name, what)| format!("`{name}` {what}"));
            let found: Vec<String> = found.take(3).collect();
            bail!(
                "it holds no number{}",
                match found.is_empty() {
                    true => String::new(),
                    false => format!(": {}", found.join("; ")),
                }
            );
        }
        Ok(table)
    }
}

pub(super) fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Missing,
        Value::Bool(truth) => Cell::Truth(*truth),
        Value::Number(number) => number.as_f64().map_or(Cell::Missing, Cell::Number),
        Value::String(text) => match text.strip_prefix(MARK) {
            Some("NaN") => Cell::Number(f64::NAN),
            Some("Infinity") => Cell::Number(f64::INFINITY),
            Some(_) => Cell::Number(f64::NEG_INFINITY),
            None => Cell::Text(text.clone()),
        },
        Value::Array(_) | Value::Object(_) => Cell::Missing,
    }
}

/// More names than any file of metrics has.
const COLUMNS_MAX: usize = 100_000;

pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
