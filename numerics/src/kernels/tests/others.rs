//! Batch norm, one scalar at a time; ties and NaN in pooling and counting.

use super::*;
use crate::kernels::activation::Activation;
use crate::kernels::layer::{Accumulate, Gradient};
use crate::shape::PoolShape;

#[test]
fn batch_norm_in_the_documented_order() {
    for (n, positions, c) in [(1, 1, 1), (70, 20, 17), (40, 1, 5), (33, 300, 3)] {
        let (x, dy) = (
            values(n * positions * c, 1, false),
            values(n * positions * c, 2, false),
        );
        let (gamma, beta, old) = (
            values(c, 3, false),
            values(c, 4, false),
            values(x.len() + 2 * c, 5, false),
        );
        let m = (n * positions) as f32;
        let all = everywhere(|path| {
            let (mut mean, mut variance, mut y) = (vec![0.0; c], vec![0.0; c], vec![0.0; x.len()]);
            norm::stats(path, positions, &x, &mut mean, &mut variance);
            let none = Activation::Identity;
            norm::forward(
                path, 1e-5, &x, &mean, &variance, &gamma, &beta, none, &mut y,
            );
            let mut to = old.clone();
            let (dx, rest) = to.split_at_mut(x.len());
            let (dgamma, dbeta) = rest.split_at_mut(c);
            let mut d = dy.clone();
            let from = norm::Backward {
                positions,
                eps: 1e-5,
                through_stats: true,
                x: &x,
                mean: &mean,
                variance: &variance,
                gamma: &gamma,
                y: &[],
                activation: none,
                dy: &mut d,
                dgamma: added(dgamma),
                dbeta: added(dbeta),
            };
            norm::backward(path, from);
            dx.iter_mut().zip(&d).for_each(|(dx, d)| *dx += d);
            [mean, variance, y, to].concat()
        });
        let mut want = vec![0.0; 2 * c + x.len()];
        want.extend(&old);
        for j in 0..c {
            let column = |r: std::ops::Range<usize>| {
                (r.start * positions..r.end * positions).map(move |at| at * c + j)
            };
            let mean = grouped(n, positions, |r| of_rows(column(r), |s, e| s + x[e])) / m;
            let variance = grouped(n, positions, |r| {
                of_rows(column(r), |s, e| (x[e] - mean).mul_add(x[e] - mean, s))
            }) / m;
            let r = 1.0 / (variance + 1e-5).sqrt();
            let b = grouped(n, positions, |r| of_rows(column(r), |s, e| s + dy[e]));
            let g = grouped(n, positions, |rows| {
                of_rows(column(rows), |s, e| dy[e].mul_add((x[e] - mean) * r, s))
            });
            (want[j], want[c + j]) = (mean, variance);
            for e in column(0..n) {
                let xhat = (x[e] - mean) * r;
                want[2 * c + e] = xhat.mul_add(gamma[j], beta[j]);
                want[2 * c + x.len() + e] += gamma[j] * r * (dy[e] - xhat.mul_add(g / m, b / m));
            }
            want[2 * c + 2 * x.len() + j] += g;
            want[2 * c + 2 * x.len() + c + j] += b;
        }
        assert_eq!(bits(&all), bits(&want), "{n} {positions} {c}");
    }
}

#[test]
fn pooling_takes_the_first_maximum_and_passes_nan() {
    let shape = PoolShape::new(image(2, 4, 1), 2, 2).unwrap();
    let x = [1.0, 5.0, f32::NAN, 2.0, 5.0, 5.0, 3.0, 9.0];
    let mut y = [0.0; 2];
    max_of(&shape, &x, &mut y);
    assert!(y[0] == 5.0 && y[1].is_nan());
    let mut dx = [0.5; 8];
    pool::max_backward(Path::current(), &shape, &x, &[1.0, 2.0], added(&mut dx));
    assert_eq!(dx, [0.5, 1.5, 2.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
}

/// Windows that overlap, that leave gaps, that reach into padding: values and gradients one by one.
#[test]
fn pooling_reads_the_part_of_a_window_within_the_image() {
    for (h, w, c, kernel, stride, padding) in [
        (7, 6, 5, 3, 2, 1),
        (3, 3, 33, 3, 3, 1),
        (5, 4, 1, 2, 1, 1),
        (8, 9, 3, 4, 3, 2),
        (6, 6, 2, 2, 3, 0),
    ] {
        let shape = PoolShape::padded(image(h, w, c), kernel, stride, padding).unwrap();
        let (n, out) = (3, shape.output());
        let (x, dy) = (
            values(n * h * w * c, 1, true),
            values(n * out.features(), 2, false),
        );
        let old = values(x.len(), 3, false);
        for how in [Accumulate::First, Accumulate::Add] {
            let all = everywhere(|path| {
                let (mut max, mut mean) = (vec![7.0; dy.len()], vec![7.0; dy.len()]);
                pool::max_forward(path, &shape, &x, &mut max);
                pool::avg_forward(path, &shape, &x, &mut mean);
                let (mut of_max, mut of_mean) = (old.clone(), old.clone());
                let (to, to_mean) = (&mut of_max[..], &mut of_mean[..]);
                pool::max_backward(path, &shape, &x, &dy, Gradient { to, how });
                pool::avg_backward(path, &shape, &dy, Gradient { to: to_mean, how });
                [max, mean, of_max, of_mean].concat()
            });
            let (mut max, mut mean) = (Vec::new(), Vec::new());
            let start = if how == Accumulate::First {
                vec![0.0; x.len()]
            } else {
                old.clone()
            };
            let (mut of_max, mut of_mean) = (start.clone(), start);
            let area = (kernel * kernel) as f32;
            for (e, dy) in dy.iter().enumerate() {
                let (i, at, j) = (e / out.features(), e % out.features() / c, e % c);
                let mut window = Vec::new();
                for (kh, kw) in (0..kernel).flat_map(|kh| (0..kernel).map(move |kw| (kh, kw))) {
                    let row = (at / out.width * stride + kh).checked_sub(padding);
                    let column = (at % out.width * stride + kw).checked_sub(padding);
                    if let (Some(row), Some(column)) =
                        (row.filter(|r| *r < h), column.filter(|k| *k < w))
                    {
                        window.push(((i * h + row) * w + column) * c + j);
                    }
                }
                let mut best = window[0];
                for &e in &window {
                    best = if x[e] > x[best] || x[e].is_nan() {
                        e
                    } else {
                        best
                    };
                    of_mean[e] += dy / area;
                }
                max.push(x[best]);
                mean.push(window.iter().fold(0.0, |s, e| s + x[*e]) / area);
                of_max[best] += dy;
            }
            let want = [max, mean, of_max, of_mean].concat();
            assert_eq!(bits(&all), bits(&want), "{shape:?} {how:?}");
        }
    }
}

fn max_of(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    pool::max_forward(Path::current(), shape, x, y);
}

#[test]
fn labels_ties_and_nans_are_counted_right() {
    let logits = [1.0, 3.0, 3.0, 2.0, 2.0, 2.0, 0.0, f32::NAN, 1.0];
    assert_eq!(loss::count_correct(3, &logits, &[1, 0, 2]), 2);
    assert_eq!(loss::count_correct(3, &logits, &[2, 1, 0]), 0);
    let mut p = [0.0; 3];
    assert!(loss::forward(Path::current(), 3, &logits[6..], &[0], 0.0, &mut p).is_nan());
}
