//! Depthwise convolutions: the documented orders, one scalar at a time, and the gradients against
//! differences.

use super::gradients::{buffer, differences, gradient};
use super::*;
use crate::kernels::activation::Activation;
use crate::kernels::layer::{Accumulate, Backward};
use crate::shape::DepthwiseShape;

/// Every (output position, kernel index, input position) of one axis.
fn axis(input: usize, output: usize, k: usize, stride: usize, padding: usize) -> Vec<[usize; 3]> {
    let mut all = Vec::new();
    for o in 0..output {
        for k in 0..k {
            if let Some(i) = (o * stride + k).checked_sub(padding).filter(|i| *i < input) {
                all.push([o, k, i]);
            }
        }
    }
    all
}

#[test]
fn depthwise_in_the_documented_order() {
    for (n, h, w, c, kernel, stride, padding) in [
        (1, 1, 1, 1, (1, 1), 1, 0),
        (3, 5, 4, 17, (3, 3), 1, 1),
        (70, 6, 7, 33, (3, 3), 2, 1),
        (2, 9, 8, 5, (5, 3), 3, 2),
        (33, 4, 4, 16, (4, 4), 2, 3),
        (5, 7, 5, 48, (2, 2), 3, 0),
    ] {
        let shape = DepthwiseShape::new(image(h, w, c), kernel, stride, padding).unwrap();
        let (oh, ow) = (shape.output().height, shape.output().width);
        let harsh = n == 3;
        let x = values(n * shape.input().features(), 1, harsh);
        let weight = values(shape.weights(), 2, harsh);
        let bias = values(c, 3, false);
        let dy = values(n * shape.output().features(), 4, harsh);
        let old = values(x.len() + weight.len() + c, 5, false);
        let (rows, columns) = (
            axis(h, oh, kernel.0, stride, padding),
            axis(w, ow, kernel.1, stride, padding),
        );
        for old in [None, Some(&old[..])] {
            let all = everywhere(|path| {
                let mut y = vec![7.0; dy.len()];
                depthwise::forward(path, &shape, &x, &weight, Some(&bias), &mut y);
                let mut to = buffer(old, x.len() + weight.len() + c);
                let (dx, rest) = to.split_at_mut(x.len());
                let (dw, db) = rest.split_at_mut(weight.len());
                let from = Backward {
                    x: &x,
                    w: &weight,
                    y: &y,
                    activation: Activation::Identity,
                    dy: &mut dy.clone(),
                    dw: gradient(dw, old),
                    db: Some(gradient(db, old)),
                    dx: Some(gradient(dx, old)),
                };
                depthwise::layer_backward(path, &shape, from);
                [y, to].concat()
            });
            let x_at = |i: usize, row: usize, column: usize, j: usize| {
                ((i * h + row) * w + column) * c + j
            };
            let y_at = |i: usize, row: usize, column: usize, j: usize| {
                ((i * oh + row) * ow + column) * c + j
            };
            let w_at = |kh: usize, kw: usize, j: usize| (kh * kernel.1 + kw) * c + j;
            let mut want: Vec<f32> = (0..dy.len()).map(|e| bias[e % c]).collect();
            let mut dx = vec![0.0f32; x.len()];
            for i in 0..n {
                for j in 0..c {
                    for [oy, kh, iy] in &rows {
                        for [ox, kw, ix] in &columns {
                            let y = &mut want[y_at(i, *oy, *ox, j)];
                            *y = x[x_at(i, *iy, *ix, j)].mul_add(weight[w_at(*kh, *kw, j)], *y);
                            // outputs ascending are taps descending
                            let dx = &mut dx[x_at(i, *iy, *ix, j)];
                            *dx = dy[y_at(i, *oy, *ox, j)].mul_add(weight[w_at(*kh, *kw, j)], *dx);
                        }
                    }
                }
            }
            let mut gradients = dx;
            for kh in 0..kernel.0 {
                for kw in 0..kernel.1 {
                    for j in 0..c {
                        gradients.push(grouped(n, oh * ow, |images| {
                            let mut sum = 0.0f32;
                            for i in images {
                                for [oy, _, iy] in rows.iter().filter(|t| t[1] == kh) {
                                    for [ox, _, ix] in columns.iter().filter(|t| t[1] == kw) {
                                        sum = x[x_at(i, *iy, *ix, j)]
                                            .mul_add(dy[y_at(i, *oy, *ox, j)], sum);
                                    }
                                }
                            }
                            sum
                        }));
                    }
                }
            }
            for j in 0..c {
                gradients.push(grouped(n, oh * ow, |r| {
                    of_rows(r.start * oh * ow..r.end * oh * ow, |s, at| {
                        s + dy[at * c + j]
                    })
                }));
            }
            let old = old.map_or_else(|| vec![0.0; gradients.len()], <[f32]>::to_vec);
            want.extend(old.iter().zip(&gradients).map(|(o, g)| o + g));
            assert_eq!(bits(&all), bits(&want), "{shape:?}, {n} images");
        }
    }
}

#[test]
fn depthwise_activation_is_applied_and_undone() {
    let shape = DepthwiseShape::new(image(4, 4, 3), (3, 3), 1, 1).unwrap();
    let (x, w) = (values(2 * 48, 1, false), values(27, 2, false));
    let dy = values(96, 3, false);
    let path = Path::current();
    let (mut plain, mut y) = (vec![0.0; 96], vec![0.0; 96]);
    depthwise::forward(path, &shape, &x, &w, None, &mut plain);
    depthwise::layer_forward(path, &shape, &x, &w, None, Activation::Relu, &mut y);
    assert!(y.iter().zip(&plain).all(|(y, p)| *y == p.max(0.0)));
    let (mut used, mut dw) = (dy.clone(), vec![0.0; 27]);
    let from = Backward {
        x: &x,
        w: &w,
        y: &y,
        activation: Activation::Relu,
        dy: &mut used,
        dw: gradient(&mut dw, None),
        db: None,
        dx: None,
    };
    depthwise::layer_backward(path, &shape, from);
    let masked: Vec<f32> = dy
        .iter()
        .zip(&plain)
        .map(|(d, p)| if *p > 0.0 { *d } else { 0.0 })
        .collect();
    assert_eq!(used, masked);
    let mut want = vec![0.0; 27];
    depthwise::weight_gradient(path, &shape, &x, &masked, &mut want);
    assert_eq!(dw, want);
}

#[test]
fn depthwise_gradients_against_differences() {
    let (n, h, w, c) = (2, 5, 4, 3);
    let shape = DepthwiseShape::new(image(h, w, c), (3, 3), 2, 1).unwrap();
    let out = shape.output();
    let (x, weight) = (values(n * h * w * c, 1, false), values(27, 2, false));
    let cotangent = values(n * out.features(), 3, false);
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; 27]);
    let path = Path::current();
    depthwise::input_gradient(
        path,
        &shape,
        &weight,
        &cotangent,
        Accumulate::First,
        &mut dx,
    );
    depthwise::weight_gradient(path, &shape, &x, &cotangent, &mut dw);
    let f = |v: &[Vec<f64>]| {
        let mut y = vec![0.0; n * out.features()];
        for i in 0..n {
            for [oy, kh, iy] in axis(h, out.height, 3, 2, 1) {
                for [ox, kw, ix] in axis(w, out.width, 3, 2, 1) {
                    for j in 0..c {
                        y[((i * out.height + oy) * out.width + ox) * c + j] +=
                            v[0][((i * h + iy) * w + ix) * c + j] * v[1][(kh * 3 + kw) * c + j];
                    }
                }
            }
        }
        y
    };
    for (which, got) in [dx, dw].iter().enumerate() {
        differences("depthwise", got, &[&x, &weight], which, &cotangent, &f);
    }
}
