//! The artifact `model`: weights with the description that makes them a network.

use super::architecture::{Architecture, Identity};
use crate::kind::Failure;
use crate::weights::{NamedTensors, TensorFile};

/// The metadata entry that holds the [`Identity`] as JSON.
const MODEL_KEY: &str = "repro.model";

/// A network with its weights: the artifact `model`.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its layers.
    pub architecture: Architecture,
    /// Its weights, as in the file.
    pub tensors: NamedTensors,
}

impl Model {
    /// Reads an artifact.
    pub fn read(path: &std::path::Path) -> anyhow::Result<Model> {
        let file = TensorFile::read(path)?;
        let of = format!("`{}`", path.display());
        let Some(text) = file.metadata.get(MODEL_KEY) else {
            let hint = "it must be the output `model` of a stage (train, perturb, prune, average)";
            return Err(Failure::new(format!(
                "{of} holds no `{MODEL_KEY}` entry, so it is not a model"
            ))
            .hint(hint)
            .into());
        };
        let identity: Identity = serde_json::from_str(text).map_err(|e| {
            Failure::new(format!(
                "{of}: its `{MODEL_KEY}` entry is not understood: {e}"
            ))
        })?;
        let architecture = Architecture::new(identity)?;
        architecture.check(&file.tensors, &of)?;
        Ok(Model {
            architecture,
            tensors: file.tensors,
        })
    }

    /// Writes an artifact that PyTorch can read.
    pub fn write(&self, path: &std::path::Path) -> anyhow::Result<()> {
        let metadata = [
            ("format".to_owned(), "pt".to_owned()),
            (
                MODEL_KEY.to_owned(),
                serde_json::to_string(&self.architecture.identity)?,
            ),
        ];
        TensorFile {
            tensors: self.tensors.clone(),
            metadata: metadata.into(),
        }
        .write(path, crate::weights::Store::F32)
    }
}
