//! Where the points of a landscape lie, and the weights there.
//!
//! Decides coordinates and directions; does not know what is measured.

use std::ops::RangeInclusive;

use super::{Along, Params, Random, Rays};
use crate::failure::Failure;
use crate::nn::layer::Parameter;
use crate::nn::model::Model;
use crate::weights::NamedTensors;
use repro_numerics::exact::rng::Stream;

/// How many points a side may have.
pub const RANGE: RangeInclusive<usize> = 2..=1001;
/// The part of a plane's side by which it reaches beyond the models, if nothing is said.
const PLANE_MARGIN: f64 = 0.2;

/// A point's coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinates {
    /// On the line, or along the first direction.
    pub x: f64,
    /// Along the second direction.
    pub y: Option<f64>,
}

/// See the module.
pub struct Points {
    form: Form,
    xs: Vec<f64>,
    ys: Option<Vec<f64>>,
    /// Where the models lie.
    models: Vec<(f64, Option<f64>)>,
}

enum Form {
    Line([NamedTensors; 2]),
    Plane {
        origin: NamedTensors,
        across: [Direction; 2],
    },
    Rays {
        origin: NamedTensors,
        /// By number, less 1.
        along: Vec<Direction>,
    },
}

/// By position among the origin's tensors.
type Direction = Vec<Vec<f64>>;

impl Points {
    /// Of one, two or three models.
    ///
    /// # Errors
    /// Models that are one and the same, or three on one line.
    pub fn new(models: &[Model], p: &Params) -> Result<Points, Failure> {
        if let (Some(rays), [first, ..]) = (p.rays, models) {
            return emitted(first, models.get(1), rays, p.points);
        }
        match models {
            [model] => {
                let random = p.random.unwrap_or(Random { seed: 0, span: 1.0 });
                let side = Some(even(-random.span, random.span, p.points));
                Ok(Points {
                    form: Form::Plane {
                        origin: model.tensors.clone(),
                        across: [0, 1].map(|number| random_direction(model, random.seed, number)),
                    },
                    xs: side.clone().unwrap_or_default(),
                    ys: side,
                    models: vec![(0.0, Some(0.0))],
                })
            }
            [a, b] => {
                let margin = p.margin.unwrap_or(0.0);
                Ok(Points {
                    form: Form::Line([a.tensors.clone(), b.tensors.clone()]),
                    xs: even(-margin, 1.0 + margin, p.points),
                    ys: None,
                    models: vec![(0.0, None), (1.0, None)],
                })
            }
            [a, b, c, ..] => plane(a, b, c, p),
            [] => Err(Failure::new("there is no model")),
        }
    }

    /// All of them, row by row.
    pub fn places(&self) -> impl Iterator<Item = Coordinates> {
        let ys: Vec<Option<f64>> = match &self.ys {
            Some(ys) => ys.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let row = |y| self.xs.iter().map(move |&x| Coordinates { x, y });
        ys.into_iter().flat_map(row)
    }

    /// On a line, the positions of the first and the last point between the models.
    pub fn ends(&self) -> Option<(usize, usize)> {
        let Form::Line(_) = self.form else {
            return None;
        };
        let first = self.xs.iter().position(|x| *x >= 0.0)?;
        let last = self.xs.iter().rposition(|x| *x <= 1.0)?;
        (first <= last).then_some((first, last))
    }

    /// Where the models lie.
    pub fn models(&self) -> Vec<(f64, Option<f64>)> {
        self.models.clone()
    }

    /// The weights at a point.
    pub fn at(&self, Coordinates { x, y }: Coordinates) -> NamedTensors {
        match &self.form {
            Form::Line([a, b]) => {
                let (of_a, of_b) = ((1.0 - x) as f32, x as f32);
                let mut mixed = a.clone();
                for (name, tensor) in &mut mixed {
                    for (w, other) in tensor.data.iter_mut().zip(&b[name].data) {
                        *w = of_a * *w + of_b * *other;
                    }
                }
                mixed
            }
            Form::Plane { origin, across } => {
                let (y, mut there) = (y.unwrap_or(0.0), origin.clone());
                let tensors = there.values_mut().zip(&across[0]).zip(&across[1]);
                for ((tensor, u), v) in tensors {
                    for ((w, u), v) in tensor.data.iter_mut().zip(u).zip(v) {
                        *w = (f64::from(*w) + x * u + y * v) as f32;
                    }
                }
                there
            }
            Form::Rays { origin, along } => {
                let number = y.map_or(0, |y| y as usize - 1);
                let mut there = origin.clone();
                for (tensor, d) in there.values_mut().zip(&along[number]) {
                    for (w, d) in tensor.data.iter_mut().zip(d) {
                        *w = (f64::from(*w) + x * d) as f32;
                    }
                }
                there
            }
        }
    }
}

/// Numbers at even distances, the ends included exactly.
fn even(from: f64, to: f64, count: usize) -> Vec<f64> {
    let last = (count - 1) as f64;
    (0..count)
        .map(|i| match i + 1 == count {
            true => to,
            false => from + (to - from) * (i as f64 / last),
        })
        .collect()
}

/// Rays from a model.
fn emitted(
    from: &Model,
    second: Option<&Model>,
    rays: Rays,
    points: usize,
) -> Result<Points, Failure> {
    let (along, ys) = match (rays.along, second) {
        (Along::Random(of), _) => {
            let numbers = 1..=of.count;
            let along = numbers.clone().map(|n| on_sphere(from, of.seed, n as u64));
            (along.collect(), Some(numbers.map(|n| n as f64).collect()))
        }
        (Along::Away, Some(second)) => {
            let mut away = difference(second, from);
            let length = dot(&away, &away).sqrt();
            if length == 0.0 {
                return Err(Failure::new("the two models are the same")
                    .hint("a ray goes away from another model"));
            }
            scale(&mut away, 1.0 / length);
            (vec![away], None)
        }
        (Along::Away, None) => return Err(Failure::new("there is no model to go away from")),
    };
    let y = ys.as_ref().map(|_| 1.0);
    Ok(Points {
        form: Form::Rays {
            origin: from.tensors.clone(),
            along,
        },
        xs: even(0.0, rays.length, points),
        ys,
        models: vec![(0.0, y)],
    })
}

/// A direction one long, uniform on the sphere of all that is trained.
fn on_sphere(model: &Model, seed: u64, number: u64) -> Direction {
    let mut drawn: Direction = (model.tensors.iter())
        .map(|(name, tensor)| {
            let mut parameters = model.architecture.parameters.iter().enumerate();
            let found = parameters.find(|(_, p)| p.name == *name && p.role.is_trained());
            let Some((position, _)) = found else {
                return vec![0.0; tensor.data.len()];
            };
            let mut stream = Stream::new(seed, "ray", number, position as u64);
            let normal = |_: &f32| f64::from(stream.normal());
            tensor.data.iter().map(normal).collect()
        })
        .collect();
    let length = dot(&drawn, &drawn).sqrt();
    scale(&mut drawn, 1.0 / length.max(f64::MIN_POSITIVE));
    drawn
}

/// From one model to another. What is not trained has no direction: statistics stay the origin's
/// until they are made anew.
fn difference(from: &Model, to: &Model) -> Direction {
    let is_trained = |name: &str| {
        let mut parameters = from.architecture.parameters.iter();
        parameters.any(|p| p.name == name && p.role.is_trained())
    };
    let of_tensor = |(name, tensor): (&String, &crate::weights::NamedTensor)| {
        let pairs = tensor.data.iter().zip(&to.tensors[name].data);
        let trained = is_trained(name);
        pairs
            .map(|(from, to)| match trained {
                true => f64::from(*to) - f64::from(*from),
                false => 0.0,
            })
            .collect()
    };
    from.tensors.iter().map(of_tensor).collect()
}

/// The plane through three models.
fn plane(a: &Model, b: &Model, c: &Model, p: &Params) -> Result<Points, Failure> {
    let (mut u, mut v) = (difference(a, b), difference(a, c));
    let length = dot(&u, &u).sqrt();
    if length == 0.0 {
        return Err(Failure::new("the first two models are the same")
            .hint("three models make a plane if they differ"));
    }
    scale(&mut u, 1.0 / length);
    let along = dot(&v, &u);
    let whole = dot(&v, &v).sqrt();
    for (v, u) in v.iter_mut().flatten().zip(u.iter().flatten()) {
        *v -= along * u;
    }
    let height = dot(&v, &v).sqrt();
    // What rounding leaves of a model on the line through the others is no direction.
    if height <= 1e-6 * whole.max(length) {
        return Err(Failure::new("the three models lie on one line")
            .hint("two of them are enough for a line; a plane needs a third one beside it"));
    }
    scale(&mut v, 1.0 / height);
    let margin = p.margin.unwrap_or(PLANE_MARGIN);
    let side = |corners: [f64; 3]| {
        let low = corners.into_iter().fold(f64::INFINITY, f64::min);
        let high = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let more = margin * (high - low);
        even(low - more, high + more, p.points)
    };
    Ok(Points {
        form: Form::Plane {
            origin: a.tensors.clone(),
            across: [u, v],
        },
        xs: side([0.0, length, along]),
        ys: Some(side([0.0, 0.0, height])),
        models: vec![(0.0, Some(0.0)), (length, Some(0.0)), (along, Some(height))],
    })
}

/// A normal direction whose filters are as long as the model's own.
fn random_direction(model: &Model, seed: u64, number: u64) -> Direction {
    let of = |name: &str| -> Option<(usize, &Parameter)> {
        let mut parameters = model.architecture.parameters.iter().enumerate();
        parameters.find(|(_, p)| p.name == name)
    };
    let direction = |(name, tensor): (&String, &crate::weights::NamedTensor)| {
        let len = tensor.data.len();
        let Some((position, parameter)) = of(name).filter(|(_, p)| p.role.is_weight()) else {
            return vec![0.0; len];
        };
        let mut stream = Stream::new(seed, "landscape", number, position as u64);
        let mut drawn: Vec<f64> = (0..len).map(|_| f64::from(stream.normal())).collect();
        let filter = (len / parameter.shape.first().copied().unwrap_or(1).max(1)).max(1);
        for (d, w) in drawn.chunks_mut(filter).zip(tensor.data.chunks(filter)) {
            let size = d.iter().map(|d| d * d).sum::<f64>().sqrt();
            let wanted = w.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>();
            let factor = wanted.sqrt() / size.max(f64::MIN_POSITIVE);
            d.iter_mut().for_each(|d| *d *= factor);
        }
        drawn
    };
    model.tensors.iter().map(direction).collect()
}

fn dot(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| a * b).sum()
}

fn scale(of: &mut [Vec<f64>], factor: f64) {
    of.iter_mut().flatten().for_each(|x| *x *= factor);
}
