//! The kind `train`: pretraining, warm starting and fine-tuning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::check;
use crate::data::Dataset;
use crate::facts;
use crate::kind::{Failure, InputSpec, Kind, OutputSpec, Outputs, ParamProblem, StatePoint, Task};
use crate::nn::architecture::{Architecture, Head};
use crate::nn::init::{self, Init};
use crate::nn::model::Model;
use crate::nn::spec::ModelSpec;
use crate::table;
use crate::training::augment::Augment;
use crate::training::evaluation::{check_data, fitted};
use crate::training::fit::{Listener, Sets, Start, fit};
use crate::training::length::{Length, StopAt};
use crate::training::mask::{self, Masks};
use crate::training::optim::Optimizer;
use crate::training::recipe::{Pause, Recipe};
use crate::training::schedule::Schedule;
use crate::training::state::State;
use crate::weights::NamedTensors;
use repro_protocol::job::{Event, JobInput};

/// See the module.
pub struct Train;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The network. May be left out when the need `init` brings one; given both, they must agree.
    #[serde(default)]
    pub model: Option<ModelSpec>,
    /// How the weights start; without effect when the need `init` brings them.
    #[serde(default)]
    pub init: Init,
    /// Of all random numbers: first weights, order, dropout, augmentation.
    pub seed: u64,
    /// How long.
    pub length: Length,
    /// Stop before the length is reached.
    #[serde(default)]
    pub stop_at: Option<StopAt>,
    /// Images per step; an epoch's last step takes what is left.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Leave out an epoch's last batch where it has fewer images; kept unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_last: Option<bool>,
    /// The rule by which weights follow gradients.
    pub optimizer: Optimizer,
    /// Of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// Random changes of the training images.
    #[serde(default)]
    pub augment: Augment,
    /// Share of the target spread evenly over all classes, in [0, 1); only where there are classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Evaluate on the need `test` every so many epochs, and always at the end.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub eval_every: u64,
    /// Keep models on the way, as the output `checkpoints`.
    #[serde(default)]
    pub checkpoints: Option<Checkpoints>,
}

/// When models are kept; `every`, `every_steps` or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// Epochs from one to the next: `epoch-000002.safetensors` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every: Option<u64>,
    /// Steps from one to the next: `step-000500.safetensors` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every_steps: Option<u64>,
}

fn default_batch_size() -> usize {
    128
}

fn one() -> u64 {
    1
}

/// More epochs than any study trains; each is a place to resume from, so their number must stay small enough to list.
const MAX_EPOCHS: u64 = 100_000;

impl Params {
    /// A parameter that means nothing where numbers are learnt, and why.
    pub(crate) fn only_for_classes(&self) -> Option<(&'static [&'static str], &'static str)> {
        if self.label_smoothing != 0.0 {
            return Some((&["label_smoothing"], "smooths labels"));
        }
        match self.stop_at {
            Some(StopAt::TrainAccuracy(_)) => Some((
                &["stop_at", "train_accuracy"],
                "waits for an accuracy, which only classes have",
            )),
            None => None,
        }
    }

    /// The training that they describe.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            seed: self.seed,
            length: self.length,
            stop_at: self.stop_at,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            schedule: self.schedule.clone(),
            augment: self.augment,
            label_smoothing: self.label_smoothing,
            eval_every: self.eval_every,
            checkpoint_every: self.checkpoints.and_then(|c| c.every),
            checkpoint_every_steps: self.checkpoints.and_then(|c| c.every_steps),
            drop_last: self.drop_last,
        }
    }
}

impl Kind for Train {
    type Params = Params;
    const NAME: &'static str = "train";
    const REVISION: u32 = 3;
    const SUMMARY: &'static str =
        "Trains a network: from scratch, from given weights, or under a pruning mask.";
    const DOC: &'static str = include_str!("train.md");
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("train", "Training data; several are put together in order.").many(),
        // not `observes_only`: a state holds the test metrics of the epochs behind it, so it belongs to one test set
        InputSpec::optional("test", "Data to measure on, never to learn from."),
        InputSpec::optional(
            "init",
            "A model to start from (warm start); with `model` also a PyTorch state dict in safetensors.",
        ),
        InputSpec::optional("mask", "A pruning mask, kept after every step."),
    ];

    fn outputs(params: &Params) -> Outputs {
        let mut all = vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ];
        if params.checkpoints.is_some() {
            all.push(OutputSpec::new("checkpoints", "checkpoints")?);
        }
        Ok(all)
    }

    /// Where batch norm may meet a last batch of one image, what becomes of that is spelt out: it decides the result.
    fn settle(p: &mut Params) {
        if p.drop_last.is_none() && p.model.as_ref().is_some_and(ModelSpec::norms_units) {
            p.drop_last = Some(false);
        }
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut add = |path: Vec<String>, message: String, hint: Option<&str>| {
            problems.push(ParamProblem {
                path,
                message,
                hint: hint.map(str::to_owned),
            });
        };
        let path = |parts: &[&str]| parts.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        if p.model.is_none() && !needs.iter().any(|n| n == "init") {
            add(
                vec![],
                "`model` is missing".into(),
                Some(
                    "say `model: {mlp: {hidden: [100, 100]}}`, or give a model under `needs: {init: ...}`",
                ),
            );
        }
        if let Some(model) = &p.model {
            for (at, message) in model.problems() {
                add([vec!["model".to_owned()], at].concat(), message, None);
            }
        }
        if let Some(message) = p.init.problem() {
            add(path(&["init"]), message, None);
        }
        match p.length {
            Length::Epochs(0) => add(
                path(&["length", "epochs"]),
                "must be at least 1".into(),
                None,
            ),
            Length::Steps(0) => add(
                path(&["length", "steps"]),
                "must be at least 1".into(),
                None,
            ),
            Length::Epochs(n) if n > MAX_EPOCHS => add(
                path(&["length", "epochs"]),
                format!("at most {MAX_EPOCHS} are possible"),
                None,
            ),
            _ => {}
        }
        if let Some(StopAt::TrainAccuracy(a)) = p.stop_at
            && !(a > 0.0 && a <= 1.0)
        {
            add(
                path(&["stop_at", "train_accuracy"]),
                format!("must be above 0 and at most 1, got {a}"),
                Some("accuracies are fractions: 0.99 is 99 %"),
            );
        }
        if p.batch_size == 0 {
            add(path(&["batch_size"]), "must be at least 1".into(), None);
        }
        if p.batch_size == 1 && p.model.as_ref().is_some_and(ModelSpec::norms_units) {
            add(
                path(&["batch_size"]),
                "batch norm turns the only value of a unit into the same for every image: nothing can be learnt".into(),
                Some("give 2 or more, or take layers without batch norm"),
            );
        }
        for (at, message) in p.optimizer.problems() {
            add([path(&["optimizer"]), path(&at)].concat(), message, None);
        }
        for (at, message) in p.schedule.problems() {
            add([path(&["schedule"]), path(&at)].concat(), message, None);
        }
        if !(0.0..1.0).contains(&p.label_smoothing) {
            add(
                path(&["label_smoothing"]),
                format!("must be at least 0 and below 1, got {}", p.label_smoothing),
                None,
            );
        }
        for (name, pixels) in [("crop", p.augment.crop), ("cutout", p.augment.cutout)] {
            if pixels > 1 << 16 {
                add(
                    path(&["augment", name]),
                    "is larger than any image".into(),
                    None,
                );
            }
        }
        if p.eval_every == 0 {
            add(path(&["eval_every"]), "must be at least 1".into(), None);
        }
        if let Some(Checkpoints { every, every_steps }) = p.checkpoints {
            for (name, every) in [("every", every), ("every_steps", every_steps)] {
                if every == Some(0) {
                    add(
                        path(&["checkpoints", name]),
                        "must be at least 1".into(),
                        None,
                    );
                }
            }
            if every.or(every_steps).is_none() {
                add(
                    path(&["checkpoints"]),
                    "it does not say when".into(),
                    Some("e.g. `checkpoints: {every: 5}`"),
                );
            }
        }
        if i64::try_from(p.seed).is_err() {
            add(path(&["seed"]), "must be below 2^63".into(), None);
        }
        problems
    }

    fn member(p: &Params, output: &str, picks: &[(String, Value)]) -> Result<String, String> {
        let ("checkpoints", Some(kept)) = (output, p.checkpoints) else {
            return Err(format!(
                "nothing can be picked from `{output}`; `checkpoints` has files by epoch and step"
            ));
        };
        let [(name, value)] = picks else {
            return Err("one epoch or one step picks a checkpoint".into());
        };
        let (every, last) = match (name.as_str(), p.length) {
            ("epoch", Length::Epochs(n)) => (kept.every, Some(n)),
            ("step", Length::Steps(n)) => (kept.every_steps, Some(n)),
            ("epoch", _) => (kept.every, None),
            ("step", _) => (kept.every_steps, None),
            _ => {
                return Err(format!(
                    "checkpoints are picked by `epoch` or `step`, not by `{name}`"
                ));
            }
        };
        let Some(every) = every else {
            let add = if name == "epoch" {
                "every"
            } else {
                "every_steps"
            };
            return Err(format!(
                "none is kept by {name}: add `{add}` to `checkpoints`"
            ));
        };
        let last_kept = last.map(|last| last - last % every).filter(|n| *n > 0);
        let named = match (value.as_str(), p.stop_at, last_kept) {
            (Some("last"), Some(_), _) => {
                return Err(format!(
                    "which {name} is the last is not known before: `stop_at` may end the training"
                ));
            }
            (Some("last"), None, Some(kept)) => Some(kept),
            (Some("last"), None, None) => {
                return Err(format!(
                    "which {name} is the last is not known before; give its number"
                ));
            }
            _ => value.as_u64(),
        };
        let wanted = named.filter(|n| *n > 0 && n.is_multiple_of(every));
        let upto = last.map_or(String::new(), |n| format!(" up to {n}"));
        match wanted.filter(|n| last.is_none_or(|last| *n <= last)) {
            None => Err(format!(
                "there is no checkpoint of {name} {value}: one is kept every {every}{upto}"
            )),
            Some(n) if name == "epoch" => Ok(checkpoint_file(Pause::Epoch(n))),
            Some(n) => Ok(checkpoint_file(Pause::Step(n))),
        }
    }

    fn facts(params: &Params, known: &facts::Known) -> facts::Findings {
        facts::train(params, known)
    }

    fn states(p: &Params) -> Vec<StatePoint> {
        let recipe = p.recipe();
        let point = |pause: Pause| StatePoint {
            label: pause.label(),
            preimage: json!({"format": 1, "model": p.model, "init": p.init, "recipe": recipe.prefix(pause)}),
        };
        recipe.pauses().into_iter().map(point).collect()
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let train = read_data(task.inputs("train"), "train")?;
        let test = match task.inputs("test") {
            [] => None,
            items => Some(read_data(items, "test")?),
        };
        if train.info().shape.is_table() && !p.augment.is_none() {
            let text = format!(
                "`augment` changes images, and `{}` is a table",
                train.info().name
            );
            return Err(Failure::new(text).hint("take `augment` out").into());
        }
        let (architecture, weights) = first_weights(p, task.inputs("init"), &train)?;
        check_data(&train, &architecture.identity, "train")?;
        if let Head::Targets(_) = architecture.identity.outputs
            && let Some((at, why)) = p.only_for_classes()
        {
            let text = format!(
                "`{}` {why}, and `{}` has numbers to be learnt ({})",
                at.join("."),
                train.info().name,
                train.info().targets.join(", ")
            );
            return Err(Failure::new(text)
                .hint("leave it out; classes are a `label`, not `targets`")
                .into());
        }
        if let Some(test) = &test {
            check_data(test, &architecture.identity, "test")?;
        }
        let masks = match task.inputs("mask") {
            [] => Masks::none(&architecture),
            [one] => Masks::new(&mask::read(&one.path, &architecture)?, &architecture),
            _ => anyhow::bail!(Failure::new("input `mask`: more than one artifact")),
        };
        let recipe = p.recipe();
        let mut listener = ToEngine {
            states_dir: task.job.states_dir.clone(),
            task,
        };
        let start = match listener.task.job.resume.clone() {
            None => Start::Weights(weights),
            Some(resume) => match State::read(&resume.path, &architecture) {
                Ok(state) => Start::State(Box::new(state)),
                // a state only saves time: without it the result is the same
                Err(e) => {
                    listener.warning(format!(
                        "cannot resume from {}: {e:#}; training from the start",
                        resume.label
                    ));
                    Start::Weights(weights)
                }
            },
        };
        let trained = fit(
            &recipe,
            &architecture,
            Sets {
                train: &train,
                test: test.as_ref(),
            },
            &masks,
            start,
            &mut listener,
        )?;
        let rows: Vec<_> = trained.rows.iter().map(|m| m.row(p.seed)).collect();
        write_model(&architecture, trained.model, task.output("model")?)?;
        table::write(task.output("metrics")?, &rows)?;
        if p.checkpoints.is_some() {
            write_checkpoints(
                &architecture,
                trained.checkpoints,
                task.output("checkpoints")?,
            )?;
        }
        let figures = [
            ("learning_s", trained.learning_s),
            ("evaluating_s", trained.evaluating_s),
            ("images", trained.images as f64),
        ];
        task.figures
            .extend(figures.map(|(name, value)| (name.to_owned(), value)));
        if trained.learning_s > 0.0 {
            task.figures.insert(
                "images_per_s".into(),
                trained.images as f64 / trained.learning_s,
            );
        }
        Ok(())
    }
}

/// Reads data sets and puts them together.
pub(crate) fn read_data(inputs: &[JobInput], name: &str) -> anyhow::Result<Dataset> {
    let parts = inputs
        .iter()
        .map(Dataset::input)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Dataset::concat(&parts).map_err(|e| Failure::new(format!("input `{name}`: {e}")).into())
}

/// The network for this data and the weights it starts with.
fn first_weights(
    p: &Params,
    init: &[JobInput],
    data: &Dataset,
) -> anyhow::Result<(Arc<Architecture>, NamedTensors)> {
    let given = p.model.as_ref().map(|model| fitted(model, data));
    match (init, given) {
        ([], Some(identity)) => {
            let architecture = Architecture::new(identity)?;
            let weights = init::fresh(&architecture, p.init, p.seed, "init");
            Ok((Arc::new(architecture), weights))
        }
        ([], None) => Err(Failure::new("neither `model` nor an input `init`")
            .hint("say `model:` or give a model under `needs:`")
            .into()),
        ([one], given) => {
            let start = Model::read_as(&one.path, given.as_ref())?;
            if let Some(model) = &p.model
                && let Some((at, here, there)) =
                    check::unlike(model, &start.architecture.identity.model)
            {
                let message = format!(
                    "the model under `needs: {{init: ...}}` is another one than `model`: its `{at}` is {there}, not {here}"
                );
                return Err(Failure::new(message)
                    .hint("leave `model` out, or make both the same")
                    .into());
            }
            Ok((Arc::new(start.architecture), start.tensors))
        }
        _ => Err(Failure::new("input `init`: more than one artifact")
            .hint("to start from a mean of models use an `average` stage")
            .into()),
    }
}

pub(crate) fn write_model(
    architecture: &Architecture,
    tensors: NamedTensors,
    path: &Path,
) -> anyhow::Result<()> {
    Model {
        architecture: architecture.clone(),
        tensors,
    }
    .write(path)
}

fn write_checkpoints(
    architecture: &Architecture,
    all: BTreeMap<Pause, NamedTensors>,
    dir: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", dir.display())))?;
    for (at, tensors) in all {
        write_model(architecture, tensors, &dir.join(checkpoint_file(at)))?;
    }
    Ok(())
}

/// What a checkpoint is called among the files of the output `checkpoints`.
fn checkpoint_file(at: Pause) -> String {
    match at {
        Pause::Epoch(n) => format!("epoch-{n:06}.safetensors"),
        Pause::Step(n) => format!("step-{n:06}.safetensors"),
    }
}

/// Passes news to the engine.
struct ToEngine<'a> {
    task: &'a mut Task,
    states_dir: PathBuf,
}

impl Listener for ToEngine<'_> {
    fn progress(&mut self, done: u64, total: u64, text: String) {
        self.task.send(&Event::Progress {
            done,
            total: Some(total),
            unit: "steps".into(),
            text,
        });
    }

    fn state_path(&mut self, pause: Pause) -> Option<PathBuf> {
        Some(
            self.states_dir
                .join(format!("{}.state", pause.label().replace(' ', "-"))),
        )
    }

    fn state(&mut self, pause: Pause, path: &Path) {
        self.task.send(&Event::State {
            label: pause.label(),
            path: path.to_owned(),
        });
    }

    fn warning(&mut self, text: String) {
        self.task.send(&Event::Warning { text });
    }
}
