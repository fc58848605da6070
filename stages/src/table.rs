//! Metric tables: rows of named numbers, in Parquet.
//!
//! Long format, one row per value, so that every kind writes the same columns and any data frame
//! library can pivot them. The bytes are a function of the rows alone: one thread, fixed row
//! groups, no times, no Arrow schema blob. Tables of other programs are read too ([`shape`]). Does
//! not know what the numbers mean.

pub mod examples;
pub mod gathered;
pub mod grid;
mod json;
mod records;
mod shape;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use repro_protocol::table::Row;

use crate::frame;

/// Metadata that marks a Parquet file as a table of this format.
const FORMAT: (&str, &str) = ("repro.table", "1");
const ROWS_PER_GROUP: usize = 1 << 20;
const COLUMNS: [(&str, DataType, bool); 8] = [
    ("run", DataType::Utf8, true),
    ("stage", DataType::Utf8, true),
    ("seed", DataType::Int64, true),
    ("epoch", DataType::Int64, true),
    ("step", DataType::Int64, true),
    ("split", DataType::Utf8, true),
    ("name", DataType::Utf8, false),
    ("value", DataType::Float64, false),
];

/// Writes a table. Errors: a NaN value, an unwritable file.
pub fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let bytes = to_bytes(rows)?;
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write the table {}", path.display()))
}

/// The bytes of a table: the same for the same rows, everywhere. Errors: a NaN value.
pub fn to_bytes(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    refuse_nan(rows)?;
    parquet(&COLUMNS, FORMAT, groups(rows).map(columns))
}

fn refuse_nan(rows: &[Row]) -> anyhow::Result<()> {
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, r)| r.value.is_nan()) {
        let at =
            |name, value: Option<i64>| value.map_or(String::new(), |v| format!(", {name} {v}"));
        let place = format!("row {i}{}{}", at("epoch", row.epoch), at("step", row.step));
        bail!("the value of `{}` is not a number (NaN): {place}", row.name);
    }
    Ok(())
}

/// What is written at once.
fn groups<T>(rows: &[T]) -> std::slice::Chunks<'_, T> {
    rows.chunks(ROWS_PER_GROUP)
}

/// The columns of a group of rows.
fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let text = |get: fn(&Row) -> Option<&str>| {
        Arc::new(rows.iter().map(get).collect::<StringArray>()) as ArrayRef
    };
    let whole = |get: fn(&Row) -> Option<i64>| {
        Arc::new(rows.iter().map(get).collect::<Int64Array>()) as ArrayRef
    };
    vec![
        text(|r| r.run.as_deref()),
        text(|r| r.stage.as_deref()),
        whole(|r| r.seed),
        whole(|r| r.epoch),
        whole(|r| r.step),
        text(|r| r.split.as_deref()),
        text(|r| Some(&r.name)),
        Arc::new(rows.iter().map(|r| r.value).collect::<Float64Array>()) as ArrayRef,
    ]
}

/// A Parquet file of these columns (name, type, whether nulls are allowed), marked with a format:
/// the same bytes for the same values, everywhere.
fn parquet(
    columns: &[(&str, DataType, bool)],
    (format, version): (&str, &str),
    groups: impl IntoIterator<Item = Vec<ArrayRef>>,
) -> anyhow::Result<Vec<u8>> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, kind, null)| Field::new(*name, kind.clone(), *null))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_created_by("repro table 1".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            format.to_owned(),
            version.to_owned(),
        )]))
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)?;
    for columns in groups {
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    Ok(writer.into_inner()?)
}

/// What a file of metrics says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The values. Of files that other programs wrote they may be NaN or infinite.
    pub rows: Vec<Row>,
    /// What is no value, by name: `is the text ..., not a number`.
    pub other: BTreeMap<String, String>,
    /// It is in the format of [`fn@write`].
    pub is_own: bool,
}

/// What the names of tables end in. What a file is its content says: these only tell early what
/// cannot be one.
pub const ENDINGS: &[&str] = &[
    "parquet", "json", "jsonl", "ndjson", "yaml", "yml", "csv", "tsv", "txt", "log", "dat",
];

/// Files of text larger than this are no metrics.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Reads a table of any format. Errors: what cannot be understood, and why; they do not name the
/// file.
pub fn read(path: &Path) -> anyhow::Result<Table> {
    guarded(|| read_trusting(path))
}

/// The Parquet reader asserts what a damaged file may break: its panics are errors here.
fn guarded<T>(
    read: impl FnOnce() -> anyhow::Result<T> + std::panic::UnwindSafe,
) -> anyhow::Result<T> {
    match std::panic::catch_unwind(read) {
        Ok(result) => result.context("not a readable metrics table"),
        Err(_) => bail!("not a readable metrics table: it is damaged"),
    }
}

fn read_trusting(path: &Path) -> anyhow::Result<Table> {
    let Some(reader) = parquet_reader(path)? else {
        let len = std::fs::metadata(path)?.len();
        ensure!(
            len <= TEXT_BYTES_MAX,
            "it has {len} bytes, too many for a table of metrics"
        );
        return shape::text(&std::fs::read(path)?);
    };
    if !is_own(reader.schema()) {
        return shape::frame(frame::read(path)?);
    }
    let mut rows = Vec::new();
    for batch in reader.build()? {
        rows_of(&batch?, &mut rows)?;
    }
    Ok(Table {
        rows,
        is_own: true,
        ..Table::default()
    })
}

/// A reader of a Parquet file; `None` of any other file.
fn parquet_reader(path: &Path) -> anyhow::Result<Option<ParquetRecordBatchReaderBuilder<File>>> {
    let mut file = File::open(path).context("it cannot be opened")?;
    ensure!(file.metadata()?.is_file(), "it is a directory");
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic)?;
    if magic != b"PAR1" {
        return Ok(None);
    }
    file.rewind()?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    Ok(Some(reader))
}

/// Whether these are the columns of [`fn@write`], alone or with those of [`gathered`].
fn is_own(schema: &Schema) -> bool {
    let mut found = schema.fields().iter().map(|f| (&**f.name(), f.data_type()));
    let own = found.by_ref().take(COLUMNS.len());
    let is_own = own.eq(COLUMNS.iter().map(|(name, kind, _)| (*name, kind)));
    let mut rest = found.peekable();
    is_own && (rest.peek().is_none() || gathered::are_whose(rest))
}

fn rows_of(batch: &RecordBatch, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    fn column<T: 'static>(batch: &RecordBatch, i: usize) -> anyhow::Result<&T> {
        batch
            .column(i)
            .as_any()
            .downcast_ref()
            .with_context(|| format!("column {i} has another type"))
    }
    let text = |i| column::<StringArray>(batch, i);
    let whole = |i| column::<Int64Array>(batch, i);
    let (run, stage, seed, epoch, step) = (text(0)?, text(1)?, whole(2)?, whole(3)?, whole(4)?);
    let (split, name, value) = (text(5)?, text(6)?, column::<Float64Array>(batch, 7)?);
    ensure!(
        name.null_count() == 0 && value.null_count() == 0,
        "a name or value is null"
    );
    let string = |a: &StringArray, i| a.is_valid(i).then(|| a.value(i).to_owned());
    let number = |a: &Int64Array, i| a.is_valid(i).then(|| a.value(i));
    rows.extend((0..batch.num_rows()).map(|i| Row {
        run: string(run, i),
        stage: string(stage, i),
        seed: number(seed, i),
        epoch: number(epoch, i),
        step: number(step, i),
        split: string(split, i),
        name: name.value(i).to_owned(),
        value: value.value(i),
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> Vec<Row> {
        (0..3000)
            .map(|i| Row {
                run: (i % 2 == 0).then(|| format!("seed={}", i % 3)),
                seed: (i % 5 != 0).then_some(i % 3),
                epoch: Some(i / 100),
                step: Some(i * 7),
                split: Some(if i % 2 == 0 { "train" } else { "test" }.to_owned()),
                name: "loss".to_owned(),
                value: 1.0 / (i + 1) as f64,
                ..Row::default()
            })
            .collect()
    }

    #[test]
    fn bytes_are_frozen() {
        let bytes = to_bytes(&rows()).unwrap();
        assert_eq!(bytes, to_bytes(&rows()).unwrap());
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "3467cd06e12c21be6a4f036de6fd616d252b81988b2d68b58c94d89b9e78ff99"
        );
    }

    #[test]
    fn refuses_nan_and_says_where() {
        let rows = [Row {
            name: "loss".into(),
            epoch: Some(4),
            value: f64::NAN,
            ..Row::default()
        }];
        let message = to_bytes(&rows).unwrap_err().to_string();
        assert!(
            message.contains("`loss`") && message.contains("epoch 4"),
            "{message}"
        );
    }

    #[test]
    fn reads_back_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.parquet");
        write(&path, &rows()).unwrap();
        assert_eq!(read(&path).unwrap().rows, rows());
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [
            &bytes[..bytes.len() / 2],
            &bytes[..3],
            b"",
            b"name,value\n",
            &bytes[10..],
        ] {
            std::fs::write(&path, damaged).unwrap();
            let message = format!("{:#}", read(&path).unwrap_err());
            assert!(
                message.contains("not a readable metrics table"),
                "{message}"
            );
        }
        assert!(read(dir.path()).is_err());
        assert!(
            read(&dir.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("not a readable metrics table")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_rows_read_back(rows in proptest::collection::vec(
            (proptest::option::of(".{0,8}"), proptest::option::of(any::<i64>()), ".{0,8}", any::<f64>().prop_filter("NaN", |v| !v.is_nan())), 0..40)) {
            let rows: Vec<Row> = rows.into_iter()
                .map(|(run, seed, name, value)| Row { run, seed, name, value, ..Row::default() }).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            write(file.path(), &rows).unwrap();
            prop_assert_eq!(read(file.path()).unwrap().rows, rows);
        }

        /// Found: the reader panics on some (byte 216, bit 0).
        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..10_000, bit in 0u8..8) {
            let mut bytes = to_bytes(&rows()[..50]).unwrap();
            let i = at % bytes.len();
            bytes[i] ^= 1 << bit;
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let _ = read(file.path());
        }
    }
}
