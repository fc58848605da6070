//! The device seam is whole: a device that neither dfdx nor this crate knows trains, evaluates and
//! makes statistics anew through `Backend` alone, and gives the CPU's bits.
//!
//! It is the CPU behind a wall. Its memory has a type of its own, gradients are parked with the
//! device while dfdx holds their number, and its errors are its own, also those that come up in the
//! middle of a backward pass.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dfdx::prelude::{Cpu, CpuError};
use repro_numerics::exact::numerics::Numerics;
use repro_numerics::exact::rng::Stream;
use repro_stages::data::Dataset;
use repro_stages::failure::Failure;
use repro_stages::nn::architecture::Architecture;
use repro_stages::nn::init::{self, Init};
use repro_stages::nn::network::{Network, Norms};
use repro_stages::ops::recycle::{Pool, Values};
use repro_stages::ops::{
    Activation, Album, Backend, Buffer, Chosen, ConvShape, DenseShape, DepthwiseShape, Frame,
    GATES, Gate, GateGradients, Gelu, Gradient, GroupNormBackward, GroupNormShape, Labels,
    LayerBackward, LstmBackward, Moments, Moving, NormBackward, NormShape, PoolShape,
    RecurrentBackward, RecurrentShape, Rule,
};
use repro_stages::training::augment::Augment;
use repro_stages::training::batches::Batches;
use repro_stages::training::fit::{Listener, Sets, Start, Trained, fit};
use repro_stages::training::gradients;
use repro_stages::training::landscape::{Batch, Landscape};
use repro_stages::training::mask::Masks;
use repro_stages::training::recipe::{Pause, Recipe};
use repro_stages::training::{evaluation, statistics};
use repro_stages::weights::NamedTensors;
use serde_json::{Value, json};

mod support;

/// Memory that only the device reads.
#[derive(Debug)]
struct Hidden(Values);

#[derive(Debug, Clone, Default)]
struct Far {
    cpu: Cpu,
    parked: Arc<Mutex<BTreeMap<u32, Hidden>>>,
    number: Arc<AtomicUsize>,
    /// On its way through the tape.
    error: Arc<Mutex<Option<Lost>>>,
    /// Backward steps of dense layers that are refused from now on.
    refuses: bool,
    room: Option<u64>,
}

/// This device's error.
#[derive(Debug)]
struct Lost(String);

impl Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost: {}", self.0)
    }
}

impl From<CpuError> for Lost {
    fn from(error: CpuError) -> Lost {
        Lost(error.to_string())
    }
}

type Done = Result<(), Lost>;

/// A gradient in the CPU's terms; what is left behind is empty until [`returned`].
fn lent(gradient: &mut Gradient<Far>) -> Gradient<Cpu> {
    Gradient {
        to: std::mem::replace(&mut gradient.to.0, Pool::default().take(0)),
        how: gradient.how,
    }
}

fn returned(gradient: &mut Gradient<Far>, lent: Gradient<Cpu>) {
    gradient.to.0 = lent.to;
}

/// Runs `work` on a gradient in the CPU's terms.
fn lend(
    to: &mut Gradient<Far>,
    work: impl FnOnce(&mut Gradient<Cpu>) -> Result<(), CpuError>,
) -> Done {
    let mut near = lent(to);
    let done = work(&mut near);
    returned(to, near);
    Ok(done?)
}

fn near_gate<'a>(gate: Gate<'a, Far>) -> Gate<'a, Cpu> {
    Gate {
        w: &gate.w.0,
        b: &gate.b.0,
        u: &gate.u.0,
    }
}

/// The methods whose arguments are numbers and values of the device.
macro_rules! plain {
    ($(fn $name:ident([$($number:ident: $type:ty),*], [$($from:ident),*], [$($to:ident),*]) -> $result:ty;)*) => {
        $(fn $name(&self, $($number: $type,)* $($from: &Hidden,)* $($to: &mut Hidden,)*) -> Result<$result, Lost> {
            Ok(self.cpu.$name($($number,)* $(&$from.0,)* $(&mut $to.0,)*)?)
        })*
    };
}

/// Layers with a weight.
macro_rules! layers {
    ($($shape:ty: $forward:ident, $backward:ident;)*) => {
        $(fn $forward(&self, shape: $shape, x: &Hidden, w: &Hidden, b: Option<&Hidden>, activation: Activation, y: &mut Hidden) -> Done {
            Ok(self.cpu.$forward(shape, &x.0, &w.0, b.map(|b| &b.0), activation, &mut y.0)?)
        }
        fn $backward(&self, shape: $shape, from: LayerBackward<'_, Far>) -> Done {
            if self.refuses && stringify!($backward) == "dense_backward" {
                return Err(Lost("a dense layer's gradient".into()));
            }
            let LayerBackward { x, w, y, activation, dy, dw, mut db, mut dx } = from;
            let mut near_w = lent(dw);
            let mut near_b = db.as_deref_mut().map(lent);
            let mut near_x = dx.as_deref_mut().map(lent);
            self.cpu.$backward(shape, LayerBackward {
                x: &x.0,
                w: &w.0,
                y: y.map(|y| &y.0),
                activation,
                dy: &mut dy.0,
                dw: &mut near_w,
                db: near_b.as_mut(),
                dx: near_x.as_mut(),
            })?;
            returned(dw, near_w);
            for (far, near) in [(db, near_b), (dx, near_x)] {
                if let (Some(far), Some(near)) = (far, near) {
                    returned(far, near);
                }
            }
            Ok(())
        })*
    };
}

impl Backend for Far {
    const NUMERICS: Numerics = Numerics::ExactF32;
    type Err = Lost;
    type Pool = Pool;
    type Values = Hidden;
    type Pictures = Infallible;

    fn room(&self) -> Option<u64> {
        self.room
    }

    fn on_tape(&self, error: Lost) -> CpuError {
        *self.error.lock().unwrap() = Some(error);
        CpuError::OutOfMemory
    }
    fn off_tape(&self, error: CpuError) -> Lost {
        let own = self.error.lock().unwrap().take();
        own.unwrap_or_else(|| error.into())
    }
    fn values(&self, pool: &Pool, len: usize) -> Result<Hidden, Lost> {
        Ok(Hidden(self.cpu.values(pool, len)?))
    }
    fn written(
        &self,
        pool: &Pool,
        len: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Hidden, Lost> {
        Ok(Hidden(self.cpu.written(pool, len, fill)?))
    }
    fn keep(&self, _: &Pool, _: Album<'_>) -> Result<Option<Infallible>, Lost> {
        Ok(None)
    }

    fn show(&self, _: &Pool, pictures: &Infallible, _: &[Frame]) -> Result<Hidden, Lost> {
        match *pictures {}
    }

    fn read<'a>(&self, values: &'a Hidden) -> Cow<'a, [f32]> {
        Cow::Owned(values.0.to_vec())
    }
    fn take(&self, buffer: &mut Buffer, _: usize, _: &Pool) -> Option<Hidden> {
        let number = buffer.pop()?.to_bits();
        self.parked.lock().unwrap().remove(&number)
    }
    fn put(&self, buffer: &mut Buffer, values: Hidden) {
        let number = self.number.fetch_add(1, Ordering::Relaxed) as u32;
        self.parked.lock().unwrap().insert(number, values);
        buffer.push(f32::from_bits(number));
    }
    fn copy(&self, values: &Hidden, pool: &Pool) -> Result<Hidden, Lost> {
        Ok(Hidden(self.cpu.copy(&values.0, pool)?))
    }
    fn scaled_add(&self, scale: f32, x: &Hidden, keep: f32, y: &mut Hidden) -> Done {
        Ok(self.cpu.scaled_add(scale, &x.0, keep, &mut y.0)?)
    }
    fn step<'a>(&self, rule: Rule, parameters: impl Iterator<Item = Moving<'a, Far>>) -> Done {
        for parameter in parameters {
            let Moving {
                weights,
                moments,
                gradient,
                mask,
            } = parameter;
            let mut near = Moments::<Cpu> {
                first: moments.first.take().map(|m| m.0),
                second: moments.second.take().map(|m| m.0),
            };
            let moving = Moving {
                weights: &mut weights.0,
                moments: &mut near,
                gradient: &gradient.0,
                mask: mask.map(|m| &m.0),
            };
            self.cpu.step(rule, std::iter::once(moving))?;
            moments.first = near.first.map(Hidden);
            moments.second = near.second.map(Hidden);
        }
        Ok(())
    }

    layers! {
        DenseShape: dense_forward, dense_backward;
        ConvShape: conv2d_forward, conv2d_backward;
        DepthwiseShape: depthwise_forward, depthwise_backward;
    }
    plain! {
        fn average([decay: f32], [x], [average]) -> ();
        fn mask([], [mask], [values]) -> ();
        fn hold([], [mask, held], [values]) -> ();
        fn accumulate([], [from], [to]) -> ();
        fn max_pool_forward([shape: PoolShape], [x], [y]) -> ();
        fn avg_pool_forward([shape: PoolShape], [x], [y]) -> ();
        fn channel_stats([shape: NormShape], [x], [mean, variance]) -> ();
        fn group_norm_forward([shape: GroupNormShape], [x, gamma, beta], [mean, inverse_deviation, y]) -> ();
        fn recurrent_forward([shape: RecurrentShape], [x, w_in, b, w_rec], [states, y]) -> ();
        fn activation_forward([which: Activation], [x], [y]) -> ();
        fn activation_in_place([which: Activation], [], [y]) -> ();
        fn gelu_forward([which: Gelu], [x], [y]) -> ();
        fn gelu_backward([which: Gelu], [x], [dy]) -> ();
        fn dropout_forward([rate: f32, stream: &Stream], [x], [y]) -> ();
        fn dropout_backward([rate: f32, stream: &Stream], [], [dy]) -> ();
        fn soft_cross_entropy_forward([classes: usize], [logits, targets], [probabilities]) -> f32;
        fn squared_error_forward([width: usize], [outputs, targets], []) -> f32;
        fn absolute_error([], [outputs, targets], []) -> f64;
    }

    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Hidden,
        dy: &Hidden,
        dx: &mut Gradient<Far>,
    ) -> Done {
        lend(dx, |dx| self.cpu.max_pool_backward(shape, &x.0, &dy.0, dx))
    }
    fn avg_pool_backward(&self, shape: PoolShape, dy: &Hidden, dx: &mut Gradient<Far>) -> Done {
        lend(dx, |dx| self.cpu.avg_pool_backward(shape, &dy.0, dx))
    }
    fn normalize_forward(
        &self,
        shape: NormShape,
        x: &Hidden,
        mean: &Hidden,
        variance: &Hidden,
        gamma: &Hidden,
        beta: &Hidden,
        activation: Activation,
        y: &mut Hidden,
    ) -> Done {
        let [x, mean, variance, gamma, beta] = [x, mean, variance, gamma, beta].map(|v| &v.0);
        let y = &mut y.0;
        let done = self
            .cpu
            .normalize_forward(shape, x, mean, variance, gamma, beta, activation, y);
        Ok(done?)
    }
    fn normalize_backward(&self, shape: NormShape, from: NormBackward<'_, Far>) -> Done {
        let (mut dgamma, mut dbeta) = (lent(from.dgamma), lent(from.dbeta));
        let near = NormBackward {
            through_stats: from.through_stats,
            x: &from.x.0,
            mean: &from.mean.0,
            variance: &from.variance.0,
            gamma: &from.gamma.0,
            y: from.y.map(|y| &y.0),
            activation: from.activation,
            dy: &mut from.dy.0,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        self.cpu.normalize_backward(shape, near)?;
        returned(from.dgamma, dgamma);
        returned(from.dbeta, dbeta);
        Ok(())
    }
    fn group_norm_backward(&self, shape: GroupNormShape, from: GroupNormBackward<'_, Far>) -> Done {
        let (mut dgamma, mut dbeta) = (lent(from.dgamma), lent(from.dbeta));
        let near = GroupNormBackward {
            x: &from.x.0,
            mean: &from.mean.0,
            inverse_deviation: &from.inverse_deviation.0,
            gamma: &from.gamma.0,
            dy: &mut from.dy.0,
            dgamma: &mut dgamma,
            dbeta: &mut dbeta,
        };
        self.cpu.group_norm_backward(shape, near)?;
        returned(from.dgamma, dgamma);
        returned(from.dbeta, dbeta);
        Ok(())
    }
    fn recurrent_backward(&self, shape: RecurrentShape, from: RecurrentBackward<'_, Far>) -> Done {
        let mut near_w = lent(from.dw_in);
        let (mut near_b, mut near_rec) = (lent(from.db), lent(from.dw_rec));
        let RecurrentBackward { mut dx, .. } = from;
        let mut near_x = dx.as_deref_mut().map(lent);
        let near = RecurrentBackward {
            x: &from.x.0,
            w_in: &from.w_in.0,
            w_rec: &from.w_rec.0,
            states: &from.states.0,
            dy: &from.dy.0,
            dw_in: &mut near_w,
            db: &mut near_b,
            dw_rec: &mut near_rec,
            dx: near_x.as_mut(),
        };
        self.cpu.recurrent_backward(shape, near)?;
        returned(from.dw_in, near_w);
        returned(from.db, near_b);
        returned(from.dw_rec, near_rec);
        if let (Some(far), Some(near)) = (dx, near_x) {
            returned(far, near);
        }
        Ok(())
    }
    fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Hidden,
        gates: [Gate<'_, Far>; GATES],
        states: &mut Hidden,
        y: &mut Hidden,
    ) -> Done {
        let (gates, states, y) = (gates.map(near_gate), &mut states.0, &mut y.0);
        Ok(self.cpu.lstm_forward(shape, &x.0, gates, states, y)?)
    }
    fn lstm_backward(&self, shape: RecurrentShape, from: LstmBackward<'_, Far>) -> Done {
        let mut near_to = from.to.each_mut().map(|to| GateGradients {
            dw: lent(&mut to.dw),
            db: lent(&mut to.db),
            du: lent(&mut to.du),
        });
        let mut dx = from.dx;
        let mut near_x = dx.as_deref_mut().map(lent);
        let near = LstmBackward {
            x: &from.x.0,
            gates: from.gates.map(near_gate),
            states: &from.states.0,
            dy: &from.dy.0,
            to: &mut near_to,
            dx: near_x.as_mut(),
        };
        self.cpu.lstm_backward(shape, near)?;
        for (far, near) in from.to.iter_mut().zip(near_to) {
            returned(&mut far.dw, near.dw);
            returned(&mut far.db, near.db);
            returned(&mut far.du, near.du);
        }
        if let (Some(far), Some(near)) = (dx, near_x) {
            returned(far, near);
        }
        Ok(())
    }
    fn activation_backward(&self, which: Activation, y: Option<&Hidden>, dy: &mut Hidden) -> Done {
        let y = y.map(|y| &y.0);
        Ok(self.cpu.activation_backward(which, y, &mut dy.0)?)
    }
    fn add_forward(&self, a: &Hidden, b: &Hidden, which: Activation, y: &mut Hidden) -> Done {
        Ok(self.cpu.add_forward(&a.0, &b.0, which, &mut y.0)?)
    }
    fn cross_entropy_forward(
        &self,
        logits: &Hidden,
        labels: &Labels,
        smoothing: f32,
        p: &mut Hidden,
    ) -> Result<f32, Lost> {
        let (logits, p) = (&logits.0, &mut p.0);
        Ok(self
            .cpu
            .cross_entropy_forward(logits, labels, smoothing, p)?)
    }
    fn cross_entropy_backward(
        &self,
        p: &Hidden,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        to: &mut Gradient<Far>,
    ) -> Done {
        lend(to, |to| {
            self.cpu
                .cross_entropy_backward(&p.0, labels, smoothing, dloss, to)
        })
    }
    fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        p: &Hidden,
        targets: &Hidden,
        dloss: f32,
        to: &mut Gradient<Far>,
    ) -> Done {
        lend(to, |to| {
            self.cpu
                .soft_cross_entropy_backward(classes, &p.0, &targets.0, dloss, to)
        })
    }
    fn squared_error_backward(
        &self,
        outputs: &Hidden,
        targets: &Hidden,
        dloss: f32,
        to: &mut Gradient<Far>,
    ) -> Done {
        lend(to, |to| {
            self.cpu
                .squared_error_backward(&outputs.0, &targets.0, dloss, to)
        })
    }
    fn count_correct(&self, logits: &Hidden, labels: &Labels) -> Result<usize, Lost> {
        Ok(self.cpu.count_correct(&logits.0, labels)?)
    }
}

struct Nobody;

impl Listener for Nobody {
    fn progress(&mut self, _: u64, _: u64, _: String) {}
    fn state_path(&mut self, _: Pause) -> Option<PathBuf> {
        None
    }
    fn state(&mut self, _: Pause, _: &Path) {}
    fn warning(&mut self, _: String) {}
}

fn architecture(model: &Value, data: &Dataset) -> Arc<Architecture> {
    let model = serde_json::from_value(model.clone()).unwrap();
    Arc::new(Architecture::new(evaluation::fitted(&model, data)).unwrap())
}

/// Every second weight of the first layer is masked.
fn masks(architecture: &Architecture, weights: &NamedTensors) -> Masks {
    let first = &architecture.parameters[0].name;
    let mut mask = weights[first].clone();
    let ones = mask.data.iter_mut().enumerate();
    ones.for_each(|(i, m)| *m = (i % 2) as f32);
    Masks::new(&[(first.clone(), mask)].into(), architecture)
}

fn train<D: Backend>(
    device: &D,
    model: &Value,
    optimizer: &Value,
    data: &Dataset,
) -> anyhow::Result<Trained> {
    let recipe: Recipe = serde_json::from_value(json!({
        "seed": 1, "length": {"epochs": 2}, "stop_at": null, "batch_size": 16, "optimizer": optimizer,
        "schedule": "constant", "augment": {"flip": true}, "label_smoothing": 0.0, "eval_every": 1,
        "checkpoint_every": null, "checkpoint_every_steps": null, "drop_last": null,
        "masked": if optimizer.get("adam").is_some() { "frozen" } else { "zero" },
    }))
    .unwrap();
    let architecture = architecture(model, data);
    let weights = init::fresh(&architecture, Init::default(), 1, "init").unwrap();
    let sets = Sets {
        train: data,
        first: data.len(),
        test: Some(data),
        validation: None,
    };
    let masks = masks(&architecture, &weights);
    let start = Start::Weights(weights);
    fit(
        device,
        &recipe,
        &architecture,
        sets,
        masks,
        start,
        &mut Nobody,
    )
}

/// Statistics made anew, gradients over the data, and the loss's curvature on a batch.
fn look<D: Backend>(
    device: &D,
    model: &Value,
    weights: &NamedTensors,
    data: &Dataset,
) -> (NamedTensors, NamedTensors, Vec<Vec<f64>>) {
    let mut network = Network::load(device, architecture(model, data), weights).unwrap();
    statistics::recompute(&mut network, data).unwrap();
    let (pool, mode) = (D::Pool::default(), Norms::OfBatch.into());
    let slopes = gradients::of_data(&network, &pool, data, 20, mode).unwrap();
    let of = network.architecture();
    let mut landscape = Landscape::new(device, of, weights, Norms::Running).unwrap();
    let batch = Batch::of(&mut Batches::new(data, 1, 16, Augment::default()), 0, 0);
    let (_, direction) = landscape.gradient(&batch).unwrap();
    let curvature = landscape.hessian_times(&direction, &batch, 1e-3).unwrap();
    assert!(curvature.iter().flatten().any(|x| *x != 0.0));
    (network.save(), slopes.save(&network), curvature)
}

/// Every layer there is, with either optimizer, masks and dropout.
fn studies() -> Vec<(Value, Value, Dataset)> {
    let images = || support::data(1, 40, (8, 8, 3), 4);
    let perceptron =
        json!({"mlp": {"hidden": [12], "activation": "sigmoid", "batch_norm": {}, "dropout": 0.2}});
    let layers = json!({"conv": {"layers": [
        {"conv": {"channels": 6}}, {"batch_norm": {}}, {"activation": "relu"}, {"pool": {"max": 2}},
        {"residual": {"activation": "relu", "layers": [{"depthwise": {}}, {"group_norm": {"groups": 2}}, {"activation": "gelu"},
            {"conv": {"channels": 6, "kernel": 1}}]}},
        {"activation": "tanh"}, {"pool": {"average": 2}}, {"dense": 5}, {"layer_norm": {}}]}});
    let line = json!({"mlp": {"hidden": [4], "activation": "tanh"}});
    let recurrent = json!({"rnn": {"units": 6}});
    let memory = json!({"rnn": {"units": 5, "cell": "lstm"}});
    let momentum = json!({"sgd": {"lr": 0.05, "momentum": 0.9}});
    vec![
        (perceptron, json!({"adam": {}}), images()),
        (layers, momentum.clone(), images()),
        (recurrent, momentum.clone(), images()),
        (memory, momentum.clone(), images()),
        (line, momentum, support::numbers(1, 40, 2)),
    ]
}

/// Trains and looks at what came of it, here and there.
fn same_bits<D: Backend>(there: &D) {
    for (model, optimizer, data) in studies() {
        let near = train(&Cpu::default(), &model, &optimizer, &data).unwrap();
        let far = train(there, &model, &optimizer, &data).unwrap();
        assert!(near.model == far.model, "{model}: weights");
        assert_eq!(near.rows, far.rows, "{model}");
        let looked = look(&Cpu::default(), &model, &near.model, &data);
        assert!(
            looked == look(there, &model, &near.model, &data),
            "{model}: looked at"
        );
    }
}

#[test]
fn another_device_gives_the_cpus_bits() {
    let far = Far::default();
    same_bits(&far);
    assert!(
        far.parked.lock().unwrap().is_empty(),
        "no gradient stays behind"
    );
}

#[test]
fn the_chosen_device_is_the_cpu_without_a_gpu() {
    let chosen = Chosen::default();
    same_bits(&chosen);
    assert!(chosen.gpu_name().is_none());
}

/// On every device.
#[test]
fn a_gpu_gives_the_cpus_bits() {
    let found = repro_gpu::found().unwrap_or_default();
    if found.is_empty() {
        support::skipped("no OpenCL device (apt install pocl-opencl-icd)");
    }
    for found in found.iter().filter(|found| found.lacks.is_none()) {
        let device = found.open().unwrap();
        repro_gpu::check(&device).unwrap();
        let chosen = Chosen::gpu(device);
        same_bits(&chosen);
    }
}

#[test]
fn a_training_that_cannot_fit_ends_before_its_first_step() {
    let trained = |room, model: &Value, optimizer: &Value| {
        let far = Far {
            room: Some(room),
            ..Far::default()
        };
        train(&far, model, optimizer, &support::data(1, 20, (4, 4, 1), 3))
    };
    let refused = |room, model: &Value, optimizer: &Value| {
        let error = trained(room, model, optimizer).err().unwrap();
        let Failure { message, hint } = error.downcast().unwrap();
        format!("{message}; {}", hint.unwrap())
    };
    let perceptron = json!({"mlp": {"hidden": [50]}});
    assert!(trained(20_656, &perceptron, &json!({"adam": {}})).is_ok());
    assert_eq!(
        refused(20_655, &perceptron, &json!({"adam": {}})),
        "the device has 20655 bytes of memory left, and training needs at least 20656 bytes: 15.7 KiB for \
         weights, gradients and the optimizer's memory, and 288 B for each of the 16 images of a \
         batch; a `batch_size` of 15 is the most that could fit; begin with 4, as single operations \
         need more; the CPU computes the same bits (`--device cpu`, and no `gpus` at the stage)"
    );
    let plain = refused(
        16_047,
        &perceptron,
        &json!({"sgd": {"lr": 0.1, "momentum": 0.9}}),
    );
    assert!(plain.contains("11.8 KiB for weights"), "{plain}");
    let none = refused(16_047, &perceptron, &json!({"adam": {}}));
    assert!(none.contains("no batch fits"), "{none}");
    // A shortcut shares the input of its body; running statistics have no gradients.
    let block = json!({"conv": {"layers": [{"residual": {"shortcut": "convolution",
        "layers": [{"conv": {"channels": 4, "bias": false}}, {"batch_norm": {}}]}}]}});
    let block = refused(1, &block, &json!({"sgd": {"lr": 0.1}}));
    assert!(block.contains("1.9 KiB for weights"), "{block}");
    assert!(block.contains("600 B for each of the 16"), "{block}");
}

#[test]
fn an_error_within_a_backward_pass_is_the_devices_own() {
    let far = Far {
        refuses: true,
        ..Far::default()
    };
    let (model, optimizer) = (json!({"mlp": {"hidden": [5]}}), json!({"adam": {}}));
    let result = train(
        &far,
        &model,
        &optimizer,
        &support::data(1, 20, (4, 4, 1), 3),
    );
    let error = result.err().unwrap().to_string();
    assert_eq!(error, "training step: lost: a dense layer's gradient");
}
