//! The bits of every kernel, frozen.

use super::*;
use crate::kernels::activation::Activation;
use crate::shape::{ConvShape, PoolShape};

/// A few large, odd-sized runs of every kernel: same bits on every path and thread count, and these
/// bits for ever.
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
            conv::forward(path, &shape, &x, &w, Some(&b), y);
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
            pool::max_forward(path, &window, &y, p);
        })
    });
    record("max pool dx", &|path| {
        with(y.len(), |d| {
            pool::max_backward(path, &window, &y, &p, added(d));
        })
    });
    record("avg pool", &|path| {
        with(p.len(), |p| pool::avg_forward(path, &window, &y, p))
    });
    record("avg pool dx", &|path| {
        with(y.len(), |d| {
            pool::avg_backward(path, &window, &p, added(d));
        })
    });
    record("relu", &|path| {
        with(y.len(), |d| activation::relu(path, &y, d))
    });
    let t = record("tanh", &|path| {
        with(y.len(), |d| activation::tanh(path, &y, d))
    });
    record("tanh dx", &|path| {
        with(y.len(), |d| activation::tanh_backward(path, &t, &y, d))
    });
    let s = record("sigmoid", &|path| {
        with(y.len(), |d| activation::sigmoid(path, &y, d))
    });
    record("sigmoid dx", &|path| {
        with(y.len(), |d| activation::sigmoid_backward(path, &s, &y, d))
    });
    record("relu dx", &|path| {
        with(y.len(), |d| activation::relu_backward(path, &y, &t, d))
    });
    record("dropout", &|path| {
        with(y.len(), |d| elementwise::dropout(path, 0.3, &stream, &y, d))
    });
    record("dropout dx", &|path| {
        with(y.len(), |d| {
            elementwise::dropout_backward(path, 0.3, &stream, &y, d);
        })
    });
    record("add", &|path| {
        with(y.len(), |d| elementwise::add(path, &y, &t, d))
    });
    let (mean, variance) = (values(19, 14, false), vec![0.7; 19]);
    record("norm stats", &|path| {
        with(38, |d| {
            let (m, v) = d.split_at_mut(19);
            norm::stats(path, 81, &y, m, v);
        })
    });
    record("norm forward", &|path| {
        with(y.len(), |d| {
            let none = Activation::Identity;
            norm::forward(path, 1e-5, &y, &mean, &variance, &b, &mean, none, d);
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
        let (mut a, relu) = (t.clone(), with(y.len(), |d| activation::relu(path, &y, d)));
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
            dense::forward(path, inputs, outputs, &y, &w, None, d);
        })
    });
    record("dense dx", &|path| {
        with(y.len(), |d| {
            dense::input_gradient(path, inputs, outputs, &w, &out, d);
        })
    });
    record("dense dw", &|path| {
        with(w.len(), |d| {
            dense::weight_gradient(path, inputs, outputs, &y, &out, d);
        })
    });
    record("dense db", &|path| {
        with(outputs, |d| dense::bias_gradient(path, &out, d))
    });
    record("norm backward", &|path| {
        let mut to = vec![0.0; y.len() + 38];
        let (dx, rest) = to.split_at_mut(y.len());
        let (dgamma, dbeta) = rest.split_at_mut(19);
        dx.copy_from_slice(&t);
        let from = norm::Backward {
            positions: 81,
            eps: 1e-5,
            through_stats: true,
            x: &y,
            mean: &mean,
            variance: &variance,
            gamma: &b,
            y: &[],
            activation: Activation::Identity,
            dy: dx,
            dgamma: added(dgamma),
            dbeta: added(dbeta),
        };
        norm::backward(path, from);
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
    ("conv dx", "749bd2884c4a32f0"),
    ("conv dw", "590364425f589fe7"),
    ("conv db", "9ba0d584c7b083b8"),
    ("max pool", "4deaf0a708159628"),
    ("max pool dx", "46834331efe5cb8a"),
    ("avg pool", "ebfc9518be6e95fa"),
    ("avg pool dx", "8bf52f2e5d70665d"),
    ("relu", "2ebbbdc7d796af96"),
    ("tanh", "a40906fffc15644f"),
    ("tanh dx", "328cec407204ecb1"),
    ("sigmoid", "e276afa56f7a0180"),
    ("sigmoid dx", "9d67f4db7e20b3b2"),
    ("relu dx", "5f54a2df07934cbc"),
    ("dropout", "bcc7bbf602285ae5"),
    ("dropout dx", "bcc7bbf602285ae5"),
    ("add", "00270ee9eaef1189"),
    ("norm stats", "ab994930d0d0d5a2"),
    ("norm forward", "75d8cf0cb576fe8b"),
    ("cross-entropy", "9795df504404fd1b"),
    ("sgd", "fc598d6d4d2b7eb3"),
    ("adam", "2fe290c252cc3530"),
    ("mask, ema, scaled add", "8620b4ae94b4aadf"),
    ("dense forward", "e144f8347c5bfea3"),
    ("dense dx", "34f2b7f3c175da27"),
    ("dense dw", "c0970efef23e15d4"),
    ("dense db", "978caeb9bc6a6774"),
    ("norm backward", "064c7ff357c76d00"),
];
