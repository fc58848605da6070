//! Convolutions, pools and batch norm.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::{Path, conv, norm, pool};
use repro_numerics::shape::{ConvShape, Image, NormShape, PoolShape};

use super::*;

fn image(height: usize, width: usize, channels: usize) -> Image {
    Image {
        height,
        width,
        channels,
    }
}

/// Direct ones of all strides and paddings, batches with several shards and groups; Winograd's with
/// odd sizes, several groups, blocks and shards.
fn convolutions() -> Vec<(usize, ConvShape)> {
    [
        (1, image(1, 1, 1), 1, (1, 1), 1, 0),
        (2, image(5, 7, 3), 5, (3, 3), 1, 1),
        (70, image(5, 4, 3), 2, (3, 3), 1, 0),
        (3, image(9, 6, 17), 33, (3, 3), 2, 1),
        (70, image(9, 9, 3), 5, (3, 3), 1, 1),
        (2, image(8, 8, 5), 7, (5, 3), 3, 2),
        (1, image(6, 6, 70), 65, (1, 1), 1, 0),
        (2, image(7, 7, 4), 3, (1, 1), 2, 0),
        (1, image(4, 4, 2), 3, (4, 4), 1, 3),
        (3, image(5, 7, 32), 48, (3, 3), 1, 1),
        (40, image(4, 4, 32), 32, (3, 3), 1, 1),
        (2, image(24, 23, 48), 32, (3, 3), 1, 1),
        (33, image(4, 5, 144), 128, (3, 3), 1, 1),
    ]
    .into_iter()
    .map(|(n, image, outputs, kernel, stride, padding)| {
        (
            n,
            ConvShape::new(image, outputs, kernel, stride, padding).unwrap(),
        )
    })
    .collect()
}

#[test]
fn convolutions_forward() {
    let path = Path::current();
    everywhere(|on| {
        for (which, (n, shape)) in convolutions().into_iter().enumerate() {
            let outputs = shape.output().channels;
            let (x, w) = (
                values(n * shape.input().features(), 1, which % 3 == 1),
                values(shape.weights(), 2, false),
            );
            let b = (which % 2 == 0).then(|| values(outputs, 3, false));
            let activation = [Activation::Identity, Activation::Relu, Activation::Tanh][which % 3];
            let mut here = vec![0.0; n * shape.output().features()];
            conv::layer_forward(path, &shape, &x, &w, b.as_deref(), activation, &mut here);
            let b = b.map(|b| on.there(&b));
            let (x, w, mut y) = (on.there(&x), on.there(&w), on.there(&here));
            on.device
                .conv_forward(&on.pool, &shape, &x, &w, b.as_ref(), activation, &mut y)
                .unwrap();
            same(&format!("{n} of {shape:?}"), &on.here(&y), &here);
        }
    });
}

#[test]
fn convolutions_backward() {
    let path = Path::current();
    everywhere(|on| {
        for (which, (n, shape)) in convolutions().into_iter().enumerate() {
            let how = [Accumulate::First, Accumulate::Add][which % 2];
            let (inputs, outputs) = (n * shape.input().features(), n * shape.output().features());
            let (x, w, dy) = (
                values(inputs, 1, false),
                values(shape.weights(), 2, false),
                values(outputs, 3, which % 3 == 1),
            );
            let [dx, dw, db] =
                [inputs, shape.weights(), shape.output().channels].map(|len| values(len, 4, false));
            let (mut far_dx, mut far_dw, mut far_db) =
                (on.there(&dx), on.there(&dw), on.there(&db));
            let (mut here_dx, mut here_dw, mut here_db, mut used) = (dx, dw, db, dy.clone());
            conv::layer_backward(
                path,
                &shape,
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
            let positions = shape.output().positions();
            on.device
                .conv_bias_gradient(&on.pool, positions, &dy, (&mut far_db, how))
                .unwrap();
            on.device
                .conv_weight_gradient(&on.pool, &shape, &x, &dy, (&mut far_dw, how))
                .unwrap();
            on.device
                .conv_input_gradient(&on.pool, &shape, &w, &dy, (&mut far_dx, how))
                .unwrap();
            same(
                &format!("{n} of {shape:?}: bias"),
                &on.here(&far_db),
                &here_db,
            );
            same(
                &format!("{n} of {shape:?}: weight"),
                &on.here(&far_dw),
                &here_dw,
            );
            same(
                &format!("{n} of {shape:?}: input"),
                &on.here(&far_dx),
                &here_dx,
            );
        }
    });
}

#[test]
fn pools() {
    let path = Path::current();
    everywhere(|on| {
        for (which, shape) in [
            PoolShape::new(image(1, 1, 1), 1, 1),
            PoolShape::new(image(4, 6, 3), 2, 2),
            PoolShape::new(image(7, 5, 17), 3, 2),
            PoolShape::padded(image(7, 8, 5), 3, 2, 1),
            PoolShape::new(image(6, 6, 2), 3, 1),
            PoolShape::global(image(5, 3, 33)),
        ]
        .into_iter()
        .map(Result::unwrap)
        .enumerate()
        {
            let n = 1 + 2 * (which % 3);
            let (inputs, outputs) = (n * shape.input().features(), n * shape.output().features());
            // Few different numbers, so that many are equal, and some that are none.
            let mut x: Vec<f32> = values(inputs, 1, true).iter().map(|v| v.round()).collect();
            x[inputs / 2] = f32::NAN;
            let (dy, dx) = (values(outputs, 2, true), values(inputs, 3, true));
            let (far_x, far_dy) = (on.there(&x), on.there(&dy));
            let (mut y, mut far_y) = (vec![0.0; outputs], on.there(&dy));
            pool::max_forward(path, &shape, &x, &mut y);
            on.device.max_pool(&shape, &far_x, &mut far_y).unwrap();
            same(&format!("{shape:?}: largest"), &on.here(&far_y), &y);
            pool::avg_forward(path, &shape, &x, &mut y);
            on.device.avg_pool(&shape, &far_x, &mut far_y).unwrap();
            same(&format!("{shape:?}: mean"), &on.here(&far_y), &y);
            for how in [Accumulate::First, Accumulate::Add] {
                let (mut here, mut far) = (dx.clone(), on.there(&dx));
                pool::max_backward(path, &shape, &x, &dy, Gradient { to: &mut here, how });
                on.device
                    .max_pool_gradient(&shape, &far_x, &far_dy, (&mut far, how))
                    .unwrap();
                same(
                    &format!("{shape:?}: gradient of the largest"),
                    &on.here(&far),
                    &here,
                );
                let (mut here, mut far) = (dx.clone(), on.there(&dx));
                pool::avg_backward(path, &shape, &dy, Gradient { to: &mut here, how });
                on.device
                    .avg_pool_gradient(&shape, &far_dy, (&mut far, how))
                    .unwrap();
                same(
                    &format!("{shape:?}: gradient of the mean"),
                    &on.here(&far),
                    &here,
                );
            }
        }
    });
}

#[test]
fn batch_norm() {
    let path = Path::current();
    everywhere(|on| {
        for (which, (images, positions, channels)) in
            [(1, 1, 1), (7, 1, 13), (70, 20, 3), (33, 9, 33), (3, 400, 5)]
                .into_iter()
                .enumerate()
        {
            let n = images * positions * channels;
            let shape = NormShape::new(channels, positions);
            let (x, dy) = (values(n, 1, false), values(n, 2, which == 2));
            let [gamma, beta] = [3, 4].map(|seed| values(channels, seed, false));
            let (far_x, far_gamma, far_beta) = (on.there(&x), on.there(&gamma), on.there(&beta));
            let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
            let (mut far_mean, mut far_variance) = (on.there(&mean), on.there(&mean));
            norm::stats(path, positions, &x, &mut mean, &mut variance);
            on.device
                .channel_stats(&on.pool, shape, &far_x, &mut far_mean, &mut far_variance)
                .unwrap();
            same("mean", &on.here(&far_mean), &mean);
            same("variance", &on.here(&far_variance), &variance);
            let (mut y, mut far_y) = (vec![0.0; n], on.there(&x));
            let activation = [Activation::Identity, Activation::Relu][which % 2];
            norm::forward(
                path, shape.eps, &x, &mean, &variance, &gamma, &beta, activation, &mut y,
            );
            let of_channels = [&far_mean, &far_variance, &far_gamma, &far_beta];
            on.device
                .normalize(shape, &far_x, of_channels, activation, &mut far_y)
                .unwrap();
            same("normalized", &on.here(&far_y), &y);
            for (how, through_stats) in [(Accumulate::First, true), (Accumulate::Add, false)] {
                let [mut dgamma, mut dbeta] = [5, 6].map(|seed| values(channels, seed, false));
                let (mut far_dgamma, mut far_dbeta) = (on.there(&dgamma), on.there(&dbeta));
                let (mut here, mut far) = (dy.clone(), on.there(&dy));
                norm::backward(
                    path,
                    norm::Backward {
                        positions,
                        eps: shape.eps,
                        through_stats,
                        x: &x,
                        mean: &mean,
                        variance: &variance,
                        gamma: &gamma,
                        y: &y,
                        activation,
                        dy: &mut here,
                        dgamma: Gradient {
                            to: &mut dgamma,
                            how,
                        },
                        dbeta: Gradient {
                            to: &mut dbeta,
                            how,
                        },
                    },
                );
                let gradients = NormGradients {
                    through_stats,
                    x: &far_x,
                    mean: &far_mean,
                    variance: &far_variance,
                    gamma: &far_gamma,
                    y: (activation != Activation::Identity).then_some(&far_y),
                    activation,
                    dy: &mut far,
                    dgamma: (&mut far_dgamma, how),
                    dbeta: (&mut far_dbeta, how),
                };
                on.device
                    .normalize_gradients(&on.pool, shape, gradients)
                    .unwrap();
                same("gradient", &on.here(&far), &here);
                same("gradient of gamma", &on.here(&far_dgamma), &dgamma);
                same("gradient of beta", &on.here(&far_dbeta), &dbeta);
            }
        }
    });
}
