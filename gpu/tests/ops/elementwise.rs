//! Ops on one element of each operand.

use repro_numerics::kernels::activation::{Activation, add_activated};
use repro_numerics::kernels::{Path, elementwise, optim};

use super::*;

const LENGTHS: [usize; 5] = [1, 2, 255, 257, 4099];
const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
];

#[test]
fn activations_and_their_gradients() {
    let path = Path::current();
    everywhere(|on| {
        for n in LENGTHS {
            let (a, b, d) = (values(n, 1, true), values(n, 2, true), values(n, 3, true));
            for activation in ACTIVATIONS {
                let mut here = vec![1.0; n];
                activation.forward(path, &a, &mut here);
                let mut y = on.there(&a);
                on.device.activate_in_place(activation, &mut y).unwrap();
                same(&format!("{activation:?}"), &on.here(&y), &here);

                let mut slope = d.clone();
                activation.unapply(path, &here, &mut slope);
                let mut dy = on.there(&d);
                let of = (activation != Activation::Identity).then_some(&y);
                on.device.unactivate(activation, of, &mut dy).unwrap();
                same(&format!("{activation:?}, gradient"), &on.here(&dy), &slope);

                add_activated(path, &a, &b, activation, &mut here);
                on.device
                    .add_activated(&on.there(&a), &on.there(&b), activation, &mut y)
                    .unwrap();
                same(&format!("{activation:?} of a sum"), &on.here(&y), &here);
            }
        }
    });
}

#[test]
fn sums_masks_and_averages() {
    let path = Path::current();
    everywhere(|on| {
        for n in LENGTHS {
            let (a, b) = (values(n, 1, true), values(n, 2, true));
            let mask: Vec<f32> = (0..n).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
            let (far_a, far_mask) = (on.there(&a), on.there(&mask));
            let mut here = b.clone();
            let mut there = on.there(&b);
            elementwise::add_into(path, &a, &mut here);
            on.device.accumulate(&far_a, &mut there).unwrap();
            same("sum", &on.here(&there), &here);
            optim::scaled_add(path, 0.3, &a, -0.7, &mut here);
            on.device.scaled_add(0.3, &far_a, -0.7, &mut there).unwrap();
            same("scaled sum", &on.here(&there), &here);
            optim::ema(path, 0.9, &a, &mut here);
            on.device.average(0.9, &far_a, &mut there).unwrap();
            same("average", &on.here(&there), &here);
            optim::hold(path, &mask, &a, &mut here);
            on.device.hold(&far_mask, &far_a, &mut there).unwrap();
            same("held", &on.here(&there), &here);
            optim::apply_mask(path, &mask, &mut here);
            on.device.mask(&far_mask, &mut there).unwrap();
            same("masked", &on.here(&there), &here);
            same(
                "copied",
                &on.here(&on.device.copy(&there, &on.pool).unwrap()),
                &here,
            );
        }
    });
}

#[test]
fn dropout_draws_the_same_numbers() {
    let path = Path::current();
    everywhere(|on| {
        for (n, rate) in LENGTHS.into_iter().zip([0.5, 0.1, 0.2, 0.9, 0.0]) {
            let (x, stream) = (values(n, 1, true), Stream::new(3, "dropout", 1, n as u64));
            let mut here = vec![0.0; n];
            elementwise::dropout(path, rate, &stream, &x, &mut here);
            let mut y = on.there(&here);
            on.device
                .dropout(rate, &stream, &on.there(&x), &mut y)
                .unwrap();
            same("dropout", &on.here(&y), &here);
            let (mut slope, mut dy) = (x.clone(), on.there(&x));
            elementwise::dropout_gradient(path, rate, &stream, &mut slope);
            on.device.dropout_gradient(rate, &stream, &mut dy).unwrap();
            same("its gradient", &on.here(&dy), &slope);
        }
    });
}
