//! What is known of models: which network fits which data, and which weights belong together.

use super::{DataFact, Fact, Findings, Known, MetricsFact, ModelFact, ValueFact, size};
use crate::kinds::average::{self, Weights};
use crate::kinds::{evaluate, train};
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::spec::ModelSpec;
use crate::training::length::Length;

/// Of `train`.
pub fn train(params: &train::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let train = known.data("train", &mut found);
    let data = together(&train, "train", &mut found);
    let init = known.models("init", &mut found).into_iter().next();
    // Fresh weights are made for the training data; a given model must fit it.
    let identity = match init {
        Some(start) => {
            let identity = start.and_then(|model| model.identity);
            if let (Some(written), Some(identity)) = (&params.model, &identity)
                && *written != identity.model
            {
                let other = serde_json::to_string(&identity.model).unwrap_or_default();
                found.param(
                    &["model"],
                    format!("the model under `needs: {{init: ...}}` is another one: {other}"),
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
    let batch = (params.batch_size as u64).max(1);
    let epochs = match params.length {
        Length::Epochs(n) => Some(n),
        Length::Steps(n) => data
            .images
            .map(|images| n.div_ceil(images.div_ceil(batch).max(1))),
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
    let value = |split: Option<&str>, name: &str| ValueFact {
        split: split.map(str::to_owned),
        name: name.to_owned(),
    };
    let mut values = vec![
        value(Some("train"), "loss"),
        value(Some("train"), "accuracy"),
        value(None, "learning_rate"),
    ];
    if !test.is_empty() {
        values.extend([value(Some("test"), "loss"), value(Some("test"), "accuracy")]);
    }
    found.say("model", Fact::Model(ModelFact { identity }));
    found.say(
        "metrics",
        Fact::Metrics(MetricsFact {
            values: Some(values),
            last_epoch: epochs,
        }),
    );
    found
}

/// Of `evaluate`.
pub fn evaluate(params: &evaluate::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let model = known.first_model("model", &mut found);
    let data = known.data("data", &mut found);
    together(&data, "data", &mut found);
    let identity = model.and_then(|model| model.identity);
    check_all(&data, identity.as_ref(), "data", &mut found);
    let values = ["loss", "accuracy", "accuracy[*]"].map(|name| ValueFact {
        split: Some(params.split.clone()),
        name: name.to_owned(),
    });
    found.say(
        "metrics",
        Fact::Metrics(MetricsFact {
            values: Some(values.to_vec()),
            last_epoch: None,
        }),
    );
    found
}

/// Of `average`.
pub fn average(params: &average::Params, known: &Known) -> Findings {
    let mut found = Findings::default();
    let models = known.models("models", &mut found);
    let identity = same(
        &models,
        "models",
        "only models of one shape can be averaged",
        &mut found,
    );
    if let Weights::Given(weights) = &params.weights
        && weights.len() != models.len()
        && models.iter().all(Option::is_some)
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
    found.say("model", Fact::Model(ModelFact { identity }));
    found
}

/// Of `perturb`.
pub fn perturb(known: &Known) -> Findings {
    let mut found = Findings::default();
    let model = known.first_model("model", &mut found);
    found.say("model", Fact::Model(model.unwrap_or_default()));
    found
}

/// Of `prune`.
pub fn prune(known: &Known) -> Findings {
    let mut found = Findings::default();
    let model = known.first_model("model", &mut found);
    let model = model.unwrap_or_default();
    let masks = known.masks("mask", &mut found);
    let rewind = known.models("rewind", &mut found);
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

/// What several data sets are together; those that cannot be put together are complained of.
fn together(sets: &[Option<DataFact>], name: &str, found: &mut Findings) -> DataFact {
    let mut whole = DataFact::default();
    let mut images = (!sets.is_empty()).then_some(0u64);
    for (item, set) in sets.iter().enumerate() {
        images = images
            .zip(set.as_ref().and_then(|set| set.images))
            .map(|(sum, n)| sum.saturating_add(n));
        let Some(set) = set else { continue };
        let texts = [
            ("", whole.set.clone(), set.set.clone()),
            ("images of ", whole.image.map(size), set.image.map(size)),
            (
                "classes: ",
                whole.classes.map(|n| n.to_string()),
                set.classes.map(|n| n.to_string()),
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
        whole.classes = whole.classes.or(set.classes);
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
        classes: data.classes?,
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
        } else if let Some(classes) = set.classes
            && classes != identity.classes
        {
            found.input(
                (name, item),
                format!(
                    "this data set has {classes} classes, the model {}",
                    identity.classes
                ),
                "",
            );
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
                let text = |i: &Identity| {
                    let model = serde_json::to_string(&i.model).unwrap_or_default();
                    format!(
                        "{model} on images of {}, {} classes",
                        size(i.input),
                        i.classes
                    )
                };
                let (this, other) = (text(identity), text(first));
                found.input(
                    (name, item),
                    format!("this is {this}; the first model is {other}"),
                    hint,
                );
                break;
            }
        }
    }
    first.cloned()
}
