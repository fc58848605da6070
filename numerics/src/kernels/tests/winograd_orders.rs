//! Winograd's convolutions, one scalar at a time, as `conv/winograd.rs` defines them; and what they
//! are to compute, in f64.

use super::gradients::differences;
use super::special_values::{Operands, layer};
use super::*;
use crate::kernels::activation::Activation;
use crate::shape::ConvShape;

const BLOCK: usize = 32;

fn shape(h: usize, w: usize, c: usize, o: usize) -> ConvShape {
    ConvShape::new(image(h, w, c), o, (3, 3), 1, 1).unwrap()
}

/// Images, height, width, channels, outputs.
fn cases() -> Vec<(usize, ConvShape)> {
    vec![
        // Even and odd sizes; panels of 32 and of 16.
        (3, shape(4, 4, 32, 32)),
        (2, shape(5, 7, 48, 32)),
        (2, shape(6, 5, 32, 80)),
        // Two shards; groups that end within an image, and at its end.
        (37, shape(5, 4, 32, 48)),
        (1, shape(34, 32, 32, 32)),
        // A row of tiles longer than a group.
        (2, shape(4, 262, 32, 32)),
        // Sums of several blocks; one shard for all images; so many weights that a thread's part is
        // a part.
        (33, shape(4, 5, 144, 128)),
        (2, shape(4, 4, 192, 160)),
    ]
}

type Square<const N: usize> = [[f32; N]; N];

fn square<const N: usize>(of: impl Fn(usize, usize) -> f32) -> Square<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| of(i, j)))
}

/// `f` along columns, then along rows.
fn both<const N: usize, const M: usize>(
    of: Square<N>,
    f: impl Fn([f32; N]) -> [f32; M],
) -> Square<M> {
    let columns: [[f32; M]; N] = std::array::from_fn(|j| f(std::array::from_fn(|i| of[i][j])));
    std::array::from_fn(|i| f(std::array::from_fn(|j| columns[j][i])))
}

fn of_input([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    [a - c, b + c, c - b, b - d]
}

fn of_weight([a, b, c]: [f32; 3]) -> [f32; 4] {
    let (s, h) = (0.5 * (a + c), 0.5 * b);
    [a, s + h, s - h, c]
}

fn to_output([a, b, c, d]: [f32; 4]) -> [f32; 2] {
    [(a + b) + c, (b - c) - d]
}

fn of_gradient([a, b]: [f32; 2]) -> [f32; 4] {
    [a, a + b, a - b, -b]
}

fn to_weight([a, b, c, d]: [f32; 4]) -> [f32; 3] {
    let t = 0.5 * (b + c);
    [a + t, 0.5 * (b - c), t + d]
}

/// The value at a position that may be outside.
fn at(values: &[f32], of: Image, i: usize, y: isize, x: isize, channel: usize) -> f32 {
    let inside = (0..of.height as isize).contains(&y) && (0..of.width as isize).contains(&x);
    match inside {
        true => {
            let position = (i * of.height + y as usize) * of.width + x as usize;
            values[position * of.channels + channel]
        }
        false => 0.0,
    }
}

/// A tile of an image: image, row and column of tiles.
type Tile = (usize, usize, usize);

fn tiles(n: usize, of: Image) -> Vec<Tile> {
    let (rows, columns) = (of.height.div_ceil(2), of.width.div_ceil(2));
    (0..n * rows * columns)
        .map(|t| (t / columns / rows, t / columns % rows, t % columns))
        .collect()
}

/// `v[tile][channel]`.
fn inputs(values: &[f32], n: usize, of: Image) -> Vec<Vec<Square<4>>> {
    let one = |(i, ty, tx): Tile, c| {
        let d = |r: usize, s: usize| {
            let (y, x) = (2 * ty + r, 2 * tx + s);
            at(values, of, i, y as isize - 1, x as isize - 1, c)
        };
        both(square(d), of_input)
    };
    let all = tiles(n, of).into_iter();
    all.map(|t| (0..of.channels).map(|c| one(t, c)).collect())
        .collect()
}

/// Outputs of images `x` by taps `w(tap, input, output)`.
fn convolution(
    x: &[f32],
    from: Image,
    w: impl Fn(usize, usize, usize) -> f32,
    outputs: usize,
    b: Option<&[f32]>,
) -> Vec<f32> {
    let n = x.len() / from.features();
    let v = inputs(x, n, from);
    let mut y = vec![0.0; n * from.positions() * outputs];
    for q in 0..outputs {
        let u: Vec<Square<4>> = (0..from.channels)
            .map(|c| {
                let taps = |kh, kw| w(kh * 3 + kw, c, q);
                both(square(taps), of_weight)
            })
            .collect();
        for ((i, ty, tx), v) in tiles(n, from).into_iter().zip(&v) {
            let m = square(|i, j| {
                let products = v.iter().zip(&u).map(|(v, u)| (v[i][j], u[i][j]));
                in_blocks(BLOCK, 0.0, products)
            });
            for (r, row) in both(m, to_output).into_iter().enumerate() {
                for (s, value) in row.into_iter().enumerate() {
                    let (py, px) = (2 * ty + r, 2 * tx + s);
                    if py < from.height && px < from.width {
                        let position = (i * from.height + py) * from.width + px;
                        y[position * outputs + q] = value + b.map_or(0.0, |b| b[q]);
                    }
                }
            }
        }
    }
    y
}

/// What is added to the gradient of the weight.
fn weight_gradient(shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (img, out) = (shape.input(), shape.output());
    let (c_n, o_n) = (img.channels, out.channels);
    let n = x.len() / img.features();
    let v = inputs(x, n, img);
    let e: Vec<Vec<Square<4>>> = tiles(n, out)
        .into_iter()
        .map(|(i, ty, tx)| {
            let one = |q| {
                let e = |r: usize, s: usize| {
                    at(dy, out, i, (2 * ty + r) as isize, (2 * tx + s) as isize, q)
                };
                both(square(e), of_gradient)
            };
            (0..o_n).map(one).collect()
        })
        .collect();
    let (rows, columns) = (img.height.div_ceil(2), img.width.div_ceil(2));
    let shard = if c_n * o_n <= 1 << 14 { 32 } else { n };
    let group = (128 / columns).max(1) * columns;
    let mut dw = vec![0.0; shape.weights()];
    for c in 0..c_n {
        for q in 0..o_n {
            let sum = |i: usize, j: usize| {
                let of_shard = |images: std::ops::Range<usize>| {
                    let tiles: Vec<usize> =
                        (images.start * rows * columns..images.end * rows * columns).collect();
                    let groups = tiles.chunks(group).map(|tiles| {
                        let products = tiles.iter().map(|t| (v[*t][c][i][j], e[*t][q][i][j]));
                        in_blocks(BLOCK, 0.0, products)
                    });
                    groups.reduce(|a, b| a + b).unwrap()
                };
                let shards = (0..n).step_by(shard).map(|i| of_shard(i..n.min(i + shard)));
                shards.reduce(|a, b| a + b).unwrap()
            };
            for (kh, row) in both(square(sum), to_weight).into_iter().enumerate() {
                for (kw, value) in row.into_iter().enumerate() {
                    dw[((kh * 3 + kw) * c_n + c) * o_n + q] = value;
                }
            }
        }
    }
    dw
}

/// Usual numbers; tiny ones, whose products are subnormal, with zeros of both signs; usual ones
/// with a few that are not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    Usual,
    Tiny,
    Rare,
}

fn drawn(len: usize, seed: u64, numbers: Numbers) -> Vec<f32> {
    let mut drawn = values(len, seed, false);
    let every = |step: usize, drawn: &mut [f32], value: f32| {
        let places = drawn.iter_mut().skip(seed as usize * 7).step_by(step);
        places.for_each(|v| *v = value);
    };
    match numbers {
        Numbers::Usual => {}
        Numbers::Tiny => {
            drawn.iter_mut().for_each(|v| *v *= 2.0e-20);
            every(11, &mut drawn, -0.0);
            every(13, &mut drawn, 0.0);
            every(17, &mut drawn, f32::from_bits(0x8000_0005));
        }
        Numbers::Rare => {
            every(len / 2 + 1, &mut drawn, 3.0e38);
            every(len / 2 + 2, &mut drawn, f32::NEG_INFINITY);
            every(len / 2 + 3, &mut drawn, f32::NAN);
        }
    }
    drawn
}

#[test]
fn winograd_forward() {
    for (n, shape) in cases() {
        let (img, out) = (shape.input(), shape.output());
        for numbers in [Numbers::Usual, Numbers::Tiny, Numbers::Rare] {
            let x = drawn(n * img.features(), 1, numbers);
            let w = drawn(shape.weights(), 2, numbers);
            let b = drawn(out.channels, 3, Numbers::Usual);
            let y = everywhere(|path| {
                let mut y = vec![7.0; n * out.features()];
                conv::forward(path, &shape, &x, &w, Some(&b), &mut y);
                y
            });
            let tap = |t, c, q| w[(t * img.channels + c) * out.channels + q];
            let want = convolution(&x, img, tap, out.channels, Some(&b));
            assert_eq!(bits(&y), bits(&want), "{shape:?} {numbers:?}");
        }
    }
}

#[test]
fn winograd_backward() {
    for (n, shape) in cases() {
        let (img, out) = (shape.input(), shape.output());
        for numbers in [Numbers::Usual, Numbers::Tiny, Numbers::Rare] {
            let x = drawn(n * img.features(), 1, numbers);
            let w = drawn(shape.weights(), 2, numbers);
            let dy = drawn(n * out.features(), 4, numbers);
            let old = drawn(x.len() + w.len(), 5, Numbers::Usual);
            let got = everywhere(|path| {
                let mut to = old.clone();
                let (dx, dw) = to.split_at_mut(x.len());
                conv::input_gradient(path, &shape, &w, &dy, dx);
                conv::weight_gradient(path, &shape, &x, &dy, dw);
                to
            });
            let flipped = |t, q, c| w[((8 - t) * img.channels + c) * out.channels + q];
            let mut want = convolution(&dy, out, flipped, img.channels, None);
            want.extend(weight_gradient(&shape, &x, &dy));
            let want: Vec<f32> = old.iter().zip(&want).map(|(old, v)| old + v).collect();
            assert_eq!(bits(&got), bits(&want), "{shape:?} {numbers:?}");
        }
    }
}

/// Layers with activations, into fresh buffers and to what they hold, from slices that begin
/// anywhere.
#[test]
fn winograd_layers_anywhere() {
    for (i, activation) in [
        Activation::Identity,
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
    ]
    .into_iter()
    .enumerate()
    {
        let (n, shape) = (2, shape(5, 4 + i, 32, 48));
        let (x, y) = (n * shape.input().features(), n * shape.output().features());
        for numbers in [Numbers::Usual, Numbers::Rare] {
            let all = Operands {
                x: drawn(x, 1, numbers),
                w: drawn(shape.weights(), 2, Numbers::Usual),
                b: drawn(48, 3, numbers),
                dy: drawn(y, 4, numbers),
                old: [shape.weights(), 48, x].map(|len| drawn(len, 5, Numbers::Usual)),
                activation,
            };
            let got = layer(
                &all,
                |path, all, x, w, b, y| {
                    conv::layer_forward(path, &shape, x, w, Some(b), all.activation, y);
                },
                |path, from| conv::layer_backward(path, &shape, from),
            );
            let (c, o) = (32, 48);
            let tap = |t: usize, ch: usize, q: usize| all.w[(t * c + ch) * o + q];
            let mut want = convolution(&all.x, shape.input(), tap, o, Some(&all.b));
            activation.apply(Path::PLAIN, &mut want);
            assert_eq!(bits(&got), bits(&want), "{activation:?} {numbers:?}");
        }
    }
}

/// A convolution in f64, as everybody defines it.
fn exact(shape: &ConvShape, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let (img, o) = (shape.input(), shape.output().channels);
    let mut y = Vec::new();
    for position in 0..x.len() / img.channels {
        let (i, row, column) = (
            position / img.positions(),
            position / img.width % img.height,
            position % img.width,
        );
        let mut sums = b.to_vec();
        for tap in 0..9 {
            let (r, s) = (
                (row + tap / 3).wrapping_sub(1),
                (column + tap % 3).wrapping_sub(1),
            );
            if r >= img.height || s >= img.width {
                continue;
            }
            let x = &x[((i * img.height + r) * img.width + s) * img.channels..][..img.channels];
            for (c, x) in x.iter().enumerate() {
                let w = &w[(tap * img.channels + c) * o..][..o];
                sums.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
            }
        }
        y.extend(sums);
    }
    y
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Within the bound that docs/numerics.md states.
#[test]
fn winograd_is_near_the_convolution() {
    for (n, shape) in cases() {
        let (img, out) = (shape.input(), shape.output());
        let x = values(n * img.features(), 1, false);
        let w = values(shape.weights(), 2, false);
        let b = values(out.channels, 3, false);
        let mut y = vec![7.0; n * out.features()];
        conv::forward(Path::current(), &shape, &x, &w, Some(&b), &mut y);
        let want = exact(&shape, &wide(&x), &wide(&w), &wide(&b));
        let size = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
        let error = size(&mut y.iter().zip(&want).map(|(y, w)| f64::from(*y) - w));
        let error = error / size(&mut want.iter().copied()) / f64::from(f32::EPSILON);
        assert!(error < 3.0, "{shape:?}: {error}");
        // No output is further off than the bound.
        let (c, unit) = (img.channels, f64::from(f32::EPSILON) / 2.0);
        let most = |v: &[f32]| v.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let (x, w, b) = (most(&x), most(&w), most(&b));
        let roundings = 10 + c.min(32) + c.div_ceil(32);
        let terms = roundings as f64 * 64.0 * c as f64 * f64::from(w) * f64::from(x);
        let bound = unit * (terms + f64::from(b));
        let near = |(y, want): (&f32, &f64)| (f64::from(*y) - want).abs() <= bound;
        assert!(y.iter().zip(&want).all(near), "{shape:?}");
    }
}

#[test]
fn winograd_gradients_are_differences() {
    let (n, shape) = (1, shape(4, 5, 32, 32));
    let (img, out) = (shape.input(), shape.output());
    let x = values(n * img.features(), 1, false);
    let w = values(shape.weights(), 2, false);
    let b = values(out.channels, 3, false);
    let dy = values(n * out.features(), 4, false);
    let mut dx = vec![0.0; x.len()];
    conv::input_gradient(Path::current(), &shape, &w, &dy, &mut dx);
    let f = |of: &[Vec<f64>]| exact(&shape, &of[0], &of[1], &of[2]);
    differences("winograd", &dx, &[&x, &w, &b], 0, &dy, &f);
    // Of all 9,216 weights, those of the first two channels: a convolution's output is linear in
    // each.
    let mut dw = vec![0.0; w.len()];
    conv::weight_gradient(Path::current(), &shape, &x, &dy, &mut dw);
    let few =
        |w: &[f32]| -> Vec<f32> { (0..9).flat_map(|t| w[t * 1024..][..64].to_vec()).collect() };
    let all = wide(&w);
    let f = |of: &[Vec<f64>]| {
        let mut w = all.clone();
        for (t, few) in of[0].chunks(64).enumerate() {
            w[t * 1024..][..64].copy_from_slice(few);
        }
        exact(&shape, &wide(&x), &w, &wide(&b))
    };
    differences("winograd", &few(&dw), &[&few(&w)], 0, &dy, &f);
}
