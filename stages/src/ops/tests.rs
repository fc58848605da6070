//! Gradients of every op against central differences of an f64 reference, literals worked out by hand, and the tape's laws.

use dfdx::prelude::{
    Backward, Cpu, Gradients, HasShape, OwnedTape, Tensor, TensorFromVec, Trace, WithEmptyTape,
};

use super::view::view;
use super::*;
use crate::exact::rng::Stream;

type Taped = Matrix<Cpu, OwnedTape<f32, Cpu>>;

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, "op test", 0, 0);
    (0..len).map(|_| random.normal()).collect()
}

fn matrix(data: &[f32], rows: usize) -> Matrix<Cpu> {
    Cpu::default().tensor_from_vec(data.to_vec(), (rows, data.len() / rows))
}

fn param(data: &[f32]) -> Param<Cpu> {
    Cpu::default().tensor_from_vec(data.to_vec(), (data.len(),))
}

fn gradient<S: dfdx::prelude::Shape>(
    gradients: &Gradients<f32, Cpu>,
    of: &Tensor<S, f32, Cpu>,
) -> Vec<f32> {
    view(&gradients.get(of)).to_vec()
}

/// The gradients of Σ weights·y, a sum that dfdx itself computes, independent of our ops.
fn weighted(y: Taped, weights: &[f32]) -> Gradients<f32, Cpu> {
    let n = y.shape().0;
    let features = weights.len() / n;
    let weights = matrix(weights, n);
    assert_eq!(weights.shape().1, features);
    dfdx::prelude::SumTo::sum::<(), dfdx::prelude::Axes2<0, 1>>(y * weights).backward()
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
        x.leaky_trace(),
        &w,
        Some(&b),
        DenseShape::new(i, o).unwrap(),
        InputGradient::Needed,
    )
    .unwrap();
    let g = weighted(y, &cv);
    check(
        "dense",
        &[&xv, &wv, &bv],
        &[gradient(&g, &x), gradient(&g, &w), gradient(&g, &b)],
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
        let y = conv2d(x.leaky_trace(), &w, Some(&b), shape, InputGradient::Needed).unwrap();
        let g = weighted(y, &cv);
        check(
            "conv",
            &[&xv, &wv, &bv],
            &[gradient(&g, &x), gradient(&g, &w), gradient(&g, &b)],
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
        let g = weighted(max_pool2d(x.leaky_trace(), shape).unwrap(), &cv);
        check("max", &[&xv], &[gradient(&g, &x)], &cv, |v| {
            windows(&v[0], |w| w.iter().copied().fold(f64::MIN, f64::max))
        });
        let g = weighted(avg_pool2d(x.leaky_trace(), shape).unwrap(), &cv);
        check("avg", &[&xv], &[gradient(&g, &x)], &cv, |v| {
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
        let g = weighted(op(x.leaky_trace()).unwrap(), &cv);
        check("activation", &[&xv], &[gradient(&g, &x)], &cv, |v| {
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
    let (y, stats) = batch_norm_train(x.leaky_trace(), &gamma, &beta, shape).unwrap();
    let g = weighted(y, &cv);
    let got = [gradient(&g, &x), gradient(&g, &gamma), gradient(&g, &beta)];
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
    let g = weighted(
        batch_norm_eval(x.leaky_trace(), &gamma, &beta, &mean, &variance, shape).unwrap(),
        &cv,
    );
    let got = [gradient(&g, &x), gradient(&g, &gamma), gradient(&g, &beta)];
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
        let loss = softmax_cross_entropy(x.leaky_trace(), &labels, smoothing).unwrap();
        let value = view(&loss)[0];
        let g = loss.backward();
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
            &[gradient(&g, &x)],
            &[1.0],
            reference,
        );
    }
}

#[test]
fn an_input_used_twice_gets_both_gradients() {
    let x = matrix(&[1.0, -2.0, 3.0], 1);
    let traced = x.leaky_trace();
    let branch = relu(traced.with_empty_tape()).unwrap();
    let g = weighted(
        add(add(traced.with_empty_tape(), branch).unwrap(), traced).unwrap(),
        &[1.0, 10.0, 100.0],
    );
    assert_eq!(gradient(&g, &x), [3.0, 20.0, 300.0]);
    let traced = x.leaky_trace();
    let g = weighted(
        add(traced.with_empty_tape(), traced).unwrap(),
        &[1.0, 1.0, 1.0],
    );
    assert_eq!(gradient(&g, &x), [2.0; 3]);
}

#[test]
fn a_weight_used_twice_and_a_second_pass_accumulate() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let shape = DenseShape::new(1, 1).unwrap();
    let two = |g: Gradients<f32, Cpu>| {
        let y = dense(x.trace(g), &w, None, shape, InputGradient::Skip).unwrap();
        weighted(
            dense(y, &w, None, shape, InputGradient::Needed).unwrap(),
            &[1.0],
        )
    };
    // y = w²x: dy/dw = 2wx = 12.
    let mut g = two(Gradients::leaky());
    assert_eq!(gradient(&g, &w), [12.0]);
    // A second pass over the same leaves adds to their gradients, once what is not a leaf was dropped.
    let mut kept: Gradients<f32, Cpu> = Gradients::leaky();
    kept.get_or_alloc_mut(&w)
        .unwrap()
        .copy_from_slice(g.get_or_alloc_mut(&w).unwrap());
    assert_eq!(gradient(&two(kept), &w), [24.0]);
}

#[test]
fn a_skipped_input_gradient_is_not_made() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let y = dense(
        x.leaky_trace(),
        &w,
        None,
        DenseShape::new(1, 1).unwrap(),
        InputGradient::Skip,
    )
    .unwrap();
    assert_eq!(gradient(&weighted(y, &[1.0]), &w), [3.0]);
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
        conv2d(x.leaky_trace(), &w4, None, shape, InputGradient::Skip).unwrap(),
        &[1.0; 9],
    );
    assert!(g.get_or_alloc_mut(&x).unwrap().iter().all(|d| *d == 0.0));
    assert_eq!(
        gradient(&g, &w4),
        [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]
    );
}

#[test]
fn dropout_scales_what_it_keeps_and_masks_the_gradient_alike() {
    let x = matrix(&[1.0; 4000], 4);
    let stream = Stream::new(1, "dropout test", 0, 0);
    let y = dropout(x.leaky_trace(), 0.25, &stream).unwrap();
    let kept = view(&y).to_vec();
    let zeros = kept.iter().filter(|v| **v == 0.0).count();
    assert!((900..1100).contains(&zeros), "{zeros}");
    assert!(kept.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
    assert_eq!(gradient(&weighted(y, &[1.0; 4000]), &x), kept);
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
        InputGradient::Skip,
    );
    assert_eq!(view(&y.unwrap()), [9.0, 22.0, 38.0, 9.0, 24.0, 48.0]);
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
        InputGradient::Skip,
    );
    assert_eq!(view(&y.unwrap()), [38.0, 48.0]);
    // The mean of 1, 3 is 2, the biased variance 1: ±1/√(1 + 1e-5); running: 0.9·0 + 0.1·2, 0.9·1 + 0.1·2 (unbiased).
    let (y, stats) = batch_norm_train(
        matrix(&[1.0, 3.0], 2),
        &param(&[2.0]),
        &param(&[0.5]),
        NormShape::new(1, 1),
    )
    .unwrap();
    close(
        "norm",
        view(&y),
        &[0.5 - 2.0 * 0.999_995, 0.5 + 2.0 * 0.999_995],
    );
    let (mut mean, mut variance) = (param(&[0.0]), param(&[1.0]));
    stats.update_running(0.1, &mut mean, &mut variance).unwrap();
    close(
        "running",
        &[view(&mean)[0], view(&variance)[0]],
        &[0.2, 1.1],
    );
    // Two equal logits: ln 2.
    let loss =
        softmax_cross_entropy(matrix(&[5.0, 5.0], 1), &Labels::new(&[1], 2).unwrap(), 0.0).unwrap();
    assert_eq!(view(&loss), [std::f32::consts::LN_2]);
    let y = global_avg_pool(
        matrix(&[1.0, 10.0, 3.0, 20.0], 1),
        Image {
            height: 1,
            width: 2,
            channels: 2,
        },
    )
    .unwrap();
    assert_eq!(view(&y), [2.0, 15.0]);
}
