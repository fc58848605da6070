//! Gradients beside differences of an f64 network, beside a step of SGD, and what they leave as it
//! was.

use std::sync::Arc;

use dfdx::prelude::Cpu;
use serde_json::{Value, json};

use super::*;
use crate::data::{ImageShape, Info, Values};
use crate::nn::architecture::Architecture;
use crate::nn::layer::Role;
use crate::nn::network::Norms;
use crate::ops::recycle::Pool;
use crate::training::mask::Masks;
use crate::training::optim::Optimizer;
use crate::training::pass::Images;
use crate::training::step::Learner;
use crate::weights::NamedTensor;
use repro_numerics::exact::rng::Stream;

const FEATURES: usize = 3;
const HIDDEN: usize = 5;
const CLASSES: usize = 4;
const ROWS: usize = 7;
const KEY: StepKey = StepKey {
    seed: 3,
    epoch: 0,
    step: 5,
};
const EVALUATION: Mode = Mode {
    norms: Norms::Running,
    dropout: None,
};
const STEP: Mode = Mode {
    norms: Norms::OfBatch,
    dropout: Some(KEY),
};

fn draw(purpose: &'static str, len: usize) -> Vec<f32> {
    let mut random = Stream::new(1, purpose, 0, 0);
    (0..len).map(|_| random.normal()).collect()
}

fn architecture(model: Value, outputs: (&str, usize)) -> Arc<Architecture> {
    let identity = json!({
        "model": model,
        "input": {"height": 1, "width": 1, "channels": FEATURES},
        outputs.0: outputs.1,
    });
    Arc::new(Architecture::new(serde_json::from_value(identity).unwrap()).unwrap())
}

/// A layer of tanh units behind batch norm, and classes.
fn normed(dropout: f64) -> Arc<Architecture> {
    let model = json!({"mlp": {"hidden": [HIDDEN], "activation": "tanh", "batch_norm": {}, "dropout": dropout}});
    architecture(model, ("classes", CLASSES))
}

/// Weights of any kind; variances are positive.
fn weights(architecture: &Architecture) -> NamedTensors {
    let mut random = Stream::new(2, "gradient weights", 0, 0);
    let tensor = |p: &crate::nn::layer::Parameter| {
        let len: usize = p.shape.iter().product();
        let values = (0..len).map(|_| match p.role {
            Role::RunningVariance => 0.5 + random.normal().abs(),
            _ => 0.7 * random.normal(),
        });
        let data = values.collect();
        let shape = p.shape.clone();
        (p.name.clone(), NamedTensor { shape, data })
    };
    architecture.parameters.iter().map(tensor).collect()
}

fn network(architecture: &Arc<Architecture>) -> Network<Cpu> {
    let tensors = weights(architecture);
    Network::load(&Cpu::default(), Arc::clone(architecture), &tensors).unwrap()
}

fn labels() -> Vec<u32> {
    (0..ROWS).map(|i| (i * 3 % CLASSES) as u32).collect()
}

fn of_labels(of_rows: &[u32]) -> Objective<'_> {
    Objective::Loss(Wanted::Labels {
        of_rows,
        smoothing: 0.0,
    })
}

fn inputs() -> Vec<f32> {
    draw("gradient inputs", ROWS * FEATURES)
}

fn slopes(network: &Network<Cpu>, objective: Objective, mode: Mode) -> Slopes<Cpu> {
    let fill = |to: &mut [f32]| to.copy_from_slice(&inputs());
    of_batch(network, &Pool::default(), ROWS, fill, objective, mode).unwrap()
}

fn in_memory(network: &Network<Cpu>) -> Vec<Vec<f32>> {
    let tensors = network.tensors().iter();
    tensors.map(|t| t.values().to_vec()).collect()
}

fn bits(of: &Slopes<Cpu>) -> Vec<Option<Vec<u32>>> {
    let bits = |v: &<Cpu as Backend>::Values| v.iter().map(|x| x.to_bits()).collect();
    of.by_parameter
        .iter()
        .map(|g| g.as_ref().map(bits))
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// `x·w + b`, with `w` as `[in, out]`.
fn dense(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let (inputs, outputs) = (w.len() / b.len(), b.len());
    let unit = |row: &[f64], o: usize| {
        let terms = row.iter().enumerate().map(|(i, x)| x * w[i * outputs + o]);
        b[o] + terms.sum::<f64>()
    };
    let rows = x.chunks(inputs);
    rows.flat_map(|row| (0..outputs).map(move |o| unit(row, o)))
        .collect()
}

/// The loss of [`normed`] in f64, with the statistics of the batch or the running ones.
fn loss_in_f64(p: &[Vec<f64>], training: bool) -> f64 {
    let [w, b, gain, shift, mean, variance, v, c] = p else {
        panic!("the parameters of the network: {}", p.len())
    };
    let mut h = dense(&wide(&inputs()), w, b);
    for unit in 0..HIDDEN {
        let all: Vec<f64> = h.iter().skip(unit).step_by(HIDDEN).copied().collect();
        let (m, s) = if training {
            let m = all.iter().sum::<f64>() / ROWS as f64;
            (
                m,
                all.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / ROWS as f64,
            )
        } else {
            (mean[unit], variance[unit])
        };
        for x in h.iter_mut().skip(unit).step_by(HIDDEN) {
            *x = ((*x - m) / (s + 1e-5).sqrt() * gain[unit] + shift[unit]).tanh();
        }
    }
    let logits = dense(&h, v, c);
    let rows = logits.chunks(CLASSES).zip(labels());
    let losses = rows
        .map(|(row, label)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[label as usize]);
    losses.sum::<f64>() / ROWS as f64
}

#[test]
fn gradients_are_central_differences_in_f64() {
    let network = network(&normed(0.0));
    let at: Vec<Vec<f64>> = in_memory(&network).iter().map(|t| wide(t)).collect();
    let labels = labels();
    for (norms, training) in [(Norms::Running, false), (Norms::OfBatch, true)] {
        let found = slopes(&network, of_labels(&labels), norms.into());
        assert!((found.value - loss_in_f64(&at, training)).abs() < 1e-6);
        for (i, gradient) in found.by_parameter.iter().enumerate() {
            let role = network.architecture().parameters[i].role;
            assert_eq!(gradient.is_some(), role.is_trained(), "{role:?}");
            for (j, g) in gradient.iter().flat_map(|g| g.iter().enumerate()) {
                let moved = |by: f64| {
                    let mut there = at.clone();
                    there[i][j] += by;
                    loss_in_f64(&there, training)
                };
                let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (f64::from(*g) - want).abs() < 1e-6 + 1e-5 * want.abs(),
                    "{norms:?}, parameter {i}, element {j}: {g}, want {want}"
                );
            }
        }
    }
}

/// A step of SGD without momentum is `w - lr·g`, one fma each; what is looked at moves nothing.
#[test]
fn a_step_of_sgd_goes_down_these_gradients() {
    let architecture = normed(0.4);
    let (lr, labels) = (0.3, labels());
    let optimizer: Optimizer = serde_json::from_value(json!({"sgd": {"lr": lr}})).unwrap();
    let mut learner = Learner::new(
        &Cpu::default(),
        &architecture,
        &weights(&architecture),
        optimizer,
        Vec::new(),
        0,
        &Masks::none(&architecture),
    )
    .unwrap();
    let fill = |to: &mut [f32]| to.copy_from_slice(&inputs());
    let before = in_memory(learner.network());
    let found = slopes(learner.network(), of_labels(&labels), STEP);
    let still = slopes(learner.network(), of_labels(&labels), EVALUATION);
    assert_ne!(bits(&found), bits(&still));
    assert_eq!(in_memory(learner.network()), before, "nothing has moved");
    let Objective::Loss(wanted) = of_labels(&labels) else {
        unreachable!()
    };
    let learnt = learner
        .step(ROWS, Images::Written(fill), wanted, lr, KEY)
        .unwrap();
    assert_eq!(f64::from(learnt.loss), found.value);
    for ((before, after), gradient) in before
        .iter()
        .zip(in_memory(learner.network()))
        .zip(&found.by_parameter)
    {
        let Some(gradient) = gradient else {
            assert_ne!(*before, after, "statistics move in a step");
            continue;
        };
        let pairs = before.iter().zip(&**gradient);
        let want: Vec<u32> = pairs
            .map(|(w, g)| (-lr as f32).mul_add(*g, *w).to_bits())
            .collect();
        let after: Vec<u32> = after.iter().map(|w| w.to_bits()).collect();
        assert_eq!(after, want);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Wide enough that the work is shared out.
    let image = json!({"height": 12, "width": 12, "channels": 3});
    let model = json!({"conv": {"layers": [
        {"conv": {"channels": 32}}, {"batch_norm": {}}, {"activation": "relu"}, {"conv": {"channels": 32}},
        {"activation": "tanh"}, {"pool": {"max": 2}}, {"dropout": 0.3}, {"dense": 64}]}});
    let identity = json!({"model": model, "input": image, "classes": 10});
    let architecture =
        Arc::new(Architecture::new(serde_json::from_value(identity).unwrap()).unwrap());
    let images = draw("many inputs", 64 * 432);
    let labels: Vec<u32> = (0..64).map(|i| i % 10).collect();
    let run = |threads: usize, mode: Mode| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let network = network(&architecture);
            let fill = |to: &mut [f32]| to.copy_from_slice(&images);
            let found = of_batch(
                &network,
                &Pool::default(),
                64,
                fill,
                of_labels(&labels),
                mode,
            )
            .unwrap();
            bits(&found)
        })
    };
    for mode in [EVALUATION, STEP] {
        let one = run(1, mode);
        for threads in [2, 3, 8] {
            assert!(run(threads, mode) == one, "{mode:?}, {threads} threads");
        }
    }
}

fn numbers(rows: usize, targets: usize) -> Dataset {
    let info = Info {
        name: "numbers".into(),
        shape: ImageShape::table(FEATURES),
        classes: Vec::new(),
        mean: vec![0.0; FEATURES],
        std: vec![1.0; FEATURES],
        columns: ["a", "b", "c"].map(str::to_owned).to_vec(),
        targets: ["y", "z"][..targets].iter().map(|t| (*t).into()).collect(),
    };
    let values = Values::Floats(draw("data", rows * FEATURES));
    let answers = Answers::Targets(draw("answers", rows * targets));
    Dataset::of(info, values, answers, (0..rows as u32).collect()).unwrap()
}

#[test]
fn a_data_set_is_the_mean_of_its_batches() {
    let (rows, targets) = (11, 2);
    let model = json!({"mlp": {"hidden": [HIDDEN], "activation": "tanh"}});
    let network = network(&architecture(model, ("targets", targets)));
    let (data, pool) = (numbers(rows, targets), Pool::default());
    let whole = of_data(&network, &pool, &data, rows, EVALUATION).unwrap();
    let Answers::Targets(answers) = data.answers() else {
        unreachable!()
    };
    let fill = |to: &mut [f32]| to.copy_from_slice(&draw("data", rows * FEATURES));
    let objective = Objective::Loss(Wanted::Targets(answers));
    let at_once = of_batch(&network, &pool, rows, fill, objective, EVALUATION).unwrap();
    assert_eq!(bits(&whole), bits(&at_once), "one batch is all of it");
    let cut = of_data(&network, &pool, &data, 4, EVALUATION).unwrap();
    assert!((cut.value - whole.value).abs() < 1e-6);
    for (cut, whole) in cut.by_parameter.iter().zip(&whole.by_parameter) {
        let (cut, whole) = (cut.as_ref().unwrap(), whole.as_ref().unwrap());
        for (c, w) in cut.iter().zip(&**whole) {
            assert!((c - w).abs() < 1e-6, "batches of 4, 4 and 3: {c}, {w}");
        }
    }
}

/// What edge-popup and SynFlow ask: weights that compute nothing have gradients, and outputs may be
/// summed.
#[test]
fn weights_of_0_have_gradients_of_any_sum_of_outputs() {
    let architecture = architecture(json!({"mlp": {"hidden": []}}), ("classes", CLASSES));
    let mut masked = weights(&architecture);
    for tensor in masked.values_mut() {
        tensor.data.fill(0.0);
    }
    let device = Cpu::default();
    let network = Network::load(&device, Arc::clone(&architecture), &masked).unwrap();
    let sums = draw("sums of outputs", ROWS * CLASSES);
    let found = slopes(&network, Objective::Outputs(&sums), EVALUATION);
    assert_eq!(found.value, 0.0);
    let named = found.save(&network);
    let weight = &architecture.parameters[0];
    assert_eq!(
        named[&weight.name].shape,
        [CLASSES, FEATURES],
        "as in files"
    );
    let x = inputs();
    for class in 0..CLASSES {
        for feature in 0..FEATURES {
            let terms = (0..ROWS).map(|row| {
                f64::from(x[row * FEATURES + feature]) * f64::from(sums[row * CLASSES + class])
            });
            let want: f64 = terms.sum();
            let found = named[&weight.name].data[class * FEATURES + feature];
            assert!((f64::from(found) - want).abs() < 1e-5, "{found}, {want}");
        }
    }
}
