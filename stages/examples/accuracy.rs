//! How far our f32 is from f64 at the sizes of the studies: `cargo run --release -p repro-stages
//! --example accuracy`.
//!
//! The inputs are those of tests/reference/accuracy.py, which prints the same for PyTorch;
//! docs/numerics.md has both side by side. The f64 results are spelled out here. Errors are in
//! units of eps = 2^-23 times the root mean square of the f64 result.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

#[path = "../tests/reference/mod.rs"]
mod reference;

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::{Path, activation, conv, dense, gelu, group_norm, loss, norm, pool};
use repro_numerics::shape::{ConvShape, GroupNormShape, Image, PoolShape};

const EPS: f32 = 1e-5;

fn main() {
    println!("{:<36}{:<6}{:>9}{:>9}", "repro-stages", "", "rms", "max");
    dense_layer(128, 784, 512);
    dense_layer(128, 3072, 100);
    convolution(64, 32, 3, 32);
    convolution(64, 16, 64, 64);
    convolution(64, 4, 512, 512);
    batch_norm(128, 32, 32);
    layer_norm(128, 512);
    grouped_norm(64, 16, 64, 8);
    global_average(64, 4, 512);
    activations();
    cross_entropy(128, 10);
}

fn path() -> Path {
    Path::current()
}

/// As `accuracy.drawn`: data and activations.
fn activation(name: &str, len: usize) -> Vec<f32> {
    reference::unit(name, len).iter().map(|u| u.abs()).collect()
}

fn weight(name: &str, len: usize, fan_in: usize) -> Vec<f32> {
    let bound = (1.0 / fan_in as f64).sqrt() as f32;
    reference::unit(name, len)
        .iter()
        .map(|u| u * bound)
        .collect()
}

fn show(op: &str, part: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{op} {part}");
    let mean_square = |values: &mut dyn Iterator<Item = f64>| {
        (values.map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt()
    };
    let unit = f64::from(f32::EPSILON) * mean_square(&mut want.iter().copied());
    let errors = || {
        got.iter()
            .zip(want)
            .map(|(g, w)| (f64::from(*g) - w).abs() / unit)
    };
    let most = errors().fold(0.0, f64::max);
    println!(
        "{op:<36}{part:<6}{:>9.3}{most:>9.2}",
        mean_square(&mut errors())
    );
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn first(to: &mut [f32]) -> Gradient<'_> {
    Gradient {
        to,
        how: Accumulate::First,
    }
}

/// y, dx, dw, db.
struct Products<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
    db: Vec<T>,
}

fn show_products(op: &str, ours: &Products<f32>, exact: &Products<f64>) {
    show(op, "y", &ours.y, &exact.y);
    show(op, "dx", &ours.dx, &exact.dx);
    show(op, "dw", &ours.dw, &exact.dw);
    show(op, "db", &ours.db, &exact.db);
}

/// One layer's forward and backward kernels.
fn products(
    [x, w, b, dy]: [&[f32]; 4],
    forward: impl Fn(&mut [f32]),
    backward: impl Fn(Backward<'_>),
) -> Products<f32> {
    let mut of = Products {
        y: vec![0.0; dy.len()],
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db: vec![0.0; b.len()],
    };
    forward(&mut of.y);
    backward(Backward {
        x,
        w,
        y: &of.y,
        activation: Activation::Identity,
        dy: &mut dy.to_vec(),
        dw: first(&mut of.dw),
        db: Some(first(&mut of.db)),
        dx: Some(first(&mut of.dx)),
    });
    of
}

fn dense_layer(n: usize, inputs: usize, outputs: usize) {
    let op = format!("dense {inputs}-{outputs}, batch {n}");
    let x = activation(&format!("{op}/x"), n * inputs);
    let file = weight(&format!("{op}/w"), outputs * inputs, inputs);
    let w: Vec<f32> = (0..inputs * outputs)
        .map(|i| file[i % outputs * inputs + i / outputs])
        .collect();
    let b = reference::unit(&format!("{op}/b"), outputs);
    let dy = reference::unit(&format!("{op}/dy"), n * outputs);
    let none = Activation::Identity;
    let ours = products(
        [&x, &w, &b, &dy],
        |y| dense::layer_forward(path(), inputs, outputs, &x, &w, Some(&b), none, y),
        |from| dense::layer_backward(path(), inputs, outputs, from),
    );
    // A dense layer is a convolution of one position.
    let image = Image {
        height: 1,
        width: 1,
        channels: inputs,
    };
    let shape = ConvShape::new(image, outputs, (1, 1), 1, 0).expect("a sound shape");
    show_products(&op, &ours, &exact_products(&shape, &x, &w, &b, &dy));
}

fn convolution(n: usize, side: usize, inputs: usize, outputs: usize) {
    let op = format!("conv 3x3 {inputs}-{outputs} at {side}x{side}, batch {n}");
    let image = Image {
        height: side,
        width: side,
        channels: inputs,
    };
    let shape = ConvShape::new(image, outputs, (3, 3), 1, 1).expect("a sound shape");
    let size = [n, inputs, side, side];
    let x = reference::to_nhwc(size, &activation(&format!("{op}/x"), size.iter().product()));
    let file = weight(&format!("{op}/w"), outputs * inputs * 9, inputs * 9);
    // [out, in, taps] to [taps, in, out]
    let w: Vec<f32> = (0..file.len())
        .map(|i| {
            let (o, c, tap) = (i % outputs, i / outputs % inputs, i / outputs / inputs);
            file[(o * inputs + c) * 9 + tap]
        })
        .collect();
    let b = reference::unit(&format!("{op}/b"), outputs);
    let result = [n, outputs, side, side];
    let dy = reference::unit(&format!("{op}/dy"), result.iter().product());
    let dy = reference::to_nhwc(result, &dy);
    let none = Activation::Identity;
    let ours = products(
        [&x, &w, &b, &dy],
        |y| conv::layer_forward(path(), &shape, &x, &w, Some(&b), none, y),
        |from| conv::layer_backward(path(), &shape, from),
    );
    show_products(&op, &ours, &exact_products(&shape, &x, &w, &b, &dy));
}

/// A convolution of stride 1 and its gradients in f64.
fn exact_products(shape: &ConvShape, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> Products<f64> {
    let (input, output) = (shape.input(), shape.output());
    let (x, w, dy) = (wide(x), wide(w), wide(dy));
    let (c, o, padding) = (input.channels, output.channels, shape.padding());
    let mut of = Products {
        y: Vec::new(),
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db: vec![0.0; b.len()],
    };
    (0..dy.len() / o).for_each(|_| of.y.extend(b.iter().map(|b| f64::from(*b))));
    for row in dy.chunks_exact(o) {
        of.db.iter_mut().zip(row).for_each(|(to, d)| *to += d);
    }
    let (kh, kw) = shape.kernel();
    for position in 0..dy.len() / o {
        let (image, place) = (position / output.positions(), position % output.positions());
        for tap in 0..kh * kw {
            let row = (place / output.width + tap / kw).wrapping_sub(padding);
            let column = (place % output.width + tap % kw).wrapping_sub(padding);
            if row >= input.height || column >= input.width {
                continue;
            }
            let at = ((image * input.height + row) * input.width + column) * c;
            let (y, d) = (&mut of.y[position * o..][..o], &dy[position * o..][..o]);
            for k in 0..c {
                let of_w = (tap * c + k) * o;
                let value = x[at + k];
                let (w, dw) = (&w[of_w..][..o], &mut of.dw[of_w..][..o]);
                let mut sum = 0.0;
                for j in 0..o {
                    y[j] += value * w[j];
                    dw[j] += value * d[j];
                    sum += d[j] * w[j];
                }
                of.dx[at + k] += sum;
            }
        }
    }
    of
}

/// What is normalised: rows of `width` features, each feature belonging to a set and to a gain.
struct Sets {
    width: usize,
    /// Of (row, feature).
    set: fn(usize, usize, usize) -> usize,
    /// Of a feature.
    gains: usize,
    /// Handed to `set`.
    groups: usize,
}

/// Normalisation and its gradients in f64: y, dx, dgain, dshift.
fn exact_norm(sets: &Sets, x: &[f32], gain: &[f32], shift: &[f32], dy: &[f32]) -> Products<f64> {
    let (x, dy) = (wide(x), wide(dy));
    let set = |i: usize| (sets.set)(i / sets.width, i % sets.width, sets.groups);
    let count = (0..x.len()).map(set).max().unwrap_or(0) + 1;
    let share = x.len() as f64 / count as f64;
    let sums = |of: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; count];
        (0..x.len()).for_each(|i| sums[set(i)] += of(i));
        sums.into_iter().map(|s| s / share).collect::<Vec<f64>>()
    };
    let gain_of = |i: usize| f64::from(gain[i % sets.gains]);
    let mean = sums(&|i| x[i]);
    let variance = sums(&|i| (x[i] - mean[set(i)]).powi(2));
    let r: Vec<f64> = variance
        .iter()
        .map(|v| 1.0 / (v + f64::from(EPS)).sqrt())
        .collect();
    let hat = |i: usize| (x[i] - mean[set(i)]) * r[set(i)];
    let d = sums(&|i| dy[i] * gain_of(i));
    let g = sums(&|i| dy[i] * gain_of(i) * hat(i));
    let mut of = Products {
        y: (0..x.len())
            .map(|i| hat(i) * gain_of(i) + f64::from(shift[i % sets.gains]))
            .collect(),
        dx: (0..x.len())
            .map(|i| r[set(i)] * (dy[i] * gain_of(i) - d[set(i)] - hat(i) * g[set(i)]))
            .collect(),
        dw: vec![0.0; sets.gains],
        db: vec![0.0; sets.gains],
    };
    for (i, dy) in dy.iter().enumerate().take(x.len()) {
        of.dw[i % sets.gains] += dy * hat(i);
        of.db[i % sets.gains] += dy;
    }
    of
}

fn show_norm(op: &str, ours: &Products<f32>, exact: &Products<f64>) {
    show(op, "y", &ours.y, &exact.y);
    show(op, "dx", &ours.dx, &exact.dx);
    show(op, "dgain", &ours.dw, &exact.dw);
    show(op, "dshift", &ours.db, &exact.db);
}

/// x, gain, shift, dy; images in NHWC.
fn norm_operands(op: &str, size: [usize; 4]) -> [Vec<f32>; 4] {
    let len = size.iter().product();
    [
        reference::to_nhwc(size, &activation(&format!("{op}/x"), len)),
        activation(&format!("{op}/gain"), size[1]),
        reference::unit(&format!("{op}/shift"), size[1]),
        reference::to_nhwc(size, &reference::unit(&format!("{op}/dy"), len)),
    ]
}

fn zeros([x, gain, ..]: &[Vec<f32>; 4]) -> Products<f32> {
    Products {
        y: vec![0.0; x.len()],
        dx: vec![0.0; x.len()],
        dw: vec![0.0; gain.len()],
        db: vec![0.0; gain.len()],
    }
}

fn batch_norm(n: usize, side: usize, channels: usize) {
    let op = format!("batch norm {channels} at {side}x{side}, batch {n}");
    let operands = norm_operands(&op, [n, channels, side, side]);
    let mut ours = zeros(&operands);
    let [x, gain, shift, dy] = &operands;
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    let positions = side * side;
    norm::stats(path(), positions, x, &mut mean, &mut variance);
    let none = Activation::Identity;
    let (y, [dgamma, dbeta]) = (
        &mut ours.y,
        [&mut ours.dw, &mut ours.db].map(|to| first(to)),
    );
    norm::forward(path(), EPS, x, &mean, &variance, gain, shift, none, y);
    ours.dx.copy_from_slice(dy);
    let from = norm::Backward {
        positions,
        eps: EPS,
        through_stats: true,
        x,
        mean: &mean,
        variance: &variance,
        gamma: gain,
        y: &[],
        activation: none,
        dy: &mut ours.dx,
        dgamma,
        dbeta,
    };
    norm::backward(path(), from);
    let sets = Sets {
        width: channels,
        set: |_, feature, _| feature,
        gains: channels,
        groups: 1,
    };
    show_norm(&op, &ours, &exact_norm(&sets, x, gain, shift, dy));
}

fn layer_norm(n: usize, features: usize) {
    let op = format!("layer norm {features}, batch {n}");
    let operands = norm_operands(&op, [n, features, 1, 1]);
    let shape = GroupNormShape::layer(features).expect("a sound shape");
    let sets = Sets {
        width: features,
        set: |row, _, _| row,
        gains: features,
        groups: 1,
    };
    images_norm(&op, &shape, &operands, &sets, n);
}

fn grouped_norm(n: usize, side: usize, channels: usize, groups: usize) {
    let op = format!("group norm {channels}/{groups} at {side}x{side}, batch {n}");
    let operands = norm_operands(&op, [n, channels, side, side]);
    let image = Image {
        height: side,
        width: side,
        channels,
    };
    let shape = GroupNormShape::new(image, groups).expect("a sound shape");
    // 64 channels in 8 groups.
    assert_eq!((channels, groups), (64, 8));
    let sets = Sets {
        width: shape.features(),
        set: |image, feature, groups| image * groups + feature % 64 / 8,
        gains: channels,
        groups,
    };
    images_norm(&op, &shape, &operands, &sets, n);
}

fn images_norm(op: &str, shape: &GroupNormShape, operands: &[Vec<f32>; 4], sets: &Sets, n: usize) {
    let mut ours = zeros(operands);
    let [x, gain, shift, dy] = operands;
    let count = n * shape.groups();
    let (mut mean, mut inverse_deviation) = (vec![0.0; count], vec![0.0; count]);
    let to = group_norm::StatisticsMut {
        mean: &mut mean,
        inverse_deviation: &mut inverse_deviation,
    };
    group_norm::forward(path(), shape, EPS, x, gain, shift, &mut ours.y, to);
    ours.dx.copy_from_slice(dy);
    let from = group_norm::Backward {
        x,
        statistics: group_norm::Statistics {
            mean: &mean,
            inverse_deviation: &inverse_deviation,
        },
        gamma: gain,
        dy: &mut ours.dx,
        dgamma: first(&mut ours.dw),
        dbeta: first(&mut ours.db),
    };
    group_norm::backward(path(), shape, from);
    show_norm(op, &ours, &exact_norm(sets, x, gain, shift, dy));
}

fn global_average(n: usize, side: usize, channels: usize) {
    let op = format!("global average {channels} at {side}x{side}");
    let image = Image {
        height: side,
        width: side,
        channels,
    };
    let shape = PoolShape::global(image).expect("a sound shape");
    let size = [n, channels, side, side];
    let x = reference::to_nhwc(size, &activation(&format!("{op}/x"), size.iter().product()));
    let mut y = vec![0.0; n * channels];
    pool::avg_forward(path(), &shape, &x, &mut y);
    let mut exact = vec![0.0; y.len()];
    for (i, x) in x.iter().enumerate() {
        exact[i / shape.input().features() * channels + i % channels] += f64::from(*x);
    }
    exact
        .iter_mut()
        .for_each(|sum| *sum /= (side * side) as f64);
    show(&op, "y", &y, &exact);
}

/// A function and its derivative in f64.
type Smooth = fn(f64) -> (f64, f64);

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn activations() {
    const LEN: usize = 100_000;
    let functions: [(&str, Smooth); 3] = [
        ("tanh", |x| (x.tanh(), 1.0 - x.tanh().powi(2))),
        ("sigmoid", |x| (logistic(x), logistic(x) * logistic(-x))),
        ("gelu", |x| {
            let (below, density) = (
                0.5 * libm::erfc(-x / 2f64.sqrt()),
                (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt(),
            );
            (x * below, below + x * density)
        }),
    ];
    for (name, function) in functions {
        let op = format!("{name} on [-4, 4)");
        let x: Vec<f32> = reference::unit(&format!("{op}/x"), LEN)
            .iter()
            .map(|u| 4.0 * u)
            .collect();
        let dy = reference::unit(&format!("{op}/dy"), LEN);
        let (mut y, mut dx) = (vec![0.0; LEN], vec![0.0; LEN]);
        match name {
            "tanh" => {
                activation::tanh(path(), &x, &mut y);
                activation::tanh_backward(path(), &y, &dy, &mut dx);
            }
            "sigmoid" => {
                activation::sigmoid(path(), &x, &mut y);
                activation::sigmoid_backward(path(), &y, &dy, &mut dx);
            }
            _ => {
                gelu::forward(path(), gelu::Gelu::Exact, &x, &mut y);
                dx.copy_from_slice(&dy);
                gelu::backward(path(), gelu::Gelu::Exact, &x, &mut dx);
            }
        }
        let exact: Vec<(f64, f64)> = x.iter().map(|x| function(f64::from(*x))).collect();
        show(&op, "y", &y, &exact.iter().map(|e| e.0).collect::<Vec<_>>());
        // PyTorch's script differentiates by the drawn number, a quarter of ours; the units are the
        // same.
        let slopes: Vec<f64> = exact
            .iter()
            .zip(&dy)
            .map(|(e, dy)| e.1 * f64::from(*dy))
            .collect();
        show(&op, "dx", &dx, &slopes);
    }
}

fn cross_entropy(rows: usize, classes: usize) {
    let op = format!("cross-entropy {classes}, batch {rows}");
    let logits: Vec<f32> = reference::unit(&format!("{op}/x"), rows * classes)
        .iter()
        .map(|u| 4.0 * u)
        .collect();
    let labels: Vec<u32> = (0..rows).map(|r| (r % classes) as u32).collect();
    let (mut p, mut dx) = (vec![0.0; logits.len()], vec![0.0; logits.len()]);
    let value = loss::forward(path(), classes, &logits, &labels, 0.0, &mut p);
    loss::backward(path(), classes, &p, &labels, 0.0, 1.0, &mut dx);
    let (mut sum, mut exact) = (0.0, Vec::new());
    for (row, label) in wide(&logits).chunks_exact(classes).zip(&labels) {
        let total: f64 = row.iter().map(|x| x.exp()).sum();
        sum += total.ln() - row[*label as usize];
        exact.extend(row.iter().enumerate().map(|(k, x)| {
            (x.exp() / total - f64::from(u8::from(k == *label as usize))) / rows as f64
        }));
    }
    show(&op, "y", &[value], &[sum / rows as f64]);
    show(&op, "dx", &dx, &exact);
}
