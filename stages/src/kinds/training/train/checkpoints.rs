//! The models kept on the way: the names of their files, and which one a pipeline means.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::params::Params;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::model::Model;
use crate::training::length::Length;
use crate::training::memory::OptimizerMemory;
use crate::training::recipe::Pause;
use crate::training::trailing::name_of;
use crate::weights::NamedTensors;

/// The file that `stage.checkpoints[name=value]` means, or why there is none.
pub(super) fn member(
    p: &Params,
    output: &str,
    picks: &[(String, Value)],
) -> Result<String, String> {
    if let ("averages", Some(averages)) = (output, &p.averages) {
        let picked = match picks {
            [(name, value)] if name == "ema" => value.as_f64(),
            _ => None,
        };
        let decay = picked.filter(|decay| averages.ema.contains(decay));
        let file = decay.map(|decay| format!("{}.safetensors", name_of(decay)));
        return file.ok_or_else(|| {
            let decays: Vec<String> = averages.ema.iter().map(f64::to_string).collect();
            format!("averages are picked by `ema`: {}", decays.join(", "))
        });
    }
    let ("checkpoints" | "optimizers", Some(kept)) = (output, p.checkpoints) else {
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

pub(super) fn write_model(
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

pub(super) fn write(
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

pub(super) fn write_averages(
    architecture: &Architecture,
    all: BTreeMap<String, NamedTensors>,
    dir: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", dir.display())))?;
    for (name, tensors) in all {
        let file = dir.join(format!("{name}.safetensors"));
        write_model(architecture, tensors, &file)?;
    }
    Ok(())
}

pub(super) fn write_optimizers(
    all: BTreeMap<Pause, OptimizerMemory>,
    dir: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", dir.display())))?;
    for (at, memory) in all {
        memory.write(&dir.join(checkpoint_file(at)))?;
    }
    Ok(())
}

/// The file name of a checkpoint in the output `checkpoints`.
fn checkpoint_file(at: Pause) -> String {
    match at {
        Pause::Epoch(n) => format!("epoch-{n:06}.safetensors"),
        Pause::Step(n) => format!("step-{n:06}.safetensors"),
    }
}

/// The place in a training that a file of checkpoints is of.
pub(super) fn place_of(file: &str) -> Option<Length> {
    let (unit, n) = file.strip_suffix(".safetensors")?.split_once('-')?;
    let n = n.parse().ok()?;
    match unit {
        "epoch" => Some(Length::Epochs(n)),
        "step" => Some(Length::Steps(n)),
        _ => None,
    }
}
