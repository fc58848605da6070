//! The artifact `model`: weights with the description that makes them a network.

use super::architecture::{Architecture, Identity};
use super::foreign;
use crate::failure::Failure;
use crate::weights::{self, NamedTensors, TensorFile};

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
    ///
    /// # Errors
    /// The file is none, or damaged.
    pub fn read(path: &std::path::Path) -> anyhow::Result<Model> {
        Model::read_as(path, None)
    }

    /// Reads an artifact, or a state dict that other programs wrote (PyTorch's, in safetensors),
    /// which does not say what network it is: that is `given`. An artifact says it itself.
    ///
    /// # Errors
    /// The file is neither; its tensors are not those of the network.
    pub fn read_as(path: &std::path::Path, given: Option<&Identity>) -> anyhow::Result<Model> {
        let file = TensorFile::read(path)?;
        let of = format!("`{}`", path.display());
        let identity = match (file.metadata.get(MODEL_KEY), given) {
            (Some(text), _) => identity(text, &of)?,
            (None, Some(given)) => {
                let architecture = Architecture::new(given.clone())?;
                let tensors = foreign::adopt(&architecture, foreign::untied(file), &of)?;
                return Ok(Model {
                    architecture,
                    tensors,
                });
            }
            (None, None) => return Err(nameless(&of).into()),
        };
        let architecture = Architecture::new(identity)?;
        architecture.check(&file.tensors, &of)?;
        Ok(Model {
            architecture,
            tensors: file.tensors,
        })
    }

    /// The tensors of a file, fitting or not, and which network they are, where it says so.
    ///
    /// # Errors
    /// The file is none, or damaged.
    pub fn parts(path: &std::path::Path) -> anyhow::Result<(Option<Identity>, NamedTensors)> {
        let file = TensorFile::read(path)?;
        let of = format!("`{}`", path.display());
        let said = file.metadata.get(MODEL_KEY);
        let identity = said.map(|text| identity(text, &of)).transpose()?;
        Ok((identity, foreign::untied(file)))
    }

    /// Which network a file of the project holds, as its head says, before it is read; `None` where
    /// that is not known. Files of other programs do not say it: then the network must be `named`
    /// where they are used.
    ///
    /// # Errors
    /// Reading it later would fail.
    pub fn peek(path: &std::path::Path, named: bool) -> Result<Option<Identity>, Failure> {
        let of = "this file";
        let Some(said) = weights::head(path, of)? else {
            return Ok(None);
        };
        match said.get(MODEL_KEY) {
            Some(text) => identity(text, of).map(Some),
            None if named => Ok(None),
            None => Err(nameless(of)),
        }
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
        .write(path, weights::Encoding::F32)
    }
}

fn identity(text: &str, of: &str) -> Result<Identity, Failure> {
    serde_json::from_str(text).map_err(|e| {
        Failure::new(format!(
            "{of}: its `{MODEL_KEY}` entry is not understood: {e}"
        ))
    })
}

fn nameless(of: &str) -> Failure {
    let hint = "a stage's output `model` says it; for weights of another program (PyTorch) name the network where they are used: \
                `with: {model: ...}` of `train` (with the need `init`) or `evaluate`, `with: {network: ...}` of kinds that have it; \
                for the others a stage `train` with the need `init` and `length: {epochs: 0}` makes a model of it";
    Failure::new(format!(
        "{of} does not say which network its tensors belong to (it holds no `{MODEL_KEY}` entry)"
    ))
    .hint(hint)
}
