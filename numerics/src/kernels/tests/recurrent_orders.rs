//! The recurrent layer as dense layers and tanh, step by step, and against central differences.

use super::gradients::{buffer, differences, gradient};
use super::*;
use crate::shape::RecurrentShape;

/// `(images, rows, columns, channels, units)`.
const SIZES: [(usize, usize, usize, usize, usize); 4] = [
    (1, 1, 1, 1, 1),
    (5, 4, 3, 2, 7),
    (33, 6, 5, 1, 40),
    (3, 1, 9, 3, 300),
];

struct Layer {
    shape: RecurrentShape,
    n: usize,
    x: Vec<f32>,
    w_in: Vec<f32>,
    b: Vec<f32>,
    w_rec: Vec<f32>,
}

fn layer((n, height, width, channels, units): (usize, usize, usize, usize, usize)) -> Layer {
    let shape = RecurrentShape::new(image(height, width, channels), units).unwrap();
    let small = |len: usize, seed: u64| -> Vec<f32> {
        let drawn = values(len, seed, false).into_iter();
        drawn.map(|v| v * 0.3).collect()
    };
    Layer {
        shape,
        n,
        x: values(n * shape.features(), 1, false),
        w_in: small(shape.inputs() * units, 2),
        b: small(units, 3),
        w_rec: small(units * units, 4),
    }
}

impl Layer {
    /// All states, then the output.
    fn forward(&self, path: Path) -> Vec<f32> {
        let block = self.n * self.shape.units();
        let mut all = vec![7.0; (self.shape.steps() + 1) * block];
        let (states, y) = all.split_at_mut(self.shape.steps() * block);
        let Layer {
            shape,
            x,
            w_in,
            b,
            w_rec,
            ..
        } = self;
        recurrent::forward(path, shape, x, w_in, b, w_rec, states, y);
        all
    }

    /// dw_in, db, dw_rec, dx, one after another; `old` is what they are added to.
    fn backward(&self, path: Path, states: &[f32], dy: &[f32], old: Option<f32>) -> Vec<f32> {
        let lens = [&self.w_in, &self.b, &self.w_rec, &self.x].map(Vec::len);
        let held = lens.map(|len| old.map(|old| vec![old; len]));
        let [mut dw_in, mut db, mut dw_rec, mut dx] =
            [0, 1, 2, 3].map(|i| buffer(held[i].as_deref(), lens[i]));
        let kernel = recurrent::Backward {
            x: &self.x,
            w_in: &self.w_in,
            w_rec: &self.w_rec,
            states,
            dy,
            dw_in: gradient(&mut dw_in, held[0].as_deref()),
            db: gradient(&mut db, held[1].as_deref()),
            dw_rec: gradient(&mut dw_rec, held[2].as_deref()),
            dx: Some(gradient(&mut dx, held[3].as_deref())),
        };
        recurrent::backward(path, &self.shape, kernel);
        [dw_in, db, dw_rec, dx].concat()
    }
}

#[test]
fn states_are_dense_layers_step_by_step() {
    for sizes in SIZES {
        let layer = layer(sizes);
        let all = everywhere(|path| layer.forward(path));
        let (shape, n, path) = (layer.shape, layer.n, Path::current());
        let (inputs, units) = (shape.inputs(), shape.units());
        let mut state = vec![0.0; n * units];
        for t in 0..shape.steps() {
            let images = layer.x.chunks_exact(shape.features());
            let rows: Vec<f32> = images
                .flat_map(|image| &image[t * inputs..][..inputs])
                .copied()
                .collect();
            let mut sum = vec![0.0; n * units];
            dense::forward(
                path,
                inputs,
                units,
                &rows,
                &layer.w_in,
                Some(&layer.b),
                &mut sum,
            );
            let mut earlier = vec![0.0; n * units];
            dense::forward(path, units, units, &state, &layer.w_rec, None, &mut earlier);
            // Of the first step nothing is added, so that -0 stays.
            if t > 0 {
                sum.iter_mut().zip(&earlier).for_each(|(s, e)| *s += e);
            }
            activation::tanh(path, &sum, &mut state);
            assert_eq!(
                bits(&all[t * n * units..][..n * units]),
                bits(&state),
                "{sizes:?} {t}"
            );
        }
        assert_eq!(
            bits(&all[shape.steps() * n * units..]),
            bits(&state),
            "{sizes:?}"
        );
    }
}

#[test]
fn gradients_are_the_same_everywhere_and_add_up() {
    for sizes in SIZES {
        let layer = layer(sizes);
        let states = layer.forward(Path::current());
        let states = &states[..layer.shape.steps() * layer.n * layer.shape.units()];
        let dy = values(layer.n * layer.shape.units(), 5, false);
        let first = everywhere(|path| layer.backward(path, states, &dy, None));
        let added = everywhere(|path| layer.backward(path, states, &dy, Some(2.0)));
        for (first, added) in first.iter().zip(&added) {
            assert!(
                (first + 2.0 - added).abs() <= 1e-5 * (1.0 + first.abs()),
                "{sizes:?}"
            );
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let layer = layer((3, 4, 2, 2, 5));
    let (n, shape) = (layer.n, layer.shape);
    let (inputs, units) = (shape.inputs(), shape.units());
    let f = |at: &[Vec<f64>]| -> Vec<f64> {
        let [w_in, b, w_rec, x] = at else { panic!() };
        let mut y = Vec::new();
        for image in x.chunks_exact(shape.features()) {
            let mut state = vec![0.0; units];
            for row in image.chunks_exact(inputs) {
                let unit = |u: usize| {
                    let of_row: f64 = row
                        .iter()
                        .enumerate()
                        .map(|(i, x)| x * w_in[i * units + u])
                        .sum();
                    let of_state: f64 = state
                        .iter()
                        .enumerate()
                        .map(|(k, s)| s * w_rec[k * units + u])
                        .sum();
                    (of_row + b[u] + of_state).tanh()
                };
                state = (0..units).map(unit).collect();
            }
            y.extend(state);
        }
        y
    };
    let states = layer.forward(Path::current());
    let dy = values(n * units, 5, false);
    let states = &states[..shape.steps() * n * units];
    let got = layer.backward(Path::current(), states, &dy, None);
    let inputs: [&[f32]; 4] = [&layer.w_in, &layer.b, &layer.w_rec, &layer.x];
    let mut at = 0;
    for (which, input) in inputs.iter().enumerate() {
        let got = &got[at..][..input.len()];
        differences("recurrent", got, &inputs, which, &dy, &f);
        at += input.len();
    }
}

/// The law of a linear state: near 0 tanh is the identity, so the state is Σ U^(T-1-t) W x[t].
#[test]
fn small_states_are_sums_of_powers() {
    let layer = layer((2, 3, 1, 1, 1));
    let tiny: Vec<f32> = layer.x.iter().map(|x| x * 1e-4).collect();
    let layer = Layer {
        x: tiny,
        b: vec![0.0],
        ..layer
    };
    let all = layer.forward(Path::current());
    let y = &all[layer.shape.steps() * layer.n..];
    for (image, y) in layer.x.chunks_exact(3).zip(y) {
        let (w, u) = (layer.w_in[0], layer.w_rec[0]);
        let want = w * (u * u * image[0] + u * image[1] + image[2]);
        assert!((y - want).abs() < 1e-10, "{y} {want}");
    }
}
