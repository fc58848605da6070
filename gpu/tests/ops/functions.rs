//! exp, ln, tanh, sigmoid and GELU, where ops make them visible.

use repro_numerics::exact::math;
use repro_numerics::kernels::Path;
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::gelu::{self, Gelu};
use repro_numerics::kernels::soft_loss;

use super::*;

/// Every 4099th bit pattern: a million inputs, subnormals, infinities and NaNs among them.
fn sweep() -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.0625,
        -0.0625,
        88.0,
        -104.0,
    ];
    (0..=u32::MAX)
        .step_by(4099)
        .map(f32::from_bits)
        .chain(special)
        .collect()
}

#[test]
fn tanh_and_sigmoid_everywhere() {
    everywhere(|on| {
        let inputs = sweep();
        let x = on.there(&inputs);
        let mut y = on.there(&inputs);
        for (activation, function) in [
            (Activation::Tanh, math::tanh as fn(f32) -> f32),
            (Activation::Sigmoid, math::sigmoid),
        ] {
            on.device.activate(activation, &x, &mut y).unwrap();
            let here: Vec<f32> = inputs.iter().map(|x| function(*x)).collect();
            same(&format!("{activation:?}"), &on.here(&y), &here);
        }
    });
}

/// A row of two logits, 0 and x below it: its softmax is made of exp x, and its loss of ln(1 + exp x).
#[test]
fn exp_and_ln_everywhere() {
    everywhere(|on| {
        let logits: Vec<f32> = sweep().iter().flat_map(|x| [0.0, -x.abs()]).collect();
        let targets: Vec<f32> = logits.chunks(2).flat_map(|_| [1.0, 0.0]).collect();
        let mut here = vec![0.0; logits.len()];
        let loss = soft_loss::forward(Path::current(), 2, &logits, &targets, &mut here);
        let (far_logits, far_targets) = (on.there(&logits), on.there(&targets));
        let mut p = on.there(&logits);
        let far_loss = on
            .device
            .soft_cross_entropy(&on.pool, 2, &far_logits, &far_targets, &mut p)
            .unwrap();
        same("softmax", &on.here(&p), &here);
        same("loss", &[far_loss], &[loss]);
    });
}

#[test]
fn gelu_everywhere() {
    let path = Path::current();
    everywhere(|on| {
        let inputs = sweep();
        let (x, dy) = (on.there(&inputs), values(inputs.len(), 1, true));
        for which in [Gelu::Exact, Gelu::Tanh] {
            let (mut here, mut there) = (inputs.clone(), on.there(&inputs));
            gelu::forward(path, which, &inputs, &mut here);
            on.device.gelu(which, &x, &mut there).unwrap();
            same(&format!("{which:?}"), &on.here(&there), &here);
            let (mut here, mut there) = (dy.clone(), on.there(&dy));
            gelu::backward(path, which, &inputs, &mut here);
            on.device.gelu_gradient(which, &x, &mut there).unwrap();
            same(&format!("{which:?}: gradient"), &on.here(&there), &here);
        }
    });
}
