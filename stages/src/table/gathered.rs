//! The tables of many instances as one: the columns of a table, and after them whose each row is.
//!
//! A reader of tables sees an ordinary one. Files without the further columns are read too: they
//! were written before there were any.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::DataType;

use super::{COLUMNS, columns, groups, is_own, refuse_nan, rows_of};
use repro_protocol::table::{Gathered, Row, Whose};

/// Metadata that marks such a file.
const FORMAT: (&str, &str) = ("repro.gathered", "1");
/// The columns that follow those of a table.
const WHOSE: [(&str, DataType, bool); 5] = [
    ("instance", DataType::Utf8, false),
    ("output", DataType::Utf8, false),
    ("key", DataType::Utf8, true),
    ("table_stage", DataType::Utf8, true),
    ("table_run", DataType::Utf8, true),
];

/// Writes them. Errors: a NaN value, a row without its instance, an unwritable file.
pub fn write(path: &Path, rows: &[Gathered]) -> anyhow::Result<()> {
    let bytes = to_bytes(rows)?;
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write the table {}", path.display()))
}

fn to_bytes(rows: &[Gathered]) -> anyhow::Result<Vec<u8>> {
    let plain: Vec<Row> = rows.iter().map(|one| one.row.clone()).collect();
    refuse_nan(&plain)?;
    let whose = rows.iter().map(|one| one.whose.clone());
    let whose: Option<Vec<Whose>> = whose.collect();
    let whose = whose.context("BUG: a row does not say whose it is")?;
    let all: Vec<_> = COLUMNS.into_iter().chain(WHOSE).collect();
    let both = groups(&plain).zip(groups(&whose));
    let groups = both.map(|(rows, whose)| {
        let text = |get: fn(&Whose) -> Option<&str>| {
            Arc::new(whose.iter().map(get).collect::<StringArray>()) as ArrayRef
        };
        let mut group = columns(rows);
        group.extend([
            text(|w| Some(&w.instance)),
            text(|w| Some(&w.output)),
            text(|w| w.key.as_deref()),
            text(|w| w.stage.as_deref()),
            text(|w| w.run.as_deref()),
        ]);
        group
    });
    super::parquet(&all, FORMAT, groups)
}

/// Reads such a file. Errors: any other file; they do not name it.
pub fn read(path: &Path) -> anyhow::Result<Vec<Gathered>> {
    super::guarded(|| {
        let Some(reader) = super::parquet_reader(path)? else {
            anyhow::bail!("it is no Parquet file");
        };
        ensure!(
            is_own(reader.schema()),
            "its columns are not those of such a table"
        );
        let mut all = Vec::new();
        for batch in reader.build()? {
            let batch = batch?;
            let mut rows = Vec::new();
            rows_of(&batch, &mut rows)?;
            let whose = whose_of(&batch)?;
            ensure!(
                rows.iter().all(|row| row.stage.is_some()),
                "a row names no stage: it is the table of one run"
            );
            let both = rows.into_iter().zip(whose);
            all.extend(both.map(|(row, whose)| Gathered { row, whose }));
        }
        Ok(all)
    })
}

fn whose_of(batch: &RecordBatch) -> anyhow::Result<Vec<Option<Whose>>> {
    if batch.num_columns() == COLUMNS.len() {
        return Ok(vec![None; batch.num_rows()]);
    }
    let column = |at: usize| {
        let (name, ..) = WHOSE[at];
        let column = batch.column(COLUMNS.len() + at).as_any();
        let texts = column.downcast_ref::<StringArray>();
        texts.with_context(|| format!("the column `{name}` has another type"))
    };
    let columns = (0..WHOSE.len()).map(column);
    let columns: Vec<&StringArray> = columns.collect::<anyhow::Result<_>>()?;
    let text = |at: usize, row: usize| {
        let column: &StringArray = columns[at];
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let whose = |row: usize| {
        Ok(Some(Whose {
            instance: text(0, row).context("a row names no instance")?,
            output: text(1, row).context("a row names no output")?,
            key: text(2, row),
            stage: text(3, row),
            run: text(4, row),
        }))
    };
    (0..batch.num_rows()).map(whose).collect()
}

/// Whether these are the columns that follow those of a table.
pub(super) fn are_whose<'a>(found: impl Iterator<Item = (&'a str, &'a DataType)>) -> bool {
    found.eq(WHOSE.iter().map(|(name, kind, _)| (*name, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Gathered> {
        let row = |i: i64| Gathered {
            row: Row {
                stage: Some("train".to_owned()),
                run: Some(format!("seed={i} warm")),
                epoch: Some(i),
                name: "loss".to_owned(),
                value: i as f64,
                ..Row::default()
            },
            whose: Some(Whose {
                instance: format!("train[seed={i}]"),
                output: "metrics".to_owned(),
                key: (i > 0).then(|| "ab".repeat(32)),
                stage: Some("warm".to_owned()),
                run: None,
            }),
        };
        (0..3).map(row).collect()
    }

    #[test]
    fn reads_back_and_is_an_ordinary_table_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &rows()).unwrap();
        assert_eq!(read(file.path()).unwrap(), rows());
        let table = crate::table::read(file.path()).unwrap();
        let plain: Vec<Row> = rows().into_iter().map(|one| one.row).collect();
        assert!(table.is_own);
        assert_eq!(table.rows, plain);
    }

    #[test]
    fn files_from_before_do_not_say_whose_rows_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let plain: Vec<Row> = rows().into_iter().map(|one| one.row).collect();
        crate::table::write(file.path(), &plain).unwrap();
        let found = read(file.path()).unwrap();
        let rows: Vec<Row> = found.iter().map(|one| one.row.clone()).collect();
        assert_eq!(rows, plain);
        assert!(found.iter().all(|one| one.whose.is_none()));
    }

    #[test]
    fn other_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            format!("{:#}", read(file.path()).unwrap_err())
        };
        assert!(said(b"name,value\n").contains("no Parquet file"));
        assert!(said(b"").contains("no Parquet file"));
        assert!(said(b"PAR1 and no more").contains("not a readable"));
        let point = crate::table::grid::Point {
            x: 0.0,
            y: None,
            split: "test".to_owned(),
            name: "loss",
            value: 1.0,
        };
        crate::table::grid::write(file.path(), &[point]).unwrap();
        assert!(format!("{:#}", read(file.path()).unwrap_err()).contains("columns"));
        let one = [Row {
            name: "loss".to_owned(),
            ..Row::default()
        }];
        crate::table::write(file.path(), &one).unwrap();
        assert!(format!("{:#}", read(file.path()).unwrap_err()).contains("one run"));
    }
}
