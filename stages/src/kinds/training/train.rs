//! The kind `train`: pretraining, warm starting and fine-tuning.

mod checkpoints;
mod doubts;
mod known;
mod params;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Findings, Known};
use crate::failure::Failure;
use crate::kind::{self, InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place, StatePoint};
use crate::nn::architecture::{Architecture, Head, Identity};
use crate::nn::init;
use crate::nn::model::Model;
use crate::nn::spec::ModelSpec;
use crate::nn::transfer::transfer;
use crate::table;
use crate::task::Task;
use crate::training::evaluation::{check_data, fitted};
use crate::training::fit::{Listener, Sets, Start, expect_room, fit};
use crate::training::mask::{self, Masks};
use crate::training::memory::OptimizerMemory;
use crate::training::recipe::Pause;
use crate::training::state::State;
use crate::weights::{Encoding, NamedTensors, TensorFile};
use repro_protocol::job::Event;

pub use params::{Checkpoints, Params};

/// See the module.
pub struct Train;

impl Kind for Train {
    type Params = Params;
    const NAME: &'static str = "train";
    const REVISION: u32 = 3;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Trains a network: from scratch, from given weights, or under a pruning mask.";
    const DOC: &'static str = include_str!("train/guide.md");
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("train", "Training data; several are put together in order.").many(),
        InputSpec::optional(
            "later",
            "Training data that are not visible from the start; several are put together in order. The parameter `later` says when they join.",
        )
        .many(),
        // Not `observes_only`: a state holds test metrics of earlier epochs, so it belongs to one
        // test set.
        InputSpec::optional("test", "Data to measure on, never to learn from."),
        InputSpec::optional(
            "validation",
            "Data to choose by (when to stop, which of several trainings), held out from the training data. Not the test set: what is chosen by it cannot be measured on it.",
        ),
        InputSpec::optional(
            "init",
            "A model to start from (warm start); with `model` also a PyTorch state dict in safetensors.",
        ),
        InputSpec::optional(
            "optimizer",
            "What the optimizer of an earlier training remembered at the place `starts_at`: an entry of its output `optimizers`.",
        ),
        InputSpec::optional("mask", "A pruning mask, applied after every step."),
    ];

    fn outputs(params: &Params) -> Outputs {
        let mut all = vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ];
        if params.checkpoints.is_some() {
            all.push(OutputSpec::new("checkpoints", "checkpoints")?);
        }
        if params.checkpoints.is_some_and(|c| c.optimizer) {
            all.push(OutputSpec::new("optimizers", "optimizers")?);
        }
        if params.averages.is_some() {
            all.push(OutputSpec::new("averages", "averages")?);
        }
        if params.subnetwork.is_some() {
            for name in ["mask", "scores", "weights"] {
                all.push(OutputSpec::new(name, &format!("{name}.safetensors"))?);
            }
        }
        Ok(all)
    }

    /// If batch norm may meet a last batch of one image, `drop_last` is spelt out, because it
    /// decides the result.
    fn settle(p: &mut Params) {
        if p.drop_last.is_none() && p.model.as_ref().is_some_and(ModelSpec::norms_units) {
            p.drop_last = Some(false);
        }
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        params::problems(p, needs)
    }

    fn member(p: &Params, output: &str, picks: &[(String, Value)]) -> Result<String, String> {
        checkpoints::member(p, output, picks)
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        known::facts(params, known)
    }

    fn states(p: &Params) -> Vec<StatePoint> {
        let recipe = p.recipe();
        let point = |pause: Pause| StatePoint {
            label: pause.label(),
            preimage: p.preimage(recipe.prefix(pause)),
        };
        recipe.pauses().into_iter().map(point).collect()
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let train = Dataset::put_together(task.inputs("train"), "train")?;
        let held_out = |name: &str| match task.inputs(name) {
            [] => Ok(None),
            items => Dataset::put_together(items, name).map(Some),
        };
        let (test, validation) = (held_out("test")?, held_out("validation")?);
        p.augment.check(&train)?;
        if let ([test], [validation]) = (task.inputs("test"), task.inputs("validation"))
            && test.digest == validation.digest
        {
            let text = format!("input `validation`: {}", doubts::SAME_AS_TEST);
            return Err(Failure::new(text).hint(doubts::HOLD_OUT).into());
        }
        let (architecture, weights) = first_weights(p, task, &train)?;
        check_data(&train, &architecture.identity, "train").map_err(|failure| {
            // Empty data fit no network.
            match train.is_empty() || task.inputs("init").is_empty() {
                true => failure,
                false => failure.hint(known::TAKE_PARTS),
            }
        })?;
        let first = train.len();
        let train = match task.inputs("later") {
            [] => train,
            items => {
                let later = Dataset::put_together(items, "later")?;
                Dataset::concat(&[train, later])
                    .map_err(|e| Failure::new(format!("inputs `train` and `later`: {e}")))?
            }
        };
        let (misplaced, has, hint) = match architecture.identity.outputs {
            Head::Targets(_) => (
                p.only_for_classes(),
                format!("numbers to be learnt ({})", train.info().targets.join(", ")),
                "leave it out; classes are a `label`, not `targets`",
            ),
            Head::Classes(_) => (
                p.only_for_numbers(),
                "classes".to_owned(),
                "watch `validation_loss` or `validation_accuracy`",
            ),
        };
        if let Some((at, why)) = misplaced {
            let text = format!(
                "`{}` {why}, and `{}` has {has}",
                at.join("."),
                train.info().name
            );
            return Err(Failure::new(text).hint(hint).into());
        }
        for (name, set) in [("test", &test), ("validation", &validation)] {
            if let Some(set) = set {
                check_data(set, &architecture.identity, name)?;
            }
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
        let memory = match listener.task.inputs("optimizer") {
            [] => None,
            [one] => Some(OptimizerMemory::read(&one.path)?),
            _ => anyhow::bail!(Failure::new("input `optimizer`: more than one artifact")),
        };
        let beginning = match memory {
            None => Start::Weights(weights),
            Some(memory) => Start::Memory(weights, memory),
        };
        let start = match listener.task.job.resume.clone() {
            None => beginning,
            Some(resume) => match State::read(&resume.path, &architecture) {
                Ok(state) => Start::State(Box::new(state)),
                // A state only saves time: without it the result is the same.
                Err(e) => {
                    listener.warning(format!(
                        "cannot resume from {}: {e:#}; training from the start",
                        resume.label
                    ));
                    beginning
                }
            },
        };
        let sets = Sets {
            train: &train,
            first,
            test: test.as_ref(),
            validation: validation.as_ref(),
        };
        let has_room = |device: &Device| expect_room(device, &recipe, &architecture, &sets);
        let trained = fit(
            &device::open_with(has_room)?,
            &recipe,
            &architecture,
            sets,
            masks,
            start,
            &mut listener,
        )?;
        let rows: Vec<_> = trained.rows.iter().map(|m| m.row(p.seed)).collect();
        checkpoints::write_model(&architecture, trained.model, task.output("model")?)?;
        table::write(task.output("metrics")?, &rows)?;
        if p.checkpoints.is_some() {
            checkpoints::write(
                &architecture,
                trained.checkpoints,
                task.output("checkpoints")?,
            )?;
        }
        if recipe.keep_optimizer {
            checkpoints::write_optimizers(trained.optimizers, task.output("optimizers")?)?;
        }
        if p.averages.is_some() {
            let averages = task.output("averages")?;
            checkpoints::write_averages(&architecture, trained.averages, averages)?;
        }
        if let Some(found) = trained.found {
            let (mask, scores) = (TensorFile::from(found.mask), TensorFile::from(found.scores));
            mask.write(task.output("mask")?, Encoding::Bits)?;
            scores.write(task.output("scores")?, Encoding::F32)?;
            checkpoints::write_model(&architecture, found.weights, task.output("weights")?)?;
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

/// The network for this data and the weights it starts with.
fn first_weights(
    p: &Params,
    task: &mut Task,
    data: &Dataset,
) -> anyhow::Result<(Arc<Architecture>, NamedTensors)> {
    let given = p.model.as_ref().map(|model| fitted(model, data));
    let fresh = |identity: Identity| -> anyhow::Result<_> {
        let architecture = Architecture::new(identity)?;
        let weights = init::first(&architecture, p.init, &p.differing(), p.seed, data)?;
        Ok((Arc::new(architecture), weights))
    };
    match (task.inputs("init"), given) {
        ([], Some(identity)) => fresh(identity),
        ([], None) => Err(Failure::new("neither `model` nor an input `init`")
            .hint("say `model:` or give a model under `needs:`")
            .into()),
        ([one], given) if p.partial => {
            let (identity, theirs) = Model::parts(&one.path)?;
            let same = identity.map(|identity| fitted(&identity.model, data));
            let Some(identity) = given.or(same) else {
                return Err(Failure::new("`init` does not say which network it is")
                    .hint("say `model:`")
                    .into());
            };
            let (architecture, mut weights) = fresh(identity)?;
            let found = transfer(&architecture, &mut weights, theirs)?;
            let overruled = init::overruled(&architecture, &p.differing(), |parameter| {
                found.takes(parameter)
            });
            if let Some((at, why)) = overruled {
                return Err(why.within(&format!("`{}`", at.join("."))).into());
            }
            let text = found.to_string();
            task.send(&Event::Warning { text });
            Ok((architecture, weights))
        }
        ([one], given) => {
            let start = Model::read_as(&one.path, given.as_ref())?;
            if let Some(model) = &p.model
                && let Some((at, here, there)) =
                    kind::unlike(model, &start.architecture.identity.model)
            {
                let message = format!(
                    "the model under `needs: {{init: ...}}` is another one than `model`: its `{at}` is {there}, not {here}"
                );
                return Err(Failure::new(message)
                    .hint("leave `model` out, make both the same, or say `partial: true`")
                    .into());
            }
            Ok((Arc::new(start.architecture), start.tensors))
        }
        _ => Err(Failure::new("input `init`: more than one artifact")
            .hint("to start from a mean of models use an `average` stage")
            .into()),
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
