//! The kind `connect`: a curve between two networks along which the loss stays low.
//!
//! `connect/curve.rs` says where the curve is; here it is trained, and measured.

mod curve;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::curve::{Curve, Form};
use super::landscape::{Values, barrier, measure};
use crate::data::Dataset;
use crate::device;
use crate::facts::{
    Fact, Findings, Known, MetricsFact, ModelFact, Recorded, ValueFact, fit, refuse,
};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::several::{self, Gathered};
use crate::nn::architecture::{Architecture, Head};
use crate::nn::model::Model;
use crate::nn::network::{Network, Norms};
use crate::ops::Backend;
use crate::table;
use crate::table::grid::{self, Point};
use crate::task::Task;
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape, Vector};
use crate::training::statistics::recompute;
use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::Path;
use repro_numerics::kernels::optim::{Decay, Sgd, sgd};
use repro_protocol::job::Event;
use repro_protocol::table::Row;

/// See the module.
pub struct Connect;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the order of the images, what happens to them, and the places on the curve.
    pub seed: u64,
    /// The form of the curve.
    #[serde(default)]
    pub form: Form,
    /// Epochs of the bend; 0 leaves it in the middle of the straight line.
    pub epochs: u64,
    /// Images of a step.
    #[serde(default = "batch")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Learning rate of the first half; it falls to a hundredth in a line until nine tenths are
    /// done.
    pub lr: f64,
    /// In [0, 1).
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// L2 decay of the weights on the curve.
    #[serde(default)]
    pub weight_decay: f64,
    /// What may happen to a training image.
    #[serde(default)]
    pub augment: Augment,
    /// Points at which the curve is measured, both ends among them.
    #[serde(default = "twenty_one")]
    #[schemars(range(min = 3, max = 1001))]
    pub points: usize,
    /// What the column `split` says of what is measured.
    #[serde(default = "test")]
    pub split: String,
}

fn batch() -> usize {
    128
}

fn momentum() -> f64 {
    0.9
}

fn twenty_one() -> usize {
    21
}

fn test() -> String {
    "test".into()
}

impl Kind for Connect {
    type Params = Params;
    const NAME: &'static str = "connect";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Trains a curve between two models along which the loss stays low (Garipov et al. 2018), and measures it.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The two models of one shape at its ends.").many(),
        InputSpec::required("train", "Training data; several sets are put together.").many(),
        InputSpec::required(
            "data",
            "The data to measure on; several sets are put together.",
        )
        .many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("bend", "bend.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
            OutputSpec::new("grid", "grid.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut found = Vec::new();
        let mut check = |name: &str, is_good: bool, message: &str| {
            if !is_good {
                found.push(ParamProblem::new(&[name], message, ""));
            }
        };
        check("batch_size", p.batch_size >= 1, "must be at least 1");
        let is_above = p.lr.is_finite() && p.lr > 0.0;
        check("lr", is_above, "must be finite and above 0");
        let is_share = (0.0..1.0).contains(&p.momentum);
        check("momentum", is_share, "must be at least 0 and below 1");
        let is_decay = p.weight_decay.is_finite() && p.weight_decay >= 0.0;
        check("weight_decay", is_decay, "must be finite and not negative");
        let is_odd = (3..=1001).contains(&p.points);
        check("points", is_odd, "must be 3 to 1001");
        check("split", !p.split.is_empty(), "must not be empty");
        found
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let Gathered {
            identity,
            count,
            several,
        } = several::gathered(None, ONE_SHAPE, known, &mut found);
        if several.counted
            && let Err(why) = two(count)
        {
            refuse(("models", 0), why, &mut found);
        }
        for name in ["train", "data"] {
            fit(name, identity.as_ref(), known, &mut found);
        }
        let names: &[&str] = match identity.as_ref().map(|identity| identity.outputs) {
            Some(Head::Classes(_)) => &["loss", "error"],
            Some(Head::Targets(_)) => &["mse"],
            None => &["loss", "error", "mse"],
        };
        let names = names.iter();
        let names: Vec<String> = names
            .flat_map(|name| [format!("{name}_barrier"), format!("highest_{name}")])
            .collect();
        let split = Some(p.split.as_str());
        let values: Vec<_> = names.iter().map(|name| (split, name.as_str())).collect();
        let mut metrics = MetricsFact::once(&values);
        if let Some(values) = metrics.values.as_mut().filter(|_| p.epochs > 0) {
            values.push(ValueFact {
                split: Some("train".to_owned()),
                name: "curve_loss".to_owned(),
                recorded: Recorded::Every(1),
            });
            metrics.last_epoch = Some(p.epochs);
        }
        found.say("bend", Fact::Model(ModelFact { identity }));
        found.say("metrics", Fact::Metrics(metrics));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let paths = several::files(task.inputs("models"))?;
        two(paths.len())?;
        let [first, second] = [Model::read(&paths[0])?, Model::read(&paths[1])?];
        let identity = first.architecture.identity.clone();
        let (this, other) = (&second.architecture, &first.architecture);
        several::of_one_shape(&paths[1], this, other, ONE_SHAPE)?;
        let train = Dataset::put_together(task.inputs("train"), "train")?;
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        check_data(&train, &identity, "train")?;
        check_data(&data, &identity, "data")?;
        p.augment.check(&train)?;
        let (device, architecture) = (device::open()?, Arc::new(first.architecture));
        let at = |model| Landscape::new(&device, &architecture, model, Norms::OfBatch);
        let mut landscape = at(&second.tensors)?;
        let end = landscape.values();
        landscape = at(&first.tensors)?;
        let mut curve = Curve::straight(p.form, landscape.values(), end);
        let mut rows = bend(p, &architecture, &mut landscape, &mut curve, &train, task)?;

        let (mut points, mut measured) = (Vec::new(), Vec::<Values>::new());
        for t in curve::even(p.points) {
            landscape.set(&curve.at(t))?;
            let weights = landscape.network().save();
            let mut network = Network::load(&device, Arc::clone(&architecture), &weights)?;
            if architecture.has_batch_norm() {
                recompute(&mut network, &train)?;
            }
            let values = measure(&network, &data)?;
            if let Some((name, _)) = values.iter().find(|(_, value)| value.is_nan()) {
                let text = format!("the {name} is not a number at {t} of the curve");
                return Err(Failure::new(text).hint("lower `lr`").into());
            }
            points.extend(values.iter().map(|&(name, value)| Point {
                x: t,
                y: None,
                split: p.split.clone(),
                name,
                value,
            }));
            measured.push(values);
        }
        grid::write(task.output("grid")?, &points)?;
        let names = measured.first().into_iter().flatten();
        for (at, (name, _)) in names.enumerate() {
            let values: Vec<f64> = measured.iter().map(|values| values[at].1).collect();
            let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let row = |name, value| Row {
                split: Some(p.split.clone()),
                name,
                value,
                ..Row::default()
            };
            rows.push(row(format!("{name}_barrier"), barrier(&values)));
            rows.push(row(format!("highest_{name}"), highest));
        }
        table::write(task.output("metrics")?, &rows)?;
        landscape.set(curve.bend())?;
        landscape.network().model().write(task.output("bend")?)
    }
}

/// Trains the bend, and says the mean loss of each epoch.
fn bend<D: Backend>(
    p: &Params,
    architecture: &Architecture,
    landscape: &mut Landscape<D>,
    curve: &mut Curve,
    data: &Dataset,
    task: &mut Task,
) -> anyhow::Result<Vec<Row>> {
    let mut batches = Batches::new(data, p.seed, p.batch_size, p.augment);
    let (per_epoch, mut rows) = (batches.steps_per_epoch(), Vec::new());
    let mut velocity: Vector = curve.bend().iter().map(|t| vec![0.0; t.len()]).collect();
    for epoch in 0..p.epochs {
        let rule = Sgd {
            lr: (p.lr * factor(epoch as f64 / p.epochs as f64)) as f32,
            momentum: p.momentum as f32,
            nesterov: false,
            decay: Decay::NONE,
        };
        let mut sum = 0.0;
        for step in 0..per_epoch {
            let t = Stream::new(p.seed, "curve", epoch, step).uniform_f64();
            let (at, share) = (curve.at(t), curve.share_of_bend(t));
            landscape.set(&at)?;
            let batch = Batch::of(&mut batches, epoch, step);
            let (loss, gradient) = landscape.gradient(&batch)?;
            if !loss.is_finite() {
                let text = format!("the loss is {loss} in epoch {}", epoch + 1);
                return Err(Failure::new(text).hint("lower `lr`").into());
            }
            sum += loss * batch.rows as f64;
            let tensors = curve.bend_mut().iter_mut().zip(&mut velocity);
            let found = gradient.iter().zip(&at).zip(&architecture.parameters);
            for ((w, velocity), ((gradient, at), parameter)) in tensors.zip(found) {
                if !parameter.role.is_trained() {
                    continue;
                }
                let one = |(g, x): (&f32, &f32)| {
                    (share * (f64::from(*g) + p.weight_decay * f64::from(*x))) as f32
                };
                let gradient: Vec<f32> = gradient.iter().zip(at).map(one).collect();
                sgd(Path::current(), rule, w, velocity, &gradient);
            }
        }
        let loss = sum / data.len() as f64;
        rows.push(Row {
            epoch: Some(epoch as i64 + 1),
            split: Some("train".to_owned()),
            name: "curve_loss".to_owned(),
            value: loss,
            ..Row::default()
        });
        task.send(&Event::Progress {
            done: epoch + 1,
            total: Some(p.epochs),
            unit: "epochs".into(),
            text: format!("loss {loss:.3}"),
        });
    }
    Ok(rows)
}

/// What the learning rate is multiplied by: 1, from the middle on a line to a hundredth at nine
/// tenths.
fn factor(done: f64) -> f64 {
    const LEAST: f64 = 0.01;
    match done {
        done if done <= 0.5 => 1.0,
        done if done <= 0.9 => 1.0 - (1.0 - LEAST) * (done - 0.5) / 0.4,
        _ => LEAST,
    }
}

const ONE_SHAPE: &str = "only models of one shape can be connected";

fn two(count: usize) -> Result<(), Failure> {
    if count == 2 {
        return Ok(());
    }
    Err(Failure::new(format!("there are {count} models")).hint("a curve has two ends: give two"))
}

const DOC: &str = r#"
Two networks trained apart are the ends of a curve, and its bend θ is trained, so that the loss stays
low on the way from one to the other (Garipov, Izmailov, Podoprikhin, Vetrov & Wilson, *Loss Surfaces,
Mode Connectivity, and Fast Ensembling of DNNs*, NeurIPS 2018, section 3).

```yaml
curve: {uses: connect, needs: {models: [left.model, right.model], train: data.train, data: data.test}, with: {seed: 1, epochs: 30, lr: 0.015}}
```

| `form` | the curve φ(t) from w₁ to w₂ |
| --- | --- |
| `bezier` | (1 − t)²·w₁ + 2t(1 − t)·θ + t²·w₂ |
| `polygon` | 2(t·θ + (½ − t)·w₁) up to t = ½, then 2((t − ½)·w₂ + (1 − t)·θ) |

θ begins in the middle of the straight line. Each step draws t uniform in [0, 1) and takes a batch;
its gradient ∇L(φ(t)) + `weight_decay`·φ(t), times dφ/dθ, moves θ by SGD with momentum (the authors'
code adds the decay of φ(t) to the loss in the same way). This minimises the article's equation (2),
the mean loss over t. The learning rate follows the authors' code: `lr` for half of the epochs, then a
line to a hundredth of it at nine tenths. Batch norm normalises by the batch; there is no dropout.
Places are computed in f64 and rounded once.

Then `points` places, t from 0 to 1, are measured on `data`. Batch norm's statistics are made anew on
`train` at every one of them, the ends included, as the authors do.

`grid.parquet` has `x` (which is t), `split`, `name` and `value`, as that of `landscape`.
`metrics.parquet` has `error_barrier` and `loss_barrier` (the highest value on the curve less the mean
of its ends), `highest_error` and `highest_loss`, and `curve_loss` of `train` for each epoch, the mean
over its steps, each at its own t. `bend` is θ, as a model; its statistics of batch norm are those of
the middle of the line, and say nothing.
"#;
