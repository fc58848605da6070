//! Every op, forward and backward, beside PyTorch in f64: the scripts and what they recorded are in
//! tests/reference.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;

use reference::{Case, Cases, read, to_nchw, to_nhwc};
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::{Accumulate, Backward, Gradient};
use repro_numerics::kernels::optim::Part;
use repro_numerics::kernels::{
    Path, activation, conv, dense, depthwise, elementwise, gelu, group_norm, loss, norm, optim,
    pool, soft_loss, squared_error,
};
use repro_numerics::shape::{ConvShape, DepthwiseShape, GroupNormShape, Image, PoolShape};
use repro_stages::nn::layout::Layout;
use repro_stages::training::optim::{HostMoments, Optimizer, Stepper};

const EPS: f32 = 1e-5;

/// Runs `check` on all cases of a subject; an op it does not know is its to refuse.
fn each(subject: &str, check: impl Fn(&Case)) {
    let Cases { cases } = read(&format!("ops/{subject}.json"));
    assert!(!cases.is_empty());
    cases.iter().for_each(check);
}

fn path() -> Path {
    Path::current()
}

/// A buffer whose stale contents must not matter.
fn stale(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

fn first(to: &mut [f32]) -> Gradient<'_> {
    Gradient {
        to,
        how: Accumulate::First,
    }
}

fn image([_, channels, height, width]: [usize; 4]) -> Image {
    Image {
        height,
        width,
        channels,
    }
}

/// The shape of an image batch as PyTorch has it.
fn nchw(n: usize, image: Image) -> [usize; 4] {
    [n, image.channels, image.height, image.width]
}

#[test]
fn products() {
    each("products", |case| match case.op.as_str() {
        "dense" => dense_case(case),
        "conv2d" => conv_case(case),
        "depthwise" => depthwise_case(case),
        other => panic!("{other}"),
    });
}

/// Outputs and gradients of a product: y, dx, dw, db.
type Product = [Vec<f32>; 4];

/// Runs a layer without activation.
fn product(
    [x, w, b, dy]: [Vec<f32>; 4],
    forward: impl Fn(&[f32], &[f32], &[f32], &mut [f32]),
    backward: impl Fn(Backward<'_>),
) -> Product {
    let mut y = stale(dy.len());
    forward(&x, &w, &b, &mut y);
    let (mut dx, mut dw, mut db) = (stale(x.len()), stale(w.len()), stale(b.len()));
    backward(Backward {
        x: &x,
        w: &w,
        y: &y,
        activation: Activation::Identity,
        dy: &mut dy.clone(),
        dw: first(&mut dw),
        db: Some(first(&mut db)),
        dx: Some(first(&mut dx)),
    });
    [y, dx, dw, db]
}

fn dense_case(case: &Case) {
    let [outputs, inputs] = case.shape("w");
    let layout = Layout::Dense {
        outputs,
        positions: 1,
        channels: inputs,
    };
    let w = layout.to_memory(&case.draw("w"));
    let [y, dx, dw, db] = product(
        [case.draw("x"), w, case.draw("b"), case.draw("dy")],
        |x, w, b, y| {
            dense::layer_forward(
                path(),
                inputs,
                outputs,
                x,
                w,
                Some(b),
                Activation::Identity,
                y,
            );
        },
        |from| dense::layer_backward(path(), inputs, outputs, from),
    );
    case.assert_near("y", &y);
    case.assert_near("dx", &dx);
    case.assert_near("dw", &layout.to_file(&dw));
    case.assert_near("db", &db);
}

fn conv_case(case: &Case) {
    let (size, [outputs, inputs, kh, kw]) = (case.shape("x"), case.shape("w"));
    let (stride, padding) = (case.count("stride"), case.count("padding"));
    let shape = ConvShape::new(image(size), outputs, (kh, kw), stride, padding).unwrap();
    let layout = Layout::Conv {
        outputs,
        inputs,
        taps: kh * kw,
    };
    let result = nchw(size[0], shape.output());
    let operands = [
        to_nhwc(size, &case.draw("x")),
        layout.to_memory(&case.draw("w")),
        case.draw("b"),
        to_nhwc(result, &case.draw("dy")),
    ];
    let [y, dx, dw, db] = product(
        operands,
        |x, w, b, y| conv::layer_forward(path(), &shape, x, w, Some(b), Activation::Identity, y),
        |from| conv::layer_backward(path(), &shape, from),
    );
    case.assert_near("y", &to_nchw(result, &y));
    case.assert_near("dx", &to_nchw(size, &dx));
    case.assert_near("dw", &layout.to_file(&dw));
    case.assert_near("db", &db);
}

fn depthwise_case(case: &Case) {
    let (size, [channels, _, kh, kw]) = (case.shape("x"), case.shape("w"));
    let (stride, padding) = (case.count("stride"), case.count("padding"));
    let shape = DepthwiseShape::new(image(size), (kh, kw), stride, padding).unwrap();
    // [channels, 1, kh, kw] in files is the transpose of [kh, kw, channels] in memory.
    let layout = Layout::Conv {
        outputs: channels,
        inputs: 1,
        taps: kh * kw,
    };
    let result = nchw(size[0], shape.output());
    let operands = [
        to_nhwc(size, &case.draw("x")),
        layout.to_memory(&case.draw("w")),
        case.draw("b"),
        to_nhwc(result, &case.draw("dy")),
    ];
    let [y, dx, dw, db] = product(
        operands,
        |x, w, b, y| {
            depthwise::layer_forward(path(), &shape, x, w, Some(b), Activation::Identity, y);
        },
        |from| depthwise::layer_backward(path(), &shape, from),
    );
    case.assert_near("y", &to_nchw(result, &y));
    case.assert_near("dx", &to_nchw(size, &dx));
    case.assert_near("dw", &layout.to_file(&dw));
    case.assert_near("db", &db);
}

#[test]
fn pools() {
    each("pools", |case| {
        let size: [usize; 4] = case.shape("x");
        let shape = match case.op.as_str() {
            "global_avg_pool" => PoolShape::global(image(size)).unwrap(),
            _ => PoolShape::new(image(size), case.count("side"), case.count("side")).unwrap(),
        };
        let result = nchw(size[0], shape.output());
        let (drawn, dy) = (case.draw("x"), to_nhwc(result, &case.draw("dy")));
        let (mut y, mut dx) = (stale(dy.len()), vec![0.0; drawn.len()]);
        match case.op.as_str() {
            "max_pool2d" => {
                // multiples of 1/2, so that windows have ties
                let halves: Vec<f32> = drawn.iter().map(|x| (x * 2.0).floor() / 2.0).collect();
                let x = to_nhwc(size, &halves);
                pool::max_forward(path(), &shape, &x, &mut y);
                pool::max_backward(path(), &shape, &x, &dy, first(&mut dx));
            }
            "avg_pool2d" | "global_avg_pool" => {
                pool::avg_forward(path(), &shape, &to_nhwc(size, &drawn), &mut y);
                pool::avg_backward(path(), &shape, &dy, first(&mut dx));
            }
            other => panic!("{other}"),
        }
        case.assert_near("y", &to_nchw(result, &y));
        case.assert_near("dx", &to_nchw(size, &dx));
    });
}

#[test]
fn norms() {
    each("norms", |case| match case.op.as_str() {
        "batch_norm_train" | "batch_norm_eval" => batch_norm_case(case),
        "batch_norm_running" => running_case(case),
        "layer_norm" => {
            let [rows, features] = case.shape("x");
            let shape = GroupNormShape::layer(features).unwrap();
            group_norm_case(case, shape, [rows, features, 1, 1]);
        }
        "group_norm" => {
            let size = case.shape("x");
            let shape = GroupNormShape::new(image(size), case.count("groups")).unwrap();
            group_norm_case(case, shape, size);
        }
        other => panic!("{other}"),
    });
}

/// Variances are drawn like everything, plus 2.
fn positive(drawn: Vec<f32>) -> Vec<f32> {
    drawn.into_iter().map(|v| v + 2.0).collect()
}

fn batch_norm_case(case: &Case) {
    let size: [usize; 4] = case.shape("x");
    let through_stats = case.op == "batch_norm_train";
    let (positions, channels) = (size[2] * size[3], size[1]);
    let (x, dy) = (
        to_nhwc(size, &case.draw("x")),
        to_nhwc(size, &case.draw("dy")),
    );
    let (gain, shift) = (case.draw("gain"), case.draw("shift"));
    let (mut mean, mut variance) = (stale(channels), stale(channels));
    if through_stats {
        norm::stats(path(), positions, &x, &mut mean, &mut variance);
    } else {
        (mean, variance) = (case.draw("mean"), positive(case.draw("variance")));
    }
    let mut y = stale(x.len());
    let none = Activation::Identity;
    norm::forward(
        path(),
        EPS,
        &x,
        &mean,
        &variance,
        &gain,
        &shift,
        none,
        &mut y,
    );
    let (mut dx, mut dgain, mut dshift) = (dy, vec![0.0; channels], vec![0.0; channels]);
    let from = norm::Backward {
        positions,
        eps: EPS,
        through_stats,
        x: &x,
        mean: &mean,
        variance: &variance,
        gamma: &gain,
        y: &[],
        activation: none,
        dy: &mut dx,
        dgamma: first(&mut dgain),
        dbeta: first(&mut dshift),
    };
    norm::backward(path(), from);
    case.assert_near("y", &to_nchw(size, &y));
    case.assert_near("dx", &to_nchw(size, &dx));
    case.assert_near("dgain", &dgain);
    case.assert_near("dshift", &dshift);
}

/// The running statistics after one batch, by the rule of `ops::BatchStats::update_running`.
fn running_case(case: &Case) {
    let size: [usize; 4] = case.shape("x");
    let (positions, channels) = (size[2] * size[3], size[1]);
    let count = (size[0] * positions) as f32;
    let x = to_nhwc(size, &case.draw("x"));
    let (mut mean, mut variance) = (stale(channels), stale(channels));
    norm::stats(path(), positions, &x, &mut mean, &mut variance);
    let (mut running_mean, mut running_variance) =
        (case.draw("mean"), positive(case.draw("variance")));
    optim::scaled_add(path(), 0.1, &mean, 0.9, &mut running_mean);
    let unbiased = 0.1 * (count / (count - 1.0));
    optim::scaled_add(path(), unbiased, &variance, 0.9, &mut running_variance);
    running_mean.extend(running_variance);
    case.assert_near("running", &running_mean);
}

fn group_norm_case(case: &Case, shape: GroupNormShape, size: [usize; 4]) {
    let (x, dy) = (
        to_nhwc(size, &case.draw("x")),
        to_nhwc(size, &case.draw("dy")),
    );
    let (gain, shift) = (case.draw("gain"), case.draw("shift"));
    let count = size[0] * shape.groups();
    let (mut mean, mut inverse_deviation) = (stale(count), stale(count));
    let mut y = stale(x.len());
    let to = group_norm::StatisticsMut {
        mean: &mut mean,
        inverse_deviation: &mut inverse_deviation,
    };
    group_norm::forward(path(), &shape, EPS, &x, &gain, &shift, &mut y, to);
    let (mut dx, mut dgain, mut dshift) = (dy, stale(gain.len()), stale(gain.len()));
    let from = group_norm::Backward {
        x: &x,
        statistics: group_norm::Statistics {
            mean: &mean,
            inverse_deviation: &inverse_deviation,
        },
        gamma: &gain,
        dy: &mut dx,
        dgamma: first(&mut dgain),
        dbeta: first(&mut dshift),
    };
    group_norm::backward(path(), &shape, from);
    case.assert_near("y", &to_nchw(size, &y));
    case.assert_near("dx", &to_nchw(size, &dx));
    case.assert_near("dgain", &dgain);
    case.assert_near("dshift", &dshift);
}

#[test]
fn activations() {
    each("activations", |case| {
        if case.op == "add" {
            let (a, b) = (case.draw("a"), case.draw("b"));
            let mut y = stale(a.len());
            elementwise::add(path(), &a, &b, &mut y);
            case.assert_near("y", &y);
            return;
        }
        // in [-8, 8), and every seventh of the first row is 0
        let [_, columns] = case.shape("x");
        let mut x: Vec<f32> = case.draw("x").into_iter().map(|x| 8.0 * x).collect();
        x[..columns].iter_mut().step_by(7).for_each(|x| *x = 0.0);
        let dy = case.draw("dy");
        let (mut y, mut dx) = (stale(x.len()), vec![0.0; x.len()]);
        let which = match case.op.as_str() {
            "gelu" => gelu::Gelu::Exact,
            _ => gelu::Gelu::Tanh,
        };
        match case.op.as_str() {
            "relu" => {
                activation::relu(path(), &x, &mut y);
                activation::relu_backward(path(), &y, &dy, &mut dx);
            }
            "tanh" => {
                activation::tanh(path(), &x, &mut y);
                activation::tanh_backward(path(), &y, &dy, &mut dx);
            }
            "sigmoid" => {
                activation::sigmoid(path(), &x, &mut y);
                activation::sigmoid_backward(path(), &y, &dy, &mut dx);
            }
            "gelu" | "gelu_tanh" => {
                gelu::forward(path(), which, &x, &mut y);
                dx.copy_from_slice(&dy);
                gelu::backward(path(), which, &x, &mut dx);
            }
            other => panic!("{other}"),
        }
        case.assert_near("y", &y);
        case.assert_near("dx", &dx);
    });
}

#[test]
fn losses() {
    each("losses", |case| {
        let [rows, classes] = case.shape("x");
        let scale = case.options["scale"].as_f64().unwrap() as f32;
        if case.op == "squared_error" {
            let outputs: Vec<f32> = case.draw("x").into_iter().map(|x| scale * x).collect();
            let (targets, mut dx) = (case.draw("t"), stale(outputs.len()));
            let value = squared_error::forward(path(), classes, &outputs, &targets);
            squared_error::backward(path(), &outputs, &targets, 1.0, first(&mut dx));
            case.assert_near("loss", &[value]);
            return case.assert_near("dx", &dx);
        }
        let smoothing = case.options["smoothing"].as_f64().unwrap() as f32;
        let logits: Vec<f32> = case.draw("x").into_iter().map(|x| scale * x).collect();
        let labels: Vec<u32> = (0..rows).map(|r| ((7 * r + 3) % classes) as u32).collect();
        let (mut probabilities, mut dx) = (stale(logits.len()), vec![0.0; logits.len()]);
        let value = if case.op == "soft_cross_entropy" {
            let mut targets = vec![0.0; logits.len()];
            for (row, label) in targets.chunks_exact_mut(classes).zip(&labels) {
                for (offset, share) in [9.0, 4.0, 3.0].into_iter().enumerate() {
                    row[(*label as usize + offset) % classes] += share / 16.0;
                }
            }
            let value = soft_loss::forward(path(), classes, &logits, &targets, &mut probabilities);
            let to = first(&mut dx);
            soft_loss::backward(path(), classes, &probabilities, &targets, 1.0, to);
            value
        } else {
            let p = &mut probabilities;
            let value = loss::forward(path(), classes, &logits, &labels, smoothing, p);
            loss::backward(path(), classes, p, &labels, smoothing, 1.0, &mut dx);
            value
        };
        case.assert_near("loss", &[value]);
        case.assert_near("dx", &dx);
    });
}

#[test]
fn optimizers() {
    const STEPS: usize = 5;
    each("optimizers", |case| match case.op.as_str() {
        "optimizer" => {
            let rule: Optimizer = serde_json::from_value(case.options.clone()).unwrap();
            let mut w = case.draw("w");
            let mut memory = HostMoments::new(&rule, w.len());
            let mut stepper = Stepper::after(rule, 0);
            let mut way = Vec::new();
            for k in 0..STEPS {
                let gradient = reference::unit(&format!("{}/g{k}", case.case), w.len());
                let part = Part {
                    w: &mut w,
                    first: &mut memory.first,
                    second: &mut memory.second,
                    gradient: &gradient,
                    mask: None,
                };
                optim::step(path(), stepper.advance(rule.lr()), &mut [part]);
                way.extend_from_slice(&w);
            }
            case.assert_near("w", &way);
        }
        "ema" => {
            let decay = case.options["decay"].as_f64().unwrap() as f32;
            let mut average = case.draw("m0");
            for k in 1..STEPS {
                let model = reference::unit(&format!("{}/m{k}", case.case), average.len());
                optim::ema(path(), decay, &model, &mut average);
            }
            case.assert_near("ema", &average);
        }
        other => panic!("{other}"),
    });
}
