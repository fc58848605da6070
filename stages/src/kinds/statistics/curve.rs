//! `curve`: what the course of one training says, as single numbers.
//!
//! Decides what counts as reaching a level, and what a curve's area, jumps and gap are. Knows no
//! network: any table with one value per epoch will do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::check_asked;
use crate::facts::{Fact, Findings, Known, MetricsFact};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::series::{At, Point, Series, read_series};
use crate::stats::deviation;
use crate::table;
use crate::task::Task;
use repro_protocol::job::Event;
use repro_protocol::table::Row;

/// See the module.
pub struct Curve;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The curve: `test_accuracy` is `accuracy` of the split `test`; a name alone works if only one
    /// split has it.
    pub of: String,
    /// Levels to rise to, such as accuracies. Each gives `epochs_to_LEVEL`, `steps_to_LEVEL` and
    /// `reached_LEVEL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<f64>,
    /// Levels to fall to, such as losses. They give the same values as those of `reach`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fall_to: Vec<f64>,
    /// What a level that is never reached gives.
    #[serde(default)]
    pub unreached: Unreached,
    /// A second curve: `gap` is its last value less the last value of `of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_from: Option<String>,
}

/// What is written where a level is never reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreached {
    /// Only `reached_LEVEL`, which is 0.
    #[default]
    LeaveOut,
    /// The last epoch and step, which are too few: a lower bound.
    CountLast,
}

impl Kind for Curve {
    type Params = Params;
    const NAME: &'static str = "curve";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str =
        "Measures a training's course: epochs to a level, area, jumps, gap.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[InputSpec::required(
        "table",
        "The metrics of one run, over epochs.",
    )];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "curve.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (field, levels) in [("reach", &p.reach), ("fall_to", &p.fall_to)] {
            for (at, level) in levels.iter().enumerate() {
                let path = [field, &at.to_string()];
                if !level.is_finite() {
                    let message = format!("a level of {level} is no finite number");
                    problems.push(ParamProblem::new(&path, message, "e.g. 0.5"));
                }
                let earlier = p.reach.iter().chain(&p.fall_to);
                let place = at + if field == "reach" { 0 } else { p.reach.len() };
                if earlier.take(place).any(|other| other == level) {
                    let message = format!("the level {level} stands there twice");
                    problems.push(ParamProblem::new(&path, message, "name each level once"));
                }
            }
        }
        problems
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let tables = known.tables("table", &mut found);
        check_asked(&tables, &p.of, At::Last, &["of"], &["of"], &mut found);
        if let Some(other) = &p.gap_from {
            let path = &["gap_from"];
            check_asked(&tables, other, At::Last, path, path, &mut found);
        }
        let mut names = vec!["area".to_owned(), "jumpiness".to_owned()];
        names.extend(p.gap_from.iter().map(|_| "gap".to_owned()));
        for level in p.reach.iter().chain(&p.fall_to) {
            names.extend(["epochs_to", "steps_to", "reached"].map(|n| format!("{n}_{level}")));
        }
        let values = Vec::from_iter(names.iter().map(|name| (None, name.as_str())));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let series = read_series(task.inputs("table"))?;
        let [one] = &series[..] else {
            let message = format!("the table holds {} runs; a curve is of one", series.len());
            anyhow::bail!(Failure::new(message).hint("give the table of one run"));
        };
        let (rows, warnings) = measures(one, p)?;
        for text in warnings {
            task.send(&Event::Warning { text });
        }
        table::write(task.output("metrics")?, &rows)
    }
}

/// All numbers of a curve, and what could not be had.
fn measures(series: &Series, p: &Params) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    let points = series.curve(&p.of)?;
    let mut warnings = Vec::new();
    let mut values: Vec<(String, f64)> = vec![("area".to_owned(), area(&points))];
    match jumpiness(&points) {
        Some(value) => values.push(("jumpiness".to_owned(), value)),
        None => warnings.push(format!(
            "`{}` has {} values: jumpiness needs three, and is left out",
            p.of,
            points.len()
        )),
    }
    if let Some(other) = &p.gap_from {
        let gap = series.value(other, At::Last)? - series.value(&p.of, At::Last)?;
        values.push(("gap".to_owned(), gap));
    }
    let rising = p.reach.iter().map(|level| (*level, true));
    let falling = p.fall_to.iter().map(|level| (*level, false));
    for (level, rises) in rising.chain(falling) {
        let is_there = |point: &&Point| match rises {
            true => point.value >= level,
            false => point.value <= level,
        };
        let first = points.iter().find(is_there);
        values.push((
            format!("reached_{level}"),
            f64::from(u8::from(first.is_some())),
        ));
        let counted = match p.unreached {
            Unreached::CountLast => first.or(points.last()),
            Unreached::LeaveOut => first,
        };
        if let Some(point) = counted {
            values.push((format!("epochs_to_{level}"), point.epoch as f64));
            let steps = point
                .step
                .map(|step| (format!("steps_to_{level}"), step as f64));
            values.extend(steps);
        }
    }
    let row = |(name, value)| Row {
        name,
        value,
        ..Row::default()
    };
    Ok((values.into_iter().map(row).collect(), warnings))
}

/// The mean height: trapezoids between neighbours, divided by the epochs from first to last.
fn area(points: &[Point]) -> f64 {
    let width = |pair: &[Point]| (pair[1].epoch - pair[0].epoch) as f64;
    let whole: f64 = points.windows(2).map(width).sum();
    match points {
        [only] => only.value,
        _ => {
            let trapezoid = |pair: &[Point]| width(pair) * (pair[0].value + pair[1].value) / 2.0;
            points.windows(2).map(trapezoid).sum::<f64>() / whole
        }
    }
}

/// The standard deviation of the changes from one value to the next.
fn jumpiness(points: &[Point]) -> Option<f64> {
    let changes = Vec::from_iter(points.windows(2).map(|p| p[1].value - p[0].value));
    deviation(&changes)
}

const DOC: &str = r#"
Reads one metric of one run over its epochs and says in single numbers how the training went.
`summarise` and claims read them like any other metric.

```yaml
course:
  uses: curve
  matrix: {seed: [0, 1, 2]}
  needs: {table: train.metrics}
  with: {of: test_accuracy, reach: [0.5, 0.9], unreached: count_last, gap_from: train_accuracy}
table:
  uses: summarise
  needs: {tables: "course[*].metrics"}
  with: {of: [epochs_to_0.5, steps_to_0.5, area, jumpiness, gap]}
```

`metrics` (`curve.parquet`) holds, without epochs:

- `epochs_to_LEVEL`, `steps_to_LEVEL`: epochs and optimizer steps done at the first recorded value
  that is at least the level (`reach`), or at most the level (`fall_to`). Nothing is interpolated: with
  `eval_every: 5` they are multiples of 5 epochs.
- `reached_LEVEL`: 1 if the level was reached, 0 if not. Its mean over seeds is the share of runs that
  got there. By default the other two are then missing, and a claim about them fails; with
  `unreached: count_last` they are those of the last value. That is a lower bound: a mean over such
  runs is too small, and ranks (`interval: ranks` of a claim) are the safer comparison.
- `area`: the area under the curve by trapezoids, divided by the epochs from its first to its last
  value: the mean height, in the metric's own unit. Of two runs of equal length, the one that learns
  sooner has the larger area.
- `jumpiness`: the standard deviation (n - 1) of the changes from one recorded value to the next. A
  curve that rises evenly has 0. Compare only runs with equal `eval_every`. Needs three values.
- `gap`: the last value of `gap_from` less the last value of `of`, as train less test accuracy.

Errors: values without epochs, two values at one epoch, a value that is not finite, a table of several
runs.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::BuiltIn;
    use crate::kinds::testing::{metrics, task};
    use serde_json::{Value, json};

    /// Runs the kind on a curve with a value per epoch, from epoch 0.
    fn run(with: Value, values: &[f64]) -> anyhow::Result<Vec<(String, f64)>> {
        let dir = tempfile::tempdir()?;
        let kind = BuiltIn::of::<Curve>();
        let checked = (kind.check)(&with, &["table".to_owned()]).expect("right parameters");
        let input = metrics(dir.path(), "", json!({"seed": 1}), values);
        let inputs = [("table", vec![input])];
        (kind.run)(&mut task(dir.path(), checked.params, &["metrics"], inputs))?;
        let rows = table::read(&dir.path().join("metrics"))?.rows;
        Ok(rows.into_iter().map(|r| (r.name, r.value)).collect())
    }

    fn value(values: &[(String, f64)], name: &str) -> Option<f64> {
        values.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    #[test]
    fn levels_are_reached_at_the_first_value_that_is_there() {
        let with = json!({"of": "test_accuracy", "reach": [0.5, 0.9], "fall_to": [0.2]});
        let all = run(with, &[0.3, 0.5, 0.4, 0.8, 0.2]).unwrap();
        assert_eq!(value(&all, "epochs_to_0.5"), Some(1.0));
        assert_eq!(value(&all, "reached_0.5"), Some(1.0));
        assert_eq!(value(&all, "epochs_to_0.2"), Some(4.0));
        assert_eq!(value(&all, "reached_0.9"), Some(0.0));
        assert_eq!(value(&all, "epochs_to_0.9"), None);
        let with = json!({"of": "test_accuracy", "reach": [0.9], "unreached": "count_last"});
        let all = run(with, &[0.3, 0.5]).unwrap();
        assert_eq!(value(&all, "epochs_to_0.9"), Some(1.0));
        assert_eq!(value(&all, "reached_0.9"), Some(0.0));
    }

    /// `numpy.trapezoid(v) / (len(v) - 1)` and `numpy.std(numpy.diff(v), ddof=1)`.
    #[test]
    fn area_and_jumpiness_are_numpys() {
        let with = json!({"of": "test_accuracy"});
        let all = run(with.clone(), &[0.1, 0.35, 0.3, 0.6, 0.55]).unwrap();
        let near = |name: &str, expected: f64| {
            let found = value(&all, name).unwrap();
            assert!((found - expected).abs() < 1e-12, "{name}: {found}");
        };
        near("area", 0.39375);
        near("jumpiness", 0.188_745_860_882_176_9);
        // A straight line does not jump, and its area is the middle.
        let all = run(with.clone(), &[0.25, 0.5, 0.75]).unwrap();
        assert_eq!(value(&all, "jumpiness"), Some(0.0));
        assert_eq!(value(&all, "area"), Some(0.5));
        let all = run(with, &[0.25]).unwrap();
        assert_eq!(value(&all, "jumpiness"), None);
        assert_eq!(value(&all, "area"), Some(0.25));
    }

    #[test]
    fn what_is_no_curve_is_told() {
        let error = run(json!({"of": "loss"}), &[0.1]).unwrap_err().to_string();
        assert!(error.contains("it has no value `loss`"), "{error}");
        let kind = BuiltIn::of::<Curve>();
        let with = json!({"of": "x", "reach": [0.5], "fall_to": [0.5]});
        let problems = (kind.check)(&with, &["table".to_owned()]).unwrap_err();
        assert!(problems[0].message.contains("twice"), "{problems:?}");
    }
}
