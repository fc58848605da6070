//! The kind `probe`: what goes through a network, layer by layer.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, shown};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::model::Model;
use crate::nn::network::Norms;
use crate::table;
use crate::task::Task;
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape};
use repro_protocol::table::Row;

/// See the module.
pub struct Probe;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the order of the images, which decides batches.
    pub seed: u64,
    /// Images shown, or all where there are fewer.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    pub images: usize,
    /// Images at once, which batch norm takes for a batch.
    #[serde(default = "batch")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// What batch norm normalises by. A network that has learnt nothing has no running statistics
    /// yet.
    #[serde(default = "of_batch")]
    pub norms: Norms,
}

fn thousand() -> usize {
    1000
}

fn batch() -> usize {
    128
}

fn of_batch() -> Norms {
    Norms::OfBatch
}

/// Sums of numbers and of their squares, in f64 and in order.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, x: f64) {
        self.count += 1.0;
        self.sum += x;
        self.squares += x * x;
    }

    fn mean(self) -> f64 {
        self.sum / self.count
    }

    /// Of the numbers themselves, not of a population they stand for.
    fn variance(self) -> f64 {
        (self.squares / self.count - self.mean() * self.mean()).max(0.0)
    }
}

impl Kind for Probe {
    type Params = Params;
    const NAME: &'static str = "probe";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Measures mean and variance of every layer's outputs and gradients.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model."),
        InputSpec::required("data", "The data; several are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let numbers = [("images", p.images), ("batch_size", p.batch_size)];
        let zero = numbers.into_iter().filter(|(_, n)| *n == 0);
        zero.map(|(name, _)| ParamProblem::new(&[name], "must be at least 1", ""))
            .collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        shown("data", known, &mut found);
        let values = [
            "activation_mean[*]",
            "activation_variance[*]",
            "gradient_mean[*]",
            "gradient_variance[*]",
        ];
        let values = values.map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "data")?;
        let architecture = Arc::new(model.architecture);
        let device = device::open()?;
        let landscape = Landscape::new(&device, &architecture, &model.tensors, p.norms)?;
        let mut outputs = vec![Sums::default(); architecture.parameters.len()];
        let mut gradients: Vec<Vec<f64>> = Vec::new();
        let size = p.batch_size.min(data.len());
        let mut batches = Batches::new(&data, p.seed, size, Augment::default()).whole();
        let count = (p.images / size).clamp(1, data.len() / size);
        for step in 0..count as u64 {
            let batch = Batch::of(&mut batches, 0, step);
            let mut see = |weight: usize, values: &[f32]| {
                values
                    .iter()
                    .for_each(|x| outputs[weight].add(f64::from(*x)));
            };
            landscape.watch(&batch, &mut see)?;
            let (_, slope) = landscape.gradient(&batch)?;
            gradients.resize_with(slope.len(), Vec::new);
            for (sum, slope) in gradients.iter_mut().zip(&slope) {
                sum.resize(slope.len(), 0.0);
                let share = 1.0 / count as f64;
                sum.iter_mut()
                    .zip(slope)
                    .for_each(|(s, g)| *s += share * f64::from(*g));
            }
        }
        let mut rows = Vec::new();
        let layers = architecture.parameters.iter().zip(outputs).zip(gradients);
        for ((parameter, outputs), gradient) in layers.filter(|((p, _), _)| p.role.is_weight()) {
            let mut slopes = Sums::default();
            gradient.into_iter().for_each(|g| slopes.add(g));
            let layer = parameter.layer();
            for (what, sums) in [("activation", outputs), ("gradient", slopes)] {
                for (of, value) in [("mean", sums.mean()), ("variance", sums.variance())] {
                    rows.push(Row {
                        name: format!("{what}_{of}[{layer}]"),
                        value,
                        ..Row::default()
                    });
                }
            }
        }
        table::write(task.output("metrics")?, &rows)
    }
}

const DOC: &str = r#"
Shows images to a network without changing it, and says what each layer with a weight makes of them: means and variances of its outputs
before the activation (over images, units and positions), and of the elements of its weight's gradient (of the mean loss over all images
shown). So one sees whether signals and gradients vanish, explode or keep their size: what initialisers are made for (Glorot & Bengio
2010, figures 6 and 7; He et al. 2015, equations 10 and 14).

```yaml
first:  {uses: train, needs: {train: data.train}, with: {model: {mlp: {hidden: [100, 100]}}, init: he_normal, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
signal: {uses: probe, needs: {model: first.model, data: data.train}, with: {seed: 1}}
```

`metrics.parquet` holds `activation_mean[LAYER]`, `activation_variance[LAYER]`, `gradient_mean[LAYER]` and `gradient_variance[LAYER]`, with
`LAYER` as in the weights' names (`fc1`, `layer1.0.conv1`). Variances are those of the numbers themselves (divided by n). There is no dropout;
batch norm normalises by the batch (`norms: of_batch`) or by its running statistics (`norms: running`). Images come in whole batches.
"#;
