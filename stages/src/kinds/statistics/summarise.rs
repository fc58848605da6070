//! `summarise`: means over repeated runs, for tables and for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asked::{check_at, check_confidence, confidence, percent};
use super::values::{check_asked, check_axes};
use crate::facts::{Fact, Findings, Known, MetricsFact};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::names::Names;
use crate::observations::{Candidate, Ties, observations};
use crate::series::{At, Series, axes_text, compare_axes, read_series};
use crate::stats::{Summary, summarise};
use crate::table;
use crate::task::Task;
use repro_protocol::job::Event;
use repro_protocol::table::Row;

/// See the module.
pub struct Summarise;

/// The parameters of `summarise`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The values to summarise: `test_accuracy` is `accuracy` of the split `test`; a name alone
    /// works if only one split has it.
    pub of: Names,
    /// Which of the values over the training is read.
    #[serde(default)]
    pub at: At,
    /// The axes that only repeat the experiment. Means are taken over them; every other axis gets
    /// rows of its own.
    #[serde(default = "over_seed")]
    pub over: Names,
    /// Axes of runs within one repetition. They are averaged first and do not count in `n`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub within: Names,
    /// The confidence of the intervals, above 0 and below 1.
    #[serde(default = "confidence")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
}

fn over_seed() -> Names {
    Names(vec!["seed".to_owned()])
}

impl Kind for Summarise {
    type Params = Params;
    const NAME: &'static str = "summarise";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str =
        "Means, standard deviations and confidence intervals over repeated runs.";
    const DOC: &'static str = DOC;
    const COUNTS: &'static [&'static str] = &["tables"];
    const INPUTS: &'static [InputSpec] = &[InputSpec::required(
        "tables",
        "The metrics tables, one or more; groups keep stages apart.",
    )
    .many()];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("table", "summary.parquet")?,
            OutputSpec::new("text", "summary.md")?,
        ])
    }

    fn validate(params: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::from_iter(check_confidence(params.confidence, &["confidence"]));
        problems.extend(check_at(params.at, &["at"]));
        if params.of.0.is_empty() {
            problems.push(ParamProblem::new(
                &["of"],
                "it names no value",
                "e.g. `of: test_accuracy`",
            ));
        }
        if let Some(axis) = params.over.0.iter().find(|a| params.within.0.contains(a)) {
            problems.push(ParamProblem::new(
                &["within"],
                format!("`{axis}` cannot both repeat the experiment and be averaged over first"),
                "name it once",
            ));
        }
        if let Some(twice) = repeated(&params.of.0) {
            problems.push(ParamProblem::new(
                &["of"],
                format!("`{twice}` stands there twice"),
                "name each value once",
            ));
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let tables = known.tables("tables", &mut found);
        for of in &params.of.0 {
            check_asked(&tables, of, params.at, &["of"], &["at"], &mut found);
        }
        let axes = Vec::from_iter(known.axes("tables"));
        for (field, named) in [("over", &params.over.0), ("within", &params.within.0)] {
            check_axes(field, named, &axes, &mut found);
        }
        found.say("table", Fact::Metrics(MetricsFact::default()));
        found.say("text", Fact::Text);
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let cells = cells(&read_series(task.inputs("tables"))?, params)?;
        for cell in &cells {
            if let Some(told) = &cell.told {
                let axes = axes_text(&cell.axes);
                let which = [&cell.group, &axes].map(String::as_str).join(" ");
                task.send(&Event::Warning {
                    text: format!("{}: {told}", which.trim()),
                });
            }
        }
        table::write(task.output("table")?, &rows(&cells, params))?;
        let path = task.output("text")?;
        std::fs::write(path, markdown(&cells, params))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Runs that differ only in the axes of `over`.
struct Cell {
    group: String,
    axes: BTreeMap<String, Value>,
    /// One per name in `of`.
    summaries: Vec<Summary>,
    /// Runs that went in.
    runs: usize,
    /// Why they count as fewer.
    told: Option<String>,
}

fn cells(series: &[Series], params: &Params) -> anyhow::Result<Vec<Cell>> {
    let mut groups: Vec<&str> = Vec::new();
    let mut members: Vec<(&str, BTreeMap<String, Value>, Vec<&Series>)> = Vec::new();
    for one in series {
        if !groups.contains(&one.group.as_str()) {
            groups.push(&one.group);
        }
        let mut axes = one.axes.clone();
        axes.retain(|name, _| !params.over.0.contains(name) && !params.within.0.contains(name));
        match members
            .iter_mut()
            .find(|(group, a, _)| *group == one.group && *a == axes)
        {
            Some((_, _, runs)) => runs.push(one),
            None => members.push((&one.group, axes, vec![one])),
        }
    }
    // Groups in the order given, cells of a group by their axes, runs of a cell by theirs: sums
    // have one order.
    let place = |group: &str| groups.iter().position(|g| *g == group);
    members.sort_by(|a, b| {
        place(a.0)
            .cmp(&place(b.0))
            .then_with(|| compare_axes(&a.1, &b.1))
    });
    let mut cells = Vec::new();
    for (group, axes, mut runs) in members {
        runs.sort_by(|a, b| compare_axes(&a.axes, &b.axes));
        if let Some(pair) = runs.windows(2).find(|pair| pair[0].axes == pair[1].axes) {
            let axes = axes_text(&pair[0].axes);
            let which = if axes.is_empty() {
                "no axes".to_owned()
            } else {
                format!("the same axes ({axes})")
            };
            anyhow::bail!(
                Failure::new(format!("two runs of the group `{group}` have {which}: they are not repetitions of one another"))
                    .hint("give them under different groups, or say by an axis what tells them apart")
            );
        }
        let (mut summaries, mut told) = (Vec::new(), None);
        for of in &params.of.0 {
            let candidates = runs
                .iter()
                .map(|s| {
                    Ok(Candidate {
                        axes: s.axes.clone(),
                        value: s.value(of, params.at)?,
                        ties: Ties::of(s, ""),
                    })
                })
                .collect::<anyhow::Result<Vec<Candidate>>>()?;
            let seen = observations(candidates, &params.over.0);
            told = seen.told("run", "runs");
            summaries.extend(summarise(&seen.values, params.confidence));
        }
        cells.push(Cell {
            group: group.to_owned(),
            axes,
            summaries,
            runs: runs.len(),
            told,
        });
    }
    if cells.is_empty() {
        anyhow::bail!(Failure::new(
            "the tables hold no rows: there is nothing to summarise"
        ));
    }
    Ok(cells)
}

fn rows(cells: &[Cell], params: &Params) -> Vec<Row> {
    let mut rows = Vec::new();
    for cell in cells {
        for (of, s) in params.of.0.iter().zip(&cell.summaries) {
            let figures = [
                ("mean", Some(s.mean)),
                ("sd", s.sd),
                ("n", Some(s.n as f64)),
                ("runs", (cell.runs > s.n).then_some(cell.runs as f64)),
                ("low", s.interval.map(|i| i.low)),
                ("high", s.interval.map(|i| i.high)),
            ];
            rows.extend(figures.into_iter().filter_map(|(figure, value)| {
                let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                Some(Row {
                    run: text(&axes_text(&cell.axes)),
                    stage: text(&cell.group),
                    name: format!("{of}_{figure}"),
                    value: value?,
                    ..Row::default()
                })
            }));
        }
    }
    rows
}

fn markdown(cells: &[Cell], params: &Params) -> String {
    // `|` or a newline in a name would break the table.
    let plain = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let axes: Vec<String> = cells.iter().map(|c| axes_text(&c.axes)).collect();
    let with_axes = axes.iter().any(|a| !a.is_empty());
    let mut header = vec!["group".to_owned()];
    header.extend(with_axes.then(|| "axes".to_owned()));
    header.extend(params.of.0.iter().map(|of| plain(of)));
    let mut lines = vec![header];
    for (cell, axes) in cells.iter().zip(&axes) {
        let mut line = vec![plain(&cell.group)];
        line.extend(with_axes.then(|| plain(axes)));
        line.extend(cell.summaries.iter().map(|s| {
            let counted = match cell.runs > s.n {
                true => format!("n = {} of {} runs", s.n, cell.runs),
                false => format!("n = {}", s.n),
            };
            match s.half_width() {
                Some(half) => format!("{:.4} ± {half:.4} ({counted})", s.mean),
                None => format!("{:.4} ({counted})", s.mean),
            }
        }));
        lines.push(line);
    }
    let width = |i: usize| {
        lines
            .iter()
            .map(|l| l[i].chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if i == 0 {
            widths
                .iter()
                .for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    let _ = write!(
        text,
        "\nMean ± half the width of the {} % t interval over {} (n runs).\n",
        percent(params.confidence),
        params.over.0.join(", ")
    );
    let fewer = |cell: &Cell| cell.summaries.iter().any(|s| cell.runs > s.n);
    if cells.iter().any(fewer) {
        text.push_str(
            "Of runs that are no repetitions of one another the mean counts, as one: those within a repetition, made by one action, \
             made from one another, or from one producer.\n",
        );
    }
    text
}

fn repeated(names: &[String]) -> Option<&String> {
    names
        .iter()
        .enumerate()
        .find(|(i, name)| names[..*i].contains(name))
        .map(|(_, name)| name)
}

const DOC: &str = r#"
Reads one number per run from each table and puts runs together that differ only in the axes of
`over`. Each such cell gives the mean, the sample standard deviation, the number of runs, and the
two-sided Student *t* interval of the mean. A cell with one run has no standard deviation and no
interval. Every mean comes with its `n`.

`n` counts independent runs. `within` names the axes of runs inside one repetition
(`over: seed, within: order` for branches of one trained network); these are averaged first. Some
runs are averaged first whatever the axes say, with a warning, because the pipeline shows that they
repeat nothing: instances that are one action (one action is one observation), rounds of one loop, and
runs that share a producer which other runs do not have.

Give the tables by group to compare stages side by side:

```yaml
summary:
  uses: summarise
  needs: {tables: {scratch: "scratch[*].metrics", warm: "warm[*].metrics"}}
  with: {of: [test_accuracy, test_loss], at: last, over: seed}
```

`at` says which of a run's values is read: `last`, `{best: max}`, `{mean_of_last: 5}` or
`{epoch: 10}`. The best value of a test set is optimistic, because it is selected by what it reports.

The table is in long format: `stage` is the group, `run` the remaining axes. Each value gives rows
named `<value>_mean`, `_sd`, `_n`, `_low` and `_high`, and `_runs` where more runs went in than count.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::BuiltIn;
    use crate::kinds::testing::{metrics, task};
    use repro_protocol::job::JobInput;
    use serde_json::json;

    fn tables(dir: &std::path::Path) -> Vec<JobInput> {
        let values = [
            ("scratch", 0.1, [0.812, 0.835, 0.821, 0.80]),
            ("warm", 0.1, [0.7, 0.72, 0.71, 0.69]),
            ("warm", 0.01, [0.5; 4]),
        ];
        let mut inputs = Vec::new();
        for (group, lr, values) in values {
            for (seed, value) in values.into_iter().enumerate() {
                inputs.push(metrics(
                    dir,
                    group,
                    json!({"seed": seed, "lr": lr}),
                    &[0.3, value],
                ));
            }
        }
        inputs.reverse();
        inputs
    }

    fn run(with: Value, inputs: Vec<JobInput>) -> anyhow::Result<(Vec<Row>, String)> {
        let dir = tempfile::tempdir()?;
        let (_, text) = run_in(dir.path(), with, inputs)?;
        Ok((table::read(&dir.path().join("table"))?.rows, text))
    }

    fn run_in(
        dir: &std::path::Path,
        with: Value,
        inputs: Vec<JobInput>,
    ) -> anyhow::Result<(Vec<u8>, String)> {
        let kind = BuiltIn::of::<Summarise>();
        let checked = (kind.check)(&with, &["tables".to_owned()]).expect("right parameters");
        (kind.run)(&mut task(
            dir,
            checked.params,
            &["table", "text"],
            [("tables", inputs)],
        ))?;
        Ok((
            std::fs::read(dir.join("table"))?,
            std::fs::read_to_string(dir.join("text"))?,
        ))
    }

    #[test]
    fn means_over_seeds() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, text) = run(json!({"of": "test_accuracy"}), tables(dir.path())).unwrap();
        assert_eq!(rows.len(), 15);
        let value = |stage: &str, run: &str, name: &str| {
            let mut found = rows.iter().filter(|r| {
                r.stage.as_deref() == Some(stage) && r.run.as_deref() == Some(run) && r.name == name
            });
            found.next().unwrap().value
        };
        assert!((value("scratch", "lr=0.1", "test_accuracy_mean") - 0.817).abs() < 1e-12);
        assert_eq!(value("scratch", "lr=0.1", "test_accuracy_n"), 4.0);
        assert!(
            (value("scratch", "lr=0.1", "test_accuracy_low") - 0.7935058717018962).abs() < 1e-12
        );
        assert_eq!(value("warm", "lr=0.01", "test_accuracy_sd"), 0.0);
        assert_eq!(
            text,
            "\
| group   | axes    | test_accuracy           |
|---------|---------|-------------------------|
| warm    | lr=0.01 | 0.5000 ± 0.0000 (n = 4) |
| warm    | lr=0.1  | 0.7050 ± 0.0205 (n = 4) |
| scratch | lr=0.1  | 0.8170 ± 0.0235 (n = 4) |

Mean ± half the width of the 95 % t interval over seed (n runs).
"
        );
    }

    /// Frozen bytes: a change must raise `REVISION`.
    #[test]
    fn golden() {
        let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let with = json!({"of": ["test_accuracy"], "at": {"mean_of_last": 2}});
        let (bytes, text) = run_in(out.path(), with, tables(data.path())).unwrap();
        let digest = blake3::hash(&[&bytes[..], text.as_bytes()].concat()).to_hex();
        assert_eq!(
            (Summarise::REVISION, &digest[..16]),
            (1, "634d76a575aa5678")
        );
    }

    #[test]
    fn one_run_has_no_interval_and_twins_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let one = metrics(dir.path(), "g", json!({"seed": 0}), &[0.5]);
        let (rows, text) = run(json!({"of": "accuracy"}), vec![one.clone()]).unwrap();
        assert_eq!(
            rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
            ["accuracy_mean", "accuracy_n"]
        );
        assert!(text.contains("| 0.5000 (n = 1) |"), "{text}");
        let message = run(json!({"of": "accuracy"}), vec![one.clone(), one])
            .unwrap_err()
            .to_string();
        assert!(message.contains("same axes (seed=0)"), "{message}");
    }

    fn nested(dir: &std::path::Path, tie: impl Fn(&mut JobInput, u32)) -> Vec<JobInput> {
        let run = |(seed, order): (u32, u32)| {
            let value = f64::from(seed) + f64::from(order) / 10.0;
            let axes = json!({"seed": seed, "order": order});
            let mut item = metrics(dir, "branch", axes, &[value]);
            tie(&mut item, seed);
            item
        };
        (0..5)
            .flat_map(|s| (0..3).map(move |o| (s, o)))
            .map(run)
            .collect()
    }

    /// Fifteen branches of five trunks: the interval is that of the five means.
    #[test]
    fn case_40_branches_of_one_trunk_are_one_observation() {
        let dir = tempfile::tempdir().unwrap();
        let means = summarise(&[0.1, 1.1, 2.1, 3.1, 4.1], 0.95).unwrap();
        let said = json!({"of": "accuracy", "over": "seed", "within": "order"});
        let found = json!({"of": "accuracy", "over": ["seed", "order"]});
        for (with, shared) in [(said, false), (found, true)] {
            let tie = |item: &mut JobInput, seed| item.sources.extend(shared.then_some(seed));
            let (rows, text) = run(with, nested(dir.path(), tie)).unwrap();
            let value = |name: &str| {
                let row = rows.iter().find(|r| r.name == format!("accuracy_{name}"));
                row.unwrap().value
            };
            assert_eq!((value("n"), value("runs")), (5.0, 15.0));
            assert!((value("mean") - means.mean).abs() < 1e-12);
            assert!((value("low") - means.interval.unwrap().low).abs() < 1e-12);
            assert!(text.contains("(n = 5 of 15 runs)"), "{text}");
        }
    }

    #[test]
    fn case_1_one_action_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let twins: Vec<JobInput> = (0..5)
            .map(|seed| JobInput {
                chain: Some(3),
                ..metrics(dir.path(), "g", json!({"seed": seed}), &[0.5])
            })
            .collect();
        let (rows, text) = run(json!({"of": "accuracy"}), twins).unwrap();
        let names: Vec<(&str, f64)> = rows.iter().map(|r| (r.name.as_str(), r.value)).collect();
        assert_eq!(
            names,
            [
                ("accuracy_mean", 0.5),
                ("accuracy_n", 1.0),
                ("accuracy_runs", 5.0)
            ]
        );
        assert!(text.contains("| 0.5000 (n = 1 of 5 runs) |"), "{text}");
    }

    #[test]
    fn bad_parameters() {
        let kind = BuiltIn::of::<Summarise>();
        let wrong = |with: Value| (kind.check)(&with, &[]).unwrap_err().remove(0).message;
        assert!(wrong(json!({"of": []})).contains("no value"));
        assert!(wrong(json!({"of": ["a", "a"]})).contains("twice"));
        assert!(wrong(json!({"of": "a", "confidence": 95})).contains("not between 0 and 1"));
        assert!(wrong(json!({"of": "a", "at": {"mean_of_last": 0}})).contains("no values"));
        assert!(wrong(json!({"of": "a", "at": "first"})).contains("unknown choice `first`"));
        assert!(wrong(json!({})).contains("`of` is missing"));
    }
}
