//! Losses and their gradients.

use repro_numerics::kernels::layer::{Accumulate, Gradient};
use repro_numerics::kernels::{Path, loss, soft_loss, squared_error};

use super::*;

const SHAPES: [(usize, usize); 5] = [(1, 1), (7, 3), (64, 10), (257, 2), (13, 101)];
const HOW: [Accumulate; 2] = [Accumulate::First, Accumulate::Add];

#[test]
fn cross_entropy() {
    let path = Path::current();
    everywhere(|on| {
        for (rows, classes) in SHAPES {
            let n = rows * classes;
            let mut logits = values(n, 1, false);
            logits[n / 2] = 90.0;
            if rows == 7 {
                logits[0] = f32::NAN;
                logits[4] = f32::NEG_INFINITY;
            }
            let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
            for smoothing in [0.0, 0.1] {
                let (mut here, far_logits) = (vec![0.0; n], on.there(&logits));
                let mean = loss::forward(path, classes, &logits, &labels, smoothing, &mut here);
                let mut p = on.there(&logits);
                let far_mean = on.device.cross_entropy(
                    &on.pool,
                    classes,
                    &far_logits,
                    &labels,
                    smoothing,
                    &mut p,
                );
                same("softmax", &on.here(&p), &here);
                same("loss", &[far_mean.unwrap()], &[mean]);
                for how in HOW {
                    let mut d = values(n, 2, true);
                    let mut far = on.there(&d);
                    let to = Gradient { to: &mut d, how };
                    loss::gradient(path, classes, &here, &labels, smoothing, 0.7, to);
                    let to = (&mut far, how);
                    on.device
                        .cross_entropy_gradient(&on.pool, classes, &p, &labels, smoothing, 0.7, to)
                        .unwrap();
                    same("gradient", &on.here(&far), &d);
                }
            }
        }
    });
}

#[test]
fn against_distributions_and_numbers() {
    let path = Path::current();
    everywhere(|on| {
        for (rows, classes) in SHAPES {
            let n = rows * classes;
            let (outputs, targets) = (values(n, 1, false), values(n, 3, false));
            let (far_outputs, far_targets) = (on.there(&outputs), on.there(&targets));
            let mut p = vec![0.0; n];
            let mut far_p = on.there(&p);
            let soft = soft_loss::forward(path, classes, &outputs, &targets, &mut p);
            let far_soft = on.device.soft_cross_entropy(
                &on.pool,
                classes,
                &far_outputs,
                &far_targets,
                &mut far_p,
            );
            same("softmax", &on.here(&far_p), &p);
            let squared = squared_error::forward(path, classes, &outputs, &targets);
            let far_squared =
                on.device
                    .squared_error(&on.pool, classes, &far_outputs, &far_targets);
            same(
                "losses",
                &[far_soft.unwrap(), far_squared.unwrap()],
                &[soft, squared],
            );
            for how in HOW {
                let mut d = values(n, 2, true);
                let mut far = on.there(&d);
                soft_loss::backward(
                    path,
                    classes,
                    &p,
                    &targets,
                    0.7,
                    Gradient { to: &mut d, how },
                );
                on.device
                    .soft_cross_entropy_gradient(
                        classes,
                        &far_p,
                        &far_targets,
                        0.7,
                        (&mut far, how),
                    )
                    .unwrap();
                same("gradient against distributions", &on.here(&far), &d);
                squared_error::backward(
                    path,
                    &outputs,
                    &targets,
                    0.7,
                    Gradient { to: &mut d, how },
                );
                on.device
                    .squared_error_gradient(&far_outputs, &far_targets, 0.7, (&mut far, how))
                    .unwrap();
                same("gradient of squares", &on.here(&far), &d);
            }
        }
    });
}

#[test]
fn right_answers_are_counted() {
    everywhere(|on| {
        for (rows, classes) in SHAPES {
            // Few different numbers, so that many are equal, and some that are none.
            let mut logits: Vec<f32> = values(rows * classes, 1, true)
                .iter()
                .map(|v| v.round())
                .collect();
            logits[rows * classes / 2] = f32::NAN;
            let labels: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
            let here = loss::count_correct(classes, &logits, &labels);
            let there = on.there(&logits);
            let counted = on
                .device
                .count_correct(&on.pool, classes, &there, &labels)
                .unwrap();
            assert_eq!(counted, here, "{rows} rows of {classes}");
        }
    });
}
