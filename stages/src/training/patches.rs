//! The windows of images that a first layer looks at, and their second moments.

use super::batches::InOrder;
use crate::data::Dataset;
use crate::failure::Failure;
use crate::nn::architecture::{Architecture, InputSize};
use crate::nn::layer::Layer;

/// Values of the largest patch: its covariance takes 8 MB, its eigenvectors a minute.
const PATCH_MAX: usize = 1024;

/// What the first layer looks at: windows of an image, in the order (channel, row, column) in which
/// weights lie in files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patches {
    image: InputSize,
    window: (usize, usize),
    stride: usize,
    /// The layer's weight, by position in [`Architecture::parameters`].
    pub weight: usize,
}

impl Patches {
    /// Of this network.
    ///
    /// # Errors
    /// A first layer of another sort, or one that sees too much at once.
    pub fn of(architecture: &Architecture) -> Result<Patches, Failure> {
        let image = architecture.identity.input;
        let patches = match architecture.layers.first() {
            Some(Layer::Conv { shape, weight, .. }) => Patches {
                image,
                window: shape.kernel(),
                stride: shape.stride(),
                weight: *weight,
            },
            Some(Layer::Dense { weight, .. }) => Patches {
                image,
                window: (image.height, image.width),
                stride: 1,
                weight: *weight,
            },
            _ => {
                let text = "its first layer is neither a convolution nor dense";
                return Err(Failure::new(text).hint("only such layers look at patches"));
            }
        };
        if patches.size() > PATCH_MAX {
            return Err(Failure::new(format!(
                "its first layer sees {} values at once, which are too many; {PATCH_MAX} are possible",
                patches.size()
            )));
        }
        let (kernel_h, kernel_w) = patches.window;
        if kernel_h > image.height || kernel_w > image.width {
            return Err(Failure::new(format!(
                "its first layer looks at {kernel_h} by {kernel_w} pixels at once, and images have {} by {}: no patch lies inside",
                image.height, image.width
            )));
        }
        Ok(patches)
    }

    /// Values of a patch.
    pub fn size(&self) -> usize {
        self.window.0 * self.window.1 * self.image.channels
    }

    /// Of all patches inside the first images.
    pub fn moments(&self, data: &Dataset, images: usize) -> Moments {
        let InputSize {
            height,
            width,
            channels,
        } = self.image;
        let (kernel_h, kernel_w) = self.window;
        let in_order = InOrder::new(data);
        let mut image = vec![0.0f32; data.features()];
        let mut moments = Moments::new(self.size());
        let mut patch = Vec::with_capacity(self.size());
        for i in 0..images.min(data.len()) {
            in_order.write(i, &mut image);
            for top in (0..=height - kernel_h).step_by(self.stride) {
                for left in (0..=width - kernel_w).step_by(self.stride) {
                    patch.clear();
                    for c in 0..channels {
                        for y in top..top + kernel_h {
                            let row = (left..left + kernel_w)
                                .map(|x| f64::from(image[(y * width + x) * channels + c]));
                            patch.extend(row);
                        }
                    }
                    moments.add(&patch);
                }
            }
        }
        moments
    }
}

/// Sums of vectors and of their products, in f64 and in order.
pub struct Moments {
    count: f64,
    sums: Vec<f64>,
    /// `[n, n]`, of which the upper half is kept.
    products: Vec<f64>,
}

impl Moments {
    /// Of no vectors yet.
    pub fn new(n: usize) -> Moments {
        Moments {
            count: 0.0,
            sums: vec![0.0; n],
            products: vec![0.0; n * n],
        }
    }

    /// Adds one.
    pub fn add(&mut self, x: &[f64]) {
        self.count += 1.0;
        for (i, row) in self.products.chunks_exact_mut(x.len()).enumerate() {
            self.sums[i] += x[i];
            for (sum, other) in row[i..].iter_mut().zip(&x[i..]) {
                *sum += x[i] * other;
            }
        }
    }

    /// The mean of `x·xᵀ`; the upper half of `[n, n]`.
    pub fn second(self) -> Vec<f64> {
        let mut products = self.products;
        products.iter_mut().for_each(|sum| *sum /= self.count);
        products
    }

    /// The population's: divided by how many there were. The upper half of `[n, n]`.
    pub fn covariance(self) -> Vec<f64> {
        let n = self.sums.len();
        let mut products = self.products;
        for i in 0..n {
            for j in i..n {
                let of_means = self.sums[i] * self.sums[j] / self.count;
                products[i * n + j] = (products[i * n + j] - of_means) / self.count;
            }
        }
        products
    }
}
