//! From runs to figures, by their shape alone.
//!
//! Values that lie along epochs or steps make curves, last values make points, and a stage whose
//! axes are numbers shows its values along them.

use std::collections::BTreeMap;

use crate::MeanOf;
use crate::figure::{Axis, Body, Entry, Figure, Grid, Line, Point, slug};
use crate::observed::{Course, Name, Observed, measured, ranked};
use crate::study::Arm;

/// Metrics that are drawn without being asked for.
const METRICS: usize = 6;
/// Curves in one figure.
const LINES: usize = 12;
/// Groups in one figure.
const ENTRIES: usize = 40;

/// Who asks for a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nobody: it is drawn where there is something to see.
    ByNobody,
    /// The study.
    ByTheStudy,
}

impl Asked {
    /// So many values on an axis make it worth a figure.
    fn along(self) -> usize {
        match self {
            Asked::ByNobody => 3,
            Asked::ByTheStudy => 2,
        }
    }
}

/// `scratch lr=0.1`.
pub fn label((stage, axes): &Name) -> String {
    let axes = axes.iter().map(|(a, v)| match a.as_str() {
        "run" => v.clone(),
        a => format!("{a}={v}"),
    });
    [stage.clone()]
        .into_iter()
        .chain(axes)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The figures that are drawn where nothing is declared, those about `first` metrics in front; and
/// what was left out.
pub fn automatic(
    observed: &Observed,
    arms: &[Arm],
    first: &[String],
    mean: MeanOf,
) -> (Vec<Figure>, Vec<String>) {
    let (mut metrics, dull) = ranked(arms, first);
    let (mut figures, mut remarks) = (Vec::new(), Vec::new());
    if metrics.len() > METRICS {
        let rest = metrics.split_off(METRICS);
        remarks.push(format!(
            "Not drawn: {}. The tables have them.",
            some_of(&rest)
        ));
    }
    if !dull.is_empty() {
        remarks.push(format!(
            "Not drawn, as all repetitions have the same values: {}.",
            some_of(&dull)
        ));
    }
    for metric in &metrics {
        figures.extend(rows(arms, metric, Asked::ByNobody));
        figures.extend(axes(arms, metric, None, Asked::ByNobody));
        figures.extend(curves(observed, |_| true, metric, (mean, Asked::ByNobody)));
    }
    (figures, remarks)
}

/// The first names, and how many there are beside.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Last values: a row for each arm, at most one figure.
pub fn rows(arms: &[Arm], metric: &str, asked: Asked) -> Vec<Figure> {
    let having: Vec<&Arm> = arms
        .iter()
        .filter(|a| a.metrics.contains_key(metric))
        .collect();
    let is_single = having.len() < 2 && having.iter().all(|a| a.n < 2);
    if having.is_empty() || (is_single && asked == Asked::ByNobody) {
        return Vec::new();
    }
    let left_out = having.len().saturating_sub(ENTRIES);
    let entries = having.iter().take(ENTRIES).filter_map(|arm| {
        let measured = arm.metrics.get(metric)?;
        Some(Entry {
            label: label(&(arm.stage.clone(), arm.axes.clone())),
            values: measured.values.clone(),
            mean: measured.mean,
            band: measured.band,
        })
    });
    let mut note = "Last values. Points are repetitions; below them their mean with its 95 % \
                    interval."
        .to_owned();
    if left_out > 0 {
        note.push_str(&format!(
            " {left_out} further groups are in the table of runs."
        ));
    }
    vec![Figure {
        name: format!("last-{}", slug(metric)),
        title: format!("{metric}, last value"),
        note,
        x: Axis::linear(metric),
        y: Axis::default(),
        body: Body::Rows(entries.collect()),
    }]
}

/// The axes of a stage that are numbers, with their different values, rising.
fn numeric<'a>(arms: &[&'a Arm], asked: Asked) -> Vec<(&'a str, Vec<f64>)> {
    let mut found: BTreeMap<&str, Option<Vec<f64>>> = BTreeMap::new();
    for (axis, value) in arms.iter().flat_map(|arm| &arm.axes) {
        let entry = found.entry(axis).or_insert_with(|| Some(Vec::new()));
        match (entry.as_mut(), value.parse::<f64>()) {
            (Some(values), Ok(value)) if value.is_finite() => values.push(value),
            _ => *entry = None,
        }
    }
    let found = found.into_iter().filter_map(|(axis, values)| {
        let mut values = values?;
        values.sort_by(f64::total_cmp);
        values.dedup();
        (values.len() >= asked.along()).then_some((axis, values))
    });
    found.collect()
}

fn value_on(arm: &Arm, axis: &str) -> Option<f64> {
    arm.axis(axis)?.parse().ok()
}

/// A metric along the axes of numbers of each stage.
pub fn axes(arms: &[Arm], metric: &str, only: Option<&str>, asked: Asked) -> Vec<Figure> {
    let mut stages: Vec<&str> = Vec::new();
    for arm in arms.iter().filter(|a| a.metrics.contains_key(metric)) {
        if !stages.contains(&&*arm.stage) {
            stages.push(&arm.stage);
        }
    }
    let mut figures = Vec::new();
    for stage in stages {
        let own: Vec<&Arm> = arms
            .iter()
            .filter(|a| a.stage == stage && a.metrics.contains_key(metric))
            .collect();
        let numeric = numeric(&own, asked);
        let is_plane = own.iter().all(|a| a.axes.len() == 2);
        if let ([(a, xs), (b, ys)], true) = (&numeric[..], is_plane && only.is_none()) {
            let cell = |y: f64, x: f64| {
                let here = |arm: &&&Arm| value_on(arm, a) == Some(x) && value_on(arm, b) == Some(y);
                let arm = own.iter().find(here)?;
                arm.metrics.get(metric).map(|m| m.mean)
            };
            let cells = ys.iter().flat_map(|y| xs.iter().map(|x| cell(*y, *x)));
            figures.push(Figure {
                name: slug(&format!("grid-{metric}-{stage}")),
                title: format!("{metric} of {stage} over {a} and {b}"),
                note: "Mean of the repetitions.".to_owned(),
                x: Axis::linear(*a),
                y: Axis::linear(*b),
                body: Body::Grid(Grid {
                    cells: cells.collect(),
                    xs: xs.clone(),
                    ys: ys.clone(),
                    label: metric.to_owned(),
                    contours: false,
                }),
            });
            continue;
        }
        for (axis, values) in numeric.iter().filter(|(a, _)| only.is_none_or(|o| o == *a)) {
            let mut lines: BTreeMap<String, Vec<Point>> = BTreeMap::new();
            for arm in &own {
                let rest = arm
                    .axes
                    .iter()
                    .filter(|(a, _)| a != axis)
                    .cloned()
                    .collect();
                let (Some(x), Some(m)) = (value_on(arm, axis), arm.metrics.get(metric)) else {
                    continue;
                };
                lines
                    .entry(label(&(arm.stage.clone(), rest)))
                    .or_default()
                    .push(Point {
                        x,
                        mean: m.mean,
                        band: m.band,
                        n: m.values.len(),
                    });
            }
            let made = lines.into_iter().map(|(label, mut points)| {
                points.sort_by(|a, b| a.x.total_cmp(&b.x));
                Line { label, points }
            });
            let (lines, said) = fewer(made.collect());
            let mut x = Axis::linear(*axis);
            // Values that grow by factors lie on a log axis.
            let (low, high) = (values[0], values[values.len() - 1]);
            if low > 0.0 && high / low >= 50.0 {
                x.scale = crate::figure::Scale::Log;
            }
            figures.push(Figure {
                name: slug(&format!("along-{axis}-{metric}-{stage}")),
                title: format!("{metric} of {stage} against {axis}"),
                note: format!("Mean of the repetitions; the band is its 95 % interval.{said}"),
                x,
                y: Axis::linear(metric),
                body: Body::Lines(lines),
            });
        }
    }
    figures
}

/// At most so many curves, evenly chosen; and what is said of it.
pub fn fewer(lines: Vec<Line>) -> (Vec<Line>, String) {
    let n = lines.len();
    if n <= LINES {
        return (lines, String::new());
    }
    let kept = (0..LINES).map(|i| lines[i * (n - 1) / (LINES - 1)].clone());
    (kept.collect(), format!(" {LINES} of {n} curves are drawn."))
}

/// A metric over time: all arms of the stages that are meant, in one figure or one for each stage.
pub fn curves(
    observed: &Observed,
    is_meant: impl Fn(&str) -> bool,
    metric: &str,
    (mean, asked): (MeanOf, Asked),
) -> Vec<Figure> {
    let mut lines: Vec<(&str, Line)> = Vec::new();
    let mut course = Course::Epochs;
    for name in observed.names().filter(|(stage, _)| is_meant(stage)) {
        let Some((own, places)) = observed.along(name, metric) else {
            continue;
        };
        if places.len() < asked.along() {
            continue;
        }
        course = own;
        let points = places.iter().map(|(x, values)| {
            let m = measured(values, mean);
            Point {
                x: *x as f64,
                mean: m.mean,
                band: m.band,
                n: m.values.len(),
            }
        });
        let points = points.collect();
        let label = label(name);
        lines.push((&name.0, Line { label, points }));
    }
    if lines.is_empty() {
        return Vec::new();
    }
    let across = match course {
        Course::Epochs => "epoch",
        Course::Steps => "step",
    };
    let figure = |name: String, title: String, lines: Vec<Line>| {
        let (lines, said) = fewer(lines);
        let most = lines
            .iter()
            .flat_map(|l| &l.points)
            .map(|p| p.n)
            .max()
            .unwrap_or(0);
        let note = match most {
            0 | 1 => format!("One run each.{said}"),
            n => format!("Mean of up to {n} repetitions; the band is its 95 % interval.{said}"),
        };
        Figure {
            name,
            title,
            note,
            x: Axis::linear(across),
            y: Axis::linear(metric),
            body: Body::Lines(lines),
        }
    };
    if lines.len() <= LINES {
        let all = lines.into_iter().map(|(_, line)| line).collect();
        let name = format!("curve-{}", slug(metric));
        return vec![figure(name, format!("{metric} over time"), all)];
    }
    let mut stages: Vec<&str> = lines.iter().map(|(stage, _)| *stage).collect();
    stages.dedup();
    let of = |stage: &str| {
        let own = lines
            .iter()
            .filter(|(s, _)| *s == stage)
            .map(|(_, l)| l.clone());
        figure(
            slug(&format!("curve-{metric}-{stage}")),
            format!("{metric} of {stage} over time"),
            own.collect(),
        )
    };
    stages.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Repeats, Table};
    use repro_protocol::table::Row;
    use std::collections::BTreeSet;

    fn table(stage: &str, axes: &[(&str, &str)], values: &[(i64, f64)]) -> Table {
        let row = |(epoch, value): &(i64, f64)| Row {
            epoch: Some(*epoch),
            split: Some("test".into()),
            name: "accuracy".into(),
            value: *value,
            ..Row::default()
        };
        Table {
            stage: stage.into(),
            axes: axes
                .iter()
                .map(|(a, v)| ((*a).into(), (*v).into()))
                .collect(),
            rows: values.iter().map(row).collect(),
        }
    }

    fn repeats() -> Repeats {
        Repeats {
            over: BTreeSet::from(["seed".to_owned()]),
            within: BTreeSet::from(["order".to_owned()]),
        }
    }

    /// Runs of one seed are one observation, whatever their number.
    fn mean_alone(values: &[f64]) -> (f64, Option<[f64; 2]>) {
        (values.iter().sum::<f64>() / values.len() as f64, None)
    }

    #[test]
    fn what_lies_within_a_repetition_is_averaged_first() {
        let tables = [
            table("t", &[("seed", "0"), ("order", "1")], &[(1, 0.0), (2, 1.0)]),
            table("t", &[("seed", "0"), ("order", "2")], &[(2, 3.0)]),
            table("t", &[("seed", "1"), ("order", "1")], &[(2, 6.0)]),
        ];
        let arms = Observed::of(&tables, &repeats()).arms(mean_alone);
        assert_eq!(arms.len(), 1);
        let measured = &arms[0].metrics["test_accuracy"];
        assert_eq!(measured.values.len(), 2);
        assert_eq!(measured.mean, 4.0);
    }

    /// A learning rate says nothing that the study did not say before.
    #[test]
    fn what_is_set_is_not_drawn() {
        let mut tables = Vec::new();
        for seed in ["0", "1"] {
            let measured = if seed == "0" { 0.5 } else { 0.6 };
            let mut table = table("t", &[("seed", seed)], &[(1, 0.1), (2, measured)]);
            for epoch in 1..=3 {
                table.rows.push(Row {
                    epoch: Some(epoch),
                    name: "learning_rate".into(),
                    value: 0.1 / epoch as f64,
                    ..Row::default()
                });
            }
            tables.push(table);
        }
        let observed = Observed::of(&tables, &repeats());
        let arms = observed.arms(mean_alone);
        let (figures, remarks) = automatic(&observed, &arms, &[], mean_alone);
        assert!(
            figures.iter().all(|f| f.y.label != "learning_rate"),
            "{figures:?}"
        );
        let said = "Not drawn, as all repetitions have the same values: learning_rate.";
        assert_eq!(remarks, [said]);
        // A claim about it makes it worth a figure.
        let asked = ["learning_rate".to_owned()];
        let (figures, _) = automatic(&observed, &arms, &asked, mean_alone);
        assert!(figures.iter().any(|f| f.y.label == "learning_rate"));
    }

    #[test]
    fn figures_follow_the_shape_of_tables() {
        let mut tables = Vec::new();
        for (i, lr) in ["0.1", "0.2", "0.3"].into_iter().enumerate() {
            for (noise, seed) in [(0.0, "0"), (0.1, "1")] {
                let values = (1..=4).map(|e| (e, e as f64 + i as f64 + noise));
                let values: Vec<_> = values.collect();
                tables.push(table("t", &[("lr", lr), ("seed", seed)], &values));
            }
        }
        let observed = Observed::of(&tables, &repeats());
        let arms = observed.arms(mean_alone);
        let (figures, _) = automatic(&observed, &arms, &[], mean_alone);
        let names: Vec<&str> = figures.iter().map(|f| &*f.name).collect();
        let expected = [
            "last-test-accuracy",
            "along-lr-test-accuracy-t",
            "curve-test-accuracy",
        ];
        assert_eq!(names, expected);
    }
}
