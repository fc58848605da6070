//! Gradients of layers, activations and the loss against central differences.

use super::*;

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
