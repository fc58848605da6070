//! Learnt weights in another network: whole layers that fit by name and shape.

use std::fmt;

use super::architecture::Architecture;
use super::layer::Parameter;
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

impl Transfer {
    /// The layers of a network all of whose tensors, statistics too, are given by name in the same
    /// shape, and the others.
    pub fn between<'a>(
        architecture: &Architecture,
        given: impl Fn(&str) -> Option<&'a [usize]>,
    ) -> Transfer {
        let all = &architecture.parameters;
        let mut layers: Vec<&str> = all.iter().map(|p| layer_of(&p.name)).collect();
        layers.dedup();
        let fits = |layer: &&str| {
            let mut own = all.iter().filter(|p| layer_of(&p.name) == *layer);
            own.all(|p| given(&p.name).is_some_and(|shape| *shape == p.shape))
        };
        let (taken, left): (Vec<&str>, Vec<&str>) = layers.into_iter().partition(fits);
        let owned = |layers: Vec<&str>| layers.into_iter().map(str::to_owned).collect();
        Transfer {
            taken: owned(taken),
            left: owned(left),
        }
    }

    /// Whether a parameter has a given value.
    pub fn takes(&self, parameter: &Parameter) -> bool {
        let layer = layer_of(&parameter.name);
        self.taken.iter().any(|taken| taken == layer)
    }
}

/// Puts given weights in the place of those of the network's layers that they fit.
///
/// # Errors
/// No layer fits.
pub fn transfer(
    architecture: &Architecture,
    weights: &mut NamedTensors,
    mut given: NamedTensors,
) -> Result<Transfer, Failure> {
    let found = Transfer::between(architecture, |name| given.get(name).map(|t| &*t.shape));
    if found.taken.is_empty() {
        let names: Vec<String> = (given.iter())
            .map(|(name, tensor)| format!("{name} {:?}", tensor.shape))
            .collect();
        return Err(
            Failure::new("no layer of `init` fits this network by name and shape")
                .hint(format!("`init` has {}", names.join(", "))),
        );
    }
    for parameter in architecture.parameters.iter().filter(|p| found.takes(p)) {
        weights.extend(given.remove_entry(&parameter.name));
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
