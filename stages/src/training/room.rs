//! Whether a training can fit into the memory of a device: told before its first step, with numbers.
//!
//! Counted is what must be there at once, and no more: weights, gradients, the optimizer's memory, and
//! of each image of a batch what the backward pass reads. So what is refused would not have fitted;
//! what is not refused may still be too large, and ends with the device's own error.

use bytesize::ByteSize;

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
}

const BYTES: u64 = size_of::<f32>() as u64;

impl Need {
    pub(super) fn of(architecture: &Architecture, optimizer: &Optimizer) -> Need {
        let HostMoments { first, second } = HostMoments::new(optimizer, 1);
        let learnt = 2 + (first.len() + second.len()) as u64;
        let of_parameters = architecture.parameters.iter().map(|p| {
            let values: u64 = p.shape.iter().map(|n| *n as u64).product();
            match p.role {
                Role::RunningMean | Role::RunningVariance => values,
                _ => values * learnt,
            }
        });
        // Logits and their softmax.
        let outputs = 2 * architecture.identity.outputs.width() as u64;
        Need {
            fixed: of_parameters.sum::<u64>() * BYTES,
            per_image: (kept(&architecture.layers) + outputs) * BYTES,
        }
    }

    /// Whether a batch may fit.
    ///
    /// # Errors
    /// It cannot: with the numbers, and the batch that could.
    pub(super) fn check(self, room: Option<u64>, batch: usize) -> Result<(), Failure> {
        let Need { fixed, per_image } = self;
        let needs = fixed.saturating_add(per_image.saturating_mul(batch as u64));
        let Some(room) = room.filter(|room| *room < needs) else {
            return Ok(());
        };
        let (of_share, larger) = match device::share() {
            None => (String::new(), ""),
            Some(share) => (
                format!(" of its share ({share} of the GPU, `gpus`)"),
                "a larger share has more; ",
            ),
        };
        let most = room.saturating_sub(fixed) / per_image.max(1);
        let [room, needs, fixed, per_image] = [room, needs, fixed, per_image].map(ByteSize);
        let text = format!(
            "the device has {room} of memory left{of_share}, and training needs at least {needs}: \
             {fixed} for weights, gradients and the optimizer's memory, and {per_image} for each of \
             the {batch} images of a batch"
        );
        let fits = match most {
            0 => "no batch fits".to_owned(),
            most => format!("a `batch_size` of {most} is the most that could fit"),
        };
        Err(Failure::new(text).hint(format!(
            "{fits}; {larger}`--device cpu` computes the same bits"
        )))
    }
}

/// Values of an image that the backward pass reads: the inputs of these layers.
fn kept(layers: &[Layer]) -> u64 {
    let of = |layer: &Layer| match layer {
        Layer::Dense { shape, .. } => shape.inputs() as u64,
        Layer::Conv { shape, .. } => shape.input().features() as u64,
        Layer::Depthwise { shape, .. } => shape.input().features() as u64,
        Layer::BatchNorm { shape, .. } => (shape.channels * shape.positions) as u64,
        Layer::GroupNorm { shape, .. } => shape.features() as u64,
        Layer::MaxPool(shape) => shape.input().features() as u64,
        // The shortcut begins with the input of the body.
        Layer::Residual { body, shortcut, .. } => {
            kept(body) + kept(shortcut.get(1..).unwrap_or_default())
        }
        _ => 0,
    };
    layers.iter().map(of).sum()
}
