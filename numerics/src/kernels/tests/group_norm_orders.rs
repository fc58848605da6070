//! Group and layer norm: the documented orders, one scalar at a time, and the gradients against
//! differences.

use super::gradients::{buffer, differences, gradient};
use super::*;
use crate::shape::GroupNormShape;

/// The documented group sum.
fn group_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, v) in values.iter().enumerate() {
        lanes[i % 16] += v;
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// y, mean, r, dx, dgamma, dbeta.
fn group_norm_all(
    path: Path,
    shape: &GroupNormShape,
    [x, gamma, beta, dy]: [&[f32]; 4],
    old: Option<&[f32]>,
) -> Vec<f32> {
    let (n, c) = (x.len() / shape.features(), shape.channels());
    let mut y = vec![7.0; x.len()];
    let (mut mean, mut r) = (vec![7.0; n * shape.groups()], vec![7.0; n * shape.groups()]);
    let to = group_norm::StatisticsMut {
        mean: &mut mean,
        inverse_deviation: &mut r,
    };
    group_norm::forward(path, shape, 1e-5, x, gamma, beta, &mut y, to);
    let (mut dx, mut to) = (dy.to_vec(), buffer(old, 2 * c));
    let (dgamma, dbeta) = to.split_at_mut(c);
    let from = group_norm::Backward {
        x,
        statistics: group_norm::Statistics {
            mean: &mean,
            inverse_deviation: &r,
        },
        gamma,
        dy: &mut dx,
        dgamma: gradient(dgamma, old),
        dbeta: gradient(dbeta, old),
    };
    group_norm::backward(path, shape, from);
    [y, mean, r, dx, to].concat()
}

#[test]
fn group_norm_in_the_documented_order() {
    for (n, positions, c, groups) in [
        (1, 1, 1, 1),
        (3, 6, 12, 3),
        (70, 20, 34, 2),
        (33, 9, 64, 32),
        (2, 300, 48, 1),
        (40, 1, 100, 1),
    ] {
        let shape = if positions == 1 {
            GroupNormShape::layer(c).unwrap()
        } else {
            GroupNormShape::new(image(positions, 1, c), groups).unwrap()
        };
        let len = n * positions * c;
        let (x, dy) = (values(len, 1, false), values(len, 2, false));
        let (gamma, beta) = (values(c, 3, false), values(c, 4, false));
        let old = values(2 * c, 5, false);
        for old in [None, Some(&old[..])] {
            let all =
                everywhere(|path| group_norm_all(path, &shape, [&x, &gamma, &beta, &dy], old));
            let size = c / groups;
            let m = (positions * size) as f32;
            let (mut y, mut dx) = (vec![0.0; len], vec![0.0; len]);
            let (mut means, mut rs) = (Vec::new(), Vec::new());
            let e = |i: usize, p: usize, j: usize| (i * positions + p) * c + j;
            for i in 0..n {
                for g in 0..groups {
                    let channels = g * size..(g + 1) * size;
                    let per_channel = |f: &dyn Fn(usize, f32, usize) -> f32| -> Vec<f32> {
                        channels
                            .clone()
                            .map(|j| (0..positions).fold(0.0, |s, p| f(e(i, p, j), s, j)))
                            .collect()
                    };
                    let mean = group_sum(&per_channel(&|e, s, _| s + x[e])) / m;
                    let squares = per_channel(&|e, s, _| (x[e] - mean).mul_add(x[e] - mean, s));
                    let r = 1.0 / (group_sum(&squares) / m + 1e-5).sqrt();
                    let mut b = per_channel(&|e, s, _| s + dy[e]);
                    let mut t = per_channel(&|e, s, _| dy[e].mul_add((x[e] - mean) * r, s));
                    for (k, j) in channels.clone().enumerate() {
                        b[k] *= gamma[j];
                        t[k] *= gamma[j];
                    }
                    let (s, t) = (group_sum(&b) / m, group_sum(&t) / m);
                    for j in channels.clone() {
                        for p in 0..positions {
                            let e = e(i, p, j);
                            let xhat = (x[e] - mean) * r;
                            y[e] = xhat.mul_add(gamma[j], beta[j]);
                            dx[e] = r * (gamma[j] * dy[e] - xhat.mul_add(t, s));
                        }
                    }
                    means.push(mean);
                    rs.push(r);
                }
            }
            let mut gradients = Vec::new();
            for of_gamma in [true, false] {
                for j in 0..c {
                    gradients.push(grouped(n, positions, |images| {
                        let mut sum = 0.0f32;
                        for i in images {
                            let g = i * groups + j / size;
                            for block in (0..positions).step_by(32) {
                                let block = block..positions.min(block + 32);
                                sum += block.map(|p| e(i, p, j)).fold(0.0, |sum, e| {
                                    if of_gamma {
                                        dy[e].mul_add((x[e] - means[g]) * rs[g], sum)
                                    } else {
                                        sum + dy[e]
                                    }
                                });
                            }
                        }
                        sum
                    }));
                }
            }
            let old = old.map_or_else(|| vec![0.0; gradients.len()], <[f32]>::to_vec);
            let mut want = [y, means, rs, dx.iter().map(|d| 0.0 + d).collect()].concat();
            want.extend(old.iter().zip(&gradients).map(|(o, g)| o + g));
            assert_eq!(bits(&all), bits(&want), "{shape:?}, {n} images");
        }
    }
}

#[test]
fn group_norm_gradients_against_differences() {
    for (shape, n) in [
        (GroupNormShape::new(image(2, 3, 6), 2).unwrap(), 3),
        (GroupNormShape::layer(7).unwrap(), 4),
    ] {
        let (c, groups) = (shape.channels(), shape.groups());
        let (len, size) = (n * shape.features(), c / groups);
        let (x, cotangent) = (values(len, 1, false), values(len, 2, false));
        let (gamma, beta) = (values(c, 3, false), values(c, 4, false));
        let all = group_norm_all(
            Path::current(),
            &shape,
            [&x, &gamma, &beta, &cotangent],
            None,
        );
        let f = |v: &[Vec<f64>]| {
            let mut y = vec![0.0; len];
            for i in 0..n {
                for g in 0..groups {
                    let members: Vec<usize> = (i * shape.features()..(i + 1) * shape.features())
                        .filter(|e| e % c / size == g)
                        .collect();
                    let m = members.len() as f64;
                    let mean = members.iter().map(|e| v[0][*e]).sum::<f64>() / m;
                    let variance = members
                        .iter()
                        .map(|e| (v[0][*e] - mean).powi(2))
                        .sum::<f64>()
                        / m;
                    for e in members {
                        y[e] =
                            (v[0][e] - mean) / (variance + 1e-5).sqrt() * v[1][e % c] + v[2][e % c];
                    }
                }
            }
            y
        };
        let at = all.len() - len - 2 * c;
        let got = [
            &all[at..at + len],
            &all[at + len..][..c],
            &all[at + len + c..],
        ];
        for (which, got) in got.into_iter().enumerate() {
            differences(
                "group norm",
                got,
                &[&x, &gamma, &beta],
                which,
                &cotangent,
                &f,
            );
        }
        let wide: Vec<Vec<f64>> = [&x, &gamma, &beta]
            .map(|v| v.iter().map(|v| f64::from(*v)).collect())
            .to_vec();
        let worst = f(&wide)
            .iter()
            .zip(&all)
            .map(|(w, g)| (w - f64::from(*g)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 2e-6, "{worst}");
    }
}
