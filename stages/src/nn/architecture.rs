//! A model on given data: every layer with its geometry, every parameter with its name, shape and
//! role.
//!
//! Names are those a PyTorch user would choose: `conv1`, `bn1`, `fc1` ... counted per sort in order
//! of appearance, within a residual block behind the block's name. The classifier is the last `fc`.
//! A `resnet` has torchvision's names.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::layer::{Layer, Parameter, Role};
use super::parts::Cell;
use super::resnet;
use super::spec::ModelSpec;
use crate::failure::Failure;
use crate::ops::Image;
use crate::weights::NamedTensors;

/// A model fitted to an input and to what it learns.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// What it was made from.
    pub identity: Identity,
    /// The layers, first to last; the last is the classifier.
    pub layers: Vec<Layer>,
    /// Parameters and batch-norm statistics, in order of appearance.
    pub parameters: Vec<Parameter>,
}

/// Everything that decides an architecture; stored with the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct Identity {
    /// As written by the user.
    pub model: ModelSpec,
    /// Size of the images.
    pub input: InputSize,
    /// What the last layer gives.
    pub outputs: Head,
}

/// What the outputs of a network are, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A logit for each class.
    Classes(usize),
    /// The numbers themselves.
    Targets(usize),
}

impl Head {
    /// Units of the last layer.
    pub fn width(self) -> usize {
        match self {
            Head::Classes(n) | Head::Targets(n) => n,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Classes(1) => f.write_str("1 class"),
            Head::Classes(n) => write!(f, "{n} classes"),
            Head::Targets(1) => f.write_str("1 number to be learnt"),
            Head::Targets(n) => write!(f, "{n} numbers to be learnt"),
        }
    }
}

/// A network: which it is, what it sees, and what it gives (`classes` or `targets`).
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Network")]
#[serde(deny_unknown_fields)]
struct Written {
    /// The network, as in `train`.
    model: ModelSpec,
    /// Size of the images; a row of a table has height and width 1 and a channel for every column.
    input: InputSize,
    /// How many classes it tells apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    classes: Option<usize>,
    /// How many numbers it gives, in place of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    targets: Option<usize>,
}

impl TryFrom<Written> for Identity {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Identity, &'static str> {
        let outputs = match (written.classes, written.targets) {
            (Some(n), None) => Head::Classes(n),
            (None, Some(n)) => Head::Targets(n),
            _ => return Err("give one of `classes` and `targets`"),
        };
        Ok(Identity {
            model: written.model,
            input: written.input,
            outputs,
        })
    }
}

impl From<Identity> for Written {
    fn from(of: Identity) -> Written {
        let (classes, targets) = match of.outputs {
            Head::Classes(n) => (Some(n), None),
            Head::Targets(n) => (None, Some(n)),
        };
        Written {
            model: of.model,
            input: of.input,
            classes,
            targets,
        }
    }
}

/// Size of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSize {
    /// Rows.
    #[schemars(range(min = 1))]
    pub height: usize,
    /// Columns.
    #[schemars(range(min = 1))]
    pub width: usize,
    /// Values per pixel.
    #[schemars(range(min = 1))]
    pub channels: usize,
}

/// The largest network that is built: 2^31 parameters are 8 GiB.
const MAX_PARAMETERS: usize = 1 << 31;

impl Architecture {
    /// Fits a model to images and to what is learnt.
    ///
    /// # Errors
    /// A layer that does not fit its input, by number, and why.
    pub fn new(identity: Identity) -> Result<Architecture, Failure> {
        let InputSize {
            height,
            width,
            channels,
        } = identity.input;
        let mut b = Builder::new(Image {
            height,
            width,
            channels,
        });
        match &identity.model {
            ModelSpec::Mlp(mlp) => {
                for (i, &width) in mlp.hidden.iter().enumerate() {
                    let mut layer = || {
                        b.dense(width)?;
                        if mlp.batch_norm.is_some() {
                            b.batch_norm();
                        }
                        b.layers.push(Layer::Activation(mlp.activation));
                        b.dropout(mlp.dropout)
                    };
                    layer().map_err(|e: Failure| {
                        e.within(&format!("model: hidden layer {}", i + 1))
                    })?;
                }
            }
            ModelSpec::Conv(conv) => {
                for (i, layer) in conv.layers.iter().enumerate() {
                    let before = b.image;
                    b.layer(layer).map_err(|e| {
                        e.within(&format!("model: layer {} (its input is {before})", i + 1))
                    })?;
                }
            }
            ModelSpec::Resnet(resnet) => resnet::build(resnet, &mut b)?,
            ModelSpec::Rnn(rnn) => match rnn.cell {
                Cell::Elman => b.recurrent(rnn.units),
                Cell::Lstm => b.lstm(rnn.units),
            }
            .map_err(|e| e.within("model: the recurrent layer"))?,
        }
        let classifier = match &identity.model {
            ModelSpec::Resnet(_) => b.named_dense("fc", identity.outputs.width()),
            _ => b.dense(identity.outputs.width()),
        };
        classifier.map_err(|e| e.within("model: the classifier"))?;
        let total = b.parameters.iter().try_fold(0usize, |sum, p| {
            p.shape
                .iter()
                .try_fold(1usize, |n, &d| n.checked_mul(d))
                .and_then(|n| sum.checked_add(n))
        });
        if total.is_none_or(|n| n > MAX_PARAMETERS) {
            return Err(Failure::new("model: more than 2^31 parameters"));
        }
        Ok(Architecture {
            identity,
            layers: b.layers,
            parameters: b.parameters,
        })
    }

    /// Layers with those of residual blocks: more than there are dropout layers.
    pub fn layer_count(&self) -> usize {
        fn count(layers: &[Layer]) -> usize {
            let inside = |layer: &Layer| match layer {
                Layer::Residual { body, shortcut, .. } => count(body) + count(shortcut),
                _ => 0,
            };
            layers.len() + layers.iter().map(inside).sum::<usize>()
        }
        count(&self.layers)
    }

    /// Batch norm keeps running statistics in it.
    pub fn has_batch_norm(&self) -> bool {
        self.parameters
            .iter()
            .any(|p| p.role == Role::RunningVariance)
    }

    /// Batch norm normalises units of which an image has one value: a batch of one image then has
    /// no spread.
    pub fn norms_units(&self) -> bool {
        fn any(layers: &[Layer]) -> bool {
            layers.iter().any(|layer| match layer {
                Layer::BatchNorm { shape, .. } => shape.positions == 1,
                Layer::Residual { body, shortcut, .. } => any(body) || any(shortcut),
                _ => false,
            })
        }
        any(&self.layers)
    }

    /// Position of the classifier's weight.
    pub fn output_weight(&self) -> usize {
        match self.layers.last() {
            Some(Layer::Dense { weight, .. }) => *weight,
            _ => unreachable!("every architecture ends with the classifier"),
        }
    }

    /// The tensors are this network's: same names, same shapes, nothing missing, nothing more.
    pub fn check(&self, tensors: &NamedTensors, of: &str) -> Result<(), Failure> {
        for p in &self.parameters {
            match tensors.get(&p.name) {
                None => {
                    return Err(
                        Failure::new(format!("{of}: no tensor `{}`", p.name)).hint(self.expected())
                    );
                }
                Some(t) if t.shape != p.shape => {
                    let text = format!(
                        "{of}: tensor `{}` has shape {:?}, expected {:?}",
                        p.name, t.shape, p.shape
                    );
                    return Err(Failure::new(text).hint(self.expected()));
                }
                Some(_) => {}
            }
        }
        if let Some(name) = tensors
            .keys()
            .find(|n| !self.parameters.iter().any(|p| p.name == **n))
        {
            return Err(Failure::new(format!(
                "{of}: tensor `{name}` belongs to no layer of this model"
            ))
            .hint(self.expected()));
        }
        Ok(())
    }

    fn expected(&self) -> String {
        let names: Vec<String> = self
            .parameters
            .iter()
            .map(|p| format!("{} {:?}", p.name, p.shape))
            .collect();
        format!("this model's tensors: {}", names.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests;
