//! A training in the middle: everything needed to go on as if it had never stopped, in one file.
//!
//! A safetensors file: `model/…`, `first/…`, `second/…` (the optimizer's memory) `checkpoint/N/…`
//! (of an epoch), `checkpoint/step N/…`, `optimizer N/first/…`, `optimizer step N/first/…`,
//! `beside NAME/…` and `best/…` hold tensors in file layout, the metadata entry `repro.state` the
//! rest as JSON. Whose state it is, is the caller's concern.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::memory::{self, OptimizerMemory};
use super::optim::HostMoments;
use super::recipe::Pause;
use super::trailing;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::weights::{Encoding, NamedTensors, TensorFile};

const KEY: &str = "repro.state";
const VERSION: u32 = 1;

/// A training in the middle.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Weights and batch-norm statistics.
    pub model: NamedTensors,
    /// By position in [`Architecture::parameters`].
    pub memory: Vec<HostMoments>,
    /// Models kept so far.
    pub checkpoints: BTreeMap<Pause, NamedTensors>,
    /// The optimizer's memory beside each, where that is kept.
    pub optimizers: BTreeMap<Pause, OptimizerMemory>,
    /// What is as long as the weights: averages, slow weights, or the scores of a search, whose
    /// `model` holds all weights.
    pub beside: BTreeMap<String, NamedTensors>,
    /// The model that was the best on validation data, where that one is kept.
    pub best: Option<NamedTensors>,
    /// Where it is, and what was measured.
    pub progress: Progress,
}

/// Where a training is, and what was measured on the way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Whole epochs done.
    pub epoch: u64,
    /// Steps done of the epoch begun.
    pub step_in_epoch: u64,
    /// Steps done in all.
    pub step: u64,
    /// Sum over the epoch begun of loss (cross-entropy or squared error) × images.
    pub loss_sum: f64,
    /// Images of the epoch begun classified right.
    pub correct: u64,
    /// The absolute errors of the epoch begun, where numbers are learnt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub absolute_error: f64,
    /// Images of the epoch begun seen.
    pub seen: u64,
    /// Running train accuracy of the last whole epoch.
    pub last_accuracy: Option<f64>,
    /// The metrics so far.
    pub rows: Vec<Measured>,
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    progress: Progress,
    /// After how many steps each of the optimizer's memories is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    optimizers: BTreeMap<String, u64>,
}

impl State {
    /// Writes a file; on return it is whole (it is made under another name first).
    pub fn write(&self, path: &Path, architecture: &Architecture) -> anyhow::Result<()> {
        let mut tensors = NamedTensors::new();
        let mut add = |prefix: &str, from: &NamedTensors| {
            tensors.extend(
                from.iter()
                    .map(|(name, t)| (format!("{prefix}/{name}"), t.clone())),
            );
        };
        add("model", &self.model);
        let place = |at: &Pause| match at {
            Pause::Epoch(n) => n.to_string(),
            Pause::Step(n) => format!("step {n}"),
        };
        for (at, model) in &self.checkpoints {
            add(&format!("checkpoint/{}", place(at)), model);
        }
        for (at, memory) in &self.optimizers {
            add(&format!("optimizer {}", place(at)), &memory.tensors);
        }
        if let Some(best) = &self.best {
            add("best", best);
        }
        for (name, tensors) in &self.beside {
            add(&format!("beside {name}"), tensors);
        }
        memory::add(&mut tensors, architecture, &self.memory);
        let header = serde_json::to_string(&Header {
            version: VERSION,
            progress: self.progress.clone(),
            optimizers: self
                .optimizers
                .iter()
                .map(|(at, memory)| (place(at), memory.steps))
                .collect(),
        })?;
        let partial = path.with_extension("partial");
        TensorFile {
            tensors,
            metadata: [(KEY.to_owned(), header)].into(),
        }
        .write(&partial, Encoding::F32)?;
        std::fs::rename(&partial, path)
            .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())).into())
    }

    /// Reads a file of a training with this architecture.
    pub fn read(path: &Path, architecture: &Architecture) -> anyhow::Result<State> {
        let file = TensorFile::read(path)?;
        let of = format!("state `{}`", path.display());
        let bad = |what: String| {
            Failure::new(format!("{of}: {what}")).hint("run again without the state")
        };
        let text = file
            .metadata
            .get(KEY)
            .ok_or_else(|| bad(format!("no `{KEY}` entry")))?;
        let header: Header = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if header.version != VERSION {
            return Err(bad(format!(
                "version {}, this program writes {VERSION}",
                header.version
            ))
            .into());
        }
        let mut model = NamedTensors::new();
        let mut checkpoints: BTreeMap<Pause, NamedTensors> = BTreeMap::new();
        let mut best: Option<NamedTensors> = None;
        let mut beside: BTreeMap<String, NamedTensors> = BTreeMap::new();
        let mut memory = vec![HostMoments::default(); architecture.parameters.len()];
        let pause = |at: &str| match at.strip_prefix("step ") {
            Some(step) => step.parse().map(Pause::Step),
            None => at.parse().map(Pause::Epoch),
        };
        let mut optimizers: BTreeMap<Pause, OptimizerMemory> = BTreeMap::new();
        for (at, &steps) in &header.optimizers {
            let at = pause(at).map_err(|_| bad(format!("no place `{at}`")))?;
            let tensors = NamedTensors::new();
            optimizers.insert(at, OptimizerMemory { steps, tensors });
        }
        for (name, tensor) in file.tensors {
            let unknown = || bad(format!("unknown tensor `{name}`"));
            match name.split_once('/').ok_or_else(unknown)? {
                ("model", n) => {
                    model.insert(n.to_owned(), tensor);
                }
                ("best", n) => {
                    best.get_or_insert_default().insert(n.to_owned(), tensor);
                }
                ("checkpoint", rest) => {
                    let (at, n) = rest.split_once('/').ok_or_else(unknown)?;
                    checkpoints
                        .entry(pause(at).map_err(|_| unknown())?)
                        .or_default()
                        .insert(n.to_owned(), tensor);
                }
                ("first" | "second", _) => {
                    memory::take(&mut memory, architecture, &name, &tensor).ok_or_else(unknown)?;
                }
                (kept, n) if kept.starts_with("beside ") => {
                    let name = kept["beside ".len()..].to_owned();
                    beside.entry(name).or_default().insert(n.to_owned(), tensor);
                }
                (kept, rest) if kept.starts_with("optimizer ") => {
                    let at = pause(&kept["optimizer ".len()..]).map_err(|_| unknown())?;
                    let memory = optimizers.get_mut(&at).ok_or_else(unknown)?;
                    memory.tensors.insert(rest.to_owned(), tensor);
                }
                _ => return Err(unknown().into()),
            }
        }
        architecture.check(&model, &of)?;
        if let Some(name) = beside
            .iter()
            .find(|(_, b)| !trailing::fits(architecture, b))
        {
            return Err(bad(format!("`{}` is of another network", name.0)).into());
        }
        for checkpoint in checkpoints.values().chain(&best) {
            architecture.check(checkpoint, &of)?;
        }
        Ok(State {
            model,
            memory,
            checkpoints,
            optimizers,
            beside,
            best,
            progress: header.progress,
        })
    }
}
