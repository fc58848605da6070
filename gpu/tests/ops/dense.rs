//! Dense layers.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::{Path, dense};

use super::*;

/// Rows, inputs, outputs: one, primes, tails of tiles, blocks and parts, and their edges.
const SHAPES: [(usize, usize, usize); 14] = [
    (1, 1, 1),
    (7, 13, 17),
    (64, 64, 64),
    (65, 33, 63),
    (5, 256, 3),
    (5, 257, 256),
    (3, 9, 257),
    (2, 512, 2),
    (3, 513, 5),
    (31, 1100, 37),
    (17, 3, 1025),
    (2, 4200, 40),
    (129, 30, 70),
    (67, 784, 100),
];
const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
];

#[test]
fn forward() {
    let path = Path::current();
    everywhere(|on| {
        for (which, (n, i, o)) in SHAPES.into_iter().enumerate() {
            for harsh in [false, true] {
                let (x, w, b) = (
                    values(n * i, 1, harsh),
                    values(i * o, 2, harsh),
                    values(o, 3, harsh),
                );
                let activation = ACTIVATIONS[which % 4];
                let b = (which % 3 > 0).then_some(b);
                let mut here = vec![7.0; n * o];
                dense::layer_forward(path, i, o, &x, &w, b.as_deref(), activation, &mut here);
                let b = b.map(|b| on.there(&b));
                let mut y = on.there(&vec![5.0; n * o]);
                on.device
                    .dense_forward(
                        (i, o),
                        &on.there(&x),
                        &on.there(&w),
                        b.as_ref(),
                        activation,
                        &mut y,
                    )
                    .unwrap();
                same(
                    &format!("{n}×{i}→{o}, {activation:?}, harsh {harsh}"),
                    &on.here(&y),
                    &here,
                );
            }
        }
    });
}

#[test]
fn gradients() {
    let path = Path::current();
    everywhere(|on| {
        for (n, i, o) in SHAPES {
            for (how, harsh) in [(Accumulate::Add, false), (Accumulate::First, true)] {
                let (x, w, dy) = (
                    values(n * i, 1, harsh),
                    values(i * o, 2, harsh),
                    values(n * o, 4, harsh),
                );
                let [dx, dw, db] = [n * i, i * o, o].map(|len| values(len, 5, harsh));
                let (mut far_dx, mut far_dw, mut far_db) =
                    (on.there(&dx), on.there(&dw), on.there(&db));
                let (mut here_dx, mut here_dw, mut here_db) = (dx, dw, db);
                let mut used = dy.clone();
                dense::layer_backward(
                    path,
                    i,
                    o,
                    Backward {
                        x: &x,
                        w: &w,
                        y: &[],
                        activation: Activation::Identity,
                        dy: &mut used,
                        dw: Gradient {
                            to: &mut here_dw,
                            how,
                        },
                        db: Some(Gradient {
                            to: &mut here_db,
                            how,
                        }),
                        dx: Some(Gradient {
                            to: &mut here_dx,
                            how,
                        }),
                    },
                );
                let (x, w, dy) = (on.there(&x), on.there(&w), on.there(&dy));
                on.device
                    .dense_input_gradient((i, o), &w, &dy, &mut far_dx, how)
                    .unwrap();
                on.device
                    .dense_weight_gradient((i, o), &x, &dy, &mut far_dw, how)
                    .unwrap();
                on.device
                    .dense_bias_gradient(&dy, &mut far_db, how)
                    .unwrap();
                let shape = format!("{n}×{i}→{o}, {how:?}");
                same(&format!("{shape}: input"), &on.here(&far_dx), &here_dx);
                same(&format!("{shape}: weight"), &on.here(&far_dw), &here_dw);
                same(&format!("{shape}: bias"), &on.here(&far_db), &here_db);
            }
        }
    });
}

/// A sum of no products is where it starts.
#[test]
fn no_rows() {
    everywhere(|on| {
        let (x, dy) = (on.there(&[]), on.there(&[]));
        let mut dw = on.there(&[-0.0, 3.0]);
        on.device
            .dense_weight_gradient((1, 2), &x, &dy, &mut dw, Accumulate::First)
            .unwrap();
        same("weight", &on.here(&dw), &[0.0, 0.0]);
    });
}
