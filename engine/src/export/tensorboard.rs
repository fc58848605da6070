//! Metrics as event files of TensorBoard: a directory for each run, a scalar for each value.
//!
//! The format is three things (tensorflow/core/lib/io/record_writer.h, core/util/event.proto,
//! core/framework/summary.proto): records with a length and two checksums, an `Event` in each, and
//! in that a `Summary` with one value. They are written here by hand, as the crates for them bring
//! TensorFlow's whole vocabulary. A run is what TensorBoard calls a directory with event files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::artifacts;
use crate::exchange::Network;
use crate::filename::file_name;
use crate::notice::Tell;
use crate::results::Results;
use crate::results::metrics::{MetricTable, TableFound};
use crate::store::{Fact, Record};
use crate::whole;
use repro_protocol::table::Row;

/// The name of every event file: TensorBoard reads files that have `tfevents` in their names.
const FILE: &str = "events.out.tfevents.repro";
/// What the first event of a file says.
const VERSION: &str = "brain.Event:2";

/// What was written.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Directories with an event file.
    pub runs: usize,
    /// Values in them.
    pub values: usize,
    /// Tables that have no result yet.
    pub open: usize,
    /// Tables whose bytes are on a remote only, or that cannot be read: the instance, and why.
    pub left_out: Vec<(String, String)>,
}

/// Writes the values of all tables of metrics that the results have, below `to`. Files of an
/// earlier export are replaced, others stay. The same results give the same bytes.
///
/// # Errors
/// The store cannot be read, or the files cannot be written.
pub fn write(
    results: &Results,
    network: Network,
    tell: Tell,
    to: &Path,
) -> anyhow::Result<Written> {
    let tables = results.tables(network, tell)?;
    let mut written = Written::default();
    for of_instance in tables.chunk_by(|a, b| a.instance == b.instance) {
        let mut readable: Vec<(&str, &[Row])> = Vec::new();
        for table in of_instance {
            match &table.found {
                TableFound::Rows(rows) if rows.is_empty() => {}
                TableFound::Rows(rows) => readable.push((table.output, rows)),
                TableFound::Open | TableFound::Last(_) => written.open += 1,
                TableFound::Elsewhere(why) | TableFound::Unreadable(why) => {
                    let of = format!("{}.{}", table.instance, table.output);
                    written.left_out.push((of, why.clone()));
                }
            }
        }
        let Some(first) = of_instance.first().filter(|_| !readable.is_empty()) else {
            continue;
        };
        let ended = results.record_at(first.index).and_then(|r| ended_at(&r));
        let dir = to.join(dir_of(results, first));
        for (run, scalars) in runs(&readable) {
            let dir = run.map_or_else(|| dir.clone(), |run| dir.join(file_name(&run)));
            write_run(&dir, &scalars, ended.unwrap_or(0.0))
                .with_context(|| format!("cannot write {}", dir.display()))?;
            written.runs += 1;
            written.values += scalars.len();
        }
    }
    Ok(written)
}

/// `train/lr=0.1,seed=1`: as under `artifacts/`.
fn dir_of(results: &Results, table: &MetricTable) -> PathBuf {
    let dir = artifacts::dir_of(results.plan().instance(table.index));
    let below = Path::new(&dir).strip_prefix("artifacts");
    below.unwrap_or(Path::new(&dir)).to_owned()
}

/// When the execution ended, in seconds since 1970. It is the time of all its values: when each was
/// measured is not recorded.
fn ended_at(record: &Record) -> Option<f64> {
    let begun: jiff::Timestamp = record.observation.text(Fact::At)?.parse().ok()?;
    let lasted = record.observation.number(Fact::WallS).unwrap_or(0.0);
    Some(begun.as_microsecond() as f64 / 1e6 + lasted)
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
struct Scalar {
    tag: String,
    step: i64,
    value: f64,
}

/// The scalars of an instance by run. One table may hold several runs (see
/// [`repro_protocol::table::APART`]): where they differ within it, each is a run of its own.
fn runs(tables: &[(&str, &[Row])]) -> BTreeMap<Option<String>, Vec<Scalar>> {
    let mut runs: BTreeMap<Option<String>, Vec<Scalar>> = BTreeMap::new();
    for (output, rows) in tables {
        // Two tables of an instance may have metrics of one name.
        let before = match tables.len() {
            1 => String::new(),
            _ => format!("{output}/"),
        };
        let mut by_run: BTreeMap<Option<String>, BTreeMap<String, Vec<&Row>>> = BTreeMap::new();
        let apart = Apart::of(rows);
        for row in *rows {
            let split = row.split.iter().map(|split| format!("{split}/"));
            let tag = format!("{before}{}{}", split.collect::<String>(), row.name);
            let tags = by_run.entry(apart.run(row)).or_default();
            tags.entry(tag).or_default().push(row);
        }
        for (run, tags) in by_run {
            let scalars = runs.entry(run).or_default();
            for (tag, rows) in tags {
                let mut placed: Vec<Scalar> = steps(&rows)
                    .into_iter()
                    .zip(&rows)
                    .map(|(step, row)| Scalar {
                        tag: tag.clone(),
                        step,
                        value: row.value,
                    })
                    .collect();
                // TensorBoard takes a step back for a restart, and drops what came before.
                placed.sort_by_key(|scalar| scalar.step);
                scalars.extend(placed);
            }
        }
    }
    runs
}

/// The epochs of a metric, or else its steps, if every row has one and no two the same; otherwise
/// the rows are counted.
fn steps(rows: &[&Row]) -> Vec<i64> {
    let columns: [fn(&Row) -> Option<i64>; 2] = [|row| row.epoch, |row| row.step];
    for column in columns {
        let found: Option<Vec<i64>> = rows.iter().map(|row| column(row)).collect();
        if let Some(steps) = found
            && steps.iter().collect::<BTreeSet<_>>().len() == steps.len()
        {
            return steps;
        }
    }
    (0..).take(rows.len()).collect()
}

/// Which columns tell the runs of a table apart.
struct Apart {
    run: bool,
    stage: bool,
    seed: bool,
}

impl Apart {
    fn of(rows: &[Row]) -> Apart {
        let differ = |same: fn(&Row, &Row) -> bool| rows.iter().any(|row| !same(row, &rows[0]));
        Apart {
            run: differ(|a, b| a.run == b.run),
            stage: differ(|a, b| a.stage == b.stage),
            seed: differ(|a, b| a.seed == b.seed),
        }
    }

    /// What the run of a row is called; `None` where the table has only one.
    fn run(&self, row: &Row) -> Option<String> {
        let stage = row.stage.clone().filter(|_| self.stage);
        let run = row.run.clone().filter(|_| self.run);
        let seed = row.seed.filter(|_| self.seed);
        let seed = seed.map(|seed| format!("seed={seed}"));
        let parts: Vec<String> = [stage, run, seed].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }
}

fn write_run(dir: &Path, scalars: &[Scalar], time: f64) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    whole::write_beside(&dir.join(FILE), &file(scalars, time))
}

/// The bytes of an event file.
fn file(scalars: &[Scalar], time: f64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut first = Message::default();
    first.double(1, time).bytes(3, VERSION.as_bytes());
    record(&mut bytes, &first.0);
    for scalar in scalars {
        let mut value = Message::default();
        value
            .bytes(1, scalar.tag.as_bytes())
            // TensorBoard draws floats.
            .float(2, scalar.value as f32);
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        let mut event = Message::default();
        event
            .double(1, time)
            .integer(2, scalar.step)
            .bytes(5, &summary.0);
        record(&mut bytes, &event.0);
    }
    bytes
}

/// A record: length, its checksum, the data, their checksum.
fn record(bytes: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(checksum(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(checksum(data).to_le_bytes());
}

/// CRC-32C, masked so that the checksum of data that hold checksums is of use.
fn checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// A message of protocol buffers, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn field(&mut self, number: u64, wire: u64) {
        self.varint(number << 3 | wire);
    }

    fn integer(&mut self, number: u64, value: i64) -> &mut Message {
        self.field(number, 0);
        self.varint(value.cast_unsigned());
        self
    }

    fn double(&mut self, number: u64, value: f64) -> &mut Message {
        self.field(number, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, number: u64, value: &[u8]) -> &mut Message {
        self.field(number, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(&mut self, number: u64, value: f32) -> &mut Message {
        self.field(number, 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: Option<i64>, step: Option<i64>, name: &str, value: f64) -> Row {
        Row {
            epoch,
            step,
            name: name.into(),
            value,
            ..Row::default()
        }
    }

    /// `tensorboard` 2.21 reads 0.5 at step 300 in these.
    #[test]
    fn the_bytes_are_these() {
        let scalar = Scalar {
            tag: "test/loss".into(),
            step: 300,
            value: 0.5,
        };
        let hex: Vec<String> = file(&[scalar], 1.5)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex.concat(),
            concat!(
                "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a32",
                "2a28646c200000000000000029eda95009000000000000f83f10ac022a120a100a097465",
                "73742f6c6f7373150000003f7d0261f9"
            )
        );
    }

    #[test]
    fn steps_are_epochs_if_these_tell_rows_apart() {
        let epochs = [
            row(Some(2), Some(9), "a", 0.0),
            row(Some(1), Some(9), "a", 0.0),
        ];
        assert_eq!(steps(&epochs.each_ref()), [2, 1]);
        let within = [
            row(Some(1), Some(5), "a", 0.0),
            row(Some(1), Some(9), "a", 0.0),
        ];
        assert_eq!(steps(&within.each_ref()), [5, 9]);
        let neither = [row(Some(1), None, "a", 0.0), row(None, Some(9), "a", 0.0)];
        assert_eq!(steps(&neither.each_ref()), [0, 1]);
    }

    #[test]
    fn runs_of_one_table_are_told_apart_by_what_differs() {
        let mut rows = [row(None, None, "a", 1.0), row(None, None, "a", 2.0)];
        rows[0].seed = Some(7);
        rows[1].seed = Some(7);
        let one = runs(&[("metrics", &rows)]);
        assert_eq!(one.keys().collect::<Vec<_>>(), [&None]);
        rows[1].seed = Some(8);
        rows[1].stage = Some("warm".into());
        let two = runs(&[("metrics", &rows), ("more", &rows[..1])]);
        let names: Vec<_> = two.keys().map(Option::as_deref).collect();
        assert_eq!(names, [None, Some("seed=7"), Some("warm,seed=8")]);
        assert_eq!(two[&None][0].tag, "more/a");
        assert_eq!(two[&Some("seed=7".into())][0].tag, "metrics/a");
    }

    #[test]
    fn values_of_a_metric_come_in_the_order_of_their_steps() {
        let rows = [
            row(Some(2), None, "b", 0.2),
            row(Some(1), None, "b", 0.1),
            row(Some(1), None, "a", 0.0),
        ];
        let found = &runs(&[("metrics", &rows)])[&None];
        let told: Vec<_> = found.iter().map(|s| (&*s.tag, s.step)).collect();
        assert_eq!(told, [("a", 1), ("b", 1), ("b", 2)]);
    }
}
