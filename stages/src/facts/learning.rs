//! What is known of models: which network fits which data, and which weights belong together.

use super::{
    AnswersFact, CheckpointsFact, DataFact, Fact, Findings, Known, MetricsFact, ModelFact,
    Recorded, ValueFact, size,
};
use crate::check;
use crate::kinds::average::{self, Weights};
use crate::kinds::network::NAMED;
use crate::kinds::{evaluate, perturb, prune, train};
use crate::nn::architecture::{Architecture, Head, Identity};
use crate::nn::spec::ModelSpec;
use crate::training::evaluation::OTHER_ANSWERS;
use crate::training::length::Length;

/// Of `train`.
pub fn train(params: &train::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let train = known.data("train", &mut found);
    let data = together(&train, "train", &mut found);
    let init = known.models("init", params.model.is_some(), &mut found);
    let init = init.into_iter().next();
    // Fresh weights are made for the training data; a given model must fit it.
    let identity = match init {
        Some(start) => {
            let identity = start.and_then(|model| model.identity);
            if let (Some(written), Some(identity)) = (&params.model, &identity)
                && let Some((at, here, there)) = check::unlike(written, &identity.model)
            {
                found.param(
                    &["model"],
                    format!(
                        "the model under `needs: {{init: ...}}` is another one: its `{at}` is {there}, not {here}"
                    ),
                    "leave `model` out, or make both the same",
                );
            }
            check_all(&train, identity.as_ref(), "train", &mut found);
            identity
        }
        None => fresh(params.model.as_ref(), &data, &mut found),
    };
    let test = known.data("test", &mut found);
    let same_as = identity
        .clone()
        .or_else(|| as_identity(params.model.as_ref(), &data));
    check_all(&test, same_as.as_ref(), "test", &mut found);
    if let (Some(Some(mask)), Some(identity)) = (known.masks("mask", &mut found).first(), &identity)
    {
        check_mask(mask, identity, &mut found);
    }
    let recipe = params.recipe();
    let architecture = identity.clone().map(Architecture::new);
    let norms_units = architecture.is_some_and(|a| a.is_ok_and(|a| a.norms_units()));
    if let Some(images) = data.images
        && let Err(failure) = recipe.check_batches(norms_units, images)
    {
        let hint = failure.hint.unwrap_or_default();
        match (images, params.drop_last) {
            (0 | 1, _) => found.input(("train", 0), failure.message, hint),
            (_, Some(true)) => found.param(&["drop_last"], failure.message, hint),
            _ => found.param(&["batch_size"], failure.message, hint),
        }
    }
    let batch = (params.batch_size as u64).max(1);
    let epochs = match params.length {
        Length::Epochs(n) => Some(n),
        Length::Steps(n) => data.images.map(|images| {
            let steps = match params.drop_last {
                Some(true) => images / batch,
                _ => images.div_ceil(batch),
            };
            n.div_ceil(steps.max(1))
        }),
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
    let each = Recorded::Every(1);
    let of_classes = ["loss", "accuracy"];
    let mut values = told(("train", each), answers, &of_classes, &["mse", "mae"]);
    values.push(ValueFact {
        split: None,
        name: "learning_rate".to_owned(),
        recorded: each,
    });
    if !test.is_empty() {
        let some = Recorded::Every(params.eval_every.max(1));
        let errors = ["mse", "mae", "r2"];
        values.extend(told(("test", some), answers, &of_classes, &errors));
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

/// Of `evaluate`.
pub fn evaluate(params: &evaluate::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let model = known.first_model("model", params.model.is_some(), &mut found);
    let data = known.data("data", &mut found);
    let whole = together(&data, "data", &mut found);
    let identity = model.and_then(|model| model.identity);
    check_all(&data, identity.as_ref(), "data", &mut found);
    let values = told(
        (&params.split, Recorded::Once),
        learnt(identity.as_ref(), &whole),
        &["loss", "accuracy", "accuracy[*]"],
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

/// Of `average`.
pub fn average(params: &average::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let is_named = params.network.is_some();
    let (models, several) = known.collections("models", is_named, &mut found);
    let called: Vec<Option<ModelFact>> = models
        .iter()
        .map(|model| Some(named(model.clone(), params.network.as_ref(), &mut found)))
        .collect();
    let identity = same(
        &called,
        "models",
        "only models of one shape can be averaged",
        &mut found,
    );
    if let Weights::Given(weights) = &params.weights
        && weights.len() != models.len()
        && several.counted
    {
        found.param(
            &["weights", "given"],
            format!(
                "there are {} numbers for {} models",
                weights.len(),
                models.len()
            ),
            "give one number per model, in the order of `needs: models`",
        );
    }
    let data = known.data("train", &mut found);
    together(&data, "train", &mut found);
    check_all(&data, identity.as_ref(), "train", &mut found);
    let is_said = known.has("train") || params.batch_norm.is_some();
    let architecture = identity.clone().map(Architecture::new);
    let has_norm = architecture.is_some_and(|a| a.is_ok_and(|a| a.has_batch_norm()));
    if several.certain && has_norm && !is_said {
        let failure = average::collapse();
        found.input(
            ("models", 0),
            failure.message,
            failure.hint.unwrap_or_default(),
        );
    }
    found.say("model", Fact::Model(ModelFact { identity }));
    found
}

/// Of `perturb`.
pub fn perturb(params: &perturb::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let model = known.first_model("model", params.network.is_some(), &mut found);
    let model = named(model, params.network.as_ref(), &mut found);
    found.say("model", Fact::Model(model));
    found
}

/// Of `prune`.
pub fn prune(params: &prune::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let is_named = params.network.is_some();
    let model = known.first_model("model", is_named, &mut found);
    let model = named(model, params.network.as_ref(), &mut found);
    let masks = known.masks("mask", &mut found);
    let rewind = known.models("rewind", is_named, &mut found);
    if let Some(identity) = &model.identity {
        if let Some(Some(mask)) = masks.first() {
            check_mask(mask, identity, &mut found);
        }
        if let Some(Some(other)) = rewind.first()
            && let Some(other) = &other.identity
            && other != identity
        {
            found.input(
                ("rewind", 0),
                "this is a model of another shape than `model`",
                "rewind to a checkpoint of the same training or to its first weights",
            );
        }
    }
    found.say("model", Fact::Model(model.clone()));
    found.say("mask", Fact::Mask(model));
    found
}

/// A model, which is `network` where nobody knows it; where it is known to be another one, that is complained of once.
fn named(model: Option<ModelFact>, network: Option<&Identity>, found: &mut Findings) -> ModelFact {
    let known = model.and_then(|model| model.identity);
    if let (Some(known), Some(network)) = (&known, network)
        && let Some((at, there, here)) = check::unlike(known, network)
        && found.problems.is_empty()
    {
        found.param(
            &["network"],
            format!("the model under `needs:` is another one: its `{at}` is {there}, not {here}"),
            NAMED,
        );
    }
    let identity = known.or_else(|| network.cloned());
    ModelFact { identity }
}

/// What a network learns, by what it is or by what it sees.
fn learnt(identity: Option<&Identity>, data: &DataFact) -> Option<AnswersFact> {
    let of_identity = identity.map(|identity| match identity.outputs {
        Head::Classes(n) => AnswersFact::Classes(Some(n)),
        Head::Targets(n) => AnswersFact::Targets(n),
    });
    of_identity.or(data.answers)
}

/// The values of a part of the data; all of them where nobody knows what is learnt.
fn told(
    (split, recorded): (&str, Recorded),
    answers: Option<AnswersFact>,
    of_classes: &[&str],
    of_targets: &[&str],
) -> Vec<ValueFact> {
    let names = match answers {
        Some(AnswersFact::Classes(_)) => of_classes.to_vec(),
        Some(AnswersFact::Targets(_)) => of_targets.to_vec(),
        None => [of_classes, of_targets].concat(),
    };
    let value = |name: &str| ValueFact {
        split: Some(split.to_owned()),
        name: name.to_owned(),
        recorded,
    };
    names.into_iter().map(value).collect()
}

/// What several data sets are together; those that cannot be put together are complained of.
fn together(sets: &[Option<DataFact>], name: &str, found: &mut Findings) -> DataFact {
    let mut whole = DataFact::default();
    let mut images = (!sets.is_empty()).then_some(0u64);
    for (item, set) in sets.iter().enumerate() {
        images = images
            .zip(set.as_ref().and_then(|set| set.images))
            .map(|(sum, n)| sum.saturating_add(n));
        let Some(set) = set else { continue };
        let sort = |of: &DataFact| match of.answers? {
            AnswersFact::Classes(_) => Some("classes".to_owned()),
            AnswersFact::Targets(_) => Some("numbers to be learnt".to_owned()),
        };
        let number = |of: &DataFact| of.outputs().map(|outputs| outputs.width().to_string());
        let texts = [
            ("", whole.set.clone(), set.set.clone()),
            ("images of ", whole.image.map(size), set.image.map(size)),
            ("", sort(&whole), sort(set)),
            (
                if set.has_targets() {
                    "targets: "
                } else {
                    "classes: "
                },
                number(&whole),
                number(set),
            ),
        ];
        let differs = texts.into_iter().find_map(|(what, a, b)| {
            let (a, b) = (a?, b?);
            (a != b).then(|| format!("{what}`{b}` cannot be put together with {what}`{a}`"))
        });
        if let Some(message) = differs {
            found.input(
                (name, item),
                message,
                "only parts of one data set go together",
            );
            continue;
        }
        whole.set = whole.set.or_else(|| set.set.clone());
        whole.image = whole.image.or(set.image);
        whole.answers = match (whole.answers, set.answers) {
            (None | Some(AnswersFact::Classes(None)), Some(known)) => Some(known),
            (known, _) => known,
        };
    }
    whole.images = images;
    whole
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

/// Data that is shown to a network must have its size and classes.
fn check_all(
    sets: &[Option<DataFact>],
    identity: Option<&Identity>,
    name: &str,
    found: &mut Findings,
) {
    let Some(identity) = identity else { return };
    for (item, set) in sets.iter().enumerate() {
        let Some(set) = set else { continue };
        if set.images == Some(0) {
            found.input((name, item), "this data set has no images", "");
        }
        if let Some(image) = set.image
            && image != identity.input
        {
            found.input(
                (name, item),
                format!(
                    "these images are {} (height, width, channels), the model is made for {}",
                    size(image),
                    size(identity.input)
                ),
                "use data of the same size as the model is trained on",
            );
        } else if let Some(message) = other_answers(set, identity.outputs) {
            let hint = match (set.has_targets(), identity.outputs) {
                (true, Head::Classes(_)) | (false, Head::Targets(_)) => OTHER_ANSWERS,
                _ => "",
            };
            found.input((name, item), message, hint);
        }
    }
}

/// Why a data set does not ask for what a network gives.
fn other_answers(set: &DataFact, outputs: Head) -> Option<String> {
    match (set.answers?, outputs) {
        (AnswersFact::Classes(None), Head::Classes(_)) => None,
        (AnswersFact::Classes(None), Head::Targets(_)) => {
            Some(format!("this data set has classes, the model {outputs}"))
        }
        _ => {
            let has = set.outputs().filter(|has| *has != outputs)?;
            let n = outputs.width();
            Some(match (has, outputs) {
                (Head::Classes(_), Head::Classes(_)) => {
                    format!("this data set has {has}, the model {n}")
                }
                _ => format!("this data set has {has}, the model {outputs}"),
            })
        }
    }
}

fn check_mask(mask: &ModelFact, identity: &Identity, found: &mut Findings) {
    let Some(of) = mask.identity.as_ref().filter(|of| *of != identity) else {
        return;
    };
    let made = |identity: &Identity| Architecture::new(identity.clone()).ok();
    let (Some(theirs), Some(ours)) = (made(of), made(identity)) else {
        return;
    };
    let foreign = theirs
        .parameters
        .iter()
        .filter(|p| p.role.is_weight())
        .find(|p| {
            !ours
                .parameters
                .iter()
                .any(|own| own.role.is_weight() && own.name == p.name && own.shape == p.shape)
        });
    if let Some(weight) = foreign {
        found.input(
            ("mask", 0),
            format!(
                "this mask is of another model: its weight `{}` {:?} is none of this one",
                weight.name, weight.shape
            ),
            "a mask is the output `mask` of a `prune` stage on a model of the same shape",
        );
    }
}

/// Where a model differs from the first one.
pub(crate) fn unlike(this: &Identity, first: &Identity) -> String {
    match check::unlike(this, first) {
        Some((at, a, b)) => format!("`{at}` is {a}; of the first model it is {b}"),
        None => "layers are others than those of the first model".to_owned(),
    }
}

/// What models have in common; one that differs from the first is complained of.
fn same(
    models: &[Option<ModelFact>],
    name: &str,
    hint: &str,
    found: &mut Findings,
) -> Option<Identity> {
    let mut first: Option<&Identity> = None;
    for (item, model) in models.iter().enumerate() {
        let Some(identity) = model.as_ref().and_then(|m| m.identity.as_ref()) else {
            continue;
        };
        match first {
            None => first = Some(identity),
            Some(first) if first == identity => {}
            Some(first) => {
                found.input(
                    (name, item),
                    format!("its {}", unlike(identity, first)),
                    hint,
                );
                break;
            }
        }
    }
    first.cloned()
}
