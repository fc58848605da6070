//! The kind `evaluate`: how well a model does on data.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recorded::{learnt, told};
use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, Recorded, check_all, together};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network::model_problems;
use crate::nn::architecture::Head;
use crate::nn::model::Model;
use crate::nn::network::Network;
use crate::nn::spec::ModelSpec;
use crate::table;
use crate::task::Task;
use crate::training::evaluation::{calibration, check_data, errors, fitted, overall, score};
use repro_protocol::table::Row;

/// See the module.
pub struct Evaluate;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What the column `split` says.
    #[serde(default = "test")]
    pub split: String,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// Also say whether the model is right as often as it is sure; see above. Only where there are
    /// classes.
    #[serde(default, skip_serializing_if = "is_no")]
    #[schemars(extend("default" = false))]
    pub calibration: bool,
}

fn is_no(value: &bool) -> bool {
    !value
}

fn test() -> String {
    "test".into()
}

impl Kind for Evaluate {
    type Params = Params;
    const NAME: &'static str = "evaluate";
    const REVISION: u32 = 3;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Measures loss and accuracy of a model, overall and per class, or its errors in numbers.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model."),
        InputSpec::required("data", "The data; several sets are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(params: &Params, _: &[String]) -> Vec<ParamProblem> {
        if params.split.is_empty() {
            return vec![ParamProblem::new(&["split"], "must not be empty", "")];
        }
        params.model.iter().flat_map(model_problems).collect()
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let model = known.first_model("model", params.model.is_some(), &mut found);
        let data = known.data("data", &mut found);
        let whole = together(&data, "data", &mut found);
        let identity = model.and_then(|model| model.identity);
        check_all(&data, identity.as_ref(), "data", &mut found);
        let of_classes: &[&str] = match params.calibration {
            false => &["loss", "accuracy", "accuracy[*]"],
            true => &[
                "loss",
                "accuracy",
                "accuracy[*]",
                "nll",
                "ece",
                "reliability_images[*]",
                "reliability_confidence[*]",
                "reliability_accuracy[*]",
            ],
        };
        let values = told(
            (&params.split, Recorded::Once),
            learnt(identity.as_ref(), &whole),
            of_classes,
            &["mse", "mae", "r2", "mse[*]", "mae[*]", "r2[*]"],
        );
        found.say(
            "metrics",
            Fact::Metrics(MetricsFact {
                values: Some(values),
                ..MetricsFact::default()
            }),
        );
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let given = params.model.as_ref().map(|model| fitted(model, &data));
        let model = Model::read_as(&task.input("model")?.path, given.as_ref())?;
        if let Some(wanted) = &params.model
            && *wanted != model.architecture.identity.model
        {
            return Err(
                Failure::new("`model` is not the network that the file itself names")
                    .hint("leave `model` out of `with:`; it is for weights of other programs")
                    .into(),
            );
        }
        check_data(&data, &model.architecture.identity, "data")?;
        let device = device::open()?;
        let network = Network::load(&device, Arc::new(model.architecture), &model.tensors)?;
        let begun = std::time::Instant::now();
        let mut rows = Vec::new();
        let mut add = |name: String, value: f64| {
            rows.push(Row {
                split: Some(params.split.clone()),
                name,
                value,
                ..Row::default()
            });
        };
        match network.architecture().identity.outputs {
            Head::Classes(_) => {
                let score = score(&device::Pool::default(), &network, &data)?;
                add("loss".into(), score.loss);
                add("accuracy".into(), score.accuracy);
                for (class, (right, all)) in data.info().classes.iter().zip(&score.by_class) {
                    if *all > 0 {
                        add(format!("accuracy[{class}]"), *right as f64 / *all as f64);
                    }
                }
                if params.calibration {
                    let all = calibration(&device::Pool::default(), &network, &data)?;
                    add("nll".into(), all.nll());
                    add("ece".into(), all.ece());
                    for (name, value) in all.reliability() {
                        add(name, value);
                    }
                }
            }
            Head::Targets(_) if params.calibration => {
                return Err(Failure::new(
                    "`calibration` is about classes, and this model gives numbers",
                )
                .hint("leave it out")
                .into());
            }
            Head::Targets(_) => {
                let errors = errors(&device::Pool::default(), &network, &data)?;
                for (name, value) in overall(&errors).values() {
                    add(name.into(), value);
                }
                let targets = &data.info().targets;
                for (target, errors) in targets.iter().zip(&errors).filter(|_| targets.len() > 1) {
                    for (name, value) in errors.values() {
                        add(format!("{name}[{target}]"), value);
                    }
                }
            }
        }
        task.figures.insert(
            "images_per_s".into(),
            data.len() as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        );
        table::write(task.output("metrics")?, &rows)
    }
}

const DOC: &str = r#"
Shows every image to the model once, in evaluation mode: no dropout, and batch norm with its running
statistics.

```yaml
evaluate: {uses: evaluate, needs: {model: train.model, data: data.test}}
```

`metrics.parquet` holds `loss` (mean cross-entropy in nats), `accuracy`, and `accuracy[CLASS]` for
every class that occurs. Accuracies are fractions of 1. Where logits tie, the lowest class counts as
the answer.

With `calibration: true` there are also `nll`, the mean of −ln p of the labels in nats (`loss`, but
in f64 and over all images at once), and `ece`, the expected calibration error of Guo et al. (2017,
equation 3): Σ n_m/N · |accuracy − confidence| over 15 bins of equal width, (m/15, (m + 1)/15], of the
confidence, which is the softmax of the answer. The reliability diagram is
`reliability_images[m]`, `reliability_confidence[m]` and `reliability_accuracy[m]` (means of a bin,
left out where it is empty) for m from 1 to 15.

Where numbers are learnt (`targets`), it holds `mse` and `mae`, the means of squared and absolute
errors over images and targets, and `r2`, which is 1 − Σ(y − t)² / Σ(t − mean)². The mean is that of
the targets measured on, as in scikit-learn's `r2_score`; `r2` is left out where a target never
varies. With several targets there are also `mse[TARGET]`, `mae[TARGET]` and `r2[TARGET]`. All are in
the units of the data, and computed in f64 from the outputs.

With `model` (the network, as in `train`) the need may be a PyTorch state dict in safetensors:

```yaml
theirs: {uses: evaluate, needs: {model: {file: net.safetensors}, data: data.test}, with: {model: {mlp: {hidden: [100]}}}}
```
"#;
