//! A convolution's gradient of its input: convolutions with stride 1 over the gradient of its
//! output, one for every class of input positions modulo the stride.

use super::super::chain::{
    Grid, Rows, Segment, Start, Steps, Target, WIDE, chains, in_blocks, ordinary, packed_len,
    packed_panel,
};
use super::super::layer::Accumulate;
use super::super::margin::Margin;
use super::super::out::Out;
use super::super::path::Path;
use super::super::{parallel, scratch, transpose};
use super::{BLOCK, WORTH_THREADS, images_per_task, winograd, worth_threads};
use crate::shape::ConvShape;

/// The taps of one axis that reach input positions ≡ `residue` (mod stride).
struct Taps {
    /// Kernel indices, descending: the output positions they lead to ascend by one.
    kernel: Vec<usize>,
    /// First input position of the class; the class goes up in steps of the stride.
    first: usize,
    /// Output position of the first tap at the first input position.
    output: isize,
    /// Input positions in the class.
    count: usize,
}

fn taps(residue: usize, size: usize, kernel: usize, stride: usize, padding: usize) -> Taps {
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

/// Input positions ≡ residues (mod stride): their gradient is a convolution with stride 1 over
/// `dy`.
struct Class {
    rows: Taps,
    columns: Taps,
    /// Steps of a chain.
    k: usize,
    segments: Vec<Segment>,
    /// Where its panels begin.
    first: usize,
}

/// Adds to `dx`. Per element: products over the taps that meet the input position, kernel row
/// descending, kernel column descending, output channel ascending (for stride 1: the flipped kernel
/// in order), in blocks of 64, each a chain of fma from 0, added up in order; where a tap's output
/// position lies outside the image, its gradient is a zero that takes part. The sum is added to
/// `dx`.
///
/// # Panics
/// Lengths that disagree.
pub fn input_gradient(path: Path, shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    to(path, shape, w, dy, dx, Accumulate::Add);
}

pub(super) fn to(
    path: Path,
    shape: &ConvShape,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    how: Accumulate,
) {
    let (image, out) = (shape.input(), shape.output());
    let images = dx.len() / image.features();
    assert!(
        images * out.features() == dy.len() && w.len() == shape.weights(),
        "conv input gradient: lengths"
    );
    if winograd::applies(shape) {
        return winograd::input_gradient(path, shape, w, dy, dx, how);
    }
    let (kernel_h, kernel_w) = shape.kernel();
    let (c, o, stride, padding) = (
        image.channels,
        out.channels,
        shape.stride(),
        shape.padding(),
    );
    // Zeros so far out that no tap of any position leaves the buffer.
    let before = |kernel: usize| (kernel - 1 - padding) / stride;
    let after =
        |size: usize, outputs: usize| ((size - 1 + padding) / stride + 1).saturating_sub(outputs);
    let margin = Margin {
        top: before(kernel_h),
        left: before(kernel_w),
        bottom: after(image.height, out.height),
        right: after(image.width, out.width),
    };
    let padded = margin.around(out);
    let line = padded.width * o;
    let mut classes = Vec::new();
    let mut len = 0;
    for residue_y in 0..stride.min(image.height) {
        for residue_x in 0..stride.min(image.width) {
            let rows = taps(residue_y, image.height, kernel_h, stride, padding);
            let columns = taps(residue_x, image.width, kernel_w, stride, padding);
            let run = columns.kernel.len() * o;
            let kernel_rows = (0..rows.kernel.len()).map(|i| Segment {
                x: i * line,
                k: i * run,
                len: run,
                begins: false,
            });
            let segments = in_blocks(kernel_rows, BLOCK);
            let (k, first) = (rows.kernel.len() * run, len);
            len += packed_len(k, c);
            classes.push(Class {
                rows,
                columns,
                k,
                segments,
                first,
            });
        }
    }
    let ordinary = ordinary(path, dy, w, None, kernel_h * kernel_w * o);
    let threads = worth_threads(shape, images);
    let block = images_per_task(images, padded.features(), threads);
    scratch::with(len, |panels| {
        for class in classes.iter().filter(|class| class.k > 0) {
            let panels = &mut panels[class.first..][..packed_len(class.k, c)];
            let threads = class.k * c >= WORTH_THREADS;
            parallel::chunks(panels, class.k * WIDE, threads, |which, panel| {
                class.pack(path, shape, w, which, panel);
            });
        }
        let panels = &*panels;
        parallel::chunks(dx, block * image.features(), threads, |i, dx| {
            let count = dx.len() / image.features();
            let dy = &dy[i * block * out.features()..][..count * out.features()];
            margin.with_padded(dy, out, |dy| {
                for class in &classes {
                    let panels = &panels[class.first..][..packed_len(class.k, c)];
                    let left = margin.left.wrapping_add_signed(class.columns.output);
                    let top = margin.top.wrapping_add_signed(class.rows.output);
                    let first = (class.rows.first * image.width + class.columns.first) * c;
                    for which in 0..c.div_ceil(WIDE) {
                        let panel = packed_panel(panels, class.k, c, which);
                        for i in 0..count {
                            let dy = &dy[i * padded.features()..][..padded.features()];
                            let rows = Rows {
                                // A class without taps reads nothing and adds 0.
                                x: if class.k == 0 {
                                    &[]
                                } else {
                                    &dy[top * line + left * o..]
                                },
                                grid: Grid {
                                    lines: class.rows.count,
                                    per_line: class.columns.count,
                                },
                                steps: Steps { line, row: o },
                                k_step: 1,
                                segments: &class.segments,
                                ordinary,
                            };
                            let dx = &mut dx[i * image.features()..][..image.features()];
                            let mut to = Target {
                                out: Out::new(&mut dx[first + which * WIDE..]),
                                steps: Steps {
                                    line: stride * image.width * c,
                                    row: stride * c,
                                },
                                across: 1,
                                lanes: WIDE.min(c - which * WIDE),
                                store: how.store(),
                            };
                            chains(path, &rows, panel, &Start::ZERO, &mut to);
                        }
                    }
                }
            });
        });
    });
}

impl Class {
    /// Channels `32·which ..` of the flipped kernel: lines over (kernel row, kernel column, output
    /// channel).
    fn pack(&self, path: Path, shape: &ConvShape, w: &[f32], which: usize, panel: &mut [f32]) {
        let (c, o) = (shape.input().channels, shape.output().channels);
        let step = panel.len() / self.k;
        let channels = which * WIDE..c.min(which * WIDE + step);
        if channels.len() < step {
            panel.fill(0.0);
        }
        let taps = self.rows.kernel.iter().flat_map(|kh| {
            let columns = self.columns.kernel.iter();
            columns.map(move |kw| kh * shape.kernel().1 + kw)
        });
        for (tap, lines) in taps.zip(panel.chunks_exact_mut(o * step)) {
            let w = &w[tap * c * o..][..c * o];
            transpose::matrix(
                path,
                &w[channels.start * o..channels.end * o],
                o,
                lines,
                step,
            );
        }
    }
}
