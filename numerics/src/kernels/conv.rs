//! Convolutions over NHWC images; `w` is laid out `[kernel_h, kernel_w, channels, outputs]`.
//!
//! What is stated here is the order of *direct* convolutions. Those of 3×3, stride 1 and padding 1
//! with at least 32 channels and outputs are Winograd's, with an order of their own:
//! `winograd::applies` decides, by shape alone.
//!
//! Padding is made of zeros that take part in the chains like any other value. A task takes a few
//! images, copies them into a buffer with their margins, and goes over the panels of weights, so
//! that both stay in the second-level cache.

mod input_gradient;
mod weight_gradient;
mod winograd;

use super::activation::Activation;
use super::chain::{
    Grid, Rows, Segment, Steps, Store, Target, WIDE, chains, in_blocks, ordinary, pack, packed_len,
    packed_panel, start_of,
};
use super::elementwise::add_into;
use super::layer::Backward;
use super::margin::Margin;
use super::out::Out;
use super::parallel;
use super::path::Path;
use super::scratch;
use super::sums::{add_rows, sums, sums_changing};
use crate::shape::ConvShape;

pub use input_gradient::input_gradient;
pub use weight_gradient::weight_gradient;

/// Multiplications below which one thread does it all.
const WORTH_THREADS: usize = 1 << 16;
/// Numbers of padded images that a task goes over at a time: half of a usual second-level cache.
const CACHED: usize = 1 << 17;
/// Steps of a block of a chain. The error of a sum of positive and negative terms grows with the
/// longest chain and the number of chains that are added up; 64 is about the square root of the
/// longest sums there are (512 channels, 3×3), and a tile spends 1 of 32 cycles on adding up.
pub(super) const BLOCK: usize = 64;

fn worth_threads(shape: &ConvShape, images: usize) -> bool {
    images * shape.output().positions() * shape.weights() >= WORTH_THREADS
}

/// Images of a task: as many as fill [`CACHED`], and few enough for all threads to have some.
fn images_per_task(images: usize, padded: usize, threads: bool) -> usize {
    let cached = (CACHED / padded.max(1)).max(1);
    let shared = if threads {
        images.div_ceil(4 * parallel::threads())
    } else {
        images
    };
    cached.min(shared).max(1)
}

/// The output: per element, products over (kernel row, kernel column, channel) ascending in blocks
/// of 64, each a chain of fma; the first starts from `b` (0 without one), the others from 0 and are
/// added to the sum in order; then the activation.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_forward(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    let (image, out) = (shape.input(), shape.output());
    let images = x.len() / image.features();
    assert!(
        images * out.features() == y.len() && w.len() == shape.weights(),
        "conv forward: lengths"
    );
    assert!(
        b.is_none_or(|b| b.len() == out.channels),
        "conv forward: lengths"
    );
    if winograd::applies(shape) {
        return winograd::layer_forward(path, shape, x, w, b, activation, y);
    }
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride) = (image.channels, out.channels, shape.stride());
    let k = kernel_h * kernel_w * c;
    let margin = Margin::even(shape.padding());
    let padded = margin.around(image);
    let line = padded.width * c;
    let kernel_rows = (0..kernel_h).map(|kh| Segment {
        x: kh * line,
        k: kh * kernel_w * c,
        len: kernel_w * c,
        begins: false,
    });
    let segments = in_blocks(kernel_rows, BLOCK);
    let ordinary = ordinary(path, x, w, b, k);
    let threads = worth_threads(shape, images);
    let block = images_per_task(images, padded.features(), threads);
    let store = match activation {
        Activation::Relu => Store::Relu,
        _ => Store::Set,
    };
    scratch::with(packed_len(k, o), |panels| {
        parallel::chunks(panels, k * WIDE, k * o >= WORTH_THREADS, |which, panel| {
            pack(path, w, o, which, panel);
        });
        let panels = &*panels;
        parallel::chunks(y, block * out.features(), threads, |i, y| {
            let count = y.len() / out.features();
            let x = &x[i * block * image.features()..][..count * image.features()];
            margin.with_padded(x, image, |x| {
                for which in 0..o.div_ceil(WIDE) {
                    let (panel, start) = (packed_panel(panels, k, o, which), start_of(b, which));
                    for i in 0..count {
                        let rows = Rows {
                            x: &x[i * padded.features()..][..padded.features()],
                            grid: Grid {
                                lines: out.height,
                                per_line: out.width,
                            },
                            steps: Steps {
                                line: stride * line,
                                row: stride * c,
                            },
                            k_step: 1,
                            segments: &segments,
                            ordinary,
                        };
                        let mut to = Target {
                            out: Out::new(&mut y[i * out.features() + which * WIDE..]),
                            steps: Steps {
                                line: out.width * o,
                                row: o,
                            },
                            across: 1,
                            lanes: WIDE.min(o - which * WIDE),
                            store,
                        };
                        chains(path, &rows, panel, &start, &mut to);
                    }
                }
            });
        });
    });
    if store == Store::Set {
        activation.apply(path, y);
    }
}

/// [`layer_forward`] without an activation.
///
/// # Panics
/// Lengths that disagree.
pub fn forward(
    path: Path,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
) {
    layer_forward(path, shape, x, w, b, Activation::Identity, y);
}

/// The gradient of the sums, then those of bias, weight and input.
///
/// # Panics
/// Lengths that disagree.
pub fn layer_backward(path: Path, shape: &ConvShape, from: Backward<'_>) {
    match from.db {
        None => from.activation.unapply(path, from.y, from.dy),
        Some(mut db) => {
            let (activation, y) = (from.activation, from.y);
            let (positions, channels) = (shape.output().positions(), shape.output().channels);
            scratch::with(channels, |total| {
                // Both while a group's gradients are at hand.
                sums_changing(positions, channels, from.dy, total, |first, dy, sums| {
                    if activation != Activation::Identity {
                        activation.unapply(path, &y[first..first + dy.len()], dy);
                    }
                    add_rows(path, dy, sums);
                });
                add_into(path, total, db.zeroed());
            });
        }
    }
    let dy = &*from.dy;
    weight_gradient::to(path, shape, from.x, dy, from.dw.to, from.dw.how);
    if let Some(dx) = from.dx {
        input_gradient::to(path, shape, from.w, dy, dx.to, dx.how);
    }
}

/// Adds to `db`, the sum of `dy` per channel over (image, position), as [`super::sums`] makes sums.
///
/// # Panics
/// Lengths that disagree.
pub fn bias_gradient(path: Path, positions: usize, dy: &[f32], db: &mut [f32]) {
    let channels = db.len();
    scratch::with(channels, |total| {
        sums(positions, channels, dy.len(), total, |here, sums| {
            add_rows(path, &dy[here], sums);
        });
        add_into(path, total, db);
    });
}
