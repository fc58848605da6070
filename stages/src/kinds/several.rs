//! Several models of one shape, as the need `models` brings them: gathered, or a directory of
//! checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Findings, Known, ModelFact, Several};
use crate::failure::Failure;
use crate::kind;
use crate::kinds::network;
use crate::nn::architecture::{Architecture, Head, Identity};
use crate::nn::network::Network;
use crate::training::evaluation::check_data;
use repro_protocol::job::JobInput;

/// The files of the models; a directory stands for all its files, sorted by name.
///
/// # Errors
/// A directory that cannot be read, or without a model.
pub fn files(inputs: &[JobInput]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let path = &input.path;
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |e| Failure::new(format!("cannot read `{}`: {e}", path.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|e| e == "safetensors") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            let text = format!(
                "`{}` is a directory without a model (`*.safetensors`)",
                path.display()
            );
            return Err(Failure::new(text)
                .hint("gather models (`train[*].model`) or give the output `checkpoints`")
                .into());
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// A network that answers with classes, and fits the data.
///
/// # Errors
/// The file is none; the network gives numbers; it fits other data. Each is told of the model by its
/// number, from 1, and by the name of its file where that says more.
pub fn classifier(
    (number, path): (usize, &Path),
    network: Option<&Identity>,
    data: &Dataset,
) -> anyhow::Result<Network<Device>> {
    let model = network::read(path, network)?;
    let named = path.extension().and(path.file_name());
    let named = named.map_or_else(String::new, |name| format!(" (`{}`)", name.display()));
    let of = format!("input `models`, number {number}{named}");
    check_data(data, &model.architecture.identity, "data")
        .map_err(|failure| failure.within(&of))?;
    if let Some(failure) = gives_numbers(&model.architecture.identity) {
        return Err(failure.within(&of).into());
    }
    let architecture = Arc::new(model.architecture);
    Network::load(&device::open()?, architecture, &model.tensors)
}

/// Why a network has no classes to answer with.
pub fn gives_numbers(identity: &Identity) -> Option<Failure> {
    let Head::Targets(_) = identity.outputs else {
        return None;
    };
    let failure = Failure::new("this model gives numbers, and the answers here are classes");
    Some(failure.hint("`evaluate` measures such models, and `average` averages their weights"))
}

/// `is 1 model`, `are 2 models`.
pub fn number(models: usize) -> String {
    match models {
        1 => "is 1 model".to_owned(),
        n => format!("are {n} models"),
    }
}

/// What is known of the models of the need `models`.
pub struct Gathered {
    /// What they are, as far as one of them is known.
    pub identity: Option<Identity>,
    /// How many artifacts bring them.
    pub count: usize,
    /// Whether there are several.
    pub several: Several,
}

/// The models of the need `models`, of files that do not say it themselves as `network` says; one
/// that differs from the first is a problem with this remedy.
pub fn gathered(
    network: Option<&Identity>,
    hint: &str,
    known: &Known,
    found: &mut Findings,
) -> Gathered {
    let (models, several) = known.collections("models", network.is_some(), found);
    let called: Vec<Option<ModelFact>> = models
        .into_iter()
        .map(|model| Some(network::known(model, network, found)))
        .collect();
    Gathered {
        identity: same(&called, "models", hint, found),
        count: called.len(),
        several,
    }
}

/// A model has the shape of the first.
///
/// # Errors
/// It has not.
pub fn of_one_shape(
    path: &Path,
    this: &Architecture,
    first: &Architecture,
    hint: &str,
) -> Result<(), Failure> {
    if this.identity == first.identity {
        return Ok(());
    }
    let why = unlike(&this.identity, &first.identity);
    let message = format!("`{}`: its {why}", path.display());
    Err(Failure::new(message).hint(hint))
}

/// The identity that models share; one that differs from the first is a problem with this remedy.
pub fn same(
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

/// Where a model differs from the first one.
pub fn unlike(this: &Identity, first: &Identity) -> String {
    match kind::unlike(this, first) {
        Some((at, a, b)) => format!("`{at}` is {a}; of the first model it is {b}"),
        None => "layers are others than those of the first model".to_owned(),
    }
}
