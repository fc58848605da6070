//! A step of a convolutional network: both ways of convolutions, batch norm, a pool.

use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::{Path, conv, norm, pool};
use repro_numerics::shape::{BadShape, ConvShape, Image, NormShape, PoolShape};

use super::compare;
use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// Enough for two shards of a batch, and tails of all tiles.
const IMAGES: usize = 37;
const SIDE: usize = 6;

fn image(channels: usize) -> Image {
    Image {
        height: SIDE,
        width: SIDE,
        channels,
    }
}

/// A direct convolution with a stride, and one by Winograd's transforms.
fn convolutions() -> Result<[(&'static str, ConvShape); 2], BadShape> {
    Ok([
        ("a convolution", ConvShape::new(image(3), 5, (3, 3), 2, 1)?),
        (
            "a convolution by transforms",
            ConvShape::new(image(32), 48, (3, 3), 1, 1)?,
        ),
    ])
}

pub(super) fn step(device: &Device) -> Result<(), Fault> {
    let (path, pool) = (Path::current(), Pool::default());
    let mut stream = Stream::new(3, "self-test of a device", 0, 0);
    let mut values = |len: usize| -> Vec<f32> { (0..len).map(|_| stream.normal()).collect() };
    let there = |values: &[f32]| device.upload(&pool, values);
    let compare = |op, there: &Memory, here: &[f32]| compare(device, op, there, here);

    for (name, shape) in convolutions().expect("sizes of shapes") {
        let (inputs, outputs) = (
            IMAGES * shape.input().features(),
            IMAGES * shape.output().features(),
        );
        let (x, w, b) = (
            values(inputs),
            values(shape.weights()),
            values(shape.output().channels),
        );
        let (far_x, far_w, far_b) = (there(&x)?, there(&w)?, there(&b)?);
        let (mut y, relu) = (vec![0.0; outputs], Activation::Relu);
        let mut far_y = device.values(&pool, outputs)?;
        conv::layer_forward(path, &shape, &x, &w, Some(&b), relu, &mut y);
        device.conv_forward(
            &pool,
            &shape,
            &far_x,
            &far_w,
            Some(&far_b),
            relu,
            &mut far_y,
        )?;
        compare(name, &far_y, &y)?;

        let (mut dy, how) = (values(outputs), Accumulate::First);
        let (mut dw, mut dx) = (vec![0.0; w.len()], vec![0.0; inputs]);
        let far_dy = there(&dy)?;
        let (mut far_dw, mut far_dx) = (there(&dw)?, there(&dx)?);
        conv::layer_backward(
            path,
            &shape,
            Backward {
                x: &x,
                w: &w,
                y: &[],
                activation: Activation::Identity,
                dy: &mut dy,
                dw: Gradient { to: &mut dw, how },
                db: None,
                dx: Some(Gradient { to: &mut dx, how }),
            },
        );
        device.conv_weight_gradient(&pool, &shape, &far_x, &far_dy, (&mut far_dw, how))?;
        device.conv_input_gradient(&pool, &shape, &far_w, &far_dy, (&mut far_dx, how))?;
        compare("the gradient of a filter", &far_dw, &dw)?;
        compare("the gradient of a convolution's input", &far_dx, &dx)?;
    }

    let shape = NormShape::new(32, SIDE * SIDE);
    let x = values(IMAGES * SIDE * SIDE * shape.channels);
    let (gamma, beta) = (values(shape.channels), values(shape.channels));
    let (mut mean, mut variance) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
    let (far_x, far_gamma, far_beta) = (there(&x)?, there(&gamma)?, there(&beta)?);
    let (mut far_mean, mut far_variance) = (there(&mean)?, there(&variance)?);
    norm::stats(path, shape.positions, &x, &mut mean, &mut variance);
    device.channel_stats(&pool, shape, &far_x, &mut far_mean, &mut far_variance)?;
    compare("means of channels", &far_mean, &mean)?;
    compare("variances of channels", &far_variance, &variance)?;
    let (mut y, plain) = (vec![0.0; x.len()], Activation::Identity);
    let mut far_y = device.values(&pool, x.len())?;
    norm::forward(
        path, shape.eps, &x, &mean, &variance, &gamma, &beta, plain, &mut y,
    );
    let of_channels = [&far_mean, &far_variance, &far_gamma, &far_beta];
    device.normalize(shape, &far_x, of_channels, plain, &mut far_y)?;
    compare("batch norm", &far_y, &y)?;

    let shape = PoolShape::new(image(32), 2, 2).expect("a window in an image");
    let windows = IMAGES * shape.output().features();
    let mut pooled = vec![0.0; windows];
    let mut far_pooled = device.values(&pool, windows)?;
    pool::max_forward(path, &shape, &y, &mut pooled);
    device.max_pool(&shape, &far_y, &mut far_pooled)?;
    compare("a pool", &far_pooled, &pooled)?;
    let (mut dx, how) = (vec![0.0; y.len()], Accumulate::First);
    let mut far_dx = there(&dx)?;
    pool::max_backward(path, &shape, &y, &pooled, Gradient { to: &mut dx, how });
    device.max_pool_gradient(&shape, &far_y, &far_pooled, (&mut far_dx, how))?;
    compare("the gradient of a pool", &far_dx, &dx)
}
