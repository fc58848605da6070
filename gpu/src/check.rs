//! Whether a device gives the CPU's bits, by trying it: a compiler or a driver may promise more than
//! it keeps.

mod images;

use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::kernels::optim::{self, Adam, Decay, Rule};
use repro_numerics::kernels::{Path, dense, elementwise, loss};

use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// Rows, inputs and outputs: sums in parts and blocks, and tails of tiles.
const SHAPE: (usize, usize, usize) = (67, 1100, 37);

/// Compares steps of training with the CPU's, op by op.
///
/// # Errors
/// The device gives other bits, or its driver fails.
pub fn check(device: &Device) -> Result<(), Fault> {
    step(device)?;
    images::step(device)
}

/// Compares what an op gave there and here.
fn compare(device: &Device, op: &str, there: &Memory, here: &[f32]) -> Result<(), Fault> {
    let mut values = vec![0.0; there.len()];
    device.read(there, &mut values)?;
    let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
    match values.iter().zip(here).filter(differs).count() {
        0 => Ok(()),
        wrong => Err(Fault::Unfit {
            device: device.name().to_owned(),
            lacks: format!("{wrong} of {} values of {op} differ", here.len()),
        }),
    }
}

/// Of a perceptron.
fn step(device: &Device) -> Result<(), Fault> {
    let (path, pool, (n, i, o)) = (Path::current(), Pool::default(), SHAPE);
    let mut stream = Stream::new(1, "self-test of a device", 0, 0);
    let mut values = |len: usize| -> Vec<f32> { (0..len).map(|_| stream.normal()).collect() };
    let (x, w, b, mut momentum) = (values(n * i), values(i * o), values(o), values(i * o));
    let labels: Vec<u32> = (0..n).map(|row| (row % o) as u32).collect();
    let there = |values: &[f32]| device.upload(&pool, values);
    let (far_x, mut far_w, far_b) = (there(&x)?, there(&w)?, there(&b)?);
    let (mut far_momentum, mut far_y) = (there(&momentum)?, device.values(&pool, n * o)?);
    let compare = |op, there: &Memory, here: &[f32]| compare(device, op, there, here);

    let mut y = vec![0.0; n * o];
    dense::layer_forward(path, i, o, &x, &w, Some(&b), Activation::Tanh, &mut y);
    device.dense_forward(
        (i, o),
        &far_x,
        &far_w,
        Some(&far_b),
        Activation::Tanh,
        &mut far_y,
    )?;
    compare("a dense layer with tanh", &far_y, &y)?;

    let (mut p, mut far_p) = (vec![0.0; n * o], device.values(&pool, n * o)?);
    let mean = loss::forward(path, o, &y, &labels, 0.1, &mut p);
    let far_mean = device.cross_entropy(&pool, o, &far_y, &labels, 0.1, &mut far_p)?;
    compare("softmax", &far_p, &p)?;
    compare(
        "cross-entropy",
        &device.upload(&pool, &[far_mean])?,
        &[mean],
    )?;

    let (mut dw, mut far_dw) = (vec![0.0; i * o], there(&w)?);
    dense::weight_gradient(path, i, o, &x, &p, &mut dw);
    device.dense_weight_gradient((i, o), &far_x, &far_p, &mut far_dw, Accumulate::First)?;
    compare("the gradient of a weight", &far_dw, &dw)?;
    let (mut dx, mut far_dx) = (x.clone(), there(&x)?);
    dense::input_gradient(path, i, o, &w, &p, &mut dx);
    device.dense_input_gradient((i, o), &far_w, &far_p, &mut far_dx, Accumulate::Add)?;
    compare("the gradient of an input", &far_dx, &dx)?;

    let (mut moved, mut square) = (w.clone(), vec![0.5; i * o]);
    let mut far_square = there(&square)?;
    let rule = Adam {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        decay: Decay::L2(0.01),
        corrections: (0.1, 0.001),
    };
    optim::adam(path, rule, &mut moved, &mut momentum, &mut square, &dw);
    device.step(
        Rule::Adam(rule),
        &mut far_w,
        Some(&mut far_momentum),
        Some(&mut far_square),
        &far_dw,
        None,
    )?;
    compare("Adam's weights", &far_w, &moved)?;

    let random = Stream::new(2, "self-test of a device", 0, 0);
    let mut kept = vec![0.0; n * o];
    elementwise::dropout(path, 0.3, &random, &y, &mut kept);
    device.dropout(0.3, &random, &far_y, &mut far_p)?;
    compare("dropout", &far_p, &kept)
}
