//! The kind `average`: the mean of several models' weights.

use std::sync::Arc;

use dfdx::prelude::Cpu;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kind::{Failure, InputSpec, Kind, OutputSpec, ParamProblem, Task};
use crate::kinds::train::read_data;
use crate::nn::model::Model;
use crate::nn::network::Network;
use crate::training::evaluation::check_data;
use crate::training::statistics::recompute;

/// See the module.
pub struct Average;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How much each model counts.
    #[serde(default)]
    pub weights: Weights,
}

/// How much each model counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// All the same.
    #[default]
    Uniform,
    /// One number per model, in the order of `needs: models`; their sum must be 1 (to 1e-6).
    Given(Vec<f64>),
}

/// How far from 1 the sum of given weights may be.
const TOLERANCE: f64 = 1e-6;

impl Kind for Average {
    type Params = Params;
    const NAME: &'static str = "average";
    const REVISION: u32 = 3;
    const SUMMARY: &'static str = "Averages the weights of several models of one shape.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec {
            name: "models",
            required: true,
            many: true,
            observes_only: false,
            doc: "The models, all of one shape.",
        },
        InputSpec {
            name: "train",
            required: false,
            many: true,
            observes_only: false,
            doc: "Training data on which the statistics of batch norm are made anew.",
        },
    ];

    fn outputs(_: &Params) -> Vec<OutputSpec> {
        vec![OutputSpec {
            name: "model".into(),
            path: "model.safetensors".into(),
        }]
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let problem = |message: String, hint: &str| {
            vec![ParamProblem {
                path: vec!["weights".into(), "given".into()],
                message,
                hint: Some(hint.into()),
            }]
        };
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

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let inputs = task.inputs("models").to_vec();
        let count = inputs.len();
        let factors: Vec<f32> = match &p.weights {
            Weights::Uniform => vec![1.0; count],
            Weights::Given(w) if w.len() == count => w.iter().map(|&x| x as f32).collect(),
            Weights::Given(w) => {
                let text = format!("`weights` has {} numbers for {count} models", w.len());
                return Err(Failure::new(text)
                    .hint("give one number per model, in the order of `needs: models`")
                    .into());
            }
        };
        let divisor = if p.weights == Weights::Uniform {
            count as f32
        } else {
            1.0
        };
        let mut sum: Option<Model> = None;
        for (input, factor) in inputs.iter().zip(factors) {
            let model = Model::read(&input.path)?;
            match &mut sum {
                None => {
                    let mut first = model;
                    first
                        .tensors
                        .values_mut()
                        .flat_map(|t| &mut t.data)
                        .for_each(|w| *w *= factor);
                    sum = Some(first);
                }
                Some(sum) => {
                    if model.architecture.identity != sum.architecture.identity {
                        let text = |m: &Model| {
                            serde_json::to_string(&m.architecture.identity).unwrap_or_default()
                        };
                        let message = format!(
                            "`{}` is {}, the first model {}",
                            input.path.display(),
                            text(&model),
                            text(sum)
                        );
                        return Err(Failure::new(message)
                            .hint("only models of one shape can be averaged")
                            .into());
                    }
                    for (name, tensor) in &mut sum.tensors {
                        for (s, w) in tensor.data.iter_mut().zip(&model.tensors[name].data) {
                            *s += factor * *w;
                        }
                    }
                }
            }
        }
        let Some(mut mean) = sum else {
            return Err(Failure::new("input `models`: no model")
                .hint("gather some: `needs: {models: \"train[*].model\"}`")
                .into());
        };
        mean.tensors
            .values_mut()
            .flat_map(|t| &mut t.data)
            .for_each(|w| *w /= divisor);
        if !task.inputs("train").is_empty() {
            let data = read_data(task.inputs("train"), "train")?;
            check_data(&data, &mean.architecture.identity, "train")?;
            let device = Cpu::default();
            let architecture = Arc::new(mean.architecture.clone());
            let mut network = Network::load(&device, architecture, &mean.tensors);
            recompute(&device, &mut network, &data)?;
            mean = network.model();
        }
        mean.write(task.output("model")?)
    }
}

const DOC: &str = r#"
The mean of models, element by element: stochastic weight averaging (Izmailov et al. 2018) over checkpoints, uniform soups (Wortsman et
al. 2022) over runs.

```yaml
average: {uses: average, needs: {models: "warm[*].model"}}
weighted: {uses: average, needs: {models: [first.model, second.model]}, with: {weights: {given: [0.25, 0.75]}}}
```

Uniform: `((w₁ + w₂) + w₃ ...) / n` in f32, in the order of the inputs, one division at the end. Given: `a₁·w₁ + a₂·w₂ ...` in the same order, each
product and sum rounded to f32.

**Batch norm**: running means and variances are averaged like weights, but are not the statistics of the averaged network. Give the
training data as `needs: {train: ...}` to make them anew, as Izmailov et al. do (PyTorch: `update_bn`): the images pass in batches of 256,
in order and unchanged, without dropout; each statistic becomes the mean of the batches' own, weighted by images.
"#;
