//! Images that a device may show a network by itself.

use repro_numerics::shape::Image;

pub use repro_gpu::Frame;

/// Images of bytes, one behind the other.
#[derive(Debug, Clone, Copy)]
pub struct Album<'a> {
    /// `[images, height, width, channels]`.
    pub bytes: &'a [u8],
    /// The number that each byte stands for, by channel.
    pub meanings: &'a [[f32; 256]],
    /// The size of each.
    pub image: Image,
}
