//! `figures:` of the pipeline to figures. Decides what a figure shows of the runs there are; where
//! it has nothing to show, it says why and what there is instead.

use std::collections::BTreeSet;

use repro_engine::plan::{self, FigureShape};
use repro_engine::similar::likest;

use crate::MeanOf;
use crate::figure::{Axis, Body, Figure, Line, Point, Scale, slug};
use crate::members;
use crate::observed::Observed;
use crate::series::{self, Asked};
use crate::study::Arm;

/// A figure that the study asks for, or why there is nothing to see on it.
///
/// # Errors
/// No run has what it is about: a sentence that begins with a small letter and has no stop.
pub fn declared(
    asked: &plan::Figure,
    observed: &Observed,
    arms: &[Arm],
    mean: MeanOf,
) -> Result<Figure, String> {
    let is_meant = |stage: &str| asked.stages.is_empty() || asked.stages.iter().any(|s| s == stage);
    let own = arms.iter().filter(|a| is_meant(&a.stage));
    let own: Vec<Arm> = own.cloned().collect();
    if own.is_empty() {
        return Err("nothing it is about has a table of metrics with a result yet".to_owned());
    }
    let metric = &*full_name(&asked.of, observed, &own)?;
    let mut figure = match &asked.shape {
        FigureShape::Against(other) => against(&own, &asked.of, other)?,
        FigureShape::Points => {
            having(&own, metric)?;
            let figures = series::rows(&own, metric, Asked::ByTheStudy).into_iter();
            figures.reduce(joined).ok_or_else(too_little)?
        }
        FigureShape::Curves => {
            having(&own, metric)?;
            let figures = series::curves(observed, is_meant, metric, (mean, Asked::ByTheStudy));
            figures.into_iter().reduce(joined).ok_or_else(|| {
                "its curves need two epochs or steps, and there are none with two; `show: points` \
                 draws last values"
                    .to_owned()
            })?
        }
        FigureShape::Along(axis) => {
            check_axis(&having(&own, metric)?, axis)?;
            let figures = series::axes(&own, metric, Some(axis), Asked::ByTheStudy).into_iter();
            figures.reduce(joined).ok_or_else(too_little)?
        }
        FigureShape::Grid(x, y) => {
            let having = having(&own, metric)?;
            check_axis(&having, x)?;
            check_axis(&having, y)?;
            grid(&own, metric, (x, y))?
        }
    };
    figure.name = slug(&asked.name);
    figure.title = asked.title.clone().unwrap_or(figure.title);
    for (axis, is_log) in [(&mut figure.x, asked.log_x), (&mut figure.y, asked.log_y)] {
        if is_log {
            axis.scale = Scale::Log;
        }
    }
    Ok(figure)
}

/// The metric that a name means: as in claims, a name without the part of the data is enough where
/// only one part has it.
fn full_name(name: &str, observed: &Observed, own: &[Arm]) -> Result<String, String> {
    let has = |metric: &str| own.iter().any(|arm| arm.metrics.contains_key(metric));
    let parts: Vec<&str> = observed.of_parts(name).filter(|full| has(full)).collect();
    match &parts[..] {
        _ if has(name) => Ok(name.to_owned()),
        [] => Ok(name.to_owned()),
        [one] => Ok((*one).to_owned()),
        several => Err(format!(
            "`{name}` may be {}: say which",
            several.join(" or ")
        )),
    }
}

fn too_little() -> String {
    "there is one value of it only".to_owned()
}

/// The arms that have the metric; never none.
fn having<'a>(arms: &'a [Arm], metric: &str) -> Result<Vec<&'a Arm>, String> {
    let having = arms.iter().filter(|a| a.metrics.contains_key(metric));
    let having: Vec<&Arm> = having.collect();
    if having.is_empty() {
        let names = arms.iter().flat_map(|a| a.metrics.keys());
        return Err(format!(
            "no result has a metric called `{metric}`; {}",
            instead(metric, names.map(|n| &**n).collect())
        ));
    }
    Ok(having)
}

/// The name that is meant, or the names there are.
fn instead(name: &str, known: BTreeSet<&str>) -> String {
    const NAMED: usize = 8;
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = likest(name, &known) {
        return format!("did you mean `{near}`?");
    }
    match known.len() {
        0 => "there are none".to_owned(),
        n => {
            let more = match n.saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = &known[..n.min(NAMED)];
            format!("there is {}{more}", named.join(", "))
        }
    }
}

/// Numbers can be drawn along an axis; names cannot.
fn check_axis(having: &[&Arm], axis: &str) -> Result<(), String> {
    let values: BTreeSet<&str> = having.iter().filter_map(|arm| arm.axis(axis)).collect();
    if values.is_empty() {
        let names = having.iter().flat_map(|arm| &arm.axes);
        return Err(format!(
            "no run with this metric has an axis called `{axis}` that is no repetition; {}",
            instead(axis, names.map(|(a, _)| &**a).collect())
        ));
    }
    if let Some(word) = values.iter().find(|v| v.parse::<f64>().is_err()) {
        return Err(format!(
            "the axis `{axis}` has values that are no numbers, such as `{word}`; leave out `{axis}` \
             and write `show: points`"
        ));
    }
    match values.len() {
        1 => Err(format!("the axis `{axis}` has one value only")),
        _ => Ok(()),
    }
}

/// The curves and points of two figures in one.
fn joined(mut first: Figure, second: Figure) -> Figure {
    match (&mut first.body, second.body) {
        (Body::Lines(lines), Body::Lines(more)) => lines.extend(more),
        (Body::Rows(rows), Body::Rows(more)) => rows.extend(more),
        _ => {}
    }
    first
}

fn grid(own: &[Arm], metric: &str, (x, y): (&str, &str)) -> Result<Figure, String> {
    let mut figures = series::axes(own, metric, None, Asked::ByTheStudy).into_iter();
    let found = figures.find(|f| {
        let names = [&*f.x.label, &*f.y.label];
        matches!(f.body, Body::Grid(_)) && (names == [x, y] || names == [y, x])
    });
    let mut figure = found.ok_or_else(|| {
        let others = own.iter().flat_map(|arm| &arm.axes);
        let others: BTreeSet<&str> = others
            .map(|(axis, _)| &**axis)
            .filter(|a| *a != x && *a != y)
            .collect();
        match others.is_empty() {
            true => format!("no stage has the axes `{x}` and `{y}`"),
            false => format!(
                "a cell of a grid is one value, and the runs differ in {} too",
                others.into_iter().collect::<Vec<_>>().join(", ")
            ),
        }
    })?;
    if let (Body::Grid(grid), true) = (&mut figure.body, figure.x.label == y) {
        let turned = (0..grid.xs.len())
            .flat_map(|i| (0..grid.ys.len()).map(move |j| (i, j)))
            .map(|(i, j)| grid.at(i, j));
        grid.cells = turned.collect();
        std::mem::swap(&mut grid.xs, &mut grid.ys);
        std::mem::swap(&mut figure.x, &mut figure.y);
    }
    Ok(figure)
}

/// Of metrics with members (`accuracy[3]`): each member of one at the value that the same member of
/// the other has, such as accuracies of bins against their confidences.
fn against(own: &[Arm], up: &str, across: &str) -> Result<Figure, String> {
    let names = own.iter().flat_map(|arm| arm.metrics.keys());
    let with_members = names.filter_map(|name| members::parts(name));
    let with_members: BTreeSet<&str> = with_members.map(|(metric, _)| metric).collect();
    for metric in [up, across] {
        if !with_members.contains(metric) {
            return Err(format!(
                "no result has metrics called `{metric}[…]`; {}",
                instead(metric, with_members)
            ));
        }
    }
    let line = |arm: &Arm| {
        let points = arm.metrics.iter().filter_map(|(name, value)| {
            let (_, member) = members::parts(name).filter(|(metric, _)| *metric == up)?;
            let x = arm.metrics.get(&format!("{across}[{member}]"))?;
            Some(Point {
                x: x.mean,
                mean: value.mean,
                band: value.band,
                n: value.values.len(),
            })
        });
        let mut points: Vec<Point> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let label = series::label(&(arm.stage.clone(), arm.axes.clone()));
        (!points.is_empty()).then_some(Line { label, points })
    };
    let lines: Vec<Line> = own.iter().filter_map(line).collect();
    if lines.is_empty() {
        return Err(format!("`{up}` and `{across}` have no members in common"));
    }
    let (lines, said) = series::fewer(lines);
    Ok(Figure {
        name: String::new(),
        title: format!("{up} against {across}"),
        note: format!("Mean of the repetitions; the band is its 95 % interval.{said}"),
        x: Axis::linear(across),
        y: Axis::linear(up),
        body: Body::Lines(lines),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Repeats, Table};
    use repro_protocol::table::Row;

    fn mean(values: &[f64]) -> (f64, Option<[f64; 2]>) {
        (values.iter().sum::<f64>() / values.len() as f64, None)
    }

    fn row(name: &str, epoch: Option<i64>, value: f64) -> Row {
        Row {
            epoch,
            name: name.to_owned(),
            value,
            ..Row::default()
        }
    }

    fn study(stage: &str, axes: &[(&str, &str)], rows: Vec<Row>) -> Table {
        let axes = axes.iter().map(|(a, v)| ((*a).into(), (*v).into()));
        Table {
            stage: stage.into(),
            axes: axes.collect(),
            rows,
        }
    }

    fn asked(of: &str, shape: FigureShape) -> plan::Figure {
        plan::Figure {
            name: "f".into(),
            of: of.into(),
            shape,
            title: None,
            stages: Vec::new(),
            log_x: false,
            log_y: false,
        }
    }

    fn drawn(tables: &[Table], asked: &plan::Figure) -> Result<Figure, String> {
        let observed = Observed::of(tables, &Repeats::default());
        declared(asked, &observed, &observed.arms(mean), mean)
    }

    #[test]
    fn what_cannot_be_drawn_is_told_with_what_there_is() {
        let tables = ["0.1", "0.2"].map(|lr| {
            let rows = vec![row("accuracy", Some(1), 0.5), row("loss", Some(1), 2.0)];
            study("t", &[("lr", lr), ("init", "he")], rows)
        });
        let along = |axis: &str| FigureShape::Along(axis.into());
        let grid = FigureShape::Grid("lr".into(), "init".into());
        let said = [
            asked("acuracy", FigureShape::Points),
            asked("accuracy", FigureShape::Curves),
            asked("accuracy", along("width")),
            asked("accuracy", along("init")),
            asked("accuracy", grid),
            asked("accuracy", FigureShape::Against("loss".into())),
        ]
        .map(|asked| drawn(&tables, &asked).unwrap_err());
        let expected = [
            "no result has a metric called `acuracy`; did you mean `accuracy`?",
            "its curves need two epochs or steps, and there are none with two; `show: points` draws \
             last values",
            "no run with this metric has an axis called `width` that is no repetition; there is \
             init, lr",
            "the axis `init` has values that are no numbers, such as `he`; leave out `init` and \
             write `show: points`",
            "the axis `init` has values that are no numbers, such as `he`; leave out `init` and \
             write `show: points`",
            "no result has metrics called `accuracy[…]`; there are none",
        ];
        assert_eq!(said, expected);
    }

    /// Two values are little, but they were asked for.
    #[test]
    fn a_declared_figure_is_drawn_from_two_values_on() {
        let tables = ["0.1", "0.2"].map(|lr| {
            let rows = vec![row("a", Some(1), 0.5), row("a", Some(2), 0.6)];
            study("t", &[("lr", lr)], rows)
        });
        for shape in [FigureShape::Curves, FigureShape::Along("lr".into())] {
            let figure = drawn(&tables, &asked("a", shape)).unwrap();
            let Body::Lines(lines) = figure.body else {
                panic!("no lines")
            };
            assert!(lines.iter().all(|l| l.points.len() == 2), "{lines:?}");
        }
        assert!(drawn(&tables[..1], &asked("a", FigureShape::Points)).is_ok());
    }

    /// As in claims.
    #[test]
    fn a_name_without_the_part_of_the_data_is_enough_where_one_part_has_it() {
        let of = |split: &str, name: &str| Row {
            split: Some(split.into()),
            ..row(name, None, 0.5)
        };
        let rows = vec![
            of("test", "accuracy"),
            of("test", "loss"),
            of("train", "loss"),
        ];
        let tables = [study("t", &[], rows)];
        let figure = drawn(&tables, &asked("accuracy", FigureShape::Points)).unwrap();
        assert_eq!(figure.x.label, "test_accuracy");
        let said = drawn(&tables, &asked("loss", FigureShape::Points)).unwrap_err();
        assert_eq!(said, "`loss` may be test_loss or train_loss: say which");
    }

    #[test]
    fn members_of_one_metric_are_drawn_against_those_of_another() {
        let rows = vec![
            row("sure[2]", None, 0.9),
            row("right[2]", None, 0.7),
            row("sure[10]", None, 0.2),
            row("right[10]", None, 0.1),
            row("right[11]", None, 0.3),
        ];
        let tables = [study("t", &[], rows)];
        let figure = drawn(
            &tables,
            &asked("right", FigureShape::Against("sure".into())),
        )
        .unwrap();
        let Body::Lines(lines) = figure.body else {
            panic!("no lines")
        };
        let points: Vec<_> = lines[0].points.iter().map(|p| (p.x, p.mean)).collect();
        assert_eq!(points, [(0.2, 0.1), (0.9, 0.7)]);
    }
}
