//! The kind `average`: the mean of several models' weights.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sum::{Reader, Sum, anew, collapse, training_data};
use crate::facts::{Fact, Findings, Known, ModelFact, fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network;
use crate::kinds::running::{self, RunningStatistics};
use crate::kinds::several::{self, Gathered};
use crate::nn::architecture::Identity;
use crate::task::Task;

/// See the module.
pub struct Average;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How much each model counts.
    #[serde(default)]
    pub weights: Weights,
    /// Only so many of the models, the last ones: of a directory of checkpoints the latest (LAWA,
    /// Kaddour 2022).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub latest: Option<usize>,
    /// What to do with batch norm's running statistics if no training data are given to recompute
    /// them. Models with batch norm need one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<RunningStatistics>,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// How much each model counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// All models count the same.
    #[default]
    Uniform,
    /// One number per model, in the order of `needs: models`; their sum must be 1 (to 1e-6).
    Given(Vec<f64>),
}

/// How far from 1 the sum of given weights may be.
const TOLERANCE: f64 = 1e-6;

const NUMBERS_HINT: &str = "give one number per model, in the order of `needs: models`";

fn numbers_for_models(numbers: usize, models: usize) -> String {
    let numbers = match numbers {
        1 => "1 number".to_owned(),
        n => format!("{n} numbers"),
    };
    let models = match models {
        1 => "1 model".to_owned(),
        n => format!("{n} models"),
    };
    format!("{numbers} for {models}")
}

impl Kind for Average {
    type Params = Params;
    const NAME: &'static str = "average";
    const REVISION: u32 = 4;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Averages the weights of several models of one shape.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The models, all of one shape. A directory (`checkpoints`) stands for all its files, in the order of their names.").many(),
        InputSpec::optional("train", "Training data to recompute the statistics of batch norm on.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("model", "model.safetensors")?])
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let problems = network::problems(p.network.as_ref());
        if !problems.is_empty() {
            return problems;
        }
        if p.latest == Some(0) {
            let message = "must be at least 1";
            return vec![ParamProblem::new(&["latest"], message, "")];
        }
        if let Some(problem) = running::contradiction(p.batch_norm, needs) {
            return vec![problem];
        }
        let problem =
            |message: String, hint| vec![ParamProblem::new(&["weights", "given"], message, hint)];
        match &p.weights {
            Weights::Uniform => Vec::new(),
            Weights::Given(w) if w.iter().any(|x| !x.is_finite()) => {
                problem("all weights must be finite".into(), "one number per model")
            }
            Weights::Given(w) => {
                let sum: f64 = w.iter().sum();
                let hint = "divide every weight by the sum";
                if (sum - 1.0).abs() <= TOLERANCE {
                    Vec::new()
                } else {
                    problem(format!("the weights' sum is {sum}, it must be 1"), hint)
                }
            }
        }
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let hint = "only models of one shape can be averaged";
        let Gathered {
            identity,
            count,
            several,
        } = several::gathered(params.network.as_ref(), hint, known, &mut found);
        let count = count.min(params.latest.unwrap_or(usize::MAX));
        if let Weights::Given(weights) = &params.weights
            && weights.len() != count
            && several.counted
        {
            found.param(
                &["weights", "given"],
                numbers_for_models(weights.len(), count),
                NUMBERS_HINT,
            );
        }
        fit("train", identity.as_ref(), known, &mut found);
        let is_unsaid = running::is_unsaid(identity.as_ref(), params.batch_norm, known);
        if several.certain && params.latest != Some(1) && is_unsaid {
            refuse(("models", 0), collapse(), &mut found);
        }
        found.say("model", Fact::Model(ModelFact { identity }));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let mut paths = several::files(task.inputs("models"))?;
        if let Some(latest) = p.latest {
            paths.drain(..paths.len().saturating_sub(latest));
        }
        let count = paths.len();
        let factors: Vec<f32> = match &p.weights {
            Weights::Uniform => vec![1.0; count],
            Weights::Given(w) if w.len() == count => w.iter().map(|&x| x as f32).collect(),
            Weights::Given(w) => {
                let text = format!("`weights`: {}", numbers_for_models(w.len(), count));
                return Err(Failure::new(text).hint(NUMBERS_HINT).into());
            }
        };
        let divisor = if p.weights == Weights::Uniform {
            count as f32
        } else {
            1.0
        };
        let mut reader = Reader::new(p.network.as_ref());
        let mut sum: Option<Sum> = None;
        for (path, factor) in paths.iter().zip(factors) {
            let tensors = reader.read(path)?;
            match &mut sum {
                None => sum = Some(Sum::of(tensors, factor)),
                Some(sum) => sum.add(&tensors, factor),
            }
        }
        let architecture = Arc::new(reader.architecture()?);
        let mean = sum.map(|sum| sum.over(divisor)).unwrap_or_default();
        let train = training_data(task, &architecture, p.batch_norm, count)?;
        let network = anew(&architecture, &mean, train.as_ref())?;
        network.model().write(task.output("model")?)
    }
}

const DOC: &str = r#"
The mean of several models, element by element. Over checkpoints of one training this is stochastic
weight averaging (Izmailov et al. 2018), over several trainings a uniform soup (Wortsman et al.
2022).

```yaml
average: {uses: average, needs: {models: "warm[*].model"}}
weighted: {uses: average, needs: {models: [first.model, second.model]}, with: {weights: {given: [0.25, 0.75]}}}
swa: {uses: average, needs: {models: cyclic.checkpoints, train: data.train}}
```

A directory of models, such as the output `checkpoints` of `train`, stands for all its files;
`latest: 5` takes the last five.

Averaging in parallel, after large batches (Gupta, Serrano & DeCoste, *Stochastic Weight Averaging in
Parallel: Large-Batch Training That Generalizes Well*, ICLR 2020): one training with large batches, then
several from its end, each with small batches in an order of its own, and their mean:

```yaml
large: {uses: train, needs: {train: data.train}, with: {model: conv-2, seed: 1, length: {epochs: 20}, batch_size: 4096, optimizer: {sgd: {lr: 0.8, momentum: 0.9}}}}
worker: {uses: train, matrix: {worker: [1, 2, 3, 4]}, needs: {init: large.model, train: data.train}, with: {seed: "${matrix.worker}", length: {epochs: 5}, batch_size: 512, optimizer: {sgd: {lr: 0.1, momentum: 0.9}}}}
together: {uses: average, needs: {models: "worker[*].model"}}
```

`uniform` computes `((w₁ + w₂) + w₃ ...) / n` in f32, in the order of the inputs, with one division
at the end. `given` computes `a₁·w₁ + a₂·w₂ ...` in the same order; each product and each sum is
rounded to f32.

**Batch norm.** Running means and variances are averaged like weights, but the result is not the
statistics of the averaged network. Give the training data as `needs: {train: ...}` to recompute
them, as Izmailov et al. do. The images then pass in batches of 256, in order and unchanged, without
dropout. Each statistic becomes the mean over the batches, weighted by images, as in the authors'
code. (PyTorch's `update_bn` gives every batch the same weight, so a small last batch counts as much
as a full one: on 1,300 images the variances differ by 8 to 9 %.) A last batch with one value of a
unit is left out. Without `train`, averaging such models is an error, unless `batch_norm: keep` says
that the averaged statistics are wanted.

Weights of another program (a PyTorch state dict in safetensors) work too, if `network` says what
they are:

```yaml
average:
  uses: average
  needs: {models: [{file: a.safetensors}, {file: b.safetensors}]}
  with:
    network: {model: {mlp: {hidden: [100]}}, input: {height: 28, width: 28, channels: 1}, classes: 10}
```
"#;
