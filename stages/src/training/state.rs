//! A training in the middle: everything needed to go on as if it had never stopped, in one file.
//!
//! A safetensors file: `model/…`, `first/…`, `second/…` (the optimizer's memory) `checkpoint/N/…`
//! (of an epoch), `checkpoint/step N/…` and `best/…` hold tensors in file layout, the metadata
//! entry `repro.state` the rest as JSON. Whose state it is, is the caller's concern.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::optim::HostMoments;
use super::recipe::Pause;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::weights::{Encoding, NamedTensor, NamedTensors, TensorFile};

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
        for (at, model) in &self.checkpoints {
            let at = match at {
                Pause::Epoch(n) => n.to_string(),
                Pause::Step(n) => format!("step {n}"),
            };
            add(&format!("checkpoint/{at}"), model);
        }
        if let Some(best) = &self.best {
            add("best", best);
        }
        for (p, memory) in architecture.parameters.iter().zip(&self.memory) {
            for (prefix, data) in [("first", &memory.first), ("second", &memory.second)] {
                if !data.is_empty() {
                    let tensor = NamedTensor {
                        shape: p.shape.clone(),
                        data: p.layout.to_file(data),
                    };
                    tensors.insert(format!("{prefix}/{}", p.name), tensor);
                }
            }
        }
        let header = serde_json::to_string(&Header {
            version: VERSION,
            progress: self.progress.clone(),
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
        let mut memory = vec![HostMoments::default(); architecture.parameters.len()];
        for (name, tensor) in file.tensors {
            let parameter = |n: &str| {
                architecture
                    .parameters
                    .iter()
                    .position(|p| p.name == n && p.shape == tensor.shape)
            };
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
                    let at = match at.strip_prefix("step ") {
                        Some(step) => step.parse().map(Pause::Step),
                        None => at.parse().map(Pause::Epoch),
                    };
                    checkpoints
                        .entry(at.map_err(|_| unknown())?)
                        .or_default()
                        .insert(n.to_owned(), tensor);
                }
                ("first", n) => {
                    let i = parameter(n).ok_or_else(unknown)?;
                    memory[i].first = architecture.parameters[i].layout.to_memory(&tensor.data);
                }
                ("second", n) => {
                    let i = parameter(n).ok_or_else(unknown)?;
                    memory[i].second = architecture.parameters[i].layout.to_memory(&tensor.data);
                }
                _ => return Err(unknown().into()),
            }
        }
        architecture.check(&model, &of)?;
        for checkpoint in checkpoints.values().chain(&best) {
            architecture.check(checkpoint, &of)?;
        }
        Ok(State {
            model,
            memory,
            checkpoints,
            best,
            progress: header.progress,
        })
    }
}
