//! Recurrent layers: one step and several, one image, batches with tails.

use repro_gpu::{LstmGate, LstmGateGradients, LstmGradients, RecurrentGradients};
use repro_numerics::kernels::layer::{Accumulate, Gradient};
use repro_numerics::kernels::lstm::{self, BLOCKS, GATES, GateGradients};
use repro_numerics::kernels::{Path, recurrent};
use repro_numerics::shape::{Image, RecurrentShape};

use super::*;

fn shapes() -> Vec<(usize, RecurrentShape)> {
    let of = |height, width, units| {
        let image = Image {
            height,
            width,
            channels: 1,
        };
        RecurrentShape::new(image, units).unwrap()
    };
    vec![
        (1, of(1, 1, 1)),
        (5, of(1, 7, 3)),
        (3, of(4, 5, 7)),
        (17, of(7, 3, 33)),
        (1, of(28, 28, 10)),
    ]
}

const BOTH: [Accumulate; 2] = [Accumulate::First, Accumulate::Add];

/// Values here, and a copy of them there.
fn pair(on: &On, len: usize, seed: u64) -> (Vec<f32>, Memory) {
    let here = values(len, seed, false);
    let there = on.there(&here);
    (here, there)
}

#[test]
fn an_elman_layer_there_and_back() {
    let path = Path::current();
    everywhere(|on| {
        for (images, shape) in shapes() {
            let name = format!("{images} of {shape:?}");
            let (inputs, units) = (shape.inputs(), shape.units());
            let (x, far_x) = pair(on, images * shape.features(), 1);
            let (w_in, far_w_in) = pair(on, inputs * units, 2);
            let (b, far_b) = pair(on, units, 3);
            let (w_rec, far_w_rec) = pair(on, units * units, 4);
            let (mut states, mut far_states) = pair(on, shape.steps() * images * units, 5);
            let (mut y, mut far_y) = pair(on, images * units, 6);
            recurrent::forward(path, &shape, &x, &w_in, &b, &w_rec, &mut states, &mut y);
            let of = [&far_w_in, &far_b, &far_w_rec];
            on.device
                .recurrent(&on.pool, &shape, &far_x, of, &mut far_states, &mut far_y)
                .unwrap();
            same(&format!("{name}: states"), &on.here(&far_states), &states);
            same(&name, &on.here(&far_y), &y);

            for how in BOTH {
                let (dy, far_dy) = pair(on, y.len(), 7);
                let (mut dw_in, mut far_dw_in) = pair(on, w_in.len(), 8);
                let (mut db, mut far_db) = pair(on, units, 9);
                let (mut dw_rec, mut far_dw_rec) = pair(on, w_rec.len(), 10);
                let (mut dx, mut far_dx) = pair(on, x.len(), 11);
                let from = recurrent::Backward {
                    x: &x,
                    w_in: &w_in,
                    w_rec: &w_rec,
                    states: &states,
                    dy: &dy,
                    dw_in: Gradient {
                        to: &mut dw_in,
                        how,
                    },
                    db: Gradient { to: &mut db, how },
                    dw_rec: Gradient {
                        to: &mut dw_rec,
                        how,
                    },
                    dx: Some(Gradient { to: &mut dx, how }),
                };
                recurrent::backward(path, &shape, from);
                let from = RecurrentGradients {
                    x: &far_x,
                    w_in: &far_w_in,
                    w_rec: &far_w_rec,
                    states: &far_states,
                    dy: &far_dy,
                    dw_in: (&mut far_dw_in, how),
                    db: (&mut far_db, how),
                    dw_rec: (&mut far_dw_rec, how),
                    dx: Some((&mut far_dx, how)),
                };
                on.device
                    .recurrent_gradients(&on.pool, &shape, from)
                    .unwrap();
                for (what, far, near) in [
                    ("dw_in", far_dw_in, dw_in),
                    ("db", far_db, db),
                    ("dw_rec", far_dw_rec, dw_rec),
                    ("dx", far_dx, dx),
                ] {
                    same(&format!("{name}: {what}, {how:?}"), &on.here(&far), &near);
                }
            }
        }
    });
}

#[test]
fn an_lstm_layer_there_and_back() {
    let path = Path::current();
    everywhere(|on| {
        for (images, shape) in shapes() {
            let name = format!("{images} of {shape:?}");
            let (inputs, units) = (shape.inputs(), shape.units());
            let sizes = [inputs * units, units, units * units];
            let (x, far_x) = pair(on, images * shape.features(), 1);
            let parameters: Vec<[(Vec<f32>, Memory); 3]> = (0..GATES as u64)
                .map(|g| std::array::from_fn(|p| pair(on, sizes[p], 10 + 3 * g + p as u64)))
                .collect();
            let gates = std::array::from_fn(|g| {
                let [w, b, u] = &parameters[g];
                lstm::Gate {
                    w: &w.0,
                    b: &b.0,
                    u: &u.0,
                }
            });
            let far_gates = std::array::from_fn(|g| {
                let [w, b, u] = &parameters[g];
                LstmGate {
                    w: &w.1,
                    b: &b.1,
                    u: &u.1,
                }
            });
            let all = BLOCKS * shape.steps() * images * units;
            let (mut states, mut far_states) = pair(on, all, 5);
            let (mut y, mut far_y) = pair(on, images * units, 6);
            lstm::forward(path, &shape, &x, gates, &mut states, &mut y);
            on.device
                .lstm(
                    &on.pool,
                    &shape,
                    &far_x,
                    far_gates,
                    &mut far_states,
                    &mut far_y,
                )
                .unwrap();
            same(&format!("{name}: states"), &on.here(&far_states), &states);
            same(&name, &on.here(&far_y), &y);

            for how in BOTH {
                let (dy, far_dy) = pair(on, y.len(), 7);
                let (mut dx, mut far_dx) = pair(on, x.len(), 8);
                let mut to: Vec<[(Vec<f32>, Memory); 3]> = (0..GATES as u64)
                    .map(|g| std::array::from_fn(|p| pair(on, sizes[p], 40 + 3 * g + p as u64)))
                    .collect();
                {
                    let mut near = Vec::new();
                    let mut far = Vec::new();
                    for [w, b, u] in &mut to {
                        near.push(GateGradients {
                            dw: Gradient { to: &mut w.0, how },
                            db: Gradient { to: &mut b.0, how },
                            du: Gradient { to: &mut u.0, how },
                        });
                        far.push(LstmGateGradients {
                            dw: (&mut w.1, how),
                            db: (&mut b.1, how),
                            du: (&mut u.1, how),
                        });
                    }
                    let from = lstm::Backward {
                        x: &x,
                        gates,
                        states: &states,
                        dy: &dy,
                        to: near.try_into().unwrap(),
                        dx: Some(Gradient { to: &mut dx, how }),
                    };
                    lstm::backward(path, &shape, from);
                    let from = LstmGradients {
                        x: &far_x,
                        gates: far_gates,
                        states: &far_states,
                        dy: &far_dy,
                        to: far.try_into().unwrap(),
                        dx: Some((&mut far_dx, how)),
                    };
                    on.device.lstm_gradients(&on.pool, &shape, from).unwrap();
                }
                same(&format!("{name}: dx, {how:?}"), &on.here(&far_dx), &dx);
                for (gate, parts) in to.iter().enumerate() {
                    for (part, (near, far)) in parts.iter().enumerate() {
                        let what = format!("{name}: gate {gate}, parameter {part}, {how:?}");
                        same(&what, &on.here(far), near);
                    }
                }
            }
        }
    });
}
