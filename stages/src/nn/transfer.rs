//! Learnt weights in another network: whole layers that fit by name and shape.

use std::fmt;

use super::architecture::Architecture;
use crate::failure::Failure;
use crate::weights::NamedTensors;

/// What became of the layers of a network.
#[derive(Debug, PartialEq, Eq)]
pub struct Transfer {
    /// These have the given weights.
    pub taken: Vec<String>,
    /// These were left as they are.
    pub left: Vec<String>,
}

/// `conv1` of `conv1.weight`.
fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

/// Puts given weights in the place of those of the network's layers all of whose tensors,
/// statistics too, are among them in the same shape.
///
/// # Errors
/// No layer fits.
pub fn transfer(
    architecture: &Architecture,
    weights: &mut NamedTensors,
    mut given: NamedTensors,
) -> Result<Transfer, Failure> {
    let mut found = Transfer {
        taken: Vec::new(),
        left: Vec::new(),
    };
    let mut layers: Vec<&str> = architecture
        .parameters
        .iter()
        .map(|p| layer_of(&p.name))
        .collect();
    layers.dedup();
    for layer in layers {
        let own = || {
            architecture
                .parameters
                .iter()
                .filter(|p| layer_of(&p.name) == layer)
        };
        let fits = own().all(|p| given.get(&p.name).is_some_and(|t| t.shape == p.shape));
        if !fits {
            found.left.push(layer.to_owned());
            continue;
        }
        found.taken.push(layer.to_owned());
        let tensors = own().filter_map(|p| given.remove_entry(&p.name));
        weights.extend(tensors.collect::<Vec<_>>());
    }
    if found.taken.is_empty() {
        let names: Vec<String> = (given.iter())
            .map(|(name, tensor)| format!("{name} {:?}", tensor.shape))
            .collect();
        return Err(
            Failure::new("no layer of `init` fits this network by name and shape")
                .hint(format!("`init` has {}", names.join(", "))),
        );
    }
    Ok(found)
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from `init`: {}", self.taken.join(", "))?;
        match &self.left[..] {
            [] => f.write_str("; nothing starts fresh"),
            left => write!(f, "; fresh: {}", left.join(", ")),
        }
    }
}
