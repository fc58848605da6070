//! The kind `landscape`: loss and error on the line through two models, in the plane through three,
//! around one, or along rays.
//!
//! Where the points lie is decided in `points.rs`; here each is evaluated.

mod points;
mod repair;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::points::{Points, RANGE};
use self::repair::Repair;
use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Fact, Findings, Known, MetricsFact, fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network;
use crate::kinds::running::{self, RunningStatistics};
use crate::kinds::several::{self, Gathered};
use crate::nn::architecture::{Architecture, Head, Identity};
use crate::nn::model::Model;
use crate::nn::network::Network;
use crate::table;
use crate::table::grid::{self, Point};
use crate::task::Task;
use crate::training::evaluation::{check_data, errors, overall, score};
use crate::training::statistics::recompute;
use repro_protocol::table::Row;

/// See the module.
pub struct LossLandscape;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Points along a line, or along each side of a plane.
    #[serde(default = "twenty_one")]
    #[schemars(range(min = 2, max = 1001))]
    pub points: usize,
    /// How far the line or the plane reaches beyond the models, in parts of its side; by default 0
    /// for a line and 0.2 for a plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Around one model: two random directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<Random>,
    /// Rays that begin at the first model, in place of a line or a plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rays: Option<Rays>,
    /// What the column `split` says.
    #[serde(default = "test")]
    pub split: String,
    /// What to do with batch norm's running statistics if no training data are given to recompute
    /// them. Models with batch norm need one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<RunningStatistics>,
    /// Between two networks without batch norm: what their hidden layers get back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repaired>,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// What hidden layers get back between two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repaired {
    /// Mean and deviation of each unit before its activation, on the need `train` (REPAIR, Jordan et
    /// al. 2023).
    Activations,
}

/// Two random directions from one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Seed of the directions.
    pub seed: u64,
    /// How far the plane reaches to each side; 1 is as far as the model's own weights are long.
    #[serde(default = "one")]
    pub span: f64,
}

/// Rays from one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rays {
    /// How far they reach, as a distance between weights.
    pub length: f64,
    /// Where they go.
    pub along: Along,
}

/// Where rays go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// Random directions from one model.
    Random(RandomRays),
    /// One ray from the first model, away from the second.
    Away,
}

/// Random directions, all of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomRays {
    /// Seed of the directions.
    pub seed: u64,
    /// How many.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: usize,
}

fn ten() -> usize {
    10
}

fn twenty_one() -> usize {
    21
}

fn one() -> f64 {
    1.0
}

fn test() -> String {
    "test".into()
}

/// What one point has: names and values, the first of which is the loss.
pub(super) type Values = Vec<(&'static str, f64)>;

impl Kind for LossLandscape {
    type Params = Params;
    const NAME: &'static str = "landscape";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Measures loss and error on the line through two models, in the plane through three, or around one.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required(
            "models",
            "One, two or three models of one shape; the first is the origin.",
        )
        .many(),
        InputSpec::required(
            "data",
            "The data to measure on; several sets are put together.",
        )
        .many(),
        InputSpec::optional(
            "train",
            "Training data to recompute the statistics of batch norm on, at every point, or those of `repair`.",
        )
        .many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("metrics", "metrics.parquet")?,
            OutputSpec::new("grid", "grid.parquet")?,
        ])
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        let mut add = |path: &[&str], message: &str, hint| {
            problems.push(ParamProblem::new(path, message, hint));
        };
        if !RANGE.contains(&p.points) {
            let message = format!("must be {} to {}", RANGE.start(), RANGE.end());
            add(&["points"], &message, "");
        }
        if p.margin.is_some_and(|m| !(0.0..=10.0).contains(&m)) {
            add(&["margin"], "must be 0 to 10", "");
        }
        if let Some(random) = p.random {
            if !(random.span > 0.0 && random.span.is_finite()) {
                add(&["random", "span"], "must be above 0", "");
            }
            if p.margin.is_some() {
                let hint = "leave `margin` out: `span` says how far it reaches";
                add(&["margin"], "goes with two or three models", hint);
            }
        }
        if let Some(rays) = p.rays {
            if !(rays.length > 0.0 && rays.length.is_finite()) {
                add(&["rays", "length"], "must be above 0", "");
            }
            if let Along::Random(of) = rays.along
                && !(1..=1000).contains(&of.count)
            {
                add(
                    &["rays", "along", "random", "count"],
                    "must be 1 to 1000",
                    "",
                );
            }
            if p.random.is_some() {
                add(&["rays"], "goes without `random`", "leave one of them out");
            }
            if p.margin.is_some() {
                let hint = "leave `margin` out: `length` says how far they reach";
                add(&["margin"], "goes with a line or a plane", hint);
            }
        }
        if p.split.is_empty() {
            add(&["split"], "must not be empty", "");
        }
        if p.repair.is_some() {
            if !needs.iter().any(|need| need == "train") {
                let hint = "add the training data: `needs: {train: data.train}`";
                add(&["repair"], "needs data to measure activations on", hint);
            }
            if p.random.is_some() || p.rays.is_some() || p.margin.is_some() {
                let hint = "leave out `repair`, or `random`, `rays` and `margin`";
                add(&["repair"], "goes with the line between two models", hint);
            }
        }
        problems.extend(running::contradiction(p.batch_norm, needs));
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let Gathered {
            identity,
            count,
            several,
        } = several::gathered(params.network.as_ref(), ONE_SHAPE, known, &mut found);
        if several.counted
            && let Err(failure) = fits(count, params)
        {
            refuse(("models", 0), failure, &mut found);
        }
        for name in ["data", "train"] {
            fit(name, identity.as_ref(), known, &mut found);
        }
        if params.repair.is_some()
            && let Some(Ok(architecture)) = identity.clone().map(Architecture::new)
            && let Err(failure) = repair::check(&architecture)
        {
            refuse(("models", 0), failure, &mut found);
        }
        if running::is_unsaid(identity.as_ref(), params.batch_norm, known) {
            refuse(("models", 0), unsaid(), &mut found);
        }
        let on_a_line = several.counted.then_some(count == 2);
        let form = (params.rays.is_some(), on_a_line);
        let names: &[&str] = match (form, identity.map(|identity| identity.outputs)) {
            ((true, _), Some(Head::Classes(_))) => &["loss_rise", "error_rise"],
            ((true, _), Some(Head::Targets(_))) => &["mse_rise"],
            ((true, _), None) => &["loss_rise", "error_rise", "mse_rise"],
            ((_, Some(true)), Some(Head::Classes(_))) => &["loss_barrier", "error_barrier"],
            ((_, Some(true)), Some(Head::Targets(_))) => &["mse_barrier"],
            ((_, Some(false)), Some(Head::Classes(_))) => &["least_loss", "least_error"],
            ((_, Some(false)), Some(Head::Targets(_))) => &["least_mse"],
            _ => &[
                "loss_barrier",
                "error_barrier",
                "mse_barrier",
                "least_loss",
                "least_error",
                "least_mse",
            ],
        };
        let split = Some(params.split.as_str());
        let values: Vec<_> = names.iter().map(|name| (split, *name)).collect();
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let paths = several::files(task.inputs("models"))?;
        fits(paths.len(), p)?;
        let mut models: Vec<Model> = Vec::new();
        for path in &paths {
            let model = network::read(path, p.network.as_ref())?;
            if let Some(first) = models.first() {
                let (this, first) = (&model.architecture, &first.architecture);
                several::of_one_shape(path, this, first, ONE_SHAPE)?;
            }
            models.push(model);
        }
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let points = Points::new(&models, p)?;
        let architecture = Arc::new(models[0].architecture.clone());
        check_data(&data, &architecture.identity, "data")?;
        let has_norm = architecture.has_batch_norm();
        let train = match task.inputs("train") {
            [] if has_norm && p.batch_norm.is_none() => return Err(unsaid().into()),
            sets if !sets.is_empty() && (has_norm || p.repair.is_some()) => {
                let train = Dataset::put_together(sets, "train")?;
                check_data(&train, &architecture.identity, "train")?;
                Some(train)
            }
            _ => None,
        };
        let (device, begun) = (device::open()?, std::time::Instant::now());
        let (anew, repair) = match (&train, p.repair, &models[..]) {
            (Some(train), Some(Repaired::Activations), [a, b]) => {
                let ends = [&a.tensors, &b.tensors];
                let repair = Repair::new(&device, &architecture, ends, train)?;
                (None, Some(repair))
            }
            (train, ..) => (train.as_ref(), None),
        };
        let mut rows = Vec::new();
        let mut measured: Vec<Values> = Vec::new();
        for place in points.places() {
            let mut tensors = points.at(place);
            if let Some(repair) = &repair {
                repair.apply(place.x, &mut tensors)?;
            }
            let mut network = Network::load(&device, Arc::clone(&architecture), &tensors)?;
            if let Some(train) = anew {
                recompute(&mut network, train)?;
            }
            let values = measure(&network, &data)?;
            rows.extend(values.iter().map(|&(name, value)| Point {
                x: place.x,
                y: place.y,
                split: p.split.clone(),
                name,
                value,
            }));
            measured.push(values);
        }
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        let images = (data.len() * measured.len()) as f64;
        task.figures.insert("images_per_s".into(), images / seconds);
        grid::write(task.output("grid")?, &rows)?;
        table::write(task.output("metrics")?, &summary(&points, &measured, p))
    }
}

/// What the network does on the data.
pub(super) fn measure(network: &Network<Device>, data: &Dataset) -> anyhow::Result<Values> {
    Ok(match network.architecture().identity.outputs {
        Head::Classes(_) => {
            let score = score(&device::Pool::default(), network, data)?;
            vec![("loss", score.loss), ("error", 1.0 - score.accuracy)]
        }
        Head::Targets(_) => {
            let errors = errors(&device::Pool::default(), network, data)?;
            let values = overall(&errors).values().into_iter();
            values.filter(|(name, _)| *name == "mse").collect()
        }
    })
}

/// Barriers of a line, the least values of a plane, how much rays rise, and where the models lie.
fn summary(points: &Points, measured: &[Values], p: &Params) -> Vec<Row> {
    let row = |name: String, value| Row {
        split: Some(p.split.clone()),
        name,
        value,
        ..Row::default()
    };
    let names = measured
        .first()
        .into_iter()
        .flatten()
        .map(|(name, _)| *name);
    let mut rows: Vec<Row> = names
        .enumerate()
        .map(|(at, name)| {
            let values: Vec<f64> = measured.iter().map(|values| values[at].1).collect();
            if p.rays.is_some() {
                let rays = values.chunks(p.points);
                let rise = |ray: &[f64]| ray[ray.len() - 1] - ray[0];
                let sum: f64 = rays.clone().map(rise).sum();
                return row(format!("{name}_rise"), sum / rays.len() as f64);
            }
            match points.ends() {
                Some((a, b)) => row(format!("{name}_barrier"), barrier(&values[a..=b])),
                None => {
                    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                    row(format!("least_{name}"), least)
                }
            }
        })
        .collect();
    for (number, (x, y)) in points.models().into_iter().enumerate() {
        rows.push(row(format!("x[{}]", number + 1), x));
        rows.extend(y.map(|y| row(format!("y[{}]", number + 1), y)));
    }
    rows
}

/// The highest value less the mean of the ends.
pub(super) fn barrier(between: &[f64]) -> f64 {
    let highest = between.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ends = (between[0] + between[between.len() - 1]) / 2.0;
    highest - ends
}

const ONE_SHAPE: &str = "only models of one shape lie on one line or in one plane";

/// Two models make a line and three a plane; one needs random directions, and rays say themselves
/// how many they go with.
fn fits(count: usize, p: &Params) -> Result<(), Failure> {
    let is_random = p.random.is_some();
    if p.repair.is_some() && count != 2 {
        return Err(Failure::new(format!(
            "`repair` is for the line between two models, and there {}",
            several::number(count)
        ))
        .hint("name two models, or leave `repair` out"));
    }
    let failure = match (count, p.rays.map(|rays| rays.along)) {
        (1, Some(Along::Random(_))) | (2, Some(Along::Away)) => return Ok(()),
        (_, Some(Along::Random(_))) => {
            Failure::new(format!(
                "random rays begin at one model, and there {}",
                several::number(count)
            ))
                .hint("name one model, or let the ray go `away` from a second one")
        }
        (_, Some(Along::Away)) => {
            Failure::new(format!(
                "a ray away from a model goes with two, and there {}",
                several::number(count)
            ))
                .hint("give the model where it begins, and the one that it goes away from")
        }
        (1, None) if is_random => return Ok(()),
        (2 | 3, None) if !is_random => return Ok(()),
        (1, None) => Failure::new("one model says no direction").hint(
            "give two models for a line or three for a plane, or `random: {seed: 1}` for two random directions",
        ),
        (_, None) if is_random => {
            Failure::new(format!(
                "`random` goes with one model, and there {}",
                several::number(count)
            ))
                .hint("leave `random` out, or name one model")
        }
        (_, None) => Failure::new(format!("there {}", several::number(count)))
            .hint("give two for a line, three for a plane, or one and `random: {seed: 1}`"),
    };
    Err(failure)
}

/// The failure for models with batch norm if neither training data nor `keep` is given.
fn unsaid() -> Failure {
    Failure::new("the models have batch norm, and between them its running statistics are not known")
        .hint("add the training data, on which they are made anew at every point: `needs: {train: data.train}`; or mix them like weights on purpose: `with: {batch_norm: keep}`")
}

const DOC: &str = r#"
Evaluates networks whose weights lie between, around or beyond given ones.

**Two models: the line** `(1 - x)·w₁ + x·w₂`, from `x = 0` to `x = 1` in `points` steps (in f32;
both products and the sum are rounded, so that the ends are the models themselves). The metric
`error_barrier` is the highest error on the line minus the mean error of its ends (Frankle,
Dziugaite, Roy & Carbin, *Linear Mode Connectivity and the Lottery Ticket Hypothesis*, ICML 2020);
`loss_barrier` is the same of the loss. With a `margin` the line goes on beyond the models, and the
barrier is that of the part between.

```yaml
path:
  uses: landscape
  matrix: {seed: [0, 1, 2]}
  needs: {models: [left.model, right.model], data: data.test, train: data.train}
  with: {points: 31}
```

**Three models: the plane** through `w₁`, `w₂` and `w₃` (Garipov et al., *Loss Surfaces, Mode
Connectivity, and Fast Ensembling of DNNs*, NeurIPS 2018): `w₁ + x·û + y·v̂` with `u = w₂ - w₁`,
`v = (w₃ - w₁) - ⟨w₃ - w₁, u⟩/|u|²·u`, both made one long, so that distances in the plane are
distances between weights. The grid is the rectangle of the three with a `margin` of 0.2 of its
sides, `points` × `points`. Directions and points are computed in f64 and rounded to f32 once.

**One model and `random`**: `w + x·a + y·b` with two random normal directions, each filter (the
weights of one output unit) as long as the model's own, and 0 for biases and norms (Li, Xu, Taylor,
Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018).

**`rays`** begin at the first model: `w + x·d` for `x` from 0 to `length`, with `d` one long. `along:
{random: ...}` draws `count` directions, uniform on the sphere of all that is trained; `along: away`
is the ray from the first model away from the second. How much the loss rises on its way says how
wide the valley is on that side (Izmailov et al., *Averaging Weights Leads to Wider Optima and Better
Generalization*, UAI 2018, section 3.4). The metrics `loss_rise` and `error_rise` are the values at
the end less those at the model, means over all rays. Distances are computed in f64.

```yaml
wide: {uses: landscape, matrix: {seed: [0, 1, 2]}, needs: {models: swa.model, data: data.test}, with: {rays: {length: 5, along: {random: {seed: "${matrix.seed}"}}}}}
side: {uses: landscape, matrix: {seed: [0, 1, 2]}, needs: {models: [swa.model, sgd.model], data: data.test}, with: {rays: {length: 5, along: away}}}
```

`grid.parquet` has one row per value: `x`, `y` (null on a line; on random rays their number, from 1), `split`, `name` (`loss` and `error`,
or `mse` where numbers are learnt) and `value`; loss is the mean cross-entropy in nats, error a
fraction of 1. `metrics.parquet` has the barriers of a line (`loss_barrier`, `error_barrier`), the
least values of a plane (`least_loss`, `least_error`), and where the models lie (`x[1]`, `y[1]`, ...).

**Batch norm** has no running statistics between models. Give the training data as
`needs: {train: ...}` to recompute them at every point, as `average` does; or say
`batch_norm: keep`: on a line they are mixed like weights, in a plane and on rays they stay the first model's.

**Without batch norm**, `repair: activations` does on a line what statistics made anew do with it
(REPAIR: Jordan et al. 2023, section 4). Between two networks the outputs of hidden units vary less
than in either. Layer by layer, from the first to the last but one, each unit's weights and bias are
rescaled until its outputs before the activation have, on the need `train`, the mean `(1 - x)·μ₁ +
x·μ₂` and the standard deviation `(1 - x)·σ₁ + x·σ₂`. The ends stay what they are. Every hidden layer
needs a bias, and the line has no `margin`.

```yaml
repaired: {uses: landscape, needs: {models: [left.model, right.model], data: data.test, train: data.train}, with: {repair: activations}}
```
"#;
