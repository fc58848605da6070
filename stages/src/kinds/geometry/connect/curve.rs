//! Curves with one bend in the space of weights (Garipov et al. 2018, equations 3 and 4).
//!
//! Decides where a point lies; does not know what the loss is there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::training::landscape::Vector;

/// The form of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A quadratic Bézier curve.
    #[default]
    Bezier,
    /// Two straight lines that meet in the bend.
    Polygon,
}

impl Form {
    /// How much the first end, the bend and the second end count at `t`.
    fn shares(self, t: f64) -> [f64; 3] {
        match self {
            Form::Bezier => [(1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t],
            Form::Polygon if t <= 0.5 => [1.0 - 2.0 * t, 2.0 * t, 0.0],
            Form::Polygon => [0.0, 2.0 * (1.0 - t), 2.0 * t - 1.0],
        }
    }
}

/// A curve.
#[derive(Debug)]
pub struct Curve {
    form: Form,
    ends: [Vector; 2],
    bend: Vector,
}

impl Curve {
    /// One that is still the straight line between its ends.
    pub fn straight(form: Form, first: Vector, second: Vector) -> Curve {
        let one = |(a, b): (&f32, &f32)| ((f64::from(*a) + f64::from(*b)) / 2.0) as f32;
        let of_tensor = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(one).collect();
        let bend = first.iter().zip(&second).map(of_tensor).collect();
        Curve {
            form,
            ends: [first, second],
            bend,
        }
    }

    /// The weights at `t`, from 0 to 1.
    pub fn at(&self, t: f64) -> Vector {
        let [a, of_bend, b] = self.form.shares(t);
        let one = |((x, bend), y): ((&f32, &f32), &f32)| {
            (a * f64::from(*x) + of_bend * f64::from(*bend) + b * f64::from(*y)) as f32
        };
        let tensors = self.ends[0].iter().zip(&self.bend).zip(&self.ends[1]);
        let of_tensor = |((x, bend), y): ((&Vec<f32>, &Vec<f32>), &Vec<f32>)| {
            x.iter().zip(bend).zip(y).map(one).collect()
        };
        tensors.map(of_tensor).collect()
    }

    /// dφ/dθ at `t`: the same for every weight.
    pub fn share_of_bend(&self, t: f64) -> f64 {
        self.form.shares(t)[1]
    }

    /// Its bend.
    pub fn bend(&self) -> &Vector {
        &self.bend
    }

    /// Its bend, to be moved.
    pub fn bend_mut(&mut self) -> &mut Vector {
        &mut self.bend
    }
}

/// Places at even distances, both ends included exactly.
pub fn even(count: usize) -> impl Iterator<Item = f64> {
    let last = (count - 1) as f64;
    (0..count).map(move |i| i as f64 / last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_lead_from_end_to_end_and_the_polygon_through_its_bend() {
        for form in [Form::Bezier, Form::Polygon] {
            let mut curve = Curve::straight(form, vec![vec![1.0, -2.0]], vec![vec![3.0, 0.5]]);
            // Straight before it is trained.
            let on_line = |t: f64| vec![vec![(1.0 + 2.0 * t) as f32, (-2.0 + 2.5 * t) as f32]];
            for t in even(9) {
                assert_eq!(curve.at(t), on_line(t), "{form:?} at {t}");
                let shares: f64 = form.shares(t).iter().sum();
                assert!((shares - 1.0).abs() < 1e-15);
            }
            curve.bend_mut()[0] = vec![10.0, 10.0];
            assert_eq!(curve.at(0.0), on_line(0.0));
            assert_eq!(curve.at(1.0), on_line(1.0));
            let middle = match form {
                Form::Bezier => vec![6.0, 4.625],
                Form::Polygon => vec![10.0, 10.0],
            };
            assert_eq!(curve.at(0.5), [middle], "{form:?}");
            // The derivative by the bend is its share.
            let before = curve.at(0.3)[0][0];
            curve.bend_mut()[0][0] += 1.0;
            let by = f64::from(curve.at(0.3)[0][0] - before);
            assert!((by - curve.share_of_bend(0.3)).abs() < 1e-6);
        }
    }
}
