//! What follows from the parameters of `train` and what is known of its inputs, and what cannot
//! work.

use super::checkpoints;
use super::doubts::{refuse_test_set, warn_of_idle_later};
use super::params::Params;
use crate::facts::{
    AnswersFact, CheckpointsFact, DataFact, Fact, Finding, Findings, Known, MaskFact, MetricsFact,
    ModelFact, OptimizersFact, Recorded, Subject, ValueFact, check_all, check_all_or, check_mask,
    size, together,
};
use crate::kind;
use crate::kinds::training::recorded::{learnt, told};
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::init;
use crate::nn::spec::ModelSpec;
use crate::nn::transfer::Transfer;
use crate::training::length::{EvalEvery, Length};
use crate::training::mask::Masked;
use crate::training::memory::same_step;

/// The remedy where data are shown to a model that is not made for them.
pub(super) const TAKE_PARTS: &str = "use data of the sort that the model is trained on, or say `partial: true`: the layers that fit by name and shape are taken, the others start fresh";

/// Weights that a stage prunes in one way and that a training of its own model holds in another.
fn warn_of_other_masked(params: &Params, mask: &MaskFact, known: &Known, found: &mut Findings) {
    let maker = known.maker_of(["mask", "init"]);
    let (Some(maker), Some(theirs)) = (maker, mask.masked) else {
        return;
    };
    let (said, hint) = match (theirs, params.masked) {
        (Masked::Frozen, Masked::Zero) => (
            format!(
                "`{maker}` leaves pruned weights their values (`masked: frozen`), and this training sets them to 0"
            ),
            "say `masked: frozen` here too, or leave it out there",
        ),
        (Masked::Zero, Masked::Frozen) => (
            format!("`{maker}` sets pruned weights to 0, so what is frozen here is 0"),
            "say `masked: frozen` there too, or leave it out here",
        ),
        (Masked::Zero, Masked::Zero) | (Masked::Frozen, Masked::Frozen) => return,
    };
    let place = Subject::Param(vec!["masked".to_owned()]);
    found.warnings.push(Finding::new(place, said, hint));
}

/// Of all outputs.
pub(super) fn facts(params: &Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let train = known.data("train", &mut found);
    let data = together(&train, "train", &mut found);
    let init = known.models("init", params.model.is_some(), &mut found);
    let init = init.into_iter().next();
    let is_fresh = init.is_none() || params.partial;
    // Fresh weights are made for the training data; a given model must fit it, or be taken in part.
    let identity = match init {
        Some(start) if params.partial => {
            let theirs = start.and_then(|model| model.identity);
            let same = theirs.as_ref().map(|identity| identity.model.clone());
            let model = params.model.clone().or(same);
            let identity = fresh(model.as_ref(), &data, &mut found);
            refuse_overruled(params, identity.as_ref(), theirs, &mut found);
            identity
        }
        Some(start) => {
            let identity = start.and_then(|model| model.identity);
            if let (Some(written), Some(identity)) = (&params.model, &identity)
                && let Some((at, here, there)) = kind::unlike(written, &identity.model)
            {
                let at = if at.is_empty() { "model" } else { &at };
                found.param(
                    &["model"],
                    format!(
                        "the model under `needs: {{init: ...}}` is another one: its `{at}` is {there}, not {here}"
                    ),
                    "leave `model` out, make both the same, or say `partial: true`",
                );
            }
            check_all_or(TAKE_PARTS, &train, identity.as_ref(), "train", &mut found);
            identity
        }
        None => fresh(params.model.as_ref(), &data, &mut found),
    };
    if is_fresh && let Some(Ok(architecture)) = identity.clone().map(Architecture::new) {
        let differing = params.differing();
        if let Err((at, failure)) = init::check(&architecture, params.init, &differing) {
            let at: Vec<&str> = at.iter().map(String::as_str).collect();
            found.param(&at, failure.message, failure.hint.unwrap_or_default());
        }
        for (at, text) in init::doubts(&architecture, params.init, &differing) {
            let doubt = Finding::new(Subject::Param(at), text, "");
            found.warnings.push(doubt);
        }
    }
    if let Some(Ok(architecture)) = identity.clone().map(Architecture::new)
        && let Err((at, failure)) = params.paces().of(&architecture)
    {
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        found.param(&at, failure.message, failure.hint.unwrap_or_default());
    }
    let later = known.data("later", &mut found);
    let test = known.data("test", &mut found);
    let validation = known.data("validation", &mut found);
    let same_as = identity
        .clone()
        .or_else(|| as_identity(params.model.as_ref(), &data));
    let joining = together(&later, "later", &mut found);
    warn_of_idle_later(params, (&data, &joining), known, &mut found);
    check_all(&later, same_as.as_ref(), "later", &mut found);
    check_all(&test, same_as.as_ref(), "test", &mut found);
    check_all(&validation, same_as.as_ref(), "validation", &mut found);
    refuse_test_set(&validation, known, &mut found);
    if let Some(Some(mask)) = known.masks("mask", &mut found).first() {
        if let Some(identity) = &identity {
            check_mask(mask, identity, &mut found);
        }
        warn_of_other_masked(params, mask, known, &mut found);
    }
    let recipe = params.recipe();
    let architecture = identity.clone().map(Architecture::new);
    let norms_units = architecture.is_some_and(|a| a.is_ok_and(|a| a.norms_units()));
    // Sizes of epochs that others join are looked at when they are known.
    if let Some(images) = data.images
        && let Err(failure) = recipe.check_batches(norms_units && later.is_empty(), images)
    {
        let hint = failure.hint.unwrap_or_default();
        match (images, params.drop_last) {
            (0 | 1, _) => found.input(("train", 0), failure.message, hint),
            (_, Some(true)) => found.param(&["drop_last"], failure.message, hint),
            _ => found.param(&["batch_size"], failure.message, hint),
        }
    }
    let steps_per_epoch = data.images.map(|images| params.steps_per_epoch(images));
    refuse_other_step(params, steps_per_epoch, known, &mut found);
    let epochs = match params.length {
        Length::Steps(_) if !later.is_empty() => None,
        _ => params.epochs(data.images),
    };
    if let (Some(keep), Some(epochs)) = (params.checkpoints, epochs)
        && keep.every.is_some_and(|every| every > epochs)
    {
        found.param(
            &["checkpoints", "every"],
            format!(
                "the training ends after {epochs} epoch{}: no checkpoint is ever kept",
                if epochs == 1 { "" } else { "s" }
            ),
            "give a number that is not larger, or leave `checkpoints` out",
        );
    }
    let answers = learnt(identity.as_ref(), &data);
    if let Some(AnswersFact::Targets(_)) = answers
        && let Some((at, why)) = params.only_for_classes()
    {
        found.param(
            at,
            format!("this {why}, and numbers are to be learnt from these data"),
            "leave it out",
        );
    }
    if let Some(AnswersFact::Classes(_)) = answers
        && let Some((at, why)) = params.only_for_numbers()
    {
        found.param(
            at,
            format!("this {why}, and classes are to be learnt from these data"),
            "watch `validation_loss` or `validation_accuracy`",
        );
    }
    let each = Recorded::Every(1);
    let of_classes = ["loss", "accuracy"];
    let mut values = told(("train", each), answers, &of_classes, &["mse", "mae"]);
    values.push(ValueFact {
        split: None,
        name: "learning_rate".to_owned(),
        recorded: each,
    });
    if params.later.is_some() {
        values.push(ValueFact {
            split: None,
            name: "images".to_owned(),
            recorded: each,
        });
    }
    if params.subnetwork.is_some() {
        values.push(ValueFact {
            split: None,
            name: "share_kept".to_owned(),
            recorded: each,
        });
    }
    if params.length == Length::Epochs(0) {
        values.clear();
    }
    let some = match params.eval_every {
        EvalEvery::Epochs(every) => Recorded::Every(every.max(1)),
        EvalEvery::Steps(_) => Recorded::Sometimes,
    };
    for (split, sets) in [("test", &test), ("validation", &validation)] {
        if !sets.is_empty() {
            let errors = ["mse", "mae", "r2"];
            values.extend(told((split, some), answers, &of_classes, &errors));
        }
    }
    let model = ModelFact { identity };
    if let Some(kept) = params.checkpoints {
        let whole = params.stop_at.is_none();
        let count = |every: Option<u64>, all: Option<u64>| {
            let all = all.filter(|_| whole).unwrap_or(0);
            every.map_or(0, |every| all / every.max(1))
        };
        let (epochs, steps) = match params.length {
            Length::Epochs(n) => (Some(n), None),
            Length::Steps(n) => (None, Some(n)),
        };
        let several = count(kept.every, epochs) + count(kept.every_steps, steps) > 1;
        let pick = match (kept.every, kept.every_steps) {
            (None, Some(steps)) => format!("step={steps}"),
            (epochs, _) => format!("epoch={}", epochs.unwrap_or(1)),
        };
        let kept = CheckpointsFact {
            model: model.clone(),
            several,
            pick,
        };
        found.say("checkpoints", Fact::Checkpoints(kept));
    }
    if params.checkpoints.is_some_and(|kept| kept.optimizer) {
        // With images that join later epochs differ in length.
        let steps_per_epoch = steps_per_epoch.filter(|_| params.later.is_none());
        let kept = OptimizersFact { steps_per_epoch };
        found.say("optimizers", Fact::Optimizers(kept));
    }
    if let Some(averages) = &params.averages {
        let kept = CheckpointsFact {
            model: model.clone(),
            several: averages.ema.len() > 1,
            pick: format!("ema={}", averages.ema.first().unwrap_or(&0.999)),
        };
        found.say("averages", Fact::Checkpoints(kept));
    }
    if params.subnetwork.is_some() {
        found.say("mask", Fact::Mask(model.clone().into()));
        found.say("weights", Fact::Model(model.clone()));
    }
    found.say("model", Fact::Model(model));
    found.say(
        "metrics",
        Fact::Metrics(MetricsFact {
            values: Some(values),
            last_epoch: epochs,
            may_end_earlier: params.stop_at.is_some(),
        }),
    );
    found
}

/// The optimizer's memory must be of the place where the training goes on.
fn refuse_other_step(
    params: &Params,
    steps_per_epoch: Option<u64>,
    known: &Known,
    found: &mut Findings,
) {
    let (Some(at), Some((Fact::Optimizers(kept), file))) =
        (params.starts_at, known.only_member("optimizer"))
    else {
        return;
    };
    let step = |length: Length, per_epoch: Option<u64>| match length {
        Length::Steps(n) => Some(n),
        Length::Epochs(_) => per_epoch.map(|per_epoch| length.steps_total(per_epoch)),
    };
    let of = checkpoints::place_of(file).and_then(|of| step(of, kept.steps_per_epoch));
    if let (Some(of), Some(at)) = (of, step(at, steps_per_epoch))
        && let Err(failure) = same_step(of, at)
    {
        found.param(
            &["starts_at"],
            failure.message,
            failure.hint.unwrap_or_default(),
        );
    }
}

/// Whatever is said of first weights that are not fresh would be silently left out.
fn refuse_overruled(
    params: &Params,
    ours: Option<&Identity>,
    theirs: Option<Identity>,
    found: &mut Findings,
) {
    let made = |identity: Identity| Architecture::new(identity).ok();
    let (Some(ours), Some(theirs)) = (ours.cloned().and_then(made), theirs.and_then(made)) else {
        return;
    };
    let given = |name: &str| {
        let tensor = theirs.parameters.iter().find(|p| p.name == name);
        tensor.map(|p| &*p.shape)
    };
    let transfer = Transfer::between(&ours, given);
    if let Some((at, why)) = init::overruled(&ours, &params.differing(), |parameter| {
        transfer.takes(parameter)
    }) {
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        found.param(&at, why.message, why.hint.unwrap_or_default());
    }
}

/// A network with fresh weights, fitted to the data.
fn fresh(model: Option<&ModelSpec>, data: &DataFact, found: &mut Findings) -> Option<Identity> {
    let identity = as_identity(model, data)?;
    match Architecture::new(identity.clone()) {
        Ok(_) => Some(identity),
        Err(failure) => {
            let message = failure
                .message
                .strip_prefix("model: ")
                .unwrap_or(&failure.message);
            // A layer that does not fit is named by its number.
            let layer = message
                .strip_prefix("layer ")
                .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
                .map(|n| n.saturating_sub(1).to_string());
            let path: Vec<&str> = match &layer {
                Some(layer) => vec!["model", "conv", "layers", layer],
                None => vec!["model"],
            };
            let hint = failure
                .hint
                .unwrap_or_else(|| format!("the images are {}", size(identity.input)));
            found.param(&path, message, hint);
            None
        }
    }
}

fn as_identity(model: Option<&ModelSpec>, data: &DataFact) -> Option<Identity> {
    Some(Identity {
        model: model?.clone(),
        input: data.image?,
        outputs: data.outputs()?,
    })
}
