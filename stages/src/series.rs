//! Which number of a metrics table is meant: the name of the metric, and at which epoch.
//!
//! Shared by the kinds that compare runs. Knows tables and the axes of their producers, no
//! statistics.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::table;
use repro_protocol::job::JobInput;
use repro_protocol::table::Row;

/// Where a value is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum At {
    /// The last recorded value.
    #[default]
    Last,
    /// The best value of all. On a test set this is optimistic: it selects by what it reports.
    Best(Extreme),
    /// The mean of this many last recorded values.
    MeanOfLast(#[schemars(range(min = 1))] u32),
    /// The value recorded after this many epochs.
    Epoch(i64),
}

/// Which value is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extreme {
    /// The larger value.
    Max,
    /// The smaller value.
    Min,
}

/// The rows of one run in one table, and what tells the run apart from the others.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The group it was given under; else the `stage` column; else empty.
    pub group: String,
    /// Matrix values of the producer, and what the table itself adds (its `seed`, several runs).
    pub axes: BTreeMap<String, Value>,
    /// The table, for messages.
    pub table: String,
    /// The table's content.
    pub digest: String,
    /// Which run of a table that has several.
    pub part: Option<String>,
    /// See [`JobInput::chain`].
    pub chain: Option<u32>,
    /// See [`JobInput::sources`].
    pub sources: Vec<u32>,
    rows: Vec<Row>,
    /// Cells of the table that are not numbers, by name.
    other: Rc<BTreeMap<String, String>>,
}

/// One value of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Epochs done.
    pub epoch: i64,
    /// Optimizer steps done, where the table says so.
    pub step: Option<i64>,
    /// The value, which is finite.
    pub value: f64,
}

/// Reads tables and splits each into its runs: rows that agree on `stage`, `run` and `seed`.
pub fn read_series(inputs: &[JobInput]) -> anyhow::Result<Vec<Series>> {
    let mut all: Vec<Series> = Vec::new();
    for input in inputs {
        let mut table = axes_text(&input.axes);
        table = match (
            input.from.as_str(),
            input.group.is_empty(),
            table.is_empty(),
        ) {
            ("", true, true) => input.path.display().to_string(),
            ("", true, false) => format!("the table of {table}"),
            ("", false, true) => format!("the table `{}`", input.group),
            ("", false, false) => format!("the table `{}` of {table}", input.group),
            (from, ..) => from.to_owned(),
        };
        let table::Table { rows, other, .. } = table::read(&input.path).map_err(|e| {
            Failure::new(format!("{table}: {e:#}")).hint(
                "a table of metrics is JSON, YAML, CSV, TSV or Parquet with names and numbers (docs/data.md)",
            )
        })?;
        let other = Rc::new(other);
        let stages: BTreeSet<_> = rows.iter().map(|r| r.stage.clone()).collect();
        let runs: BTreeSet<_> = rows.iter().map(|r| r.run.clone()).collect();
        let mut parts: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for row in rows {
            parts
                .entry((row.stage.clone(), row.run.clone(), row.seed))
                .or_default()
                .push(row);
        }
        let several = parts.len() > 1;
        for ((stage, run, seed), rows) in parts {
            let part = several.then(|| format!("{stage:?} {run:?} {seed:?}"));
            let mut axes = input.axes.clone();
            let mut add = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    axes.entry(name.to_owned()).or_insert(value);
                }
            };
            add("seed", seed.map(Value::from));
            add("run", run.filter(|_| runs.len() > 1).map(Value::from));
            let mut group = input.group.clone();
            if group.is_empty() {
                group = stage.unwrap_or_default();
            } else {
                add("stage", stage.filter(|_| stages.len() > 1).map(Value::from));
            }
            all.push(Series {
                group,
                axes,
                table: table.clone(),
                digest: input.digest.clone(),
                part,
                chain: input.chain,
                sources: input.sources.clone(),
                rows,
                other: Rc::clone(&other),
            });
        }
    }
    Ok(all)
}

impl Series {
    /// The value called `of` (`test_accuracy`: split and name; or a name alone), read at `at`.
    /// Always finite.
    pub fn value(&self, of: &str, at: At) -> anyhow::Result<f64> {
        let points = self.points(of)?;
        let value = match at {
            At::Last => self.last(of, &points)?,
            At::Best(extreme) => {
                let values = points.iter().map(|r| r.value);
                match extreme {
                    // NaN is neither larger nor smaller than other values, so it is the result.
                    _ if values.clone().any(f64::is_nan) => f64::NAN,
                    Extreme::Max => values.fold(f64::NEG_INFINITY, f64::max),
                    Extreme::Min => values.fold(f64::INFINITY, f64::min),
                }
            }
            At::MeanOfLast(count) => {
                let count = count.max(1) as usize;
                let Some(start) = points.len().checked_sub(count) else {
                    let have = points.len();
                    let message = format!(
                        "{}: the mean of the last {count} values of `{of}` is asked for, it has {have}",
                        self.table
                    );
                    return Err(Failure::new(message)
                        .hint(format!("say `at: {{mean_of_last: {have}}}` or less"))
                        .into());
                };
                points[start..].iter().map(|r| r.value).sum::<f64>() / count as f64
            }
            At::Epoch(epoch) => {
                let those: Vec<_> = points
                    .iter()
                    .copied()
                    .filter(|r| r.epoch == Some(epoch))
                    .collect();
                if those.is_empty() {
                    let epochs: Vec<i64> = points.iter().filter_map(|r| r.epoch).collect();
                    let have = match (epochs.iter().min(), epochs.iter().max()) {
                        (Some(first), Some(last)) => format!("it has epochs {first} to {last}"),
                        _ => "its values have no epoch".to_owned(),
                    };
                    return Err(Failure::new(format!(
                        "{}: `{of}` has no value at epoch {epoch}; {have}",
                        self.table
                    ))
                    .into());
                }
                self.last(of, &those)?
            }
        };
        if value.is_finite() {
            return Ok(value);
        }
        Err(Failure::new(format!(
            "{}: the value of `{of}` is {value}; statistics need finite values",
            self.table
        ))
        .into())
    }

    /// All values called `of`, in order of their epochs. There is at least one, and one for each
    /// epoch.
    pub fn curve(&self, of: &str) -> anyhow::Result<Vec<Point>> {
        let failure = |what: String| Failure::new(format!("{}: {what}", self.table));
        let mut points: Vec<Point> = Vec::new();
        for row in self.points(of)? {
            let Some(epoch) = row.epoch else {
                let hint = "add a column `epoch`: a curve is of values over epochs";
                let message = format!("a value of `{of}` has no epoch");
                return Err(failure(message).hint(hint).into());
            };
            if points.last().is_some_and(|last| last.epoch == epoch) {
                let message = format!("`{of}` has two values at epoch {epoch}");
                return Err(failure(message).hint("write one value per epoch").into());
            }
            let (step, value) = (row.step, row.value);
            if !value.is_finite() {
                let message = format!("the value of `{of}` at epoch {epoch} is {value}");
                let hint = "a curve needs finite values";
                return Err(failure(message).hint(hint).into());
            }
            points.push(Point { epoch, step, value });
        }
        Ok(points)
    }

    /// Whether the value called `of` was measured on this part of the data.
    pub fn is_of_split(&self, of: &str, split: &str) -> bool {
        let points = self.points(of).unwrap_or_default();
        points.iter().any(|row| row.split.as_deref() == Some(split))
    }

    /// The rows meant by a name, in order of epoch and step.
    fn points(&self, of: &str) -> anyhow::Result<Vec<&Row>> {
        let full = |row: &Row| {
            row.split
                .as_ref()
                .map_or(row.name.clone(), |split| format!("{split}_{}", row.name))
        };
        let mut found: Vec<&Row> = self.rows.iter().filter(|r| full(r) == of).collect();
        if found.is_empty() {
            found = self.rows.iter().filter(|r| r.name == of).collect();
            if found.is_empty() {
                // `accuracy` of a nested map, called `test.accuracy`.
                let inner = |r: &&Row| {
                    let outer = r.name.strip_suffix(of);
                    outer.is_some_and(|outer| outer.ends_with('.'))
                };
                found = self.rows.iter().filter(inner).collect();
            }
            let full_names: BTreeSet<String> = found.iter().map(|r| full(r)).collect();
            if full_names.len() > 1 {
                let names: Vec<String> = full_names.into_iter().collect();
                let message = format!("{}: `{of}` may mean {}", self.table, names.join(" or "));
                return Err(Failure::new(message)
                    .hint(format!("say which: `of: {}`", names[0]))
                    .into());
            }
        }
        if found.is_empty() {
            let names: Vec<String> = self
                .rows
                .iter()
                .map(full)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            if let Some(what) = self.other.get(of) {
                return Err(Failure::new(format!("{}: `{of}` {what}", self.table)).into());
            }
            let failure = Failure::new(format!("{}: it has no value `{of}`", self.table));
            return Err(failure.hint(instead(of, &names)).into());
        }
        found.sort_by_key(|r| (r.epoch, r.step));
        Ok(found)
    }

    fn last(&self, of: &str, points: &[&Row]) -> anyhow::Result<f64> {
        let Some(last) = points.last() else {
            anyhow::bail!("{}: no value `{of}`", self.table)
        };
        let rivals = points
            .iter()
            .filter(|r| (r.epoch, r.step) == (last.epoch, last.step))
            .count();
        if rivals > 1 {
            let message = format!(
                "{}: {rivals} values of `{of}` stand at the same epoch and step",
                self.table
            );
            let hint = match (last.epoch, last.step) {
                (None, None) => {
                    let epochs = match rivals {
                        1..4 => Vec::from_iter((1..=rivals).map(|n| n.to_string())).join(", "),
                        _ => "1, 2, ...".to_owned(),
                    };
                    format!(
                        "say which epoch each is of: add `\"epoch\": [{epochs}]`, or an `epoch` in every row; \
                         `step`, `seed`, `split`, `stage` and `run` tell rows apart too"
                    )
                }
                _ => "write one row per value, epoch and step; columns `epoch`, `step`, `seed`, `split`, `stage` and `run` tell rows apart".to_owned(),
            };
            return Err(Failure::new(message).hint(hint).into());
        }
        Ok(last.value)
    }
}

/// The hint where a table has these names and not the one that is asked for.
fn instead(of: &str, names: &[String]) -> String {
    let is_row = |name: &&String| {
        let row = name
            .strip_prefix(of)
            .and_then(|rest| rest.strip_prefix('.'));
        row.is_some_and(|row| row.parse::<u64>().is_ok())
    };
    // This is how data frames are written by default.
    if names.iter().any(|name| is_row(&name)) {
        return format!(
            "`{of}` holds numbers by row: write one map per row, `[{{\"epoch\": 1, \"{of}\": ...}}, ...]` (pandas: `orient=\"records\"`)"
        );
    }
    // Programs that measure one part of the data often do not name it; kinds always do.
    let part = of.split_once('_').map(|(_, name)| name);
    match (part, crate::spelling::nearest(of, names)) {
        (Some(name), _) if names.iter().any(|n| n == name) => format!(
            "its values: {}; if `{name}` is what is meant, the program must write it as `{of}`",
            names.join(", ")
        ),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        _ => format!("its values: {}", names.join(", ")),
    }
}

/// `seed=1,lr=0.1`, in the order of the axes' names.
pub fn axes_text(axes: &BTreeMap<String, Value>) -> String {
    let parts: Vec<String> = axes
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    parts.join(",")
}

/// Orders axes as readers expect: numbers by size, everything else by its text.
pub fn compare_axes(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Ordering {
    let value = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x.total_cmp(&y),
        _ => Ordering::Equal,
    };
    a.iter()
        .zip(b)
        .map(|((m, x), (n, y))| {
            m.cmp(n)
                .then_with(|| value(x, y))
                .then_with(|| x.to_string().cmp(&y.to_string()))
        })
        .find(|o| o.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn series() -> Series {
        let row = |split: &str, name: &str, epoch, value| Row {
            split: Some(split.into()),
            name: name.into(),
            epoch: Some(epoch),
            value,
            ..Row::default()
        };
        let mut rows: Vec<Row> = (0..5)
            .map(|e| row("test", "accuracy", e, [0.1, 0.5, 0.8, 0.6, 0.7][e as usize]))
            .collect();
        rows.reverse();
        rows.push(row("train", "accuracy", 4, 0.9));
        rows.push(row("train", "grad_norm", 4, 2.0));
        rows.push(row("train", "bad", 4, f64::INFINITY));
        Series {
            group: "a".into(),
            axes: BTreeMap::new(),
            table: "the table `a`".into(),
            rows,
            ..Series::default()
        }
    }

    #[test]
    fn reads_at_the_place_asked_for() {
        let s = series();
        let value = |at| s.value("test_accuracy", at).unwrap();
        assert_eq!(value(At::Last), 0.7);
        assert_eq!(value(At::Best(Extreme::Max)), 0.8);
        assert_eq!(value(At::Best(Extreme::Min)), 0.1);
        assert_eq!(value(At::MeanOfLast(2)), (0.6 + 0.7) / 2.0);
        assert_eq!(value(At::Epoch(1)), 0.5);
        assert_eq!(s.value("grad_norm", At::Last).unwrap(), 2.0);
        assert_eq!(s.value("train_grad_norm", At::Last).unwrap(), 2.0);
    }

    #[test]
    fn says_what_is_missing() {
        let s = series();
        let says = |of: &str, at| {
            let error = s.value(of, at).unwrap_err();
            let failure = error.downcast::<Failure>().unwrap();
            format!("{} / {}", failure.message, failure.hint.unwrap_or_default())
        };
        assert_eq!(
            says("test_acuracy", At::Last),
            "the table `a`: it has no value `test_acuracy` / did you mean `test_accuracy`?"
        );
        assert!(says("accuracy", At::Last).contains("test_accuracy or train_accuracy"));
        assert!(says("test_accuracy", At::Epoch(9)).contains("epochs 0 to 4"));
        assert!(says("test_accuracy", At::MeanOfLast(6)).contains("it has 5"));
        assert!(says("bad", At::Last).contains("inf"));
    }

    #[test]
    fn tables_with_several_runs_are_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let row = |seed, run: &str| Row {
            seed: Some(seed),
            run: Some(run.into()),
            name: "x".into(),
            ..Row::default()
        };
        table::write(&path, &[row(1, "p"), row(0, "p"), row(1, "q")]).unwrap();
        let axes = BTreeMap::from([("lr".to_owned(), json!(0.1))]);
        let input = JobInput {
            group: "g".into(),
            axes,
            path,
            ..JobInput::default()
        };
        let found: Vec<String> = read_series(&[input])
            .unwrap()
            .iter()
            .map(|s| axes_text(&s.axes))
            .collect();
        assert_eq!(
            found,
            [
                "lr=0.1,run=p,seed=0",
                "lr=0.1,run=p,seed=1",
                "lr=0.1,run=q,seed=1"
            ]
        );
    }

    #[test]
    fn axes_are_ordered_by_size() {
        let axes = |v: Value| BTreeMap::from([("n".to_owned(), v)]);
        assert_eq!(
            compare_axes(&axes(json!(9)), &axes(json!(10))),
            Ordering::Less
        );
        assert_eq!(
            compare_axes(&axes(json!("b")), &axes(json!("a"))),
            Ordering::Greater
        );
        assert_eq!(
            compare_axes(&axes(json!(1)), &axes(json!(1))),
            Ordering::Equal
        );
    }
}
