//! What of the order of sums the CPU's kernels document and keep to themselves: sizes of shards,
//! groups and blocks, which convolutions are Winograd's, and the taps that meet an input position.
//!
//! `gpu/tests/ops/images.rs` has shapes on both sides of each rule, so a change of one of them there
//! fails here.

use repro_numerics::shape::ConvShape;

/// Images of a shard.
pub(super) const SHARD_IMAGES: usize = 32;
/// Steps of a block of a direct convolution.
pub(super) const BLOCK: usize = 64;
/// The same of Winograd's products.
pub(super) const WINOGRAD_BLOCK: usize = 32;
/// Tiles of a group of Winograd's gradient of the weight.
pub(super) const WINOGRAD_GROUP: usize = 128;

/// Images of a group: as many as give 256 positions, at most a shard.
pub(super) fn group_images(positions: usize) -> usize {
    256usize.div_ceil(positions.max(1)).clamp(1, SHARD_IMAGES)
}

/// Whether a convolution and its gradients are Winograd's.
pub(super) fn is_winograd(shape: &ConvShape) -> bool {
    let (image, outputs) = (shape.input(), shape.output().channels);
    let wide = |channels: usize| channels >= 32 && channels.is_multiple_of(16);
    (shape.kernel(), shape.stride(), shape.padding()) == ((3, 3), 1, 1)
        && image.height.min(image.width) >= 4
        && wide(image.channels)
        && wide(outputs)
}

/// Images of a shard of Winograd's gradient of the weight.
pub(super) fn winograd_shard(shape: &ConvShape, images: usize) -> usize {
    match shape.input().channels * shape.output().channels <= 1 << 14 {
        true => SHARD_IMAGES,
        false => images,
    }
}

/// The taps of one axis that reach input positions ≡ a residue (mod stride).
pub(super) struct Taps {
    /// Kernel indices, descending.
    pub kernel: Vec<usize>,
    /// First input position.
    pub first: usize,
    /// Output position of the first tap there.
    pub output: isize,
    /// Input positions.
    pub count: usize,
}

pub(super) fn taps(
    residue: usize,
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Taps {
    let kernel: Vec<usize> = (0..kernel)
        .rev()
        .filter(|k| (residue + padding) % stride == k % stride)
        .collect();
    let output = kernel.first().map_or(0, |k| {
        ((residue + padding) as isize - *k as isize) / stride as isize
    });
    Taps {
        kernel,
        first: residue,
        output,
        count: (size - residue.min(size)).div_ceil(stride),
    }
}
