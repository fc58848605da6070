//! Any Parquet file as named columns of simple cells, whatever its codec and whoever wrote it.
//!
//! Knows Parquet's types, not what the columns mean. Types that are neither numbers, texts nor
//! bytes are kept by their name alone. The Arrow schema that some writers add is not looked at:
//! Parquet's own types say enough.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

/// A table by columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// Rows.
    pub rows: usize,
    /// Names and cells, in the order of the file.
    pub columns: Vec<(String, Column)>,
    /// The metadata `huggingface`, where there is any.
    pub hugging_face: Option<String>,
}

/// The cells of a column; `None` is null.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Floats.
    Numbers(Vec<Option<f64>>),
    /// Whole numbers.
    Whole(Vec<Option<i64>>),
    /// Truth values.
    Truths(Vec<Option<bool>>),
    /// Texts.
    Texts(Vec<Option<String>>),
    /// Bytes: of a binary column, or of the field `bytes` of a struct.
    Bytes(Vec<Option<Vec<u8>>>),
    /// A type that is not read.
    Other(String),
}

/// Reads a file whole. Errors: not a Parquet file, a truncated or damaged one. They do not name the
/// file.
pub fn read(path: &Path) -> anyhow::Result<Frame> {
    // The Parquet reader asserts what a damaged file may break: its panics are errors here.
    match std::panic::catch_unwind(|| read_trusting(path)) {
        Ok(result) => result,
        Err(_) => bail!("the Parquet file is damaged"),
    }
}

fn read_trusting(path: &Path) -> anyhow::Result<Frame> {
    let file = std::fs::File::open(path)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    let hugging_face = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .and_then(|all| all.iter().find(|pair| pair.key == "huggingface"))
        .and_then(|pair| pair.value.clone());
    let mut frame = Frame {
        rows: 0,
        columns: Vec::new(),
        hugging_face,
    };
    for field in builder.schema().fields() {
        let column = empty(field.data_type());
        frame.columns.push((field.name().clone(), column));
    }
    for batch in builder.build()? {
        let batch = batch?;
        frame.rows += batch.num_rows();
        for ((name, column), array) in frame.columns.iter_mut().zip(batch.columns()) {
            append(column, array).with_context(|| format!("column `{name}`"))?;
        }
    }
    Ok(frame)
}

/// The field of a struct that holds an image.
fn bytes_field(fields: &arrow_schema::Fields) -> Option<usize> {
    let is_binary = |t: &DataType| {
        matches!(
            t,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        )
    };
    fields
        .iter()
        .position(|f| f.name() == "bytes" && is_binary(f.data_type()))
}

fn empty(kind: &DataType) -> Column {
    match kind {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Column::Numbers(Vec::new()),
        kind if kind.is_integer() => Column::Whole(Vec::new()),
        DataType::Boolean => Column::Truths(Vec::new()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Column::Texts(Vec::new()),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Column::Bytes(Vec::new())
        }
        DataType::Struct(fields) if bytes_field(fields).is_some() => Column::Bytes(Vec::new()),
        other => Column::Other(other.to_string()),
    }
}

fn append(column: &mut Column, array: &dyn Array) -> anyhow::Result<()> {
    fn cells<T: ArrowPrimitiveType, C>(
        array: &dyn Array,
        cell: impl Fn(T::Native) -> anyhow::Result<C>,
        into: &mut Vec<Option<C>>,
    ) -> anyhow::Result<()> {
        let all = array.as_primitive_opt::<T>().context("its type changes")?;
        for value in all {
            into.push(value.map(&cell).transpose()?);
        }
        Ok(())
    }
    match column {
        Column::Numbers(into) => match array.data_type() {
            DataType::Float16 => cells::<Float16Type, _>(array, |v| Ok(v.to_f64()), into),
            DataType::Float32 => cells::<Float32Type, _>(array, |v| Ok(v.into()), into),
            _ => cells::<Float64Type, _>(array, Ok, into),
        },
        Column::Whole(into) => match array.data_type() {
            DataType::Int8 => cells::<Int8Type, _>(array, |v| Ok(v.into()), into),
            DataType::Int16 => cells::<Int16Type, _>(array, |v| Ok(v.into()), into),
            DataType::Int32 => cells::<Int32Type, _>(array, |v| Ok(v.into()), into),
            DataType::UInt8 => cells::<UInt8Type, _>(array, |v| Ok(v.into()), into),
            DataType::UInt16 => cells::<UInt16Type, _>(array, |v| Ok(v.into()), into),
            DataType::UInt32 => cells::<UInt32Type, _>(array, |v| Ok(v.into()), into),
            DataType::UInt64 => cells::<UInt64Type, _>(
                array,
                |v| i64::try_from(v).context("a number is 2^63 or more"),
                into,
            ),
            _ => cells::<Int64Type, _>(array, Ok, into),
        },
        Column::Truths(into) => {
            into.extend(array.as_boolean_opt().context("its type changes")?);
            Ok(())
        }
        Column::Texts(into) => {
            let own = |text: Option<&str>| text.map(str::to_owned);
            match array.data_type() {
                DataType::LargeUtf8 => into.extend(array.as_string::<i64>().iter().map(own)),
                DataType::Utf8View => into.extend(array.as_string_view().iter().map(own)),
                DataType::Utf8 => into.extend(array.as_string::<i32>().iter().map(own)),
                _ => bail!("its type changes"),
            }
            Ok(())
        }
        Column::Bytes(into) => {
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            match array.data_type() {
                DataType::Struct(fields) => {
                    let at = bytes_field(fields).context("its type changes")?;
                    let all = array.as_struct();
                    let begin = into.len();
                    let mut inner = Column::Bytes(std::mem::take(into));
                    let done = append(&mut inner, all.column(at));
                    if let Column::Bytes(filled) = inner {
                        *into = filled;
                    }
                    done?;
                    ensure!(into.len() == begin + all.len(), "its length changes");
                    for i in 0..all.len() {
                        if all.is_null(i) {
                            into[begin + i] = None;
                        }
                    }
                }
                DataType::LargeBinary => into.extend(array.as_binary::<i64>().iter().map(own)),
                DataType::BinaryView => into.extend(array.as_binary_view().iter().map(own)),
                DataType::Binary => into.extend(array.as_binary::<i32>().iter().map(own)),
                _ => bail!("its type changes"),
            }
            Ok(())
        }
        Column::Other(_) => Ok(()),
    }
}
