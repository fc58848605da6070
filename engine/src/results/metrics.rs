//! Metrics: the tables among the outputs of recorded results, and the values in them over time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Results;
use super::given::Given;
use super::named::{is_named, is_table};
use crate::artifacts;
use crate::digest::{Content, Shape};
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::plan::{Instance, InstanceIndex};
use crate::session::Session;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;
use repro_protocol::table::Row;

/// An output that is a table of metrics.
#[derive(Debug)]
pub struct MetricTable<'s> {
    /// Whose output it is.
    pub instance: &'s str,
    /// Its place in the plan.
    pub index: InstanceIndex,
    /// The output.
    pub output: &'s str,
    /// What there is of it.
    pub found: TableFound,
}

/// What there is of a table.
#[derive(Debug)]
pub enum TableFound {
    /// All its rows, as they were written.
    Rows(Vec<Row>),
    /// The last row of each metric of each cell, group and seed, from a file that was given.
    Last(Vec<Row>),
    /// Its instance has no result yet.
    Open,
    /// It is on a remote only, and why it was not got from there.
    Elsewhere(String),
    /// It is no table of metrics after all, and why.
    Unreadable(String),
}

/// Which rows of a table are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Every one.
    All,
    /// The last of each metric of each cell, group and seed.
    Last,
}

/// One value, and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric<'s> {
    /// The instance that measured it.
    pub instance: &'s str,
    /// Its place in the plan.
    #[serde(skip)]
    pub index: InstanceIndex,
    /// Its output with the table.
    pub output: &'s str,
    /// The row of the table.
    #[serde(flatten)]
    pub row: Row,
}

impl<'s> Results<'s> {
    /// The tables of the instances that were asked for; bytes that are on a remote are got from
    /// there.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn tables(&self, network: Network, tell: Tell) -> anyhow::Result<Vec<MetricTable<'s>>> {
        let mut tables = Vec::new();
        for (index, instance) in self.wanted() {
            for (position, output) in instance.outputs.iter().enumerate() {
                if is_table(&output.name, Some(output.path.as_str())) {
                    let content = self.content(index, position);
                    tables.push((index, instance, (position, output), content));
                }
            }
        }
        let known = tables.iter().filter_map(|(.., content)| *content);
        let absent = bring(self.session, known.collect(), network, tell)?;
        let found = |content: Option<Content>, named: (&str, Option<&str>)| {
            let Some(content) = content else {
                return TableFound::Open;
            };
            if let Some(why) = absent.get(&content) {
                return TableFound::Elsewhere(why.clone());
            }
            match read(self.session, &content, named) {
                Ok(rows) => TableFound::Rows(rows),
                Err(e) => TableFound::Unreadable(format!("{e:#}")),
            }
        };
        let table = |(index, instance, (position, output), content)| {
            let (instance, output): (&'s Instance, &'s OutputSpec) = (instance, output);
            let found = found(content, (&output.name, Some(output.path.as_str())));
            MetricTable {
                instance: &instance.id,
                index,
                output: &output.name,
                found: self.or_given(found, index, position),
            }
        };
        Ok(tables.into_iter().map(table).collect())
    }

    /// What was given in the place of what is not here.
    fn or_given(&self, found: TableFound, index: InstanceIndex, position: usize) -> TableFound {
        let (TableFound::Open | TableFound::Elsewhere(_)) = found else {
            return found;
        };
        let rows = |given: &Given| Some((given.rows(index, position)?.to_vec(), given.is_whole()));
        match self.given.and_then(rows) {
            Some((rows, true)) => TableFound::Rows(rows),
            Some((rows, false)) => TableFound::Last(rows),
            None => found,
        }
    }

    /// Tables of which `artifacts/` shows another result than the plan's: made with other
    /// parameters, or from another version of the files. Both are called the same.
    pub fn tables_shown_otherwise(&self) -> Vec<RelPath> {
        let mut others = Vec::new();
        for (index, instance) in self.wanted() {
            for (position, output) in instance.outputs.iter().enumerate() {
                let Ok(path) = artifacts::path_of(instance, output) else {
                    continue;
                };
                if !is_table(&output.name, Some(output.path.as_str()))
                    || !path.under(&self.session.project.root).exists()
                {
                    continue;
                }
                let shown = self.session.stats.digest_path(&path).ok();
                if shown.is_some() && shown != self.content(index, position) {
                    others.push(path);
                }
            }
        }
        others
    }
}

impl<'s> MetricTable<'s> {
    /// Its values, where it has any.
    pub fn values(&self, which: Rows) -> Vec<Metric<'s>> {
        let rows = match (&self.found, which) {
            (TableFound::Rows(rows), Rows::Last) => last(rows.clone()),
            (TableFound::Rows(rows), Rows::All) | (TableFound::Last(rows), _) => rows.clone(),
            _ => return Vec::new(),
        };
        let metric = |row| Metric {
            instance: self.instance,
            index: self.index,
            output: self.output,
            row,
        };
        rows.into_iter().map(metric).collect()
    }
}

/// `test_accuracy`.
pub fn full_name(row: &Row) -> String {
    row.split
        .as_ref()
        .map_or_else(|| row.name.clone(), |split| format!("{split}_{}", row.name))
}

/// The rows of a table in the store; none of a Parquet file of other columns that is not called
/// `metrics`.
pub(super) fn read(
    session: &Session,
    content: &Content,
    (name, path): (&str, Option<&str>),
) -> anyhow::Result<Vec<Row>> {
    anyhow::ensure!(content.shape != Shape::Tree, "it is a directory");
    drop(session.store.open_object(&content.digest)?);
    let table = (session.catalog.read_table)(&session.store.object_path(&content.digest));
    match table {
        Ok(table) if table.is_own || is_named(name, path) => Ok(table.rows),
        Err(e) if is_named(name, path) => Err(e),
        _ => Ok(Vec::new()),
    }
}

/// The last row of each metric of each cell, group and seed, in the order of first appearance.
pub fn last(rows: Vec<Row>) -> Vec<Row> {
    let mut at: BTreeMap<(Option<String>, Option<String>, Option<i64>, String), usize> =
        BTreeMap::new();
    let mut kept: Vec<Row> = Vec::new();
    for row in rows {
        let key = (
            row.run.clone(),
            row.stage.clone(),
            row.seed,
            full_name(&row),
        );
        match at.get(&key) {
            Some(i) if (kept[*i].epoch, kept[*i].step) <= (row.epoch, row.step) => kept[*i] = row,
            Some(_) => {}
            None => {
                at.insert(key, kept.len());
                kept.push(row);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_is_that_of_the_highest_epoch() {
        let row = |epoch: i64, value: f64| Row {
            run: None,
            stage: None,
            seed: None,
            epoch: Some(epoch),
            step: None,
            split: Some("test".into()),
            name: "x".into(),
            value,
        };
        let kept = last(vec![row(1, 0.1), row(3, 0.3), row(2, 0.2)]);
        assert_eq!(kept, [row(3, 0.3)]);
        assert_eq!(full_name(&kept[0]), "test_x");
    }
}
