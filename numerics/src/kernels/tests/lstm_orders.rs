//! The layer with a memory as dense layers, step by step, and against central differences.

use super::gradients::{buffer, differences, gradient};
use super::*;
use crate::kernels::lstm::{BLOCKS, Backward, GATES, Gate, GateGradients};
use crate::shape::RecurrentShape;

/// `(images, rows, columns, channels, units)`.
const SIZES: [(usize, usize, usize, usize, usize); 4] = [
    (1, 1, 1, 1, 1),
    (5, 4, 3, 2, 7),
    (33, 5, 5, 1, 40),
    (3, 1, 9, 3, 130),
];

struct Layer {
    shape: RecurrentShape,
    n: usize,
    x: Vec<f32>,
    /// w, b and u of each gate.
    parameters: [Vec<f32>; 3 * GATES],
}

fn layer((n, height, width, channels, units): (usize, usize, usize, usize, usize)) -> Layer {
    let shape = RecurrentShape::new(image(height, width, channels), units).unwrap();
    let lens = [shape.inputs() * units, units, units * units];
    let small = |i: usize| -> Vec<f32> {
        let drawn = values(lens[i % 3], i as u64 + 2, false).into_iter();
        drawn.map(|v| v * 0.3).collect()
    };
    Layer {
        shape,
        n,
        x: values(n * shape.features(), 1, false),
        parameters: std::array::from_fn(small),
    }
}

impl Layer {
    fn gates(&self) -> [Gate<'_>; GATES] {
        let of = |i: usize| &self.parameters[i][..];
        std::array::from_fn(|g| Gate {
            w: of(3 * g),
            b: of(3 * g + 1),
            u: of(3 * g + 2),
        })
    }

    fn states(&self) -> usize {
        BLOCKS * self.shape.steps() * self.n * self.shape.units()
    }

    /// All states, then the output.
    fn forward(&self, path: Path) -> Vec<f32> {
        let mut all = vec![7.0; self.states() + self.n * self.shape.units()];
        let (states, y) = all.split_at_mut(self.states());
        lstm::forward(path, &self.shape, &self.x, self.gates(), states, y);
        all
    }

    /// Gradients of all parameters in order, then of the images; `old` is what they are added to.
    fn backward(&self, path: Path, states: &[f32], dy: &[f32], old: Option<f32>) -> Vec<f32> {
        let lens = self.parameters.each_ref().map(Vec::len);
        let held = lens.map(|len| old.map(|old| vec![old; len]));
        let held_x = old.map(|old| vec![old; self.x.len()]);
        let mut to: [Vec<f32>; 3 * GATES] =
            std::array::from_fn(|i| buffer(held[i].as_deref(), lens[i]));
        let mut dx = buffer(held_x.as_deref(), self.x.len());
        let mut left = to
            .iter_mut()
            .zip(&held)
            .map(|(to, held)| gradient(to, held.as_deref()));
        let mut next = || left.next().unwrap();
        let kernel = Backward {
            x: &self.x,
            gates: self.gates(),
            states,
            dy,
            to: std::array::from_fn(|_| GateGradients {
                dw: next(),
                db: next(),
                du: next(),
            }),
            dx: Some(gradient(&mut dx, held_x.as_deref())),
        };
        lstm::backward(path, &self.shape, kernel);
        let mut all = to.concat();
        all.append(&mut dx);
        all
    }
}

/// In f64: the outputs for parameters in order, then images.
fn reference(shape: RecurrentShape, at: &[Vec<f64>]) -> Vec<f64> {
    let (inputs, units) = (shape.inputs(), shape.units());
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut y = Vec::new();
    for image in at[3 * GATES].chunks_exact(shape.features()) {
        let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
        for row in image.chunks_exact(inputs) {
            let sum = |gate: usize, k: usize| {
                let [w, b, u] = [0, 1, 2].map(|i| &at[3 * gate + i]);
                let of_row = row.iter().enumerate().map(|(i, x)| x * w[i * units + k]);
                let of_state = h.iter().enumerate().map(|(i, h)| h * u[i * units + k]);
                of_row.sum::<f64>() + b[k] + of_state.sum::<f64>()
            };
            let step = |k: usize| {
                let [i, f, o] = [0, 1, 3].map(|gate| logistic(sum(gate, k)));
                let c = f * c[k] + i * sum(2, k).tanh();
                (o * c.tanh(), c)
            };
            (h, c) = (0..units).map(step).unzip();
        }
        y.extend(h);
    }
    y
}

fn wide(layer: &Layer) -> Vec<Vec<f64>> {
    let all = layer.parameters.iter().chain([&layer.x]);
    all.map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect()
}

#[test]
fn outputs_are_those_of_the_formula_and_the_same_everywhere() {
    for sizes in SIZES {
        let layer = layer(sizes);
        let all = everywhere(|path| layer.forward(path));
        let want = reference(layer.shape, &wide(&layer));
        for (y, want) in all[layer.states()..].iter().zip(want) {
            assert!((f64::from(*y) - want).abs() < 1e-5, "{sizes:?}: {y} {want}");
        }
    }
}

#[test]
fn gradients_are_the_same_everywhere_and_add_up() {
    for sizes in SIZES {
        let layer = layer(sizes);
        let all = layer.forward(Path::current());
        let dy = values(layer.n * layer.shape.units(), 50, false);
        let states = &all[..layer.states()];
        let first = everywhere(|path| layer.backward(path, states, &dy, None));
        let added = everywhere(|path| layer.backward(path, states, &dy, Some(2.0)));
        for (first, added) in first.iter().zip(&added) {
            let near = 1e-5 * (1.0 + first.abs());
            assert!((first + 2.0 - added).abs() <= near, "{sizes:?}");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let layer = layer((3, 4, 2, 2, 3));
    let all = layer.forward(Path::current());
    let dy = values(layer.n * layer.shape.units(), 50, false);
    let got = layer.backward(Path::current(), &all[..layer.states()], &dy, None);
    let inputs: Vec<&[f32]> = layer
        .parameters
        .iter()
        .chain([&layer.x])
        .map(|v| &v[..])
        .collect();
    let f = |at: &[Vec<f64>]| reference(layer.shape, at);
    let mut at = 0;
    for (which, input) in inputs.iter().enumerate() {
        let got = &got[at..][..input.len()];
        differences("lstm", got, &inputs, which, &dy, &f);
        at += input.len();
    }
}

/// The law of the forget gate: wide open and with a closed input gate, the memory only keeps what
/// the first row put there.
#[test]
fn an_open_forget_gate_keeps_and_a_closed_one_forgets() {
    let plain = layer((2, 6, 1, 1, 1));
    let with = |input: f32, forget: f32| {
        let mut parameters = plain.parameters.clone();
        for gate in 0..GATES {
            parameters[3 * gate + 2] = vec![0.0];
        }
        // The input gate opens for the first row alone, which is 50; the others are 0.
        (parameters[0], parameters[1]) = (vec![1.0], vec![input]);
        (parameters[3], parameters[4]) = (vec![0.0], vec![forget]);
        (parameters[6], parameters[7]) = (vec![0.0], vec![0.8]);
        let mut x = vec![0.0; plain.x.len()];
        (x[0], x[6]) = (50.0, 50.0);
        let layer = Layer {
            x,
            parameters,
            ..layer((2, 6, 1, 1, 1))
        };
        let all = layer.forward(Path::current());
        let cells = GATES * 6 * 2;
        [0, 5].map(|t| all[cells + 2 * t])
    };
    let [first, last] = with(-30.0, 30.0);
    assert!(
        (first - 0.8f32.tanh()).abs() < 1e-6 && first == last,
        "{first} {last}"
    );
    let [first, last] = with(-30.0, -30.0);
    assert!(first > 0.6 && last < 1e-6, "{first} {last}");
}
