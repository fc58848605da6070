//! The documented orders, spelled out one scalar at a time, against the kernels on every path and number of threads.

use super::*;
use crate::exact::rng::Stream;
use crate::shape::{ConvShape, Image, PoolShape};

/// Seeded values of mixed size; with `harsh`, also zeros of both signs, subnormals, huge values and infinities.
fn values(len: usize, seed: u64, harsh: bool) -> Vec<f32> {
    let mut random = Stream::new(seed, "kernel test", 0, 0);
    let special = [
        0.0,
        -0.0,
        f32::from_bits(3),
        -f32::MIN_POSITIVE / 3.0,
        3.0e38,
        -2.9e38,
        f32::INFINITY,
        1.0e-30,
    ];
    let mut value = |_| match random.below(if harsh { 40 } else { 1 }) {
        i @ 1..=8 => special[i as usize - 1],
        _ => random.normal(),
    };
    (0..len).map(&mut value).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    // The payload of a NaN is no part of the contract.
    values
        .iter()
        .map(|v| {
            if v.is_nan() {
                f32::NAN.to_bits()
            } else {
                v.to_bits()
            }
        })
        .collect()
}

/// Runs a kernel on every path with 1, 2, 3 and 8 threads; all must give the same bits, which are returned.
#[track_caller]
fn everywhere(run: impl Fn(Path) -> Vec<f32> + Sync) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for path in Path::all() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let got = pool.install(|| run(path));
            match &first {
                None => first = Some(got),
                Some(first) => assert_eq!(
                    bits(first),
                    bits(&got),
                    "{} with {threads} threads",
                    path.name()
                ),
            }
        }
    }
    first.unwrap()
}

fn chain(start: f32, terms: impl Iterator<Item = (f32, f32)>) -> f32 {
    terms.fold(start, |acc, (a, b)| a.mul_add(b, acc))
}

fn blocked(start: f32, terms: &[(f32, f32)]) -> f32 {
    let mut blocks = terms.chunks(dense::BLOCK);
    let first = chain(start, blocks.next().unwrap_or_default().iter().copied());
    blocks.fold(first, |sum, block| sum + chain(0.0, block.iter().copied()))
}

#[test]
fn dense_layers() {
    for (n, i, o, harsh) in [
        (1, 1, 1, false),
        (7, 13, 17, true),
        (5, 513, 3, false),
        (33, 40, 50, true),
        (65, 1100, 33, false),
        (3, 9, 700, false),
    ] {
        let (x, w, b) = (
            values(n * i, 1, harsh),
            values(i * o, 2, harsh),
            values(o, 3, harsh),
        );
        let (dy, old) = (values(n * o, 4, harsh), values(n * i + i * o + o, 5, harsh));
        let y = everywhere(|path| {
            let mut y = vec![7.0; n * o];
            dense::forward(path, i, o, &x, &w, Some(&b), &mut y);
            y
        });
        let want = |r: usize, c: usize| {
            blocked(
                b[c],
                &(0..i)
                    .map(|k| (x[r * i + k], w[k * o + c]))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            bits(&y),
            bits(&(0..n * o).map(|e| want(e / o, e % o)).collect::<Vec<_>>())
        );

        let all = everywhere(|path| {
            let mut to = old.clone();
            let (dx, rest) = to.split_at_mut(n * i);
            let (dw, db) = rest.split_at_mut(i * o);
            dense::input_gradient(path, i, o, &w, &dy, dx);
            dense::weight_gradient(path, i, o, &x, &dy, dw);
            dense::bias_gradient(path, &dy, db);
            to
        });
        let mut want = old.clone();
        for r in 0..n {
            for k in 0..i {
                want[r * i + k] += blocked(
                    0.0,
                    &(0..o)
                        .map(|c| (dy[r * o + c], w[k * o + c]))
                        .collect::<Vec<_>>(),
                );
            }
        }
        for k in 0..i {
            for c in 0..o {
                want[n * i + k * o + c] +=
                    chain(0.0, (0..n).map(|r| (x[r * i + k], dy[r * o + c])));
            }
        }
        for c in 0..o {
            want[n * i + i * o + c] += (0..n).fold(0.0, |sum, r| sum + dy[r * o + c]);
        }
        assert_eq!(bits(&all), bits(&want));
    }
}

fn image(height: usize, width: usize, channels: usize) -> Image {
    Image {
        height,
        width,
        channels,
    }
}

fn conv_shapes() -> Vec<(usize, ConvShape)> {
    let shape = |h, w, c, o, kernel, stride, padding| {
        ConvShape::new(image(h, w, c), o, kernel, stride, padding).unwrap()
    };
    vec![
        (3, shape(5, 7, 3, 17, (3, 3), 1, 1)),
        (2, shape(6, 5, 2, 3, (3, 3), 2, 1)),
        (2, shape(8, 8, 5, 20, (1, 1), 1, 0)),
        (2, shape(7, 7, 4, 4, (1, 1), 2, 0)),
        (1, shape(9, 11, 1, 2, (5, 4), 3, 2)),
        (2, shape(4, 4, 3, 16, (2, 2), 3, 0)),
        (67, shape(4, 5, 2, 5, (3, 3), 1, 1)),
        (4, shape(18, 18, 3, 8, (3, 3), 1, 1)),
    ]
}

#[test]
fn convolutions_forward() {
    for (n, shape) in conv_shapes() {
        let (img, out, (kh_n, kw_n)) = (shape.input(), shape.output(), shape.kernel());
        let (c, o, s, p) = (img.channels, out.channels, shape.stride(), shape.padding());
        for harsh in [false, true] {
            let (x, w, b) = (
                values(n * img.features(), 1, harsh),
                values(shape.weights(), 2, harsh),
                values(o, 3, harsh),
            );
            let y = everywhere(|path| {
                let mut y = vec![7.0; n * out.features()];
                conv::forward(path, &shape, &x, &w, Some(&b), &mut y);
                y
            });
            let mut want = Vec::new();
            for at in 0..n * out.positions() {
                let (i, oy, ox) = (
                    at / out.positions(),
                    at / out.width % out.height,
                    at % out.width,
                );
                for q in 0..o {
                    let mut terms = Vec::new();
                    for (kh, kw, ch) in triples(kh_n, kw_n, c) {
                        terms.push((
                            pixel(&x, img, i, oy * s + kh, ox * s + kw, p, ch),
                            w[((kh * kw_n + kw) * c + ch) * o + q],
                        ));
                    }
                    want.push(chain(b[q], terms.into_iter()));
                }
            }
            assert_eq!(bits(&y), bits(&want), "{shape:?}");
        }
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / c / b, i / c % b, i % c))
}

/// The value at (y, x) of the padded image.
fn pixel(
    values: &[f32],
    image: Image,
    i: usize,
    y: usize,
    x: usize,
    padding: usize,
    channel: usize,
) -> f32 {
    let inside = (padding..image.height + padding).contains(&y)
        && (padding..image.width + padding).contains(&x);
    if !inside {
        return 0.0;
    }
    values
        [((i * image.height + y - padding) * image.width + x - padding) * image.channels + channel]
}

/// Adds up group values as documented: groups of a shard, then shards.
fn grouped(
    n: usize,
    positions: usize,
    mut of_group: impl FnMut(std::ops::Range<usize>) -> f32,
) -> f32 {
    let step = 256usize.div_ceil(positions).clamp(1, 32);
    let mut shards = Vec::new();
    for shard in (0..n).step_by(32) {
        let end = n.min(shard + 32);
        let sums: Vec<f32> = (shard..end)
            .step_by(step)
            .map(|i| of_group(i..end.min(i + step)))
            .collect();
        shards.push(sums.into_iter().reduce(|a, b| a + b).unwrap());
    }
    shards.into_iter().reduce(|a, b| a + b).unwrap()
}

#[test]
fn convolutions_backward() {
    for (n, shape) in conv_shapes() {
        let (img, out, (kh_n, kw_n)) = (shape.input(), shape.output(), shape.kernel());
        let (c, o, s, p) = (img.channels, out.channels, shape.stride(), shape.padding());
        for harsh in [false, true] {
            let (x, w, dy) = (
                values(n * img.features(), 1, harsh),
                values(shape.weights(), 2, harsh),
                values(n * out.features(), 4, harsh),
            );
            let old = values(x.len() + w.len() + o, 5, harsh);
            let all = everywhere(|path| {
                let mut to = old.clone();
                let (dx, rest) = to.split_at_mut(x.len());
                let (dw, db) = rest.split_at_mut(w.len());
                conv::input_gradient(path, &shape, &w, &dy, dx);
                conv::weight_gradient(path, &shape, &x, &dy, dw);
                conv::bias_gradient(path, out.positions(), &dy, db);
                to
            });
            let mut want = old.clone();
            for at in 0..n * img.positions() {
                let (i, iy, ix) = (
                    at / img.positions(),
                    at / img.width % img.height,
                    at % img.width,
                );
                for ch in 0..c {
                    let mut terms = Vec::new();
                    for kh in (0..kh_n).rev().filter(|k| (iy + p) % s == k % s) {
                        for kw in (0..kw_n).rev().filter(|k| (ix + p) % s == k % s) {
                            for q in 0..o {
                                let (oy, ox) = (
                                    (iy + p) as isize - kh as isize,
                                    (ix + p) as isize - kw as isize,
                                );
                                let (oy, ox) = (oy / s as isize, ox / s as isize);
                                let inside = (0..out.height as isize).contains(&oy)
                                    && (0..out.width as isize).contains(&ox);
                                let d = if inside {
                                    dy[(i * out.positions()
                                        + oy as usize * out.width
                                        + ox as usize)
                                        * o
                                        + q]
                                } else {
                                    0.0
                                };
                                terms.push((d, w[((kh * kw_n + kw) * c + ch) * o + q]));
                            }
                        }
                    }
                    want[at * c + ch] += chain(0.0, terms.into_iter());
                }
            }
            for (kh, kw, ch) in triples(kh_n, kw_n, c) {
                for q in 0..o {
                    let sum = grouped(n, out.positions(), |images| {
                        let mut terms = Vec::new();
                        for at in images.start * out.positions()..images.end * out.positions() {
                            let (i, oy, ox) = (
                                at / out.positions(),
                                at / out.width % out.height,
                                at % out.width,
                            );
                            terms.push((
                                pixel(&x, img, i, oy * s + kh, ox * s + kw, p, ch),
                                dy[at * o + q],
                            ));
                        }
                        chain(0.0, terms.into_iter())
                    });
                    want[x.len() + ((kh * kw_n + kw) * c + ch) * o + q] += sum;
                }
            }
            for q in 0..o {
                let sum = grouped(n, out.positions(), |images| {
                    (images.start * out.positions()..images.end * out.positions())
                        .fold(0.0, |sum, at| sum + dy[at * o + q])
                });
                want[x.len() + w.len() + q] += sum;
            }
            assert_eq!(bits(&all), bits(&want), "{shape:?}");
        }
    }
}

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
            norm::forward(path, 1e-5, &x, &mean, &variance, &gamma, &beta, &mut y);
            let mut to = old.clone();
            let (dx, rest) = to.split_at_mut(x.len());
            let (dgamma, dbeta) = rest.split_at_mut(c);
            let from = norm::Backward {
                positions,
                eps: 1e-5,
                through_stats: true,
                x: &x,
                mean: &mean,
                variance: &variance,
                gamma: &gamma,
                dy: &dy,
            };
            norm::backward(path, from, dx, dgamma, dbeta);
            [mean, variance, y, to].concat()
        });
        let mut want = vec![0.0; 2 * c + x.len()];
        want.extend(&old);
        for j in 0..c {
            let column = |r: std::ops::Range<usize>| {
                (r.start * positions..r.end * positions).map(move |at| at * c + j)
            };
            let mean = grouped(n, positions, |r| column(r).fold(0.0, |s, e| s + x[e])) / m;
            let variance = grouped(n, positions, |r| {
                column(r).fold(0.0, |s, e| (x[e] - mean).mul_add(x[e] - mean, s))
            }) / m;
            let r = 1.0 / (variance + 1e-5).sqrt();
            let b = grouped(n, positions, |r| column(r).fold(0.0, |s, e| s + dy[e]));
            let g = grouped(n, positions, |rows| {
                column(rows).fold(0.0, |s, e| dy[e].mul_add((x[e] - mean) * r, s))
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
    pool::max_backward(Path::current(), &shape, &x, &[1.0, 2.0], &mut dx);
    assert_eq!(dx, [0.5, 1.5, 2.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
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

/// A few large, odd-sized runs of every kernel: same bits on every path and thread count, and these bits for ever.
#[test]
fn digests_are_frozen() {
    let shape = ConvShape::new(image(9, 9, 5), 19, (3, 3), 1, 1).unwrap();
    let window = PoolShape::new(shape.output(), 3, 2).unwrap();
    let n = 70;
    let (x, w, b) = (
        values(n * shape.input().features(), 11, false),
        values(shape.weights(), 12, false),
        values(19, 13, false),
    );
    let stream = Stream::new(1, "golden dropout", 2, 3);
    let mut found = Vec::new();
    let mut record = |name: &'static str, run: &(dyn Fn(Path) -> Vec<f32> + Sync)| {
        let out = everywhere(run);
        let bytes: Vec<u8> = out.iter().flat_map(|v| v.to_le_bytes()).collect();
        found.push((name, blake3::hash(&bytes).to_hex()[..16].to_owned()));
        out
    };
    let y = record("conv forward", &|path| {
        with(n * shape.output().features(), |y| {
            conv::forward(path, &shape, &x, &w, Some(&b), y)
        })
    });
    record("conv dx", &|path| {
        with(x.len(), |d| conv::input_gradient(path, &shape, &w, &y, d))
    });
    record("conv dw", &|path| {
        with(w.len(), |d| conv::weight_gradient(path, &shape, &x, &y, d))
    });
    record("conv db", &|path| {
        with(19, |d| conv::bias_gradient(path, 81, &y, d))
    });
    let p = record("max pool", &|path| {
        with(n * window.output().features(), |p| {
            pool::max_forward(path, &window, &y, p)
        })
    });
    record("max pool dx", &|path| {
        with(y.len(), |d| pool::max_backward(path, &window, &y, &p, d))
    });
    record("avg pool", &|path| {
        with(p.len(), |p| pool::avg_forward(path, &window, &y, p))
    });
    record("avg pool dx", &|path| {
        with(y.len(), |d| pool::avg_backward(path, &window, &p, d))
    });
    record("relu", &|path| {
        with(y.len(), |d| elementwise::relu(path, &y, d))
    });
    let t = record("tanh", &|path| {
        with(y.len(), |d| elementwise::tanh(path, &y, d))
    });
    record("tanh dx", &|path| {
        with(y.len(), |d| elementwise::tanh_backward(path, &t, &y, d))
    });
    let s = record("sigmoid", &|path| {
        with(y.len(), |d| elementwise::sigmoid(path, &y, d))
    });
    record("sigmoid dx", &|path| {
        with(y.len(), |d| elementwise::sigmoid_backward(path, &s, &y, d))
    });
    record("relu dx", &|path| {
        with(y.len(), |d| elementwise::relu_backward(path, &y, &t, d))
    });
    record("dropout", &|path| {
        with(y.len(), |d| elementwise::dropout(path, 0.3, &stream, &y, d))
    });
    record("dropout dx", &|path| {
        with(y.len(), |d| {
            elementwise::dropout_backward(path, 0.3, &stream, &y, d)
        })
    });
    record("add", &|path| {
        with(y.len(), |d| elementwise::add(path, &y, &t, d))
    });
    let (mean, variance) = (values(19, 14, false), vec![0.7; 19]);
    record("norm stats", &|path| {
        with(38, |d| {
            let (m, v) = d.split_at_mut(19);
            norm::stats(path, 81, &y, m, v)
        })
    });
    record("norm forward", &|path| {
        with(y.len(), |d| {
            norm::forward(path, 1e-5, &y, &mean, &variance, &b, &mean, d)
        })
    });
    let labels: Vec<u32> = (0..y.len() as u32 / 27).map(|i| i * 7 % 27).collect();
    record("cross-entropy", &|path| {
        let mut p = vec![0.0; y.len()];
        let mean = loss::forward(path, 27, &y, &labels, 0.1, &mut p);
        let mut d = vec![0.0; y.len()];
        loss::backward(path, 27, &p, &labels, 0.1, 1.0, &mut d);
        [vec![mean], p, d].concat()
    });
    let rule = |decay| optim::Sgd {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        decay,
    };
    record("sgd", &|path| {
        let (mut w, mut v) = (y.clone(), t.clone());
        optim::sgd(path, rule(optim::Decay::L2(5e-4)), &mut w, &mut v, &s);
        optim::sgd(
            path,
            rule(optim::Decay::Decoupled(5e-4)),
            &mut w,
            &mut v,
            &s,
        );
        [w, v].concat()
    });
    record("adam", &|path| {
        let (mut w, mut m, mut v, mut powers) = (
            y.clone(),
            vec![0.0; y.len()],
            vec![0.0; y.len()],
            optim::AdamPowers::default(),
        );
        for decay in [
            optim::Decay::NONE,
            optim::Decay::L2(1e-2),
            optim::Decay::Decoupled(1e-2),
        ] {
            let rule = optim::Adam {
                lr: 1e-3,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                decay,
                corrections: powers.advance(0.9, 0.999),
            };
            optim::adam(path, rule, &mut w, &mut m, &mut v, &t);
        }
        [w, m, v].concat()
    });
    record("mask, ema, scaled add", &|path| {
        let (mut a, relu) = (t.clone(), with(y.len(), |d| elementwise::relu(path, &y, d)));
        optim::apply_mask(path, &relu, &mut a);
        optim::ema(path, 0.99, &s, &mut a);
        optim::scaled_add(path, 0.01, &y, 0.6, &mut a);
        a
    });
    // 70 rows of 81·19 inputs to 23 outputs: several blocks of a chain.
    let (inputs, outputs) = (shape.output().features(), 23);
    let w = values(inputs * outputs, 15, false);
    let out = record("dense forward", &|path| {
        with(n * outputs, |d| {
            dense::forward(path, inputs, outputs, &y, &w, None, d)
        })
    });
    record("dense dx", &|path| {
        with(y.len(), |d| {
            dense::input_gradient(path, inputs, outputs, &w, &out, d)
        })
    });
    record("dense dw", &|path| {
        with(w.len(), |d| {
            dense::weight_gradient(path, inputs, outputs, &y, &out, d)
        })
    });
    record("dense db", &|path| {
        with(outputs, |d| dense::bias_gradient(path, &out, d))
    });
    record("norm backward", &|path| {
        let mut to = vec![0.0; y.len() + 38];
        let (dx, rest) = to.split_at_mut(y.len());
        let (dgamma, dbeta) = rest.split_at_mut(19);
        let from = norm::Backward {
            positions: 81,
            eps: 1e-5,
            through_stats: true,
            x: &y,
            mean: &mean,
            variance: &variance,
            gamma: &b,
            dy: &t,
        };
        norm::backward(path, from, dx, dgamma, dbeta);
        to
    });
    let found: Vec<(&str, &str)> = found.iter().map(|(n, d)| (*n, d.as_str())).collect();
    assert_eq!(found, GOLDEN);
}

fn with(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![0.0; len];
    fill(&mut out);
    out
}

const GOLDEN: &[(&str, &str)] = &[
    ("conv forward", "5264db15f89e6b7e"),
    ("conv dx", "daa9172596693d04"),
    ("conv dw", "590364425f589fe7"),
    ("conv db", "e426fe9a936f290d"),
    ("max pool", "4deaf0a708159628"),
    ("max pool dx", "46834331efe5cb8a"),
    ("avg pool", "ebfc9518be6e95fa"),
    ("avg pool dx", "8bf52f2e5d70665d"),
    ("relu", "2ebbbdc7d796af96"),
    ("tanh", "a40906fffc15644f"),
    ("tanh dx", "75282f04d68394ac"),
    ("sigmoid", "e276afa56f7a0180"),
    ("sigmoid dx", "9d67f4db7e20b3b2"),
    ("relu dx", "5f54a2df07934cbc"),
    ("dropout", "bcc7bbf602285ae5"),
    ("dropout dx", "bcc7bbf602285ae5"),
    ("add", "00270ee9eaef1189"),
    ("norm stats", "6379e016f110b0c9"),
    ("norm forward", "75d8cf0cb576fe8b"),
    ("cross-entropy", "9795df504404fd1b"),
    ("sgd", "fc598d6d4d2b7eb3"),
    ("adam", "2fe290c252cc3530"),
    ("mask, ema, scaled add", "8620b4ae94b4aadf"),
    ("dense forward", "30a6a30782a91d9e"),
    ("dense dx", "2ad914534199a5c8"),
    ("dense dw", "7f7e641ec75a9ee2"),
    ("dense db", "f43fc24b4a02cf59"),
    ("norm backward", "b7695f29e1ee089b"),
];
