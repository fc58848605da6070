//! The kind `gradinit`: a scale for every tensor, learnt by gradient.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{
    Fact, Finding, Findings, Known, MetricsFact, ModelFact, Subject, shown, together,
};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::architecture::Architecture;
use crate::nn::layer::Role;
use crate::nn::model::Model;
use crate::nn::network::Norms;
use crate::ops::Backend;
use crate::table;
use crate::task::Task;
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape, Vector, moved, norm};
use repro_protocol::job::Event;
use repro_protocol::table::Row;

/// See the module.
pub struct GradInit;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the order of the images.
    pub seed: u64,
    /// The optimizer of the training that follows: it decides the norm and the step.
    #[serde(default)]
    pub optimizer: Follows,
    /// Steps. The paper: 390, an epoch of CIFAR-10.
    #[serde(default = "iterations")]
    #[schemars(range(min = 1))]
    pub iterations: u64,
    /// Images of a gradient, an even number; two halves, of which one is used again after the step.
    #[serde(default = "batch")]
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Learning rate of the scales (τ).
    #[serde(default = "hundredth")]
    pub lr: f64,
    /// Learning rate of the step that is looked ahead (η).
    #[serde(default = "tenth")]
    pub eta: f64,
    /// Norm that the gradient is to stay below (γ).
    #[serde(default = "one")]
    pub gamma: f64,
    /// What no weight's scale falls below; biases and shifts may come to 0.
    #[serde(default = "hundredth")]
    pub min_scale: f64,
    /// Half the way between the two gradients of a second derivative, as a share of the norm of all
    /// parameters.
    #[serde(default = "thousandth")]
    pub epsilon: f64,
}

/// The optimizer for which the start is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    /// Euclidean norm; a step along the gradient of length η.
    #[default]
    Sgd,
    /// Sum of magnitudes; a step of η in every coordinate.
    Adam,
}

fn iterations() -> u64 {
    390
}

fn batch() -> usize {
    128
}

fn thousandth() -> f64 {
    0.001
}

fn hundredth() -> f64 {
    0.01
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

impl Follows {
    fn norm(self, gradient: &Vector) -> f64 {
        match self {
            Follows::Sgd => norm(gradient),
            Follows::Adam => gradient.iter().flatten().map(|g| f64::from(g.abs())).sum(),
        }
    }

    /// The gradient of the norm by the gradient, which is also the direction of the step.
    fn direction(self, gradient: &Vector) -> Vector {
        let size = self.norm(gradient);
        let one = |g: &f32| match self {
            Follows::Sgd => (f64::from(*g) / size) as f32,
            Follows::Adam if *g == 0.0 => 0.0,
            Follows::Adam => g.signum(),
        };
        let of_tensor = |g: &Vec<f32>| g.iter().map(one).collect();
        gradient.iter().map(of_tensor).collect()
    }
}

/// β of Adam, and what keeps its denominator from 0.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;

/// A mean that forgets, and how much of it the zeros of its beginning still are.
#[derive(Debug, Clone, Copy)]
struct Mean {
    beta: f64,
    value: f64,
    zeros: f64,
}

impl Mean {
    fn new(beta: f64) -> Mean {
        Mean {
            beta,
            value: 0.0,
            zeros: 1.0,
        }
    }

    /// Takes one more number and gives the mean without the zeros.
    fn add(&mut self, x: f64) -> f64 {
        self.value = self.value * self.beta + x * (1.0 - self.beta);
        self.zeros *= self.beta;
        self.value / (1.0 - self.zeros)
    }
}

/// The scale of one tensor under Adam: the two sorts of steps have first moments of their own and
/// share the second.
#[derive(Debug, Clone, Copy)]
struct Scale {
    alpha: f64,
    min: f64,
    constraint: Mean,
    objective: Mean,
    second: Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Constraint,
    Objective,
}

impl Scale {
    fn new(min: f64) -> Scale {
        Scale {
            alpha: 1.0,
            min,
            constraint: Mean::new(BETAS[0]),
            objective: Mean::new(BETAS[0]),
            second: Mean::new(BETAS[1]),
        }
    }

    /// One step against a slope, cut to ±1.
    fn step(&mut self, sort: Step, slope: f64, lr: f64) {
        let slope = slope.clamp(-1.0, 1.0);
        let first = match sort {
            Step::Constraint => &mut self.constraint,
            Step::Objective => &mut self.objective,
        };
        let (first, second) = (first.add(slope), self.second.add(slope * slope));
        self.alpha = (self.alpha - lr * first / (second.sqrt() + EPS)).max(self.min);
    }
}

/// Half batches, one after the other.
struct Halves<'a> {
    batches: Batches<'a>,
    taken: u64,
}

impl Halves<'_> {
    fn next(&mut self) -> Batch {
        let per_epoch = self.batches.steps_per_epoch();
        let (epoch, step) = (self.taken / per_epoch, self.taken % per_epoch);
        self.taken += 1;
        Batch::of(&mut self.batches, epoch, step)
    }
}

/// The scales of tensors that are not 0, by position in [`Architecture::parameters`].
fn scales(architecture: &Architecture, values: &Vector, min: f64) -> Vec<Option<Scale>> {
    let scale = |(role, values): (Role, &Vec<f32>)| {
        let min = match role {
            Role::Weight { .. } | Role::Gain => min,
            Role::Bias { .. } | Role::Shift => 0.0,
            Role::RunningMean | Role::RunningVariance => return None,
        };
        values.iter().any(|x| *x != 0.0).then(|| Scale::new(min))
    };
    let roles = architecture.parameters.iter().map(|p| p.role);
    roles.zip(values).map(scale).collect()
}

fn scaled(values: &Vector, scales: &[Option<Scale>]) -> Vector {
    let of_tensor = |(values, scale): (&Vec<f32>, &Option<Scale>)| {
        let alpha = scale.map_or(1.0, |s| s.alpha);
        values
            .iter()
            .map(|x| (alpha * f64::from(*x)) as f32)
            .collect()
    };
    values.iter().zip(scales).map(of_tensor).collect()
}

impl Kind for GradInit {
    type Params = Params;
    const NAME: &'static str = "gradinit";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Learns a scale for every tensor of a fresh network, so that the first step of training pays most (GradInit, Zhu et al. 2021).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The network with its first weights."),
        InputSpec::required("train", "Training data; several are put together in order.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut found = Vec::new();
        let mut add = |name: &str, good: bool, message: &str| {
            if !good {
                found.push(ParamProblem::new(&[name], message, ""));
            }
        };
        add("iterations", p.iterations >= 1, "must be at least 1");
        add(
            "batch_size",
            p.batch_size >= 2,
            "must be at least 2: it has two halves",
        );
        add(
            "batch_size",
            p.batch_size.is_multiple_of(2) || p.batch_size < 2,
            &format!(
                "must be even: it has two halves, and {} images have none",
                p.batch_size
            ),
        );
        for (name, x) in [("eta", p.eta), ("gamma", p.gamma), ("epsilon", p.epsilon)] {
            add(name, x.is_finite() && x > 0.0, "must be finite and above 0");
        }
        for (name, x) in [("lr", p.lr), ("min_scale", p.min_scale)] {
            add(
                name,
                x.is_finite() && x >= 0.0,
                "must be finite and not negative",
            );
        }
        found
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let identity = shown("train", known, &mut found);
        // What does not fit together is reported already.
        let data = together(
            &known.data("train", &mut Findings::default()),
            "train",
            &mut Findings::default(),
        );
        if let Some(images) = data.images {
            if let Err(failure) = enough(p, images) {
                found.param(
                    &["batch_size"],
                    failure.message,
                    failure.hint.unwrap_or_default(),
                );
            } else if images < p.batch_size as u64 {
                found.warnings.push(Finding::new(
                    Subject::Param(vec!["batch_size".to_owned()]),
                    format!("there are {images} images for batches of {}: the halves of a batch have images in common", p.batch_size),
                    "lower `batch_size`",
                ));
            }
        }
        found.say("model", Fact::Model(ModelFact { identity }));
        let train = Some("train");
        let values = [
            (train, "loss"),
            (train, "gradient_norm"),
            (None, "scale[*]"),
        ];
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("train"), "train")?;
        let model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "train")?;
        enough(p, data.len() as u64)?;
        let architecture = Arc::new(model.architecture);
        let (device, norms) = (device::open()?, Norms::OfBatch);
        let mut landscape = Landscape::new(&device, &architecture, &model.tensors, norms)?;
        let found = learn(p, &architecture, &mut landscape, &data, task)?;
        table::write(task.output("metrics")?, &found)?;
        landscape.network().model().write(task.output("model")?)
    }
}

/// Whether so many images fill half a batch.
fn enough(p: &Params, images: u64) -> Result<(), Failure> {
    let half = p.batch_size as u64 / 2;
    if images >= half {
        return Ok(());
    }
    let text = format!(
        "half a batch of {} has {half} images, and there are {images}",
        p.batch_size
    );
    Err(Failure::new(text).hint(format!("give at most {}", 2 * images)))
}

/// Learns the scales and leaves the scaled weights in `landscape`.
fn learn<D: Backend>(
    p: &Params,
    architecture: &Architecture,
    landscape: &mut Landscape<D>,
    data: &Dataset,
    task: &mut Task,
) -> anyhow::Result<Vec<Row>> {
    let first = landscape.values();
    let mut scales = scales(architecture, &first, p.min_scale);
    let mut halves = Halves {
        batches: Batches::new(data, p.seed, p.batch_size / 2, Augment::default()).whole(),
        taken: 0,
    };
    let mut rows = Vec::new();
    for iteration in 0..p.iterations {
        let at = scaled(&first, &scales);
        landscape.set(&at)?;
        let one = halves.next();
        let both = one.with(&halves.next());
        let (loss, gradient) = landscape.gradient(&both)?;
        let size = p.optimizer.norm(&gradient);
        if !(loss.is_finite() && size.is_finite()) {
            let text = format!("loss {loss} and gradient norm {size} after {iteration} steps");
            return Err(Failure::new(text)
                .hint("lower `lr`, or start from smaller weights")
                .into());
        }
        for (name, value) in [("loss", loss), ("gradient_norm", size)] {
            rows.push(Row {
                step: Some(iteration as i64),
                split: Some("train".to_owned()),
                name: name.to_owned(),
                value,
                ..Row::default()
            });
        }
        let direction = p.optimizer.direction(&gradient);
        let (sort, slope) = if size > p.gamma {
            let second = landscape.hessian_times(&direction, &both, p.epsilon)?;
            (Step::Constraint, second)
        } else {
            landscape.set(&moved(&at, &direction, -p.eta))?;
            let (_, ahead) = landscape.gradient(&one.with(&halves.next()))?;
            let by_eta = |g: &Vec<f32>| g.iter().map(|g| f64::from(*g) / p.eta).collect();
            (Step::Objective, ahead.iter().map(by_eta).collect())
        };
        for ((scale, slope), first) in scales.iter_mut().zip(&slope).zip(&first) {
            // a tensor that has come to 0 stays there, as in the authors' code
            if let Some(scale) = scale.as_mut().filter(|s| s.alpha != 0.0) {
                let product = |(g, x): (&f64, &f32)| g * f64::from(*x);
                scale.step(sort, slope.iter().zip(first).map(product).sum(), p.lr);
            }
        }
        task.send(&Event::Progress {
            done: iteration + 1,
            total: Some(p.iterations),
            unit: "steps".into(),
            text: format!("loss {loss:.3} gradient {size:.3}"),
        });
    }
    landscape.set(&scaled(&first, &scales))?;
    for (parameter, scale) in architecture.parameters.iter().zip(&scales) {
        if let Some(scale) = scale {
            rows.push(Row {
                name: format!("scale[{}]", parameter.name),
                value: scale.alpha,
                ..Row::default()
            });
        }
    }
    Ok(rows)
}

const DOC: &str = r#"
GradInit (Zhu et al., *GradInit: Learning to Initialize Neural Networks for Stable and Efficient Training*, NeurIPS 2021): every tensor θⱼ of a
fresh network gets a factor αⱼ, so that the loss after one step of the optimizer is least, while the norm of the gradient stays below γ.

```yaml
first: {uses: train, needs: {train: data.train}, with: {model: {mlp: {hidden: [100, 100]}}, init: kaiming_normal, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
start: {uses: gradinit, needs: {model: first.model, train: data.train}, with: {seed: 1, iterations: 390}}
train: {uses: train, needs: {init: start.model, train: data.train, test: data.test}, with: {seed: 1, length: {epochs: 10}, optimizer: {sgd: {lr: 0.1}}}}
```

As in the authors' code. In each of `iterations` steps a batch S gives the gradient g and its norm (for `sgd` ‖g‖₂, for `adam` ‖g‖₁).
If the norm is above `gamma`, the scales take a step that lowers it. Else the weights go one step ahead, θ′ = θ − η·g/‖g‖₂ (`adam`:
θ − η·sign g), and the scales take a step that lowers L(θ′; S̃)/η on a batch S̃ that shares half of its images with S; the step ahead
counts as a constant there. Slopes by αⱼ are Σ grad·θⱼ, cut to ±1; Adam moves the scales (β 0.9 and 0.999; the two sorts of steps have first
moments of their own and share the second), and none falls below `min_scale`. Tensors of zeros (biases) never move. Batch norm normalises by
the batch and moves no statistics; there is no dropout and no augmentation.

**Second order**: the slope of the norm is a product of the Hessian and a vector, H·v with v = g/‖g‖₂ (or sign g). It is the central difference
(∇L(θ + δv) − ∇L(θ − δv)) / 2δ with δ = `epsilon`·‖θ‖₂/‖v‖₂, whose error is of order δ². Tests hold it against PyTorch's double backward in f64.

`metrics.parquet` holds `train` `loss` and `gradient_norm` of every step, and at the end `scale[PARAMETER]`. GradInit reads `iterations` batches
or more: compare with trainings that may see as much.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// `alphas` of stages/tests/reference/second_order.json: the authors' `RescaleAdam` on the same
    /// slopes.
    #[test]
    fn scales_move_as_the_authors_do() {
        use Step::{Constraint, Objective};
        let mut scale = Scale::new(0.97);
        for (sort, slope, want) in [
            (Constraint, 0.5, 0.990_000_000_2),
            (Constraint, 3.0, 0.980_348_180_063_850_9),
            (Objective, -0.25, 0.984_128_095_280_860_4),
            (Constraint, 0.125, 0.974_967_756_134_919_7),
            (Objective, -2.0, 0.984_415_240_048_716_9),
            (Objective, 0.75, 0.986_288_994_077_084_8),
            (Constraint, 1.5, 0.977_371_473_110_305),
        ] {
            scale.step(sort, slope, 0.01);
            assert!(
                (scale.alpha - want).abs() < 1e-12,
                "{} is not {want}",
                scale.alpha
            );
        }
    }
}
