//! `figures:` to the figures of a plan. Decides which shape a figure has, and that its stages exist
//! and have its axes; whether there is anything to draw is known to the report alone.

use std::collections::BTreeSet;

use crate::plan::{Figure, FigureShape};
use crate::spec::text::decode::{Field, check_name};
use crate::spec::text::model;
use crate::spec::text::node::Key;
use crate::spec::text::problem::Problem;
use crate::spec::tying::stages::Table;

/// Ties all figures; what is wrong with one is told, and the others are still looked at.
pub fn tie_all(
    entries: Vec<(Key, Field<model::Figure>)>,
    table: &Table,
    problems: &mut Vec<Problem>,
) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (key, field) in entries {
        match tie(&key, field, table, problems) {
            Ok(figure) => figures.extend(figure),
            Err(problem) => problems.push(problem),
        }
    }
    figures
}

fn tie(
    key: &Key,
    field: Field<model::Figure>,
    table: &Table,
    problems: &mut Vec<Problem>,
) -> Result<Option<Figure>, Problem> {
    let name = check_name(key, "a figure")?;
    let Some(figure) = field.value else {
        return Ok(None);
    };
    let Some(of) = figure.of else {
        let problem = Problem::new(key.span, format!("the figure `{name}` shows nothing"));
        return Err(problem.help("add `of: METRIC`, such as `of: test_accuracy`"));
    };
    let mut stages = Vec::new();
    for stage in figure.stages.into_iter().flat_map(|s| s.0) {
        let Some(named) = stage.value else { continue };
        let is_known = table.stages.iter().any(|s| *s.name == *named);
        if !is_known {
            let known = table.stages.iter().map(|s| &*s.name);
            problems.push(
                Problem::new(stage.span, format!("no stage is called `{named}`"))
                    .suggest(&named, known),
            );
        }
        stages.push(named);
    }
    for axis in [&figure.x, &figure.y].into_iter().flatten() {
        problems.extend(no_axis(axis, &stages, table));
    }
    let show = figure.show.and_then(|s| s.value);
    let (x, y) = (
        figure.x.and_then(|f| f.value),
        figure.y.and_then(|f| f.value),
    );
    let against = figure.against.and_then(|f| f.value);
    let shape = match (show, x, y) {
        (None, None, None) if against.is_some() => {
            FigureShape::Against(against.unwrap_or_default())
        }
        _ if against.is_some() => {
            let what = format!("`against` of `{name}` says already what runs across");
            return Err(Problem::new(key.span, what).help("leave out `show`, `x` and `y`"));
        }
        (None | Some(model::FigureShape::Curves), None, None) => FigureShape::Curves,
        (Some(model::FigureShape::Points), None, None) => FigureShape::Points,
        (None | Some(model::FigureShape::Points), Some(x), None) => FigureShape::Along(x),
        (None | Some(model::FigureShape::Grid), Some(x), Some(y)) => FigureShape::Grid(x, y),
        (Some(model::FigureShape::Grid), _, _) | (_, None, Some(_)) => {
            let problem = Problem::new(key.span, format!("the figure `{name}` needs two axes"));
            return Err(problem.help("add `x: AXIS` and `y: AXIS`, axes of the stage's matrix"));
        }
        (Some(model::FigureShape::Curves), ..) => {
            let what = format!("the curves of `{name}` run over epochs or steps");
            let problem = Problem::new(key.span, what);
            return Err(problem.help("leave out `x` and `y`, or write `show: points`"));
        }
        (Some(model::FigureShape::Points), ..) => {
            let what = format!("the points of `{name}` have one axis");
            return Err(Problem::new(key.span, what).help("leave out `y`, or write `show: grid`"));
        }
    };
    let log: Vec<model::Direction> = figure
        .log
        .into_iter()
        .flat_map(|l| l.0)
        .filter_map(|d| d.value)
        .collect();
    Ok(of.value.map(|of| Figure {
        name,
        of,
        shape,
        title: figure.title.and_then(|t| t.value),
        stages,
        log_x: log.contains(&model::Direction::X),
        log_y: log.contains(&model::Direction::Y),
    }))
}

/// An axis that none of the stages has. Tables have one of their own: `run`.
fn no_axis(field: &Field<String>, stages: &[String], table: &Table) -> Option<Problem> {
    let axis = field.value.as_deref().filter(|axis| *axis != "run")?;
    let is_meant = |name: &str| stages.is_empty() || stages.iter().any(|s| s == name);
    let meant = table.stages.iter().filter(|s| is_meant(&s.name));
    let meant: Vec<_> = meant.collect();
    let axes: BTreeSet<&str> = meant
        .iter()
        .flat_map(|s| &s.rows.axes)
        .map(|a| &**a)
        .collect();
    // A matrix that cannot be read, or a stage that is unknown, has been told already.
    if meant.is_empty() || meant.iter().any(|s| s.broken) || axes.contains(axis) {
        return None;
    }
    let what = match stages {
        [one] => format!("`{one}` has no axis `{axis}`"),
        _ => format!("no stage of the figure has an axis `{axis}`"),
    };
    Some(Problem::new(field.span, what).suggest(axis, axes))
}
