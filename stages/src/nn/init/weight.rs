//! A weight as a rule sees it: its shape, its fans, and where in the network it stands.

use super::super::architecture::Architecture;
use super::super::layer::{Layer, Parameter, Role};
use super::draws::Draws;
use repro_numerics::exact::rng::Stream;

/// A way to fill weights.
pub(super) trait Fills {
    /// What is wrong with the numbers the user gave, if anything.
    fn problem(&self) -> Option<String> {
        self.anywhere().and_then(Draws::problem)
    }

    /// The distribution, where it depends on no shape: such rules may fill biases and norms too.
    fn anywhere(&self) -> Option<Draws> {
        None
    }

    /// Why it cannot fill this weight, if it cannot.
    fn misfit(&self, _: &Weight) -> Option<String> {
        None
    }

    /// What this network lacks of those it is made for, and what it does there; it fills its weights
    /// all the same.
    fn doubt(&self, _: &Architecture) -> Option<String> {
        None
    }

    /// The numbers, in file order. A rule that draws the same anywhere need not say it again.
    fn fill(&self, weight: &Weight, stream: &mut Stream) -> Vec<f32> {
        match self.anywhere() {
            Some(draws) => draws.take(weight.len(), stream),
            None => unreachable!("a rule says what it fills weights with"),
        }
    }
}

/// A weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight<'a> {
    /// `[out, in]` or `[out, in, kh, kw]`.
    pub shape: &'a [usize],
    /// As Keras and PyTorch count them.
    pub fan_in: f64,
    /// As Keras and PyTorch count them.
    pub fan_out: f64,
    /// A kernel for every channel. To PyTorch it is a `Conv2d`, whose fans know no groups.
    pub is_depthwise: bool,
    /// Where it stands.
    pub place: Position,
}

/// Where in a network a weight stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Anywhere else.
    Elsewhere,
    /// Of the last layer.
    Output,
    /// In the body of a residual block, before its last weight.
    Block {
        /// Weights of the body.
        weights: usize,
        /// Residual blocks of the network.
        blocks: usize,
    },
    /// The last weight of a residual block's body.
    BlockEnd,
}

impl Weight<'_> {
    /// Output units or channels.
    pub(super) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Weights of one of them.
    pub(super) fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Positions of a kernel; 1 of a dense weight.
    pub(super) fn taps(&self) -> usize {
        self.shape.iter().skip(2).product()
    }

    /// The middle of a kernel, rounded up as in PyTorch's `dirac_`; 0 of a dense weight.
    pub(super) fn middle(&self) -> usize {
        match self.shape {
            [_, _, height, width] => height / 2 * width + width / 2,
            _ => 0,
        }
    }

    pub(super) fn is_dense(&self) -> bool {
        self.shape.len() == 2
    }

    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The weights of a network, by position in [`Architecture::parameters`]; what is no weight has
/// none.
pub(super) fn weights(architecture: &Architecture) -> Vec<Option<Weight<'_>>> {
    let weight = |parameter: &'_ Parameter| match parameter.role {
        Role::Weight { fan_in, fan_out } => Some((fan_in as f64, fan_out as f64)),
        _ => None,
    };
    let mut all: Vec<_> = architecture
        .parameters
        .iter()
        .map(|parameter| {
            let (fan_in, fan_out) = weight(parameter)?;
            Some(Weight {
                shape: &parameter.shape,
                fan_in,
                fan_out,
                is_depthwise: false,
                place: Position::Elsewhere,
            })
        })
        .collect();
    let blocks = count_blocks(&architecture.layers);
    place(&architecture.layers, blocks, &mut all);
    if let Some(output) = &mut all[architecture.output_weight()] {
        output.place = Position::Output;
    }
    all
}

/// Residual blocks, those within others too.
pub(super) fn count_blocks(layers: &[Layer]) -> usize {
    let of = |layer: &Layer| match layer {
        Layer::Residual { body, shortcut, .. } => 1 + count_blocks(body) + count_blocks(shortcut),
        _ => 0,
    };
    layers.iter().map(of).sum()
}

fn place(layers: &[Layer], blocks: usize, all: &mut [Option<Weight>]) {
    for layer in layers {
        if let Layer::Depthwise { weight, .. } = layer
            && let Some(weight) = &mut all[*weight]
        {
            weight.is_depthwise = true;
        }
        let Layer::Residual { body, shortcut, .. } = layer else {
            continue;
        };
        let own: Vec<usize> = body.iter().filter_map(weight_of).collect();
        for (i, &position) in own.iter().enumerate() {
            if let Some(weight) = &mut all[position] {
                weight.place = match i + 1 == own.len() {
                    true => Position::BlockEnd,
                    false => Position::Block {
                        weights: own.len(),
                        blocks,
                    },
                };
            }
        }
        place(body, blocks, all);
        place(shortcut, blocks, all);
    }
}

/// The position of a layer's weight.
fn weight_of(layer: &Layer) -> Option<usize> {
    match layer {
        Layer::Dense { weight, .. }
        | Layer::Conv { weight, .. }
        | Layer::Depthwise { weight, .. } => Some(*weight),
        _ => None,
    }
}
