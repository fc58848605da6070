//! Tables of `x, y, name, value` as figures: a line through models is a curve, a plane is a surface
//! with lines of equal height.

use std::collections::BTreeMap;

use crate::figure::{Axis, Body, Figure, Grid, Line, Point, slug};
use crate::number::Ordered;
use crate::observed::Repeats;
use crate::{MeanOf, Place};

/// Surfaces that are drawn of each stage and name.
const SURFACES: usize = 1;

type Axes = Vec<(String, String)>;

/// The figures of tables: stage, axes, places.
pub fn figures(
    tables: Vec<(String, Axes, Vec<Place>)>,
    repeats: &Repeats,
    mean: MeanOf,
) -> Vec<Figure> {
    let mut surfaces: Vec<Figure> = Vec::new();
    let mut drawn: BTreeMap<(String, String), usize> = BTreeMap::new();
    // By stage and name, by arm, by place: values of repetitions.
    let mut lines: BTreeMap<(String, String), BTreeMap<String, BTreeMap<Ordered, Vec<f64>>>> =
        BTreeMap::new();
    for (stage, axes, places) in tables {
        let mut names: Vec<&str> = Vec::new();
        for place in &places {
            if !names.contains(&&*place.name) {
                names.push(&place.name);
            }
        }
        for name in names {
            let own = || places.iter().filter(|p| p.name == name);
            let about = (stage.clone(), name.to_owned());
            if own().any(|p| p.y.is_some()) {
                let count = drawn.entry(about).or_default();
                *count += 1;
                if *count <= SURFACES {
                    surfaces.push(surface(&stage, &axes, name, own()));
                }
                continue;
            }
            let arm = axes.iter().filter(|(a, _)| !repeats.is_repetition(a));
            let arm: Vec<String> = arm.map(|(a, v)| format!("{a}={v}")).collect();
            let arm = match arm.is_empty() {
                true => stage.clone(),
                false => arm.join(" "),
            };
            let curve = lines.entry(about).or_default().entry(arm).or_default();
            for place in own() {
                curve.entry(Ordered(place.x)).or_default().push(place.value);
            }
        }
    }
    let curves = lines.into_iter().map(|((stage, name), arms)| {
        let lines = arms.into_iter().map(|(label, places)| Line {
            label,
            points: places
                .into_iter()
                .map(|(x, values)| {
                    let (mean, band) = mean(&values);
                    Point {
                        x: x.0,
                        mean,
                        band,
                        n: values.len(),
                    }
                })
                .collect(),
        });
        Figure {
            name: slug(&format!("line-{stage}-{name}")),
            title: format!("{name} on the line of {stage}"),
            note: "Mean of the repetitions; the band is its 95 % interval.".to_owned(),
            x: Axis::linear("x"),
            y: Axis::linear(&name),
            body: Body::Lines(lines.take(12).collect()),
        }
    });
    let mut all: Vec<Figure> = curves.collect();
    all.extend(surfaces);
    all
}

fn surface<'p>(
    stage: &str,
    axes: &Axes,
    name: &str,
    places: impl Iterator<Item = &'p Place>,
) -> Figure {
    let values: BTreeMap<(Ordered, Ordered), f64> = places
        .filter_map(|p| Some(((Ordered(p.y?), Ordered(p.x)), p.value)))
        .collect();
    let mut xs: Vec<Ordered> = values.keys().map(|(_, x)| *x).collect();
    xs.sort();
    xs.dedup();
    let mut ys: Vec<Ordered> = values.keys().map(|(y, _)| *y).collect();
    ys.dedup();
    let cells = ys
        .iter()
        .flat_map(|y| xs.iter().map(|x| values.get(&(*y, *x)).copied()));
    let axes: Vec<String> = axes.iter().map(|(a, v)| format!("{a}={v}")).collect();
    let of = match axes.is_empty() {
        true => stage.to_owned(),
        false => format!("{stage}[{}]", axes.join(",")),
    };
    Figure {
        name: slug(&format!("plane-{stage}-{name}")),
        title: format!("{name} in the plane of {stage}"),
        note: format!("Of {of}. Lines join places of equal {name}."),
        x: Axis::linear("x"),
        y: Axis::linear("y"),
        body: Body::Grid(Grid {
            cells: cells.collect(),
            xs: xs.into_iter().map(|x| x.0).collect(),
            ys: ys.into_iter().map(|y| y.0).collect(),
            label: name.to_owned(),
            contours: true,
        }),
    }
}
