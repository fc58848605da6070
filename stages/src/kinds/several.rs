//! Several models of one shape, as the need `models` brings them: gathered, or a directory of
//! checkpoints.

use std::path::PathBuf;

use crate::facts::{Findings, ModelFact};
use crate::failure::Failure;
use crate::kind;
use crate::nn::architecture::Identity;
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
