//! Masks: which weights a pruned network still has.
//!
//! A mask file holds one 0/1 tensor per masked weight, named and shaped like it. Zeroing gradients
//! is not enough (momentum, Adam and weight decay move a weight whose gradient is 0), so weights
//! are set to 0, or to what they began as, and the optimizer's memory to 0, after every step.

use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::weights::{NamedTensors, TensorFile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a masked weight is (the mask-0 action of Zhou et al. 2019, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Masked {
    /// 0.
    #[default]
    Zero,
    /// What the training began with; it computes, and does not learn.
    Frozen,
}

impl Masked {
    /// What is left out where parameters are written down.
    pub fn is_zero(&self) -> bool {
        *self == Masked::Zero
    }
}

/// The masks of a network in memory layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Masks {
    /// By position in [`Architecture::parameters`].
    by_parameter: Vec<Option<Vec<f32>>>,
    masked: Masked,
}

/// Reads masks and checks that they belong to the network's weights and hold only 0 and 1.
pub fn read(path: &std::path::Path, architecture: &Architecture) -> anyhow::Result<NamedTensors> {
    let masks = TensorFile::read(path)?.tensors;
    check(&masks, architecture, &format!("`{}`", path.display()))?;
    Ok(masks)
}

fn check(masks: &NamedTensors, architecture: &Architecture, of: &str) -> Result<(), Failure> {
    let hint = "a mask is the output `mask` of a `prune` stage on a model of the same shape";
    for (name, mask) in masks {
        let Some(parameter) = architecture
            .parameters
            .iter()
            .find(|p| p.name == *name && p.role.is_weight())
        else {
            return Err(Failure::new(format!(
                "{of}: the mask `{name}` belongs to no weight of this model"
            ))
            .hint(hint));
        };
        if mask.shape != parameter.shape {
            let text = format!(
                "{of}: the mask `{name}` has shape {:?}, its weight {:?}",
                mask.shape, parameter.shape
            );
            return Err(Failure::new(text).hint(hint));
        }
        if let Some(x) = mask.data.iter().find(|x| !(**x == 0.0 || **x == 1.0)) {
            return Err(Failure::new(format!(
                "{of}: the mask `{name}` holds {x}; only 0 and 1 are possible"
            ))
            .hint(hint));
        }
    }
    Ok(())
}

impl Masks {
    /// Masks for training; they must have passed [`read`].
    pub fn new(masks: &NamedTensors, architecture: &Architecture) -> Masks {
        let of = |p: &crate::nn::layer::Parameter| {
            masks.get(&p.name).map(|m| p.layout.to_memory(&m.data))
        };
        Masks {
            by_parameter: architecture.parameters.iter().map(of).collect(),
            masked: Masked::default(),
        }
    }

    /// No masks at all.
    pub fn none(architecture: &Architecture) -> Masks {
        Masks {
            by_parameter: vec![None; architecture.parameters.len()],
            masked: Masked::default(),
        }
    }

    /// The same masks, for weights that become this.
    pub fn of(self, masked: Masked) -> Masks {
        Masks { masked, ..self }
    }

    /// What masked weights are.
    pub fn masked(&self) -> Masked {
        self.masked
    }

    /// The mask of a parameter.
    pub fn get(&self, parameter: usize) -> Option<&[f32]> {
        self.by_parameter[parameter].as_deref()
    }
}

/// Sets the masked weights to 0 in file layout.
pub fn apply(tensors: &mut NamedTensors, masks: &NamedTensors) {
    for (name, mask) in masks {
        if let Some(tensor) = tensors.get_mut(name) {
            for (w, m) in tensor.data.iter_mut().zip(&mask.data) {
                // not a product: the weight of an infinite or NaN network must go too
                *w = if *m == 0.0 { 0.0 } else { *w };
            }
        }
    }
}
