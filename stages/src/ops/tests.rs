//! Gradients of every op against central differences of an f64 reference, literals worked out by hand, and the tape's laws.

use dfdx::prelude::{AsArray, Backward, Cpu, Gradients};

use super::recycle::Pool;
use super::*;
use crate::exact::rng::Stream;

mod images;

type Taped = Matrix<Cpu, Traced>;

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, "op test", 0, 0);
    (0..len).map(|_| random.normal()).collect()
}

fn matrix(data: &[f32], rows: usize) -> Matrix<Cpu> {
    // Stale values are of no kind an op may rely on.
    let pool = Pool::default();
    for len in 1..200 {
        pool.take(len).fill(f32::NAN);
    }
    let shape = (rows, data.len() / rows);
    Matrix::written(&Cpu::default(), &pool, shape, |to| to.copy_from_slice(data)).unwrap()
}

fn param(data: &[f32]) -> Param<Cpu> {
    Param::new(&Cpu::default(), &Pool::default(), data).unwrap()
}

/// The gradient of a matrix or a parameter; zeros where there is none.
trait Operand {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32>;
}

impl Operand for Matrix<Cpu> {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32> {
        let found = take_input_gradient(of, self).unwrap();
        found.map_or(vec![0.0; self.values().len()], |g| g.to_vec())
    }
}

impl Operand for Param<Cpu> {
    fn gradient(&self, of: &mut Gradients<f32, Cpu>) -> Vec<f32> {
        let found = take_gradient(&Cpu::default(), &Pool::default(), of, self).unwrap();
        found.map_or(vec![0.0; self.values().len()], |g| g.to_vec())
    }
}

fn gradient(gradients: &mut Gradients<f32, Cpu>, of: &impl Operand) -> Vec<f32> {
    of.gradient(gradients)
}

/// The gradients of Σ weights·y.
fn weighted(y: Taped, weights: &[f32]) -> Gradients<f32, Cpu> {
    let weights = matrix(weights, y.shape().0);
    weighted_sum(y, &weights).unwrap().backward()
}

/// Central differences of Σ weights·f in f64, at inputs rounded to f32.
fn differences(
    inputs: &[&[f32]],
    which: usize,
    weights: &[f32],
    f: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Vec<f64> {
    let mut at: Vec<Vec<f64>> = inputs
        .iter()
        .map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let total = |at: &[Vec<f64>]| -> f64 {
        f(at)
            .iter()
            .zip(weights)
            .map(|(y, w)| y * f64::from(*w))
            .sum()
    };
    let step = 1e-5;
    (0..at[which].len())
        .map(|i| {
            let middle = at[which][i];
            at[which][i] = middle + step;
            let above = total(&at);
            at[which][i] = middle - step;
            let below = total(&at);
            at[which][i] = middle;
            (above - below) / (2.0 * step)
        })
        .collect()
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |m, w| m.max(w.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() < 2e-5 * scale,
            "{what}[{i}]: {g}, want {w}"
        );
    }
}

#[track_caller]
fn check(
    what: &str,
    inputs: &[&[f32]],
    got: &[Vec<f32>],
    weights: &[f32],
    f: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    for (which, got) in got.iter().enumerate() {
        close(
            &format!("{what}, input {which}"),
            got,
            &differences(inputs, which, weights, &f),
        );
    }
}

#[test]
fn dense_gradients() {
    let (n, i, o) = (3, 5, 4);
    let (xv, wv, bv, cv) = (
        values(n * i, 1),
        values(i * o, 2),
        values(o, 3),
        values(n * o, 4),
    );
    let (x, w, b) = (matrix(&xv, n), param(&wv), param(&bv));
    let y = dense(
        x.clone().traced(),
        &w,
        Some(&b),
        DenseShape::new(i, o).unwrap(),
        Activation::Identity,
        InputGradient::Needed,
    )
    .unwrap();
    let mut g = weighted(y, &cv);
    check(
        "dense",
        &[&xv, &wv, &bv],
        &[
            gradient(&mut g, &x),
            gradient(&mut g, &w),
            gradient(&mut g, &b),
        ],
        &cv,
        |v| {
            (0..n * o)
                .map(|e| {
                    v[2][e % o]
                        + (0..i)
                            .map(|k| v[0][e / o * i + k] * v[1][k * o + e % o])
                            .sum::<f64>()
                })
                .collect()
        },
    );
}

#[test]
fn conv_gradients() {
    for (kernel, stride, padding) in [
        ((3, 3), 1, 1),
        ((3, 2), 2, 1),
        ((1, 1), 2, 0),
        ((2, 2), 3, 0),
    ] {
        let img = Image {
            height: 5,
            width: 4,
            channels: 2,
        };
        let shape = ConvShape::new(img, 3, kernel, stride, padding).unwrap();
        let (n, out) = (2, shape.output());
        let (xv, wv, bv, cv) = (
            values(n * img.features(), 1),
            values(shape.weights(), 2),
            values(3, 3),
            values(n * out.features(), 4),
        );
        let (x, w, b) = (matrix(&xv, n), param(&wv), param(&bv));
        let y = conv2d(
            x.clone().traced(),
            &w,
            Some(&b),
            shape,
            Activation::Identity,
            InputGradient::Needed,
        )
        .unwrap();
        let mut g = weighted(y, &cv);
        check(
            "conv",
            &[&xv, &wv, &bv],
            &[
                gradient(&mut g, &x),
                gradient(&mut g, &w),
                gradient(&mut g, &b),
            ],
            &cv,
            |v| {
                let mut y = Vec::new();
                for e in 0..n * out.features() {
                    let (q, ox, oy, i) = (
                        e % 3,
                        e / 3 % out.width,
                        e / 3 / out.width % out.height,
                        e / out.features(),
                    );
                    let mut sum = v[2][q];
                    for kh in 0..kernel.0 {
                        for kw in 0..kernel.1 {
                            let (iy, ix) = (
                                (oy * stride + kh).wrapping_sub(padding),
                                (ox * stride + kw).wrapping_sub(padding),
                            );
                            if iy < img.height && ix < img.width {
                                for c in 0..2 {
                                    sum += v[0][((i * 5 + iy) * 4 + ix) * 2 + c]
                                        * v[1][((kh * kernel.1 + kw) * 2 + c) * 3 + q];
                                }
                            }
                        }
                    }
                    y.push(sum);
                }
                y
            },
        );
    }
}

#[test]
fn pool_gradients() {
    let img = Image {
        height: 5,
        width: 6,
        channels: 2,
    };
    for shape in [
        PoolShape::new(img, 2, 2).unwrap(),
        PoolShape::new(img, 3, 1).unwrap(),
        PoolShape::global(img).unwrap(),
    ] {
        let (n, out, (kh, kw), (sh, sw)) = (2, shape.output(), shape.kernel(), shape.stride());
        let (xv, cv) = (values(n * img.features(), 1), values(n * out.features(), 4));
        let windows = |v: &[f64], of: fn(&[f64]) -> f64| -> Vec<f64> {
            (0..n * out.features())
                .map(|e| {
                    let (c, ox, oy, i) = (
                        e % 2,
                        e / 2 % out.width,
                        e / 2 / out.width % out.height,
                        e / out.features(),
                    );
                    let taps = (0..kh * kw)
                        .map(|t| v[((i * 5 + oy * sh + t / kw) * 6 + ox * sw + t % kw) * 2 + c]);
                    of(&taps.collect::<Vec<f64>>())
                })
                .collect()
        };
        let x = matrix(&xv, n);
        let mut g = weighted(max_pool2d(x.clone().traced(), shape).unwrap(), &cv);
        check("max", &[&xv], &[gradient(&mut g, &x)], &cv, |v| {
            windows(&v[0], |w| w.iter().copied().fold(f64::MIN, f64::max))
        });
        let mut g = weighted(avg_pool2d(x.clone().traced(), shape).unwrap(), &cv);
        check("avg", &[&xv], &[gradient(&mut g, &x)], &cv, |v| {
            windows(&v[0], |w| w.iter().sum::<f64>() / w.len() as f64)
        });
    }
}

#[test]
fn activation_gradients() {
    let (xv, cv) = (values(12, 1), values(12, 2));
    let x = matrix(&xv, 3);
    type Op = fn(Taped) -> Result<Taped, dfdx::prelude::CpuError>;
    let ops: [(Op, fn(f64) -> f64); 3] = [
        (relu, |x| x.max(0.0)),
        (tanh, f64::tanh),
        (sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    ];
    for (op, f) in ops {
        let mut g = weighted(op(x.clone().traced()).unwrap(), &cv);
        check("activation", &[&xv], &[gradient(&mut g, &x)], &cv, |v| {
            v[0].iter().map(|x| f(*x)).collect()
        });
    }
}

#[test]
fn batch_norm_gradients() {
    let (n, positions, c) = (3, 4, 2);
    let (xv, gv, bv, cv) = (
        values(n * positions * c, 1),
        values(c, 2),
        values(c, 3),
        values(n * positions * c, 4),
    );
    let (x, gamma, beta) = (matrix(&xv, n), param(&gv), param(&bv));
    let shape = NormShape::new(c, positions);
    let normal = |v: &[Vec<f64>], stats: &dyn Fn(usize) -> (f64, f64)| -> Vec<f64> {
        let one = |(e, x): (usize, &f64)| {
            (x - stats(e % c).0) / (stats(e % c).1 + 1e-5).sqrt() * v[1][e % c] + v[2][e % c]
        };
        v[0].iter().enumerate().map(one).collect()
    };
    let (y, stats) = batch_norm_train(
        x.clone().traced(),
        &gamma,
        &beta,
        shape,
        Activation::Identity,
    )
    .unwrap();
    let mut g = weighted(y, &cv);
    let got = [
        gradient(&mut g, &x),
        gradient(&mut g, &gamma),
        gradient(&mut g, &beta),
    ];
    check("batch norm", &[&xv, &gv, &bv], &got, &cv, |v| {
        normal(v, &|j| {
            let column: Vec<f64> = v[0].iter().skip(j).step_by(c).copied().collect();
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            (
                mean,
                column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64,
            )
        })
    });
    assert_eq!(stats.count, 12);
    let (mean, variance) = (param(&[0.3, -0.2]), param(&[0.5, 2.0]));
    let mut g = weighted(
        batch_norm_eval(
            x.clone().traced(),
            &gamma,
            &beta,
            &mean,
            &variance,
            shape,
            Activation::Identity,
        )
        .unwrap(),
        &cv,
    );
    let got = [
        gradient(&mut g, &x),
        gradient(&mut g, &gamma),
        gradient(&mut g, &beta),
    ];
    check("batch norm eval", &[&xv, &gv, &bv], &got, &cv, |v| {
        normal(v, &|j| [(0.3, 0.5), (-0.2, 2.0)][j])
    });
}

#[test]
fn cross_entropy_gradients() {
    let (n, k) = (3, 5);
    let labels = Labels::new(&[4, 0, 2], k).unwrap();
    let xv = values(n * k, 1);
    let x = matrix(&xv, n);
    for smoothing in [0.0f32, 0.1] {
        let loss = softmax_cross_entropy(x.clone().traced(), &labels, smoothing).unwrap();
        let value = loss.array();
        let mut g = loss.backward();
        let reference = |v: &[Vec<f64>]| {
            let mut sum = 0.0;
            for (row, label) in v[0].chunks(k).zip(labels.of_rows()) {
                let ln = row.iter().map(|x| x.exp()).sum::<f64>().ln();
                let s = f64::from(smoothing);
                sum += (1.0 - s) * (ln - row[*label as usize])
                    + s / k as f64 * row.iter().map(|x| ln - x).sum::<f64>();
            }
            vec![sum / n as f64]
        };
        close(
            "loss",
            &[value],
            &reference(&[xv.iter().map(|x| f64::from(*x)).collect()]),
        );
        check(
            "cross-entropy",
            &[&xv],
            &[gradient(&mut g, &x)],
            &[1.0],
            reference,
        );
    }
}

#[test]
fn an_input_used_twice_gets_both_gradients() {
    let x = matrix(&[1.0, -2.0, 3.0], 1);
    let traced = x.clone().traced();
    let none = Activation::Identity;
    let branch = relu(traced.branch()).unwrap();
    let mut g = weighted(
        add(add(traced.branch(), branch, none).unwrap(), traced, none).unwrap(),
        &[1.0, 10.0, 100.0],
    );
    assert_eq!(gradient(&mut g, &x), [3.0, 20.0, 300.0]);
    let traced = x.clone().traced();
    let mut g = weighted(
        add(traced.branch(), traced, none).unwrap(),
        &[1.0, 1.0, 1.0],
    );
    assert_eq!(gradient(&mut g, &x), [2.0; 3]);
}

#[test]
fn a_weight_used_twice_and_a_second_pass_accumulate() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let shape = DenseShape::new(1, 1).unwrap();
    let two = |g: Gradients<f32, Cpu>| {
        let y = dense(
            x.clone().traced_into(g),
            &w,
            None,
            shape,
            Activation::Identity,
            InputGradient::Skip,
        )
        .unwrap();
        weighted(
            dense(
                y,
                &w,
                None,
                shape,
                Activation::Identity,
                InputGradient::Needed,
            )
            .unwrap(),
            &[1.0],
        )
    };
    // y = w²x: dy/dw = 2wx = 12.
    let mut g = two(Gradients::leaky());
    assert_eq!(gradient(&mut g, &w), [12.0]);
    // A second pass over the same leaves adds to their gradients.
    let g = two(Gradients::leaky());
    assert_eq!(gradient(&mut two(g), &w), [24.0]);
}

#[test]
fn a_skipped_input_gradient_is_not_made() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let y = dense(
        x.clone().traced(),
        &w,
        None,
        DenseShape::new(1, 1).unwrap(),
        Activation::Identity,
        InputGradient::Skip,
    )
    .unwrap();
    assert_eq!(gradient(&mut weighted(y, &[1.0]), &w), [3.0]);
    let w4 = param(&[1.0; 9]);
    let shape = ConvShape::new(
        Image {
            height: 3,
            width: 3,
            channels: 1,
        },
        1,
        (3, 3),
        1,
        1,
    )
    .unwrap();
    let x = matrix(&[1.0; 9], 1);
    let mut g = weighted(
        conv2d(
            x.clone().traced(),
            &w4,
            None,
            shape,
            Activation::Identity,
            InputGradient::Skip,
        )
        .unwrap(),
        &[1.0; 9],
    );
    assert!(take_input_gradient(&mut g, &x).unwrap().is_none());
    assert_eq!(
        gradient(&mut g, &w4),
        [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]
    );
}

#[test]
fn dropout_scales_what_it_keeps_and_masks_the_gradient_alike() {
    let x = matrix(&[1.0; 4000], 4);
    let stream = Stream::new(1, "dropout test", 0, 0);
    let y = dropout(x.clone().traced(), 0.25, &stream).unwrap();
    let kept = y.read().to_vec();
    let zeros = kept.iter().filter(|v| **v == 0.0).count();
    assert!((900..1100).contains(&zeros), "{zeros}");
    assert!(kept.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
    assert_eq!(gradient(&mut weighted(y, &[1.0; 4000]), &x), kept);
}

/// Worked out by hand.
#[test]
fn literals() {
    // [1 2; 3 4]·[1 0 2; -1 1 3] + [10 20 30]
    let shape = DenseShape::new(2, 3).unwrap();
    let y = dense(
        matrix(&[1.0, 2.0, 3.0, 4.0], 2),
        &param(&[1.0, 0.0, 2.0, -1.0, 1.0, 3.0]),
        Some(&param(&[10.0, 20.0, 30.0])),
        shape,
        Activation::Identity,
        InputGradient::Skip,
    );
    assert_eq!(*y.unwrap().read(), [9.0, 22.0, 38.0, 9.0, 24.0, 48.0]);
    // A 2x3 image under a 2x2 window, no padding, bias 1: 1·1 + 2·2 + 4·3 + 5·4 + 1, 2·1 + 3·2 + 5·3 + 6·4 + 1.
    let shape = ConvShape::new(
        Image {
            height: 2,
            width: 3,
            channels: 1,
        },
        1,
        (2, 2),
        1,
        0,
    )
    .unwrap();
    let y = conv2d(
        matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1),
        &param(&[1.0, 2.0, 3.0, 4.0]),
        Some(&param(&[1.0])),
        shape,
        Activation::Identity,
        InputGradient::Skip,
    );
    assert_eq!(*y.unwrap().read(), [38.0, 48.0]);
    // The mean of 1, 3 is 2, the biased variance 1: ±1/√(1 + 1e-5); running: 0.9·0 + 0.1·2, 0.9·1 + 0.1·2 (unbiased).
    let (y, stats) = batch_norm_train(
        matrix(&[1.0, 3.0], 2),
        &param(&[2.0]),
        &param(&[0.5]),
        NormShape::new(1, 1),
        Activation::Identity,
    )
    .unwrap();
    close(
        "norm",
        y.values(),
        &[0.5 - 2.0 * 0.999_995, 0.5 + 2.0 * 0.999_995],
    );
    let (mut mean, mut variance) = (param(&[0.0]), param(&[1.0]));
    let device = Cpu::default();
    stats
        .update_running(&device, 0.1, &mut mean, &mut variance)
        .unwrap();
    close(
        "running",
        &[mean.values()[0], variance.values()[0]],
        &[0.2, 1.1],
    );
    // A value alone has no variance: it moves nothing.
    let (_, stats) = batch_norm_train(
        matrix(&[9.0], 1),
        &param(&[2.0]),
        &param(&[0.5]),
        NormShape::new(1, 1),
        Activation::Identity,
    )
    .unwrap();
    let device = Cpu::default();
    stats
        .update_running(&device, 0.1, &mut mean, &mut variance)
        .unwrap();
    close(
        "running",
        &[mean.values()[0], variance.values()[0]],
        &[0.2, 1.1],
    );
    // Two equal logits: ln 2.
    let loss =
        softmax_cross_entropy(matrix(&[5.0, 5.0], 1), &Labels::new(&[1], 2).unwrap(), 0.0).unwrap();
    assert_eq!(loss.array(), std::f32::consts::LN_2);
    let y = global_avg_pool(
        matrix(&[1.0, 10.0, 3.0, 20.0], 1),
        Image {
            height: 1,
            width: 2,
            channels: 2,
        },
    )
    .unwrap();
    assert_eq!(**y.values(), [2.0, 15.0]);
}

/// An activation taken along has the bits of one behind, forward and backward.
#[test]
fn a_fused_activation_is_the_one_behind() {
    let img = Image {
        height: 4,
        width: 4,
        channels: 3,
    };
    let n = 5;
    let shape = ConvShape::new(img, 6, (3, 3), 1, 1).unwrap();
    let flat = DenseShape::new(img.features(), 7).unwrap();
    let norm = NormShape::new(3, 16);
    let xv = values(n * img.features(), 1);
    let (cw, cb) = (param(&values(shape.weights(), 2)), param(&values(6, 3)));
    let (dw, db) = (param(&values(flat.weights(), 4)), param(&values(7, 5)));
    let (gamma, beta) = (param(&values(3, 6)), param(&values(3, 7)));
    let (mean, variance) = (param(&values(3, 8)), param(&[0.5, 1.0, 2.0]));
    let needed = InputGradient::Needed;
    for activation in [Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        type Layer<'a> = &'a dyn Fn(Taped, Activation) -> Taped;
        let layers: [(Layer, [&Param<Cpu>; 2]); 5] = [
            (
                &|x, a| conv2d(x, &cw, Some(&cb), shape, a, needed).unwrap(),
                [&cw, &cb],
            ),
            (
                &|x, a| dense(x, &dw, Some(&db), flat, a, needed).unwrap(),
                [&dw, &db],
            ),
            (
                &|x, a| batch_norm_train(x, &gamma, &beta, norm, a).unwrap().0,
                [&gamma, &beta],
            ),
            (
                &|x, a| batch_norm_eval(x, &gamma, &beta, &mean, &variance, norm, a).unwrap(),
                [&gamma, &beta],
            ),
            (
                &|x, a| add(x.branch(), tanh(x).unwrap(), a).unwrap(),
                [&gamma, &beta],
            ),
        ];
        for (i, (layer, params)) in layers.iter().enumerate() {
            let run = |fused: bool| {
                let x = matrix(&xv, n);
                let y = match fused {
                    true => layer(x.clone().traced(), activation),
                    false => activate(layer(x.clone().traced(), Activation::Identity), activation)
                        .unwrap(),
                };
                let value = y.read().to_vec();
                let mut g = weighted(y, &values(value.len(), 9));
                let [a, b] = params.map(|p| gradient(&mut g, p));
                [value, gradient(&mut g, &x), a, b]
            };
            let bits =
                |all: [Vec<f32>; 4]| all.map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            assert_eq!(
                bits(run(true)),
                bits(run(false)),
                "layer {i}, {activation:?}"
            );
        }
    }
}

/// After a pass every buffer but the leaves' gradients is back in the pool.
#[test]
fn memory_comes_back() {
    let pool = Pool::default();
    let device = Cpu::default();
    let (w, shape) = (param(&values(12, 1)), DenseShape::new(4, 3).unwrap());
    let mut held = Vec::new();
    for _ in 0..3 {
        let x = Matrix::written(&device, &pool, (2, 4), |x| x.fill(1.0)).unwrap();
        let y = dense(
            x.traced(),
            &w,
            None,
            shape,
            Activation::Relu,
            InputGradient::Skip,
        )
        .unwrap();
        let y = dropout(y, 0.5, &Stream::new(1, "op test", 0, 0)).unwrap();
        let loss = softmax_cross_entropy(y, &Labels::new(&[0, 2], 3).unwrap(), 0.0).unwrap();
        let mut g = loss.backward();
        assert!(take_gradient(&device, &pool, &mut g, &w).unwrap().is_some());
        assert!(take_gradient(&device, &pool, &mut g, &w).unwrap().is_none());
        held.push(pool.held());
    }
    assert_eq!(held[0], held[2]);
}
