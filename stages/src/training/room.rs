//! Whether a training can fit into the memory of a device: told before its first step, with numbers.
//!
//! Counted is what must be there at once, and no more: weights, gradients, the optimizer's memory, of
//! each image of a batch what the backward pass reads, and of those that are measured together what
//! a layer reads and writes. So what is refused would not have fitted; what is not refused may still
//! be too large, and ends with the device's own error.

use bytesize::ByteSize;

use super::evaluation;
use super::failed::instead;
use super::optim::{HostMoments, Optimizer};
use crate::device;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::layer::{Layer, Role};

/// Bytes that a training needs at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// For weights, gradients and the optimizer's memory.
    fixed: u64,
    /// For each image of a batch.
    per_image: u64,
    /// For weights and the optimizer's memory.
    measuring: u64,
    /// For each image that is measured.
    per_measured: u64,
}

/// A batch that can fit is this part of one that could, as a rule: what single operations need is not
/// counted.
const OF_WHAT_COULD: u64 = 4;

const BYTES: u64 = size_of::<f32>() as u64;

impl Need {
    pub(super) fn of(architecture: &Architecture, optimizer: &Optimizer) -> Need {
        let HostMoments { first, second } = HostMoments::new(optimizer, 1);
        let learnt = 2 + (first.len() + second.len()) as u64;
        let (mut fixed, mut gradients) = (0, 0);
        for p in &architecture.parameters {
            let values: u64 = p.shape.iter().map(|n| *n as u64).product();
            match p.role {
                Role::RunningMean | Role::RunningVariance => fixed += values,
                _ => {
                    fixed += values * learnt;
                    gradients += values;
                }
            }
        }
        // Logits and their softmax.
        let outputs = 2 * architecture.identity.outputs.width() as u64;
        let mut layers = Vec::new();
        in_turn(&architecture.layers, &mut layers);
        // What a layer writes, a later one reads, or less of it.
        let pairs = layers.windows(2).filter(|pair| !is_in_place(pair[0]));
        let pairs = pairs.map(|pair| input(pair[0]) + input(pair[1]));
        Need {
            fixed: fixed * BYTES,
            per_image: (kept(&architecture.layers) + outputs) * BYTES,
            measuring: (fixed - gradients) * BYTES,
            per_measured: pairs.max().unwrap_or(0) * BYTES,
        }
    }

    /// Whether a batch may fit.
    ///
    /// # Errors
    /// It cannot: with the numbers, and the batch that could.
    pub(super) fn check(self, room: Option<u64>, batch: usize) -> Result<(), Failure> {
        let Need {
            fixed, per_image, ..
        } = self;
        let needs = fixed.saturating_add(per_image.saturating_mul(batch as u64));
        let Some(room) = room.filter(|room| *room < needs) else {
            return Ok(());
        };
        let most = room.saturating_sub(fixed) / per_image.max(1);
        let [room, needs] = unlike(room, needs);
        let [fixed, per_image] = [fixed, per_image].map(ByteSize);
        let text = format!(
            "the device has {room} of memory left{}, and training needs at least {needs}: {fixed} \
             for weights, gradients and the optimizer's memory, and {per_image} for each of the \
             {batch} images of a batch",
            of_share()
        );
        let fits = match most {
            0 => "no batch fits".to_owned(),
            most => format!(
                "a `batch_size` of {most} is the most that could fit; begin with {}, as single \
                 operations need more",
                most.div_ceil(OF_WHAT_COULD)
            ),
        };
        Err(Failure::new(text).hint(format!("{fits}; {}", instead())))
    }

    /// Whether so many images may be measured, which is done at most [`evaluation::BATCH`] at once.
    ///
    /// # Errors
    /// They cannot: with the numbers.
    pub(super) fn check_measuring(self, room: Option<u64>, images: usize) -> Result<(), Failure> {
        let images = images.min(evaluation::BATCH) as u64;
        let needs = self.per_measured.saturating_mul(images);
        let needs = self.measuring.saturating_add(needs);
        let Some(room) = room.filter(|room| *room < needs) else {
            return Ok(());
        };
        let [room, needs] = unlike(room, needs);
        let text = format!(
            "the device has {room} of memory left{}, and {images} images that are measured at once \
             need at least {needs}",
            of_share()
        );
        Err(Failure::new(text).hint(instead()))
    }
}

/// Two sizes that differ, so that it is seen.
fn unlike(room: u64, needs: u64) -> [String; 2] {
    let rounded = [room, needs].map(|bytes| ByteSize(bytes).to_string());
    match rounded[0] == rounded[1] {
        true => [room, needs].map(|bytes| format!("{bytes} bytes")),
        false => rounded,
    }
}

fn of_share() -> String {
    device::share().map_or_else(String::new, |share| {
        format!(" of its share ({share} of the GPU, `gpus`)")
    })
}

/// Values of an image that the backward pass reads: the inputs of these layers.
fn kept(layers: &[Layer]) -> u64 {
    let of = |layer: &Layer| match layer {
        // The shortcut begins with the input of the body.
        Layer::Residual { body, shortcut, .. } => {
            kept(body) + kept(shortcut.get(1..).unwrap_or_default())
        }
        layer => input(layer),
    };
    layers.iter().map(of).sum()
}

/// Layers whose inputs are counted, one after the other, shortcuts aside.
fn in_turn<'a>(layers: &'a [Layer], into: &mut Vec<&'a Layer>) {
    for layer in layers {
        match layer {
            Layer::Residual { body, .. } => in_turn(body, into),
            layer => into.extend(Some(layer).filter(|layer| input(layer) > 0)),
        }
    }
}

/// Whether it may write where it reads.
fn is_in_place(layer: &Layer) -> bool {
    matches!(layer, Layer::BatchNorm { .. } | Layer::GroupNorm { .. })
}

/// Values of an image that a layer reads, where the backward pass does so too.
fn input(layer: &Layer) -> u64 {
    let values = match layer {
        Layer::Dense { shape, .. } => shape.inputs(),
        Layer::Conv { shape, .. } => shape.input().features(),
        Layer::Depthwise { shape, .. } => shape.input().features(),
        Layer::BatchNorm { shape, .. } => shape.channels * shape.positions,
        Layer::GroupNorm { shape, .. } => shape.features(),
        Layer::MaxPool(shape) => shape.input().features(),
        _ => 0,
    };
    values as u64
}
