//! Depthwise convolutions: all strides and paddings, images smaller than the window, batches with
//! several shards and groups.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::{Path, depthwise};
use repro_numerics::shape::{DepthwiseShape, Image};

use super::*;

fn shapes() -> Vec<(usize, DepthwiseShape)> {
    [
        (1, (1, 1, 1), (1, 1), 1, 0),
        (2, (5, 7, 3), (3, 3), 1, 1),
        (70, (5, 4, 17), (3, 3), 1, 0),
        (3, (9, 6, 33), (3, 3), 2, 1),
        (2, (8, 8, 5), (5, 3), 3, 2),
        (33, (2, 3, 2), (4, 4), 1, 3),
        (2, (7, 7, 4), (1, 1), 2, 0),
    ]
    .into_iter()
    .map(|(n, (height, width, channels), kernel, stride, padding)| {
        let image = Image {
            height,
            width,
            channels,
        };
        let shape = DepthwiseShape::new(image, kernel, stride, padding);
        (n, shape.unwrap())
    })
    .collect()
}

#[test]
fn forward() {
    everywhere(|on| {
        for (which, (n, shape)) in shapes().into_iter().enumerate() {
            let x = values(n * shape.input().features(), 1, which % 3 == 1);
            let w = values(shape.weights(), 2, false);
            let b = (which % 2 == 0).then(|| values(shape.output().channels, 3, false));
            let activation = [Activation::Identity, Activation::Relu, Activation::Tanh][which % 3];
            let mut here = vec![0.0; n * shape.output().features()];
            let path = Path::current();
            depthwise::layer_forward(path, &shape, &x, &w, b.as_deref(), activation, &mut here);
            let b = b.map(|b| on.there(&b));
            let (x, w, mut y) = (on.there(&x), on.there(&w), on.there(&here));
            on.device
                .depthwise(&shape, &x, &w, b.as_ref(), activation, &mut y)
                .unwrap();
            same(&format!("{n} of {shape:?}"), &on.here(&y), &here);
        }
    });
}

#[test]
fn backward() {
    everywhere(|on| {
        for (which, (n, shape)) in shapes().into_iter().enumerate() {
            let how = [Accumulate::First, Accumulate::Add][which % 2];
            let x = values(n * shape.input().features(), 1, false);
            let w = values(shape.weights(), 2, false);
            let dy = values(n * shape.output().features(), 3, which % 3 == 1);
            let [mut dx, mut dw] = [x.len(), w.len()].map(|len| values(len, 4, false));
            let (mut far_dx, mut far_dw) = (on.there(&dx), on.there(&dw));
            let from = Backward {
                x: &x,
                w: &w,
                y: &[],
                activation: Activation::Identity,
                dy: &mut dy.clone(),
                dw: Gradient { to: &mut dw, how },
                db: None,
                dx: Some(Gradient { to: &mut dx, how }),
            };
            depthwise::layer_backward(Path::current(), &shape, from);
            let (x, w, dy) = (on.there(&x), on.there(&w), on.there(&dy));
            on.device
                .depthwise_weight_gradient(&on.pool, &shape, &x, &dy, (&mut far_dw, how))
                .unwrap();
            on.device
                .depthwise_input_gradient(&shape, &w, &dy, (&mut far_dx, how))
                .unwrap();
            same(&format!("{n} of {shape:?}: weight"), &on.here(&far_dw), &dw);
            same(&format!("{n} of {shape:?}: input"), &on.here(&far_dx), &dx);
        }
    });
}
