//! The kind `swag`: a normal distribution around the mean of checkpoints, and networks drawn from
//! it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sum::{Reader, anew, collapse, training_data};
use crate::facts::{CheckpointsFact, Fact, Findings, Known, ModelFact, fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network;
use crate::kinds::running::{self, RunningStatistics};
use crate::kinds::several::{self, Gathered};
use crate::nn::architecture::{Architecture, Identity};
use crate::task::Task;
use crate::weights::{NamedTensor, NamedTensors};
use repro_numerics::exact::rng::Stream;

/// See the module.
pub struct Swag;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Seed of what is drawn.
    pub seed: u64,
    /// Networks to draw.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 1000))]
    pub samples: usize,
    /// What is known of the distribution beside the mean.
    #[serde(default)]
    pub covariance: Covariance,
    /// What the covariance is multiplied with, 0 or more. 1 is the distribution of the paper's
    /// equation 1; with 0 every network is the mean.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    pub scale: f64,
    /// What to do with batch norm's running statistics if no training data are given to recompute
    /// them. Models with batch norm need one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<RunningStatistics>,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// What is known of the distribution beside the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Covariance {
    /// The variance of every weight.
    Diagonal,
    /// Half of it, and half the covariance of the last so many models' deviations, 2 or more.
    LowRank(usize),
}

impl Default for Covariance {
    fn default() -> Covariance {
        Covariance::LowRank(20)
    }
}

fn thirty() -> usize {
    30
}

fn one() -> f64 {
    1.0
}

/// No variance is smaller, as in the authors' code.
const VARIANCE_MIN: f64 = 1e-30;

impl Kind for Swag {
    type Params = Params;
    const NAME: &'static str = "swag";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Fits a normal distribution to the checkpoints of a training and draws networks from it.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The models, all of one shape and in the order of the training. A directory (`checkpoints`) stands for all its files, in the order of their names.").many(),
        InputSpec::optional("train", "Training data to recompute the statistics of batch norm on, for each network.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("samples", "samples")?,
        ])
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        problems.extend(running::contradiction(p.batch_norm, needs));
        let mut add = |path: &[&str], message: String, hint: &str| {
            problems.push(ParamProblem::new(path, message, hint));
        };
        if !(1..=1000).contains(&p.samples) {
            add(
                &["samples"],
                format!("must be 1 to 1000, got {}", p.samples),
                "",
            );
        }
        if !(p.scale.is_finite() && p.scale >= 0.0) {
            let message = format!("must be finite and not negative, got {}", p.scale);
            add(&["scale"], message, "");
        }
        if let Covariance::LowRank(rank @ (0 | 1)) = p.covariance {
            let message = format!("must be at least 2, got {rank}");
            let hint = "the variance of every weight alone is `covariance: diagonal`";
            add(&["covariance", "low_rank"], message, hint);
        }
        problems
    }

    fn member(p: &Params, output: &str, picks: &[(String, Value)]) -> Result<String, String> {
        if output != "samples" {
            return Err(format!("nothing can be picked from `{output}`"));
        }
        match picks {
            [(name, value)] if name == "sample" => match value.as_u64() {
                Some(n @ 1..) if n <= p.samples as u64 => Ok(file_of(n as usize)),
                _ => Err(format!(
                    "there is no sample {value}: they are 1 to {}",
                    p.samples
                )),
            },
            _ => Err("networks are picked by `sample`".into()),
        }
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let hint = "only models of one shape have a mean";
        let Gathered {
            identity, several, ..
        } = several::gathered(params.network.as_ref(), hint, known, &mut found);
        fit("train", identity.as_ref(), known, &mut found);
        let is_unsaid = running::is_unsaid(identity.as_ref(), params.batch_norm, known);
        if several.certain && is_unsaid {
            refuse(("models", 0), collapse(), &mut found);
        }
        let model = ModelFact { identity };
        let samples = CheckpointsFact {
            model: model.clone(),
            several: params.samples > 1,
            pick: "sample=1".into(),
        };
        found.say("model", Fact::Model(model));
        found.say("samples", Fact::Checkpoints(samples));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let paths = several::files(task.inputs("models"))?;
        if paths.len() < 2 {
            return Err(Failure::new("one model has no spread around it")
                .hint("keep more checkpoints: `checkpoints: {every: 1}`")
                .into());
        }
        let mut reader = Reader::new(p.network.as_ref());
        let mut fitted = Fitted::default();
        for path in &paths {
            fitted.see(&reader.read(path)?, p.covariance);
        }
        let architecture = Arc::new(reader.architecture()?);
        let train = training_data(task, &architecture, p.batch_norm, paths.len())?;
        let write = |tensors: &NamedTensors, path: &std::path::Path| {
            let network = anew(&architecture, tensors, train.as_ref())?;
            network.model().write(path)
        };
        write(&fitted.mean(), task.output("model")?)?;
        let dir = task.output("samples")?;
        std::fs::create_dir_all(dir)
            .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", dir.display())))?;
        for sample in 1..=p.samples {
            let tensors = fitted.draw(p, &architecture, sample as u64);
            write(&tensors, &dir.join(file_of(sample)))?;
        }
        Ok(())
    }
}

/// The file of a network that was drawn.
fn file_of(sample: usize) -> String {
    format!("sample-{sample:04}.safetensors")
}

/// Moments of weights, in f64, by tensor.
#[derive(Debug, Default)]
struct Fitted {
    seen: usize,
    shapes: Vec<(String, Vec<usize>)>,
    mean: Vec<Vec<f64>>,
    squares: Vec<Vec<f64>>,
    /// Of the last models, from the mean so far: the newest last.
    deviations: Vec<Vec<Vec<f64>>>,
}

impl Fitted {
    /// Adds a model: `mean ← (n·mean + w)/(n + 1)`, that of squares likewise, then `w - mean`.
    fn see(&mut self, tensors: &NamedTensors, covariance: Covariance) {
        if self.seen == 0 {
            let shape = |(name, t): (&String, &NamedTensor)| (name.clone(), t.shape.clone());
            self.shapes = tensors.iter().map(shape).collect();
            self.mean = tensors.values().map(|t| vec![0.0; t.data.len()]).collect();
            self.squares = self.mean.clone();
        }
        let n = self.seen as f64;
        let mut deviations = Vec::new();
        for (i, tensor) in tensors.values().enumerate() {
            let mut deviation = Vec::with_capacity(tensor.data.len());
            for (j, w) in tensor.data.iter().enumerate() {
                let w = f64::from(*w);
                let (mean, squares) = (&mut self.mean[i][j], &mut self.squares[i][j]);
                *mean = (n * *mean + w) / (n + 1.0);
                *squares = (n * *squares + w * w) / (n + 1.0);
                deviation.push(w - *mean);
            }
            deviations.push(deviation);
        }
        self.seen += 1;
        if let Covariance::LowRank(rank) = covariance {
            self.deviations.push(deviations);
            if self.deviations.len() > rank {
                self.deviations.remove(0);
            }
        }
    }

    fn named(&self, of: impl Fn(usize, usize) -> f64) -> NamedTensors {
        let tensors = self.shapes.iter().enumerate().map(|(i, (name, shape))| {
            let data = (0..self.mean[i].len()).map(|j| of(i, j) as f32).collect();
            let shape = shape.clone();
            (name.clone(), NamedTensor { shape, data })
        });
        tensors.collect()
    }

    fn mean(&self) -> NamedTensors {
        self.named(|i, j| self.mean[i][j])
    }

    /// A network. What is not trained keeps its mean.
    fn draw(&self, p: &Params, architecture: &Architecture, sample: u64) -> NamedTensors {
        let columns = self.deviations.len();
        // Half of each, where there are two parts.
        let (diagonal, low_rank) = match p.covariance {
            Covariance::Diagonal => (p.scale.sqrt(), 0.0),
            Covariance::LowRank(_) => {
                let half = (p.scale / 2.0).sqrt();
                (half, half / ((columns - 1) as f64).sqrt())
            }
        };
        let mut stream = Stream::new(p.seed, "swag columns", sample, 0);
        let common: Vec<f64> = (0..columns).map(|_| f64::from(stream.normal())).collect();
        let mut drawn = self.mean();
        for (i, (name, _)) in self.shapes.iter().enumerate() {
            let mut parameters = architecture.parameters.iter();
            let position = parameters.position(|q| q.name == *name && q.role.is_trained());
            let (Some(position), Some(tensor)) = (position, drawn.get_mut(name)) else {
                continue;
            };
            let mut stream = Stream::new(p.seed, "swag", sample, position as u64);
            for (j, w) in tensor.data.iter_mut().enumerate() {
                let mean = self.mean[i][j];
                let variance = (self.squares[i][j] - mean * mean).max(VARIANCE_MIN);
                let own = variance.sqrt() * f64::from(stream.normal());
                let columns = self.deviations.iter().zip(&common);
                let shared: f64 = columns.map(|(d, z)| d[i][j] * z).sum();
                *w = (mean + diagonal * own + low_rank * shared) as f32;
            }
        }
        drawn
    }
}

const DOC: &str = r#"
SWAG (Maddox, Garipov, Izmailov, Vetrov & Wilson, *A Simple Baseline for Bayesian Uncertainty in Deep
Learning*, NeurIPS 2019, algorithm 1): the checkpoints of a training at a high rate say where good
weights lie and how far they spread. `model` is their mean, stochastic weight averaging; `samples` are
networks drawn around it. `ensemble` averages what they say.

```yaml
swag: {uses: swag, needs: {models: constant.checkpoints, train: data.train}, with: {seed: 1, samples: 30}}
says: {uses: ensemble, needs: {models: swag.samples, data: data.test}}
```

With the running means `m` of weights and `s` of their squares, the variance is `max(s - m², 1e-30)`. A
network is

- `covariance: diagonal`: `m + √scale · √variance · z`,
- `covariance: {low_rank: K}`: `m + √(scale/2) · (√variance · z + D·z' / √(K' - 1))`, where the columns
  of `D` are the deviations of the last `K' ≤ K` models from the running mean of their time.

`scale` 1 is the paper's equation 1 (the authors' code calls the factor under the root, half of this,
`scale` 0.5). Moments are in f64. `z` is drawn for each weight and `z'` for each column from the seed and
the number of the sample, so more samples leave the first as they are.

Batch norm's running statistics are not drawn: they are made anew on `train` for every network, or keep
their mean with `batch_norm: keep`. One of the networks is `swag.samples[sample=3]`.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::architecture::tests::architecture;

    fn params(covariance: Covariance, scale: f64) -> Params {
        Params {
            seed: 3,
            samples: 1,
            covariance,
            scale,
            batch_norm: None,
            network: None,
        }
    }

    /// Of many draws, mean and covariance are those of the formula.
    #[test]
    fn draws_have_the_moments_of_the_paper() {
        let a = architecture(serde_json::json!({"mlp": {"hidden": []}}), (1, 2, 1), 2);
        let model = |k: usize| {
            let value = |i: usize| ((7 * k + 3 * i * i + i * k * k) % 11) as f32 / 4.0;
            let mut next = 0;
            let tensors = a.parameters.iter().map(|p| {
                let data = p.shape.iter().product();
                let data = (0..data).map(|j| value(next + j)).collect::<Vec<_>>();
                next += data.len();
                let shape = p.shape.clone();
                (p.name.clone(), NamedTensor { shape, data })
            });
            tensors.collect::<NamedTensors>()
        };
        let flat = |t: &NamedTensors| -> Vec<f64> {
            t.values()
                .flat_map(|t| &t.data)
                .map(|x| f64::from(*x))
                .collect()
        };
        let all: Vec<Vec<f64>> = (0..5).map(|k| flat(&model(k))).collect();
        let size = all[0].len();
        let mean = |n: usize, i: usize| all[..n].iter().map(|w| w[i]).sum::<f64>() / n as f64;
        for covariance in [Covariance::Diagonal, Covariance::LowRank(3)] {
            let mut fitted = Fitted::default();
            (0..5).for_each(|k| fitted.see(&model(k), covariance));
            let p = params(covariance, 1.5);
            let draws = 20_000;
            let drawn: Vec<Vec<f64>> = (0..draws).map(|s| flat(&fitted.draw(&p, &a, s))).collect();
            for i in 0..size {
                let variance = |i| {
                    let squares = all.iter().map(|w| w[i] * w[i]).sum::<f64>() / 5.0;
                    squares - mean(5, i) * mean(5, i)
                };
                for j in 0..size {
                    let own = if i == j { variance(i) } else { 0.0 };
                    let column = |k: usize, i: usize| all[k][i] - mean(k + 1, i);
                    let columns = (2..5).map(|k| column(k, i) * column(k, j));
                    let want = 1.5
                        * match covariance {
                            Covariance::Diagonal => own,
                            Covariance::LowRank(_) => own / 2.0 + columns.sum::<f64>() / 4.0,
                        };
                    let both = drawn
                        .iter()
                        .map(|w| (w[i] - mean(5, i)) * (w[j] - mean(5, j)));
                    let got = both.sum::<f64>() / draws as f64;
                    assert!(
                        (got - want).abs() < 0.03,
                        "{covariance:?} {i} {j}: {got} {want}"
                    );
                }
            }
            let still = fitted.draw(&params(covariance, 0.0), &a, 1);
            assert_eq!(still, fitted.mean());
        }
    }
}
