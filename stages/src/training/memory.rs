//! What an optimizer remembers, as a file of its own: beside a checkpoint it lets another training
//! go on as if it were this one.
//!
//! A safetensors file: `first/…` and `second/…` hold tensors in file layout, the metadata entry
//! `repro.optimizer` says after how many steps.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::optim::{HostMoments, Optimizer};
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::weights::{Encoding, NamedTensor, NamedTensors, TensorFile};

const KEY: &str = "repro.optimizer";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    steps: u64,
}

/// An optimizer's memory after some steps.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerMemory {
    /// Steps it has done.
    pub steps: u64,
    /// `first/…` and `second/…` in file layout.
    pub tensors: NamedTensors,
}

/// A memory can only be gone on with at the step that it is of.
///
/// # Errors
/// They are two.
pub fn same_step(memory: u64, starts_at: u64) -> Result<(), Failure> {
    if memory == starts_at {
        return Ok(());
    }
    let text =
        format!("the optimizer's memory is of step {memory}, and `starts_at` is step {starts_at}");
    Err(Failure::new(text)
        .hint("an epoch must have as many steps here as there; or give `starts_at: {steps: ..}`"))
}

impl OptimizerMemory {
    /// Of moments by position in [`Architecture::parameters`].
    pub fn of(architecture: &Architecture, memory: &[HostMoments], steps: u64) -> OptimizerMemory {
        let mut tensors = NamedTensors::new();
        add(&mut tensors, architecture, memory);
        OptimizerMemory { steps, tensors }
    }

    /// Writes an artifact.
    pub fn write(self, path: &Path) -> anyhow::Result<()> {
        let (version, steps) = (1, self.steps);
        let header = serde_json::to_string(&Header { version, steps })?;
        TensorFile {
            tensors: self.tensors,
            metadata: [(KEY.to_owned(), header)].into(),
        }
        .write(path, Encoding::F32)
    }

    /// Reads an artifact.
    ///
    /// # Errors
    /// The file is none.
    pub fn read(path: &Path) -> anyhow::Result<OptimizerMemory> {
        let file = TensorFile::read(path)?;
        let bad = |why: &str| {
            let text = format!("`{}` is no optimizer's memory: {why}", path.display());
            Failure::new(text).hint("pick one of `train`'s output `optimizers`")
        };
        let header = file.metadata.get(KEY);
        let header = header.ok_or_else(|| bad(&format!("no `{KEY}` entry")))?;
        let header: Header =
            serde_json::from_str(header).map_err(|e| bad(&format!("its entry: {e}")))?;
        if header.version != 1 {
            return Err(bad(&format!("version {}", header.version)).into());
        }
        Ok(OptimizerMemory {
            steps: header.steps,
            tensors: file.tensors,
        })
    }

    /// The moments, by position in [`Architecture::parameters`].
    ///
    /// # Errors
    /// A tensor of another network; moments that this optimizer does not keep, or lacks.
    pub fn moments(
        self,
        architecture: &Architecture,
        optimizer: &Optimizer,
    ) -> Result<Vec<HostMoments>, Failure> {
        let kept = HostMoments::new(optimizer, 1);
        for (which, kept) in [("first", &kept.first), ("second", &kept.second)] {
            let has = self
                .tensors
                .keys()
                .any(|name| name.split_once('/').is_some_and(|(w, _)| w == which));
            let what = match (has, kept.is_empty()) {
                (true, true) => "which this optimizer does not keep",
                (false, false) => "which this optimizer needs",
                _ => continue,
            };
            let verb = if has { "has" } else { "lacks" };
            let text = format!(
                "the optimizer's memory {verb} {which} moments, {what}: it is of another optimizer"
            );
            return Err(Failure::new(text).hint(
                "go on with the same optimizer, or leave the need `optimizer` out to start it afresh",
            ));
        }
        let mut memory = vec![HostMoments::default(); architecture.parameters.len()];
        for (name, tensor) in &self.tensors {
            take(&mut memory, architecture, name, tensor).ok_or_else(|| {
                let own = name.split_once('/').map_or("", |(_, name)| name);
                let here = architecture.parameters.iter().find(|p| p.name == own);
                let text = match here {
                    Some(here) => format!(
                        "the optimizer's memory has `{name}` of shape {:?}, which is {:?} here",
                        tensor.shape, here.shape
                    ),
                    None => format!(
                        "the optimizer's memory has `{name}`, which is of no parameter here"
                    ),
                };
                Failure::new(text).hint("the two networks must be the same")
            })?;
        }
        Ok(memory)
    }
}

/// Adds moments as tensors.
pub(super) fn add(to: &mut NamedTensors, architecture: &Architecture, memory: &[HostMoments]) {
    for (p, memory) in architecture.parameters.iter().zip(memory) {
        for (prefix, data) in [("first", &memory.first), ("second", &memory.second)] {
            if !data.is_empty() {
                let tensor = NamedTensor {
                    shape: p.shape.clone(),
                    data: p.layout.to_file(data),
                };
                to.insert(format!("{prefix}/{}", p.name), tensor);
            }
        }
    }
}

/// Puts a tensor of [`add`] in its place; `None` if there is none for it.
pub(super) fn take(
    memory: &mut [HostMoments],
    architecture: &Architecture,
    name: &str,
    tensor: &NamedTensor,
) -> Option<()> {
    let (which, name) = name.split_once('/')?;
    let fits = |p: &&_| {
        let p: &crate::nn::layer::Parameter = p;
        p.name == name && p.shape == tensor.shape
    };
    let at = architecture.parameters.iter().position(|p| fits(&p))?;
    let values = architecture.parameters[at].layout.to_memory(&tensor.data);
    match which {
        "first" => memory[at].first = values,
        "second" => memory[at].second = values,
        _ => return None,
    }
    Some(())
}
