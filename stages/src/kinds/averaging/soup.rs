//! The kind `soup`: the mean of those models that do well together on data held out.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sum::{Reader, Sum, anew, collapse, training_data};
use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Fact, Findings, Known, MetricsFact, ModelFact, Recorded, ValueFact};
use crate::facts::{fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network;
use crate::kinds::running::{self, RunningStatistics};
use crate::kinds::several::{self, Gathered};
use crate::kinds::test_set::TestSet;
use crate::nn::architecture::{Head, Identity};
use crate::nn::network::Network;
use crate::table;
use crate::task::Task;
use crate::training::evaluation::{check_data, score};
use crate::weights::NamedTensors;
use repro_protocol::table::Row;

/// See the module.
pub struct Soup;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A test set under `needs: {data: ..}` chooses only if this says so: what is then reported of
    /// it is optimistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_set: Option<TestSet>,
    /// What to do with batch norm's running statistics if no training data are given to recompute
    /// them. Models with batch norm need one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<RunningStatistics>,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// What is measured.
const VALUES: [&str; 4] = ["accuracy", "best_accuracy", "mean_accuracy", "ingredients"];

/// The remedy where a test set would choose.
const HOLD_OUT: &str =
    "hold some training data out (`split`) and give them as `data`; or say `test_set: may_choose`";

impl Kind for Soup {
    type Params = Params;
    const NAME: &'static str = "soup";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Averages those of several models that do well together on data held out: a greedy soup.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The models, all of one shape. A directory (`checkpoints`) stands for all its files, in the order of their names.").many(),
        InputSpec::required("data", "Data held out, to choose by.").many(),
        InputSpec::optional("train", "Training data to recompute the statistics of batch norm on.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ])
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        problems.extend(running::contradiction(p.batch_norm, needs));
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let hint = "only models of one shape can be averaged";
        let Gathered {
            identity, several, ..
        } = several::gathered(params.network.as_ref(), hint, known, &mut found);
        for name in ["data", "train"] {
            fit(name, identity.as_ref(), known, &mut found);
        }
        if found.problems.is_empty()
            && let Some(failure) = identity.as_ref().and_then(several::gives_numbers)
        {
            refuse(("models", 0), failure, &mut found);
        }
        if params.test_set.is_none()
            && let Some(at) = known.output_called("data", "test")
        {
            let text = "this is a test set, which is not for choosing";
            found.input(("data", at), text.to_owned(), HOLD_OUT);
        }
        let is_unsaid = running::is_unsaid(identity.as_ref(), params.batch_norm, known);
        if several.certain && is_unsaid {
            refuse(("models", 0), collapse(), &mut found);
        }
        let value = |name: &str| ValueFact {
            split: Some("validation".to_owned()),
            name: name.to_owned(),
            recorded: Recorded::Once,
        };
        found.say("model", Fact::Model(ModelFact { identity }));
        found.say(
            "metrics",
            Fact::Metrics(MetricsFact {
                values: Some(VALUES.map(value).to_vec()),
                ..MetricsFact::default()
            }),
        );
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let paths = several::files(task.inputs("models"))?;
        let mut reader = Reader::new(p.network.as_ref());
        let models = paths.iter().map(|path| reader.read(path));
        let models = models.collect::<anyhow::Result<Vec<_>>>()?;
        let architecture = Arc::new(reader.architecture()?);
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        check_data(&data, &architecture.identity, "data")?;
        if let Head::Targets(_) = architecture.identity.outputs {
            let text = "a soup is chosen by accuracy, and these models give numbers";
            return Err(Failure::new(text).hint("use `average`").into());
        }
        let train = training_data(task, &architecture, p.batch_norm, models.len())?;
        let pool = device::Pool::default();
        let accuracy = |network: &Network<Device>| Ok(score(&pool, network, &data)?.accuracy);
        let alone = models.iter().map(|tensors| {
            let network = Network::load(&device::open()?, Arc::clone(&architecture), tensors)?;
            accuracy(&network)
        });
        let alone = alone.collect::<anyhow::Result<Vec<f64>>>()?;
        let made = greedy(&models, &alone, |tensors| {
            let network = anew(&architecture, tensors, train.as_ref())?;
            Ok((accuracy(&network)?, network))
        })?;
        let best = alone.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = alone.iter().sum::<f64>() / alone.len() as f64;
        let values = [made.accuracy, best, mean, made.ingredients as f64];
        let rows = VALUES.into_iter().zip(values).map(|(name, value)| Row {
            split: Some("validation".into()),
            name: name.into(),
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &rows.collect::<Vec<_>>())?;
        made.network.model().write(task.output("model")?)
    }
}

struct Made<N> {
    accuracy: f64,
    network: N,
    ingredients: usize,
}

/// Goes through the models from the best downwards; of equal ones the first comes first. Each joins
/// the mean if the accuracy does not fall.
fn greedy<N>(
    models: &[NamedTensors],
    alone: &[f64],
    measure: impl Fn(&NamedTensors) -> anyhow::Result<(f64, N)>,
) -> anyhow::Result<Made<N>> {
    let mut order: Vec<usize> = (0..models.len()).collect();
    order.sort_by(|a, b| alone[*b].total_cmp(&alone[*a]));
    let (first, others) = order
        .split_first()
        .ok_or_else(|| anyhow::anyhow!("no model"))?;
    let mut sum = Sum::of(models[*first].clone(), 1.0);
    let (accuracy, network) = measure(&models[*first])?;
    let mut made = Made {
        accuracy,
        network,
        ingredients: 1,
    };
    for other in others {
        let mut with = sum.clone();
        with.add(&models[*other], 1.0);
        let count = made.ingredients + 1;
        let (accuracy, network) = measure(&with.clone().over(count as f32))?;
        if accuracy >= made.accuracy {
            sum = with;
            made = Made {
                accuracy,
                network,
                ingredients: count,
            };
        }
    }
    Ok(made)
}

const DOC: &str = r#"
The greedy soup of Wortsman et al. (*Model soups*, ICML 2022, recipe 1). The models are sorted by
their accuracy on `data`, of equal ones the first first. The best one begins; each of the others joins
if the accuracy of the mean with it is not lower than without. The uniform soup is `average`.

```yaml
soup:
  uses: soup
  needs: {models: "tuned[*].model", data: parts.held-out, train: parts.train}
```

Data that choose are no test data: what is then reported of them would be too good. The output `test`
of a stage is refused unless `test_set: may_choose` says so.

`metrics` has, of the data held out, `accuracy` (of the soup), `best_accuracy` and `mean_accuracy` (of
the models alone) and `ingredients`, how many models are in the soup. The mean is that of `average`,
`((w₁ + w₂) + w₃ ...) / n` in the order in which models join; batch norm's statistics are made anew on
`train` for every mean that is measured, the first model's included, or averaged with
`batch_norm: keep`.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::NamedTensor;

    fn point(x: f32) -> NamedTensors {
        let shape = Vec::new();
        let data = vec![x];
        [("x".to_owned(), NamedTensor { shape, data })].into()
    }

    /// On a line with the best place at 1: 0.8 and 1.2 join, 3 does not, 1 comes first.
    #[test]
    fn what_lowers_the_accuracy_stays_out() {
        let good = |t: &NamedTensors| 1.0 - (f64::from(t["x"].data[0]) - 1.0).abs();
        let models = [3.0, 0.75, 1.25, 1.5].map(point);
        let alone = models.each_ref().map(good);
        let made = greedy(&models, &alone, |t| Ok((good(t), t["x"].data[0]))).unwrap();
        assert_eq!(
            (made.ingredients, made.accuracy, made.network),
            (2, 1.0, 1.0)
        );
        let same = [1.0, 1.0, 1.0].map(point);
        let made = greedy(&same, &[0.5; 3], |_| Ok((0.5, ()))).unwrap();
        assert_eq!(made.ingredients, 3, "equal is not lower");
        assert!(greedy(&[], &[], |_| Ok((0.0, ()))).is_err());
    }
}
