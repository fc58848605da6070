//! Metrics as other programs write them: JSON, JSON lines, YAML, CSV, TSV and Parquet of any
//! columns, as rows.
//!
//! The content says what a file is, not its name: a name is part of no key, so the same bytes must
//! always be read in the same way. A map gives one value for each number in it, nested names joined
//! by dots; records (a list of maps, lines of a table) give one for each number in each record
//! ([`super::records`]).

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::json;
use super::records::{Cell, Records, cell, short};
use super::{Row, Table, yaml};
use crate::frame::{Column, Frame};

/// Reads a text in any of the formats.
pub(super) fn text(bytes: &[u8]) -> anyhow::Result<Table> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => bail!("it is neither text nor Parquet"),
    };
    match kind(text)? {
        Kind::Json => match json::parse(text) {
            Ok(value) => values(value),
            // What looks like JSON may be YAML that was written on one line.
            Err(error) => match yaml::parse(text) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => values(value),
                _ => Err(error),
            },
        },
        Kind::Yaml => values(yaml::parse(text)?),
        Kind::Lines(separator) => lines(text, separator)
            .and_then(Records::rows)
            .map_err(|error| names_and_numbers(text).unwrap_or(error)),
    }
}

/// `accuracy 0.7` on every line: what was meant, where it could not be read.
fn names_and_numbers(text: &str) -> Option<anyhow::Error> {
    let mut pairs = text.lines().filter(|l| !l.trim().is_empty()).map(|line| {
        let (name, number) = line.trim().rsplit_once([' ', '\t', '=', ':'])?;
        let name = name.trim_end_matches([' ', '\t', '=', ':']);
        let number: f64 = number.parse().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), number))
    });
    let first = pairs.next()??;
    pairs.all(|pair| pair.is_some()).then(|| {
        let (name, number) = first;
        anyhow::anyhow!(
            "each line is a name and a number, which is not a table; write `{name}: {number}`, one a line, or {{\"{name}\": {number}}}"
        )
    })
}

enum Kind {
    Json,
    Yaml,
    Lines(u8),
}

/// What the first line that says something looks like.
fn kind(text: &str) -> anyhow::Result<Kind> {
    let first = text
        .lines()
        .map(str::trim_end)
        .find(|l| !l.trim().is_empty() && !l.starts_with(['#', '%']) && *l != "---")
        .context("it is empty")?;
    if first.trim_start().starts_with(['{', '[']) {
        return Ok(Kind::Json);
    }
    if let Ok(number) = first.trim().parse::<f64>() {
        bail!("it is the number {number} without a name; write e.g. {{\"accuracy\": {number}}}");
    }
    let before = first.find([',', '\t', ';']).unwrap_or(first.len());
    let is_key = first[..before].contains(": ") || (first.ends_with(':') && before == first.len());
    if is_key || first.starts_with("- ") || first == "-" {
        return Ok(Kind::Yaml);
    }
    Ok(Kind::Lines(if first.contains('\t') {
        b'\t'
    } else if first.contains(';') && !first.contains(',') {
        b';'
    } else {
        b','
    }))
}

/// A map or a list of maps.
fn values(value: Value) -> anyhow::Result<Table> {
    match value {
        Value::Object(map) => match as_columns(&map) {
            Some(records) => records.rows(),
            None => with_histories(map),
        },
        Value::Array(items) => Records::of(&maps(items)?)?.rows(),
        other => bail!(
            "it is {}, where a map of names and numbers is expected",
            describe(&other)
        ),
    }
}

fn maps(items: Vec<Value>) -> anyhow::Result<Vec<Map<String, Value>>> {
    let map = |(i, item)| match item {
        Value::Object(map) => Ok(map),
        other => bail!(
            "entry {i} of the list is {}, where a map of names and numbers is expected",
            describe(&other)
        ),
    };
    items.into_iter().enumerate().map(map).collect()
}

/// A map in which a list of maps (`log_history`) is a table of its own, whose values are called by
/// the list's name too.
fn with_histories(map: Map<String, Value>) -> anyhow::Result<Table> {
    let is_history = |value: &Value| {
        let items = value.as_array().filter(|items| !items.is_empty());
        items.is_some_and(|items| items.iter().all(Value::is_object))
    };
    let (histories, rest): (Map<String, Value>, Map<String, Value>) =
        map.into_iter().partition(|(_, value)| is_history(value));
    let rest = Records::of(&[rest])?.rows();
    if histories.is_empty() {
        return rest;
    }
    let mut table = rest.unwrap_or_default();
    for (list, items) in histories {
        let Value::Array(items) = items else {
            continue;
        };
        let history = Records::of(&maps(items)?)?
            .rows()
            .with_context(|| format!("`{list}`"))?;
        let called = |name: &str| format!("{list}.{name}");
        table.rows.extend(history.rows.into_iter().map(|row| Row {
            name: called(&row.name),
            ..row
        }));
        let other = history.other.into_iter();
        table
            .other
            .extend(other.map(|(name, what)| (called(&name), what)));
    }
    Ok(table)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) => "true or false".into(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", short(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// `{"epoch": [1, 2], "loss": [0.5, 0.4]}`: a table by columns.
fn as_columns(map: &Map<String, Value>) -> Option<Records> {
    let is_scalar = |v: &Value| !v.is_array() && !v.is_object();
    let column = |value: &Value| {
        let cells = value.as_array().filter(|c| c.iter().all(is_scalar))?;
        Some(cells.iter().map(cell).collect::<Vec<_>>())
    };
    let columns: Vec<(String, Vec<Cell>)> = map
        .iter()
        .map(|(name, value)| Some((name.clone(), column(value)?)))
        .collect::<Option<_>>()?;
    let count = columns.first()?.1.len();
    let same = count > 0 && columns.iter().all(|(_, cells)| cells.len() == count);
    same.then_some(Records { count, columns })
}

fn lines(text: &str, separator: u8) -> anyhow::Result<Records> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let said = |e: csv::Error| match e.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => anyhow::anyhow!(
            "line {} has {len} cells, the header {expected_len}",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        _ => anyhow::anyhow!("{e}"),
    };
    let mut columns: Vec<(String, Vec<Cell>)> = reader
        .headers()
        .map_err(said)?
        .iter()
        .map(|name| (name.trim().to_owned(), Vec::new()))
        .collect();
    for i in 1..columns.len() {
        let twice =
            !columns[i].0.is_empty() && columns[..i].iter().any(|(n, _)| *n == columns[i].0);
        ensure!(!twice, "the header has `{}` twice", columns[i].0);
    }
    let is_number = |(name, _): &(String, Vec<Cell>)| name.parse::<f64>().is_ok();
    ensure!(
        !columns.iter().all(is_number),
        "its first line has numbers, where the names of the columns are expected"
    );
    let mut count = 0;
    for record in reader.records() {
        let record = record.map_err(said)?;
        count += 1;
        for ((_, cells), text) in columns.iter_mut().zip(&record) {
            let text = text.trim();
            cells.push(match (text, text.parse::<f64>()) {
                ("", _) => Cell::Missing,
                (_, Ok(number)) => Cell::Number(number),
                ("true" | "True" | "TRUE", _) => Cell::Truth(true),
                ("false" | "False" | "FALSE", _) => Cell::Truth(false),
                (text, Err(_)) => Cell::Text(text.to_owned()),
            });
        }
    }
    ensure!(count > 0, "it has a header and no rows");
    Ok(Records { count, columns })
}

/// A Parquet table of any columns.
pub(super) fn frame(frame: Frame) -> anyhow::Result<Table> {
    let mut columns = Vec::new();
    let mut unread = Vec::new();
    for (name, column) in frame.columns {
        if name.starts_with("__index_level_") {
            continue;
        }
        let cells = match column {
            Column::Numbers(all) => all
                .into_iter()
                .map(|v| v.map_or(Cell::Missing, Cell::Number))
                .collect(),
            Column::Whole(all) => all
                .into_iter()
                .map(|v| v.map_or(Cell::Missing, |v| Cell::Number(v as f64)))
                .collect(),
            Column::Truths(all) => all
                .into_iter()
                .map(|v| v.map_or(Cell::Missing, Cell::Truth))
                .collect(),
            Column::Texts(all) => all
                .into_iter()
                .map(|v| v.map_or(Cell::Missing, Cell::Text))
                .collect(),
            Column::Bytes(_) => {
                unread.push((name, "holds bytes, not numbers".to_owned()));
                continue;
            }
            Column::Other(kind) => {
                unread.push((name, format!("is of type {kind}, not a number")));
                continue;
            }
        };
        columns.push((name, cells));
    }
    let records = Records {
        count: frame.rows,
        columns,
    };
    let mut table = records.rows()?;
    table.other.extend(unread);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: impl AsRef<[u8]>) -> Table {
        text(bytes.as_ref()).unwrap()
    }

    /// `name=value`, with the epoch where there is one.
    fn shown(table: &Table) -> Vec<String> {
        let row = |r: &Row| match r.epoch {
            Some(epoch) => format!("{}={}@{epoch}", r.name, r.value),
            None => format!("{}={}", r.name, r.value),
        };
        table.rows.iter().map(row).collect()
    }

    fn says(bytes: &str) -> String {
        text(bytes.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn case_21_one_map_is_one_observation() {
        for same in [
            r#"{"accuracy": 0.5, "test": {"loss": 2}}"#,
            "accuracy: 0.5\ntest:\n  loss: 2\n",
            "# made by train.py\n---\naccuracy: .5\ntest: {loss: 2}\n",
            "{accuracy: 0.5, test: {loss: 2}}",
            "accuracy,test.loss\n0.5,2\n",
            "accuracy\ttest.loss\n0.5\t2\n",
            "\u{feff}accuracy;test.loss\r\n0.5;2\r\n",
        ] {
            let mut table = shown(&read(same));
            table.sort();
            assert_eq!(table, ["accuracy=0.5", "test.loss=2"], "{same}");
        }
    }

    #[test]
    fn case_21_records_have_epochs() {
        for same in [
            r#"[{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": 1}]"#,
            "{\"epoch\": 1, \"loss\": 1.5}\n{\"epoch\": 2, \"loss\": 1}\n",
            r#"{"epoch": [1, 2], "loss": [1.5, 1.0]}"#,
            "- {epoch: 1, loss: 1.5}\n- epoch: 2\n  loss: 1\n",
            ",epoch,loss\n0,1,1.5\n1,2,1.0\n",
            "epoch,name,value\n1,loss,1.5\n2,loss,1\n",
        ] {
            assert_eq!(shown(&read(same)), ["loss=1.5@1", "loss=1@2"], "{same}");
        }
        // Rows that measure something else leave cells empty; a share of an epoch is a value like
        // any other.
        let table = read("epoch,step,loss,val_loss\n0.5,10,1.0,\n1.0,20,,0.5\n");
        assert_eq!(
            shown(&table),
            ["epoch=0.5", "loss=1", "epoch=1", "val_loss=0.5"]
        );
        assert_eq!(table.rows[3].step, Some(20));
    }

    /// The state that Hugging Face's trainer keeps.
    #[test]
    fn case_21_a_history_within_a_map_has_its_own_steps() {
        let table = read(
            r#"{"best": 0.5, "log_history": [{"epoch": 0.5, "step": 5, "loss": 2}, {"epoch": 1.0, "step": 10, "acc": 0.5, "note": "x"}]}"#,
        );
        let row = |r: &Row| format!("{}={}@{:?}", r.name, r.value, r.step);
        assert_eq!(
            table.rows.iter().map(row).collect::<Vec<_>>(),
            [
                "best=0.5@None",
                "log_history.epoch=0.5@Some(5)",
                "log_history.loss=2@Some(5)",
                "log_history.epoch=1@Some(10)",
                "log_history.acc=0.5@Some(10)",
            ]
            .map(str::to_owned)
        );
        assert!(table.other["log_history.note"].contains("the text `x`"));
    }

    #[test]
    fn case_21_what_is_no_number_is_said() {
        let table = read(
            r#"{"accuracy": "0.9", "ok": true, "none": null, "loss": NaN, "best": -Infinity, "text": "NaN \" Infinity"}"#,
        );
        assert_eq!(table.other["accuracy"], "is the text `0.9`, not a number");
        assert_eq!(table.other["ok"], "is true, not a number; write 0 or 1");
        assert_eq!(table.other["none"], "is empty (null)");
        assert_eq!(
            table.other["text"],
            "is the text `NaN \" Infinity`, not a number"
        );
        assert!(
            table
                .rows
                .iter()
                .any(|r| r.name == "loss" && r.value.is_nan())
        );
        assert!(
            table
                .rows
                .iter()
                .any(|r| r.name == "best" && r.value == f64::NEG_INFINITY)
        );
        assert!(
            read("loss: .nan\na: 1\n").rows[1].value == 1.0
                || read("loss: .nan\n").rows[0].value.is_nan()
        );
        assert!(read("a,b\nnan,1\n").rows[0].value.is_nan());
    }

    #[test]
    fn case_21_wrong_shapes_say_what_is_wrong() {
        assert_eq!(says(""), "it is empty");
        assert_eq!(
            says("0.93\n"),
            "it is the number 0.93 without a name; write e.g. {\"accuracy\": 0.93}"
        );
        assert_eq!(
            says("{\"a\": 1,\n\"b\""),
            "line 2: the JSON ends before it is complete; was its writer stopped, or the file not closed?"
        );
        assert_eq!(
            says("{\"a\": 1]"),
            "line 1, column 8: it is not valid JSON: expected `,` or `}`"
        );
        let twice = says("{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}");
        assert!(
            twice.starts_with("line 1, column ") && twice.ends_with("`c` appears twice"),
            "{twice}"
        );
        for pairs in [
            "accuracy 0.7\n",
            "accuracy 0.7\nloss 0.3\n",
            "accuracy = 0.7",
        ] {
            assert!(
                says(pairs).contains("write `accuracy: 0.7`"),
                "{}",
                says(pairs)
            );
        }
        assert!(says("[1, 2]").starts_with("entry 0 of the list is the number 1"));
        assert_eq!(
            says(r#"{"a": "x"}"#),
            "it holds no number: `a` is the text `x`, not a number"
        );
        assert_eq!(says("a,b\n"), "it has a header and no rows");
        assert_eq!(says("a,b\n1\n"), "line 2 has 1 cells, the header 2");
        assert_eq!(says("a,a\n1,2\n"), "the header has `a` twice");
        assert_eq!(says("a: 1\na: 2\n"), "line 2: `a` appears twice");
        assert_eq!(says("[]"), "it has no rows");
        let headless = "its first line has numbers, where the names of the columns are expected";
        assert_eq!(says("# epoch,loss\n1,0.5\n2,0.25\n"), headless);
        assert!(
            text(b"\x89PNG\0\0")
                .unwrap_err()
                .to_string()
                .contains("neither text nor Parquet")
        );
    }

    #[test]
    fn case_21_parquet_of_any_codec_and_writer() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign");
        let mut read = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("pandas.") && !name.starts_with("polars.") {
                continue;
            }
            read += 1;
            let table = super::super::read(&path).unwrap();
            assert_eq!(
                shown(&table),
                [
                    "accuracy=0.5@1",
                    "loss=1@1",
                    "accuracy=0.75@2",
                    "accuracy=0.875@3",
                    "loss=0.5@3"
                ],
                "{name}"
            );
            assert!(table.other["note"].contains("the text `a`"), "{name}");
        }
        assert_eq!(read, 11);
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = text(&bytes);
        }

        #[test]
        fn arbitrary_near_misses_never_panic(s in "[\\[{\"a:,1}\\]\n\t NI.-]{0,60}") {
            let _ = text(s.as_bytes());
        }
    }
}
