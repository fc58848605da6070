//! Geometry of the ops: checked once when a network is built, trusted everywhere after.
//!
//! Activations are matrices `[batch, features]`; images lie in a row as height × width × channels
//! (NHWC). Knows no device and computes nothing but sizes.

use std::fmt;

/// Sizes of one image in a row of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per position.
    pub channels: usize,
}

impl Image {
    /// Positions of the image.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Features it takes in a row.
    pub fn features(&self) -> usize {
        self.positions() * self.channels
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// Why a geometry makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadShape {
    /// A size that must be positive is 0.
    #[error("{0} is 0")]
    Zero(&'static str),
    /// The window never fits.
    #[error("a window of {kernel_h}x{kernel_w} does not fit into {image} with padding {padding}")]
    TooSmall {
        /// The input.
        image: Image,
        /// Rows of the window.
        kernel_h: usize,
        /// Columns of the window.
        kernel_w: usize,
        /// Zeros added on each side.
        padding: usize,
    },
    /// Padding as large as the window: whole windows of zeros.
    #[error("padding {padding} is not smaller than the window ({kernel_h}x{kernel_w})")]
    PaddingTooLarge {
        /// Zeros added on each side.
        padding: usize,
        /// Rows of the window.
        kernel_h: usize,
        /// Columns of the window.
        kernel_w: usize,
    },
    /// Pooling windows that would be mostly padding.
    #[error("padding {padding} is more than half the window ({kernel}x{kernel})")]
    PoolPadding {
        /// Positions added on each side.
        padding: usize,
        /// Side of the window.
        kernel: usize,
    },
    /// Groups that would be of different sizes.
    #[error("{channels} channels cannot be cut into {groups} equal groups")]
    Groups {
        /// Of the input.
        channels: usize,
        /// Asked for.
        groups: usize,
    },
    /// The sizes overflow.
    #[error("the sizes are too large to index")]
    TooLarge,
}

fn positive(size: usize, name: &'static str) -> Result<(), BadShape> {
    if size == 0 {
        Err(BadShape::Zero(name))
    } else {
        Ok(())
    }
}

fn indexable(sizes: &[usize]) -> Result<(), BadShape> {
    let product = sizes.iter().try_fold(1usize, |p, s| p.checked_mul(*s));
    if product.is_some_and(|p| p <= isize::MAX as usize / 64) {
        Ok(())
    } else {
        Err(BadShape::TooLarge)
    }
}

/// `y[n, outputs] = x[n, inputs] · w[inputs, outputs] + b[outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DenseShape {
    inputs: usize,
    outputs: usize,
}

impl DenseShape {
    /// # Errors
    /// A size is 0, or the weights cannot be indexed.
    pub fn new(inputs: usize, outputs: usize) -> Result<DenseShape, BadShape> {
        positive(inputs, "inputs")?;
        positive(outputs, "outputs")?;
        indexable(&[inputs, outputs])?;
        Ok(DenseShape { inputs, outputs })
    }

    /// Features read.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features written.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Length of the flat weight, laid out `[inputs, outputs]`.
    pub fn weights(&self) -> usize {
        self.inputs * self.outputs
    }
}

/// A two-dimensional convolution over NHWC images; weight
/// `[kernel_h, kernel_w, channels, outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    input: Image,
    output: Image,
    kernel_h: usize,
    kernel_w: usize,
    stride: usize,
    padding: usize,
}

impl ConvShape {
    /// `padding` zeros are added on all four sides; the window moves by `stride` both ways, and
    /// places where it does not fit whole are left out (PyTorch's `Conv2d`).
    ///
    /// # Errors
    /// A size is 0, the window never fits, the padding is as large as the window, or sizes
    /// overflow.
    pub fn new(
        input: Image,
        outputs: usize,
        kernel: (usize, usize),
        stride: usize,
        padding: usize,
    ) -> Result<ConvShape, BadShape> {
        let (kernel_h, kernel_w) = kernel;
        positive(outputs, "outputs")?;
        let (height, width) = windows(input, kernel, stride, padding)?;
        if padding >= kernel_h || padding >= kernel_w {
            return Err(BadShape::PaddingTooLarge {
                padding,
                kernel_h,
                kernel_w,
            });
        }
        indexable(&[kernel_h, kernel_w, input.channels, outputs])?;
        indexable(&[height, width, outputs])?;
        Ok(ConvShape {
            input,
            output: Image {
                height,
                width,
                channels: outputs,
            },
            kernel_h,
            kernel_w,
            stride,
            padding,
        })
    }

    /// What is read.
    pub fn input(&self) -> Image {
        self.input
    }

    /// What is written.
    pub fn output(&self) -> Image {
        self.output
    }

    /// Rows and columns of the window.
    pub fn kernel(&self) -> (usize, usize) {
        (self.kernel_h, self.kernel_w)
    }

    /// Positions the window moves at once.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Zeros added on each side.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Length of the flat weight, laid out `[kernel_h, kernel_w, channels, outputs]`.
    pub fn weights(&self) -> usize {
        self.kernel_h * self.kernel_w * self.input.channels * self.output.channels
    }
}

/// A depthwise convolution over NHWC images: every channel has a window of its own; weight
/// `[kernel_h, kernel_w, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DepthwiseShape(ConvShape);

impl DepthwiseShape {
    /// As [`ConvShape::new`] with as many outputs as channels.
    ///
    /// # Errors
    /// As there.
    pub fn new(
        input: Image,
        kernel: (usize, usize),
        stride: usize,
        padding: usize,
    ) -> Result<DepthwiseShape, BadShape> {
        ConvShape::new(input, input.channels, kernel, stride, padding).map(DepthwiseShape)
    }

    /// What is read.
    pub fn input(&self) -> Image {
        self.0.input
    }

    /// What is written: as many channels as are read.
    pub fn output(&self) -> Image {
        self.0.output
    }

    /// Rows and columns of the window.
    pub fn kernel(&self) -> (usize, usize) {
        self.0.kernel()
    }

    /// Positions the window moves at once.
    pub fn stride(&self) -> usize {
        self.0.stride
    }

    /// Zeros added on each side.
    pub fn padding(&self) -> usize {
        self.0.padding
    }

    /// Length of the flat weight, laid out `[kernel_h, kernel_w, channels]`.
    pub fn weights(&self) -> usize {
        self.0.kernel_h * self.0.kernel_w * self.0.input.channels
    }
}

/// An image as a sequence of its rows, and the units that read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecurrentShape {
    steps: usize,
    inputs: usize,
    units: usize,
}

impl RecurrentShape {
    /// # Errors
    /// A size is 0.
    pub fn new(image: Image, units: usize) -> Result<RecurrentShape, BadShape> {
        positive(image.positions(), "positions")?;
        positive(image.channels, "channels")?;
        positive(units, "units")?;
        Ok(RecurrentShape {
            steps: image.height,
            inputs: image.width * image.channels,
            units,
        })
    }

    /// Rows of an image.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Values of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Values of a state.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Values of an image.
    pub fn features(&self) -> usize {
        self.steps * self.inputs
    }
}

/// What batch norm normalises, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormShape {
    /// Channels; each is normalised over the batch and all positions.
    pub channels: usize,
    /// Positions of an image; 1 after a dense layer.
    pub positions: usize,
    /// Added to the variance; PyTorch has 1e-5.
    pub eps: f32,
}

impl NormShape {
    /// With `eps` of 1e-5.
    pub fn new(channels: usize, positions: usize) -> NormShape {
        NormShape {
            channels,
            positions,
            eps: 1e-5,
        }
    }
}

/// What group norm normalises together: groups of neighbouring channels over all positions of an
/// image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupNormShape {
    positions: usize,
    channels: usize,
    groups: usize,
}

impl GroupNormShape {
    /// # Errors
    /// A size is 0, or the channels cannot be cut into so many equal groups.
    pub fn new(image: Image, groups: usize) -> Result<GroupNormShape, BadShape> {
        positive(image.positions(), "positions")?;
        positive(image.channels, "channels")?;
        positive(groups, "groups")?;
        if !image.channels.is_multiple_of(groups) {
            return Err(BadShape::Groups {
                channels: image.channels,
                groups,
            });
        }
        Ok(GroupNormShape {
            positions: image.positions(),
            channels: image.channels,
            groups,
        })
    }

    /// Layer norm: all features of a row are one group, each with a gain and a shift of its own.
    ///
    /// # Errors
    /// No features.
    pub fn layer(features: usize) -> Result<GroupNormShape, BadShape> {
        positive(features, "features")?;
        Ok(GroupNormShape {
            positions: 1,
            channels: features,
            groups: 1,
        })
    }

    /// Positions of an image.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Values per position, each with a gain and a shift.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Groups of an image.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Values of an image.
    pub fn features(&self) -> usize {
        self.positions * self.channels
    }
}

/// A pooling window; places where it does not fit whole into the padded image are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolShape {
    input: Image,
    output: Image,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: usize,
}

impl PoolShape {
    /// Without padding.
    ///
    /// # Errors
    /// A size is 0, the window never fits, or sizes overflow.
    pub fn new(input: Image, kernel: usize, stride: usize) -> Result<PoolShape, BadShape> {
        PoolShape::padded(input, kernel, stride, 0)
    }

    /// With `padding` positions around the image, at most half the window as in PyTorch, so that no
    /// window is all padding.
    ///
    /// # Errors
    /// As [`PoolShape::new`], and more padding than that.
    pub fn padded(
        input: Image,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<PoolShape, BadShape> {
        let (height, width) = windows(input, (kernel, kernel), stride, padding)?;
        if padding > kernel / 2 {
            return Err(BadShape::PoolPadding { padding, kernel });
        }
        let output = Image {
            height,
            width,
            channels: input.channels,
        };
        Ok(PoolShape {
            input,
            output,
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding,
        })
    }

    /// One window over the whole image.
    ///
    /// # Errors
    /// As [`PoolShape::new`].
    pub fn global(input: Image) -> Result<PoolShape, BadShape> {
        let kernel = (input.height, input.width);
        windows(input, kernel, 1, 0)?;
        Ok(PoolShape {
            input,
            output: Image {
                height: 1,
                width: 1,
                channels: input.channels,
            },
            kernel,
            stride: (1, 1),
            padding: 0,
        })
    }

    /// What is read.
    pub fn input(&self) -> Image {
        self.input
    }

    /// What is written.
    pub fn output(&self) -> Image {
        self.output
    }

    /// Rows and columns of the window.
    pub fn kernel(&self) -> (usize, usize) {
        self.kernel
    }

    /// Rows and columns the window moves at once.
    pub fn stride(&self) -> (usize, usize) {
        self.stride
    }

    /// Positions added on each side.
    pub fn padding(&self) -> usize {
        self.padding
    }
}

fn windows(
    input: Image,
    (kernel_h, kernel_w): (usize, usize),
    stride: usize,
    padding: usize,
) -> Result<(usize, usize), BadShape> {
    positive(input.height, "height")?;
    positive(input.width, "width")?;
    positive(input.channels, "channels")?;
    positive(kernel_h, "kernel height")?;
    positive(kernel_w, "kernel width")?;
    positive(stride, "stride")?;
    let padded = |size: usize| {
        padding
            .checked_mul(2)
            .and_then(|p| p.checked_add(size))
            .ok_or(BadShape::TooLarge)
    };
    let (height, width) = (padded(input.height)?, padded(input.width)?);
    indexable(&[height, width, input.channels])?;
    if kernel_h > height || kernel_w > width {
        return Err(BadShape::TooSmall {
            image: input,
            kernel_h,
            kernel_w,
            padding,
        });
    }
    Ok((
        (height - kernel_h) / stride + 1,
        (width - kernel_w) / stride + 1,
    ))
}

#[cfg(test)]
mod tests;
