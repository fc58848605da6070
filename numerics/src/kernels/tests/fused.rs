//! What a fused or in-place kernel leaves is what the plain ones leave one after the other, into a
//! buffer of zeros or of values.

use super::*;
use crate::kernels::activation::Activation;
use crate::kernels::layer::{Accumulate, Gradient};
use crate::shape::PoolShape;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
];

/// Lets `into` add a gradient to nothing (over what is left of earlier uses) and to values; `plain`
/// adds to what it is given.
#[track_caller]
fn first_and_add(
    what: &str,
    len: usize,
    into: impl Fn(Path, Gradient<'_>) + Sync,
    plain: impl Fn(Path, &mut [f32]) + Sync,
) {
    let old = values(len, 99, false);
    for (how, start, stale) in [
        (Accumulate::First, vec![0.0; len], vec![f32::NAN; len]),
        (Accumulate::Add, old.clone(), old),
    ] {
        let got = everywhere(|path| {
            let mut to = stale.clone();
            into(path, Gradient { to: &mut to, how });
            to
        });
        let mut want = start;
        plain(Path::PLAIN, &mut want);
        assert_eq!(bits(&got), bits(&want), "{what}, {how:?}");
    }
}

#[test]
fn pooling_into_nothing() {
    // Windows side by side, with a rest, overlapping, and the whole image; channels below, at and
    // above a tile.
    for (channels, kernel, stride) in [
        (3, 2, 2),
        (32, 3, 3),
        (35, 2, 2),
        (40, 3, 2),
        (5, 2, 3),
        (70, 6, 6),
    ] {
        let shape = PoolShape::new(image(6, 6, channels), kernel, stride).unwrap();
        let n = 40;
        let mut x = values(n * shape.input().features(), 1, true);
        // Ties of any sign, and NaN.
        (0..x.len()).step_by(5).for_each(|i| x[i] = 1.0);
        (0..x.len()).step_by(97).for_each(|i| x[i] = f32::NAN);
        let dy = values(n * shape.output().features(), 2, true);
        first_and_add(
            &format!("max {channels} {kernel} {stride}"),
            x.len(),
            |path, dx| pool::max_backward(path, &shape, &x, &dy, dx),
            |_, dx| max_backward(&shape, &x, &dy, dx),
        );
        first_and_add(
            &format!("avg {channels} {kernel} {stride}"),
            x.len(),
            |path, dx| pool::avg_backward(path, &shape, &dy, dx),
            |_, dx| {
                each_tap(&shape, dy.len(), |e, at, _| {
                    dx[at] += dy[e] / (kernel * kernel) as f32;
                });
            },
        );
    }
}

/// Calls `visit(output, element of the image, tap)` for every value of every window, windows in
/// order.
fn each_tap(shape: &PoolShape, outputs: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let (img, out, c) = (shape.input(), shape.output(), shape.input().channels);
    for e in 0..outputs {
        let (j, ox, oy) = (e % c, e / c % out.width, e / c / out.width % out.height);
        for tap in 0..shape.kernel().0 * shape.kernel().1 {
            let (kh, kw) = (tap / shape.kernel().1, tap % shape.kernel().1);
            let (iy, ix) = (oy * shape.stride().0 + kh, ox * shape.stride().1 + kw);
            let pixel = (e / out.features() * img.height + iy) * img.width + ix;
            visit(e, pixel * c + j, tap);
        }
    }
}

fn max_backward(shape: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let mut winners = vec![0; dy.len()];
    each_tap(shape, dy.len(), |e, at, tap| {
        if tap == 0 || x[at] > x[winners[e]] || x[at].is_nan() {
            winners[e] = at;
        }
    });
    winners.iter().zip(dy).for_each(|(at, dy)| dx[*at] += dy);
}

#[test]
fn batch_norm_with_its_activation() {
    let (n, positions, c) = (70, 20, 17);
    let (x, dy) = (
        values(n * positions * c, 1, false),
        values(n * positions * c, 2, false),
    );
    let (gamma, beta) = (values(c, 3, false), values(c, 4, false));
    let (mean, variance) = (values(c, 5, false), vec![0.7; c]);
    for activation in ACTIVATIONS {
        let y = everywhere(|path| {
            let mut y = vec![f32::NAN; x.len()];
            norm::forward(
                path, 1e-5, &x, &mean, &variance, &gamma, &beta, activation, &mut y,
            );
            y
        });
        let mut want = vec![0.0; x.len()];
        norm::forward(
            Path::PLAIN,
            1e-5,
            &x,
            &mean,
            &variance,
            &gamma,
            &beta,
            Activation::Identity,
            &mut want,
        );
        activation.apply(Path::PLAIN, &mut want);
        assert_eq!(bits(&y), bits(&want), "{activation:?}");
        for through_stats in [true, false] {
            let got = everywhere(|path| {
                let (mut d, mut dgamma, mut dbeta) = (dy.clone(), vec![f32::NAN; c], vec![0.5; c]);
                let (first, add) = (Accumulate::First, Accumulate::Add);
                let from = norm::Backward {
                    positions,
                    eps: 1e-5,
                    through_stats,
                    x: &x,
                    mean: &mean,
                    variance: &variance,
                    gamma: &gamma,
                    y: &y,
                    activation,
                    dy: &mut d,
                    dgamma: Gradient {
                        to: &mut dgamma,
                        how: first,
                    },
                    dbeta: Gradient {
                        to: &mut dbeta,
                        how: add,
                    },
                };
                norm::backward(path, from);
                [d, dgamma, dbeta].concat()
            });
            let mut d = dy.clone();
            activation.unapply(Path::PLAIN, &y, &mut d);
            let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.5; c]);
            let from = norm::Backward {
                positions,
                eps: 1e-5,
                through_stats,
                x: &x,
                mean: &mean,
                variance: &variance,
                gamma: &gamma,
                y: &[],
                activation: Activation::Identity,
                dy: &mut d,
                dgamma: added(&mut dgamma),
                dbeta: added(&mut dbeta),
            };
            norm::backward(Path::PLAIN, from);
            let want = [d, dgamma, dbeta].concat();
            assert_eq!(bits(&got), bits(&want), "{activation:?} {through_stats}");
        }
    }
}

/// Enough elements for several threads, and a rest.
const MANY: usize = 200_003;

#[test]
fn sums_dropout_and_copies_in_place() {
    let (a, b) = (values(MANY, 1, true), values(MANY, 2, true));
    for activation in ACTIVATIONS {
        let got = everywhere(|path| {
            let mut y = vec![f32::NAN; MANY];
            activation::add_activated(path, &a, &b, activation, &mut y);
            y
        });
        let mut want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        activation.apply(Path::PLAIN, &mut want);
        assert_eq!(bits(&got), bits(&want), "{activation:?}");
    }
    let stream = Stream::new(3, "kernel test", 0, 0);
    let value = |i: usize| match crate::exact::rng::unit_f32(stream.u32_at(i as u64)) < 0.3 {
        true => 0.0,
        false => a[i] * (1.0 / (1.0 - 0.3)),
    };
    let y = everywhere(|path| {
        let mut y = vec![f32::NAN; MANY];
        elementwise::dropout(path, 0.3, &stream, &a, &mut y);
        y
    });
    assert_eq!(bits(&y), bits(&(0..MANY).map(value).collect::<Vec<_>>()));
    let d = everywhere(|path| {
        let mut d = a.clone();
        elementwise::dropout_gradient(path, 0.3, &stream, &mut d);
        d
    });
    let want: Vec<f32> = (0..MANY).map(|i| 0.0 + value(i)).collect();
    assert_eq!(bits(&d), bits(&want));
    let copy = everywhere(|_| {
        let mut y = vec![f32::NAN; MANY];
        elementwise::copy(&a, &mut y);
        y
    });
    assert_eq!(bits(&copy), bits(&a));
}

/// Row by row, as documented.
#[test]
fn cross_entropy_of_many_rows() {
    use crate::exact::math;
    for (rows, classes) in [(1, 3), (130, 10), (67, 1), (2500, 10), (64, 33)] {
        let logits = values(rows * classes, 1, false);
        let labels: Vec<u32> = (0..rows).map(|r| (r * 7 % classes) as u32).collect();
        for smoothing in [0.0, 0.1] {
            let got = everywhere(|path| {
                let mut p = vec![f32::NAN; logits.len()];
                let loss = loss::forward(path, classes, &logits, &labels, smoothing, &mut p);
                p.push(loss);
                p
            });
            let (mut want, mut sum) = (Vec::new(), 0.0f32);
            for (row, label) in logits.chunks(classes).zip(&labels) {
                let m = row.iter().copied().fold(row[0], f32::max);
                let e: Vec<f32> = row.iter().map(|l| math::exp(l - m)).collect();
                let s = e.iter().fold(0.0, |s, e| s + e);
                let ln = math::ln(s);
                want.extend(e.iter().map(|e| e / s));
                let of_label = -((row[*label as usize] - m) - ln);
                let all = row.iter().fold(0.0, |all, l| all + -((l - m) - ln));
                sum += match smoothing == 0.0 {
                    true => of_label,
                    false => (1.0 - smoothing) * of_label + smoothing / classes as f32 * all,
                };
            }
            let p = want.clone();
            want.push(sum / rows as f32);
            assert_eq!(bits(&got), bits(&want), "{rows} {classes} {smoothing}");
            first_and_add(
                &format!("cross-entropy {rows} {classes} {smoothing}"),
                p.len(),
                |path, to| loss::gradient(path, classes, &p, &labels, smoothing, 0.7, to),
                |_, to| {
                    let elsewhere = smoothing / classes as f32;
                    for (i, to) in to.iter_mut().enumerate() {
                        let there = labels[i / classes] as usize == i % classes;
                        let target = if there {
                            elsewhere + (1.0 - smoothing)
                        } else {
                            elsewhere
                        };
                        *to += (p[i] - target) * (0.7 / rows as f32);
                    }
                },
            );
        }
    }
}
