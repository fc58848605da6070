//! What of the order of sums the CPU's kernels keep to themselves.

use repro_numerics::shape::ConvShape;

pub(super) const SHARD_IMAGES: usize = 32;
pub(super) const BLOCK: usize = 64;
pub(super) const WINOGRAD_BLOCK: usize = 32;
pub(super) const WINOGRAD_GROUP: usize = 128;

pub(super) fn group_images(positions: usize) -> usize {
    256usize.div_ceil(positions.max(1)).clamp(1, SHARD_IMAGES)
}

pub(super) fn is_winograd(shape: &ConvShape) -> bool {
    let (image, outputs) = (shape.input(), shape.output().channels);
    let wide = |channels: usize| channels >= 32 && channels.is_multiple_of(16);
    (shape.kernel(), shape.stride(), shape.padding()) == ((3, 3), 1, 1)
        && image.height.min(image.width) >= 4
        && wide(image.channels)
        && wide(outputs)
}

pub(super) fn winograd_shard(shape: &ConvShape, images: usize) -> usize {
    match shape.input().channels * shape.output().channels <= 1 << 14 {
        true => SHARD_IMAGES,
        false => images,
    }
}

pub(super) struct Taps {
    pub kernel: Vec<usize>,
    pub first: usize,
    pub output: isize,
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
