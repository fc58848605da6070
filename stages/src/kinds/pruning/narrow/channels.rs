//! Which units and channels a network can do without, what hangs on each, and the smaller network.
//!
//! Decides what is cut where once it is known which units stay; does not rank them.

use crate::failure::Failure;
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::layer::Layer;
use crate::nn::parts::LayerSpec;
use crate::nn::spec::ModelSpec;
use crate::weights::{NamedTensor, NamedTensors};

/// A layer whose outputs can be left out one by one. Parameters are positions in
/// [`Architecture::parameters`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Producer {
    /// Its weight, whose rows its units are.
    pub weight: usize,
    /// Everything with an element or a row for each unit: weight, bias, norms, depthwise kernels.
    rows: Vec<usize>,
    /// The weights that read its outputs.
    readers: Vec<usize>,
    /// It must stay whole: it is the last layer, or its outputs are added to others or normalised
    /// together.
    pub is_whole: bool,
}

/// The dense layers and convolutions, in the order in which a model's text has them.
pub(super) fn producers(architecture: &Architecture) -> Vec<Producer> {
    let mut found = Vec::new();
    let last = walk(&architecture.layers, &mut found);
    keep(last, &mut found);
    found
}

fn keep(open: Option<usize>, found: &mut [Producer]) {
    if let Some(open) = open {
        found[open].is_whole = true;
    }
}

/// Adds the layers of a list; returns the one whose outputs it gives.
fn walk(layers: &[Layer], found: &mut Vec<Producer>) -> Option<usize> {
    let mut open: Option<usize> = None;
    for layer in layers {
        let (weight, bias) = match layer {
            Layer::Dense { weight, bias, .. } => (*weight, Some(*bias)),
            Layer::Conv { weight, bias, .. } => (*weight, *bias),
            Layer::Depthwise { weight, bias, .. } => {
                if let Some(open) = open {
                    found[open].rows.extend([*weight].into_iter().chain(*bias));
                }
                continue;
            }
            Layer::BatchNorm { first, .. } => {
                if let Some(open) = open {
                    found[open].rows.extend(*first..first + 4);
                }
                continue;
            }
            Layer::Residual { body, .. } => {
                keep(open.take(), found);
                let end = walk(body, found);
                keep(end, found);
                continue;
            }
            Layer::GroupNorm { .. } | Layer::Recurrent { .. } | Layer::Lstm { .. } => {
                keep(open.take(), found);
                continue;
            }
            Layer::Activation(_)
            | Layer::Dropout { .. }
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::GlobalAverage(_) => continue,
        };
        if let Some(open) = open {
            found[open].readers.push(weight);
        }
        open = Some(found.len());
        found.push(Producer {
            weight,
            rows: [weight].into_iter().chain(bias).collect(),
            readers: Vec::new(),
            is_whole: false,
        });
    }
    open
}

/// The numbers of units in a model's text, in the order of [`producers`]; the last layer has none.
fn widths(model: &mut ModelSpec) -> Result<Vec<&mut usize>, Failure> {
    fn collect<'a>(layers: &'a mut [LayerSpec], found: &mut Vec<&'a mut usize>) {
        for layer in layers {
            match layer {
                LayerSpec::Conv(conv) => found.push(&mut conv.channels),
                LayerSpec::Dense(units) => found.push(units),
                LayerSpec::Residual(block) => collect(&mut block.layers, found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    match model {
        ModelSpec::Mlp(mlp) => found.extend(mlp.hidden.iter_mut()),
        ModelSpec::Conv(conv) => collect(&mut conv.layers, &mut found),
        ModelSpec::Resnet(_) => {
            return Err(Failure::new("the blocks of a `resnet` all have the width of their stage")
                .hint("write the network out with `conv` and `residual`: the inner layers of such blocks can be narrowed"));
        }
        ModelSpec::Rnn(_) => {
            return Err(Failure::new("a recurrent network cannot be narrowed")
                .hint("use `prune`, which removes single weights"));
        }
    }
    Ok(found)
}

/// The network with so many units in each of its producers.
pub(super) fn smaller(identity: &Identity, kept: &[usize]) -> Result<Identity, Failure> {
    let mut identity = identity.clone();
    for (width, kept) in widths(&mut identity.model)?.into_iter().zip(kept) {
        *width = *kept;
    }
    Ok(identity)
}

/// The weights of the smaller network. `kept`: for each producer the units that stay, ascending.
pub(super) fn cut(
    architecture: &Architecture,
    producers: &[Producer],
    kept: &[Vec<usize>],
    tensors: &NamedTensors,
) -> NamedTensors {
    let mut tensors = tensors.clone();
    let name = |position: usize| &architecture.parameters[position].name;
    for (producer, kept) in producers.iter().zip(kept) {
        let units = architecture.parameters[producer.weight].shape[0];
        for position in &producer.rows {
            if let Some(tensor) = tensors.get_mut(name(*position)) {
                *tensor = without(tensor, 0, units, kept);
            }
        }
        for position in &producer.readers {
            if let Some(tensor) = tensors.get_mut(name(*position)) {
                *tensor = without(tensor, 1, units, kept);
            }
        }
    }
    tensors
}

/// The tensor with only some of so many `units` along a dimension. A dense layer on an image has,
/// for each channel, the weights of all its pixels side by side.
fn without(tensor: &NamedTensor, dimension: usize, units: usize, kept: &[usize]) -> NamedTensor {
    let outer: usize = tensor.shape[..dimension].iter().product();
    let inner = tensor.data.len() / (outer * units).max(1);
    let rows = (0..outer).flat_map(|row| kept.iter().map(move |unit| row * units + unit));
    let data = rows.flat_map(|at| &tensor.data[at * inner..][..inner]);
    let mut shape = tensor.shape.clone();
    shape[dimension] = shape[dimension] / units * kept.len();
    NamedTensor {
        shape,
        data: data.copied().collect(),
    }
}
