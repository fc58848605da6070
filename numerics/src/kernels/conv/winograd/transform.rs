//! The transforms: additions, subtractions and halves of 16 channels at a time, as [`super`]
//! defines them.

use std::ops::Range;

use super::super::super::chain::{Store, WIDE};
use super::super::super::out::Out;
use super::super::super::path::kernel;
use super::{FREQUENCIES, LANES, Tiling};
use crate::kernels::layer::Accumulate;

/// Sixteen channels.
type Lanes = [f32; LANES];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i] + b[i])
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i] - b[i])
}

#[inline(always)]
fn half(a: Lanes) -> Lanes {
    std::array::from_fn(|i| 0.5 * a[i])
}

#[inline(always)]
fn minus(a: Lanes) -> Lanes {
    std::array::from_fn(|i| -a[i])
}

/// # Safety
/// Sixteen numbers can be read there.
#[inline(always)]
unsafe fn load(from: *const f32) -> Lanes {
    // SAFETY: the caller's promise.
    unsafe { from.cast::<Lanes>().read_unaligned() }
}

/// # Safety
/// Sixteen numbers can be written there.
#[inline(always)]
unsafe fn save(to: *mut f32, values: Lanes) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<Lanes>().write_unaligned(values) }
}

#[inline(always)]
fn of_input([d0, d1, d2, d3]: [Lanes; 4]) -> [Lanes; 4] {
    [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)]
}

#[inline(always)]
fn of_weight([g0, g1, g2]: [Lanes; 3]) -> [Lanes; 4] {
    let (s, h) = (half(add(g0, g2)), half(g1));
    [g0, add(s, h), sub(s, h), g2]
}

#[inline(always)]
fn to_output([m0, m1, m2, m3]: [Lanes; 4]) -> [Lanes; 2] {
    [add(add(m0, m1), m2), sub(sub(m1, m2), m3)]
}

#[inline(always)]
fn of_gradient([e0, e1]: [Lanes; 2]) -> [Lanes; 4] {
    [e0, add(e0, e1), sub(e0, e1), minus(e1)]
}

#[inline(always)]
fn to_weight([u0, u1, u2, u3]: [Lanes; 4]) -> [Lanes; 3] {
    let t = half(add(u1, u2));
    [add(u0, t), half(sub(u1, u2)), add(t, u3)]
}

/// How transformed tiles lie: per frequency, tiles in lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which tile the first is.
    pub first: usize,
    /// From a tile to the next.
    pub tile: usize,
    /// From a frequency to the next.
    pub frequency: usize,
}

kernel! {
    /// Weights `taps[9][inputs][width]`, of some inputs, to lines `at ..` of the panels
    /// `u[frequency][lines][width]`.
    pub(super) fn weights<F>(taps: &[f32], width: usize, lines: usize, at: usize, u: &mut [f32]) {
        let inputs = taps.len() / 9 / width;
        for input in 0..inputs {
            for lane in (0..width).step_by(LANES) {
                let tap = |kh: usize, kw: usize| -> Lanes {
                    let from = ((kh * 3 + kw) * inputs + input) * width + lane;
                    *taps[from..].first_chunk().expect("sixteen weights")
                };
                let columns: [[Lanes; 4]; 3] = std::array::from_fn(|kw| of_weight([tap(0, kw), tap(1, kw), tap(2, kw)]));
                for i in 0..4 {
                    let row = of_weight([columns[0][i], columns[1][i], columns[2][i]]);
                    for (j, values) in row.iter().enumerate() {
                        let to = ((i * 4 + j) * lines + at + input) * width + lane;
                        u[to..to + LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// The four frequencies of a row for all channels: of the combination, along columns, of two of the
/// tile's rows.
///
/// # Safety
/// `channels`, a multiple of 16, can be read from each place, and written from `to` on for each
/// frequency.
#[inline(always)]
unsafe fn input_row<const SUM: bool>(
    a: [*const f32; 4],
    b: [*const f32; 4],
    channels: usize,
    to: *mut f32,
    frequency: usize,
) {
    for c in (0..channels).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let column = |j: usize| {
                let (a, b) = (load(a[j].add(c)), load(b[j].add(c)));
                if SUM { add(a, b) } else { sub(a, b) }
            };
            let row = of_input([column(0), column(1), column(2), column(3)]);
            for (j, values) in row.iter().enumerate() {
                save(to.add(j * frequency + c), *values);
            }
        }
    }
}

kernel! {
    /// A row of tiles of an image: the rows of frequencies `rows`, one after the other. `zeros` are
    /// as many as channels.
    pub(super) fn input<F>(x: &[f32], tiling: Tiling, row: usize, zeros: &[f32], rows: super::Rows, to: &mut [f32], place: Place) {
        let (image, channels) = (tiling.image, tiling.image.channels);
        let last = (rows.len() * 4 - 1) * place.frequency + (place.first + tiling.per_row - 1) * place.tile;
        assert!(
            x.len() == image.features() && zeros.len() == channels && channels.is_multiple_of(LANES)
                && channels <= place.tile && last + channels <= to.len() && rows.iter().all(|i| *i < 4),
            "winograd input: lengths"
        );
        for tile in 0..tiling.per_row {
            let mut d = [[zeros.as_ptr(); 4]; 4];
            for (r, d) in d.iter_mut().enumerate() {
                for (c, d) in d.iter_mut().enumerate() {
                    // The first position is one before the first output's.
                    let (y, x_at) = ((2 * row + r).wrapping_sub(1), (2 * tile + c).wrapping_sub(1));
                    if y < image.height && x_at < image.width {
                        *d = x[(y * image.width + x_at) * channels..].as_ptr();
                    }
                }
            }
            let to = to[(place.first + tile) * place.tile..].as_mut_ptr();
            for (at, i) in rows.iter().enumerate() {
                let to = to.wrapping_add(at * 4 * place.frequency);
                // SAFETY: `d` points to positions of the image or to the zeros, and the assertion
                // covers the last tile's last frequency.
                unsafe {
                    match i {
                        0 => input_row::<false>(d[0], d[2], channels, to, place.frequency),
                        1 => input_row::<true>(d[1], d[2], channels, to, place.frequency),
                        2 => input_row::<false>(d[2], d[1], channels, to, place.frequency),
                        _ => input_row::<false>(d[1], d[3], channels, to, place.frequency),
                    }
                }
            }
        }
    }
}

kernel! {
    /// A row of tiles of an image's gradient, of the outputs `outputs`: rows of frequencies one
    /// after the other, per frequency in panels of `tiles` lines of 32 outputs (the last may be of
    /// 16). `zeros` are as many as outputs in all.
    pub(super) fn gradient<F>(dy: &[f32], tiling: Tiling, row: usize, outputs: Range<usize>, zeros: &[f32], rows: super::Rows, to: &mut [f32], first: usize, tiles: usize, frequency: usize) {
        let (image, channels) = (tiling.image, tiling.image.channels);
        assert!(
            dy.len() == image.features() && zeros.len() == channels && outputs.end <= channels
                && outputs.start.is_multiple_of(WIDE) && outputs.len().is_multiple_of(LANES)
                && first + tiling.per_row <= tiles && tiles * outputs.len() <= frequency
                && rows.len() * 4 * frequency <= to.len() && rows.iter().all(|i| *i < 4),
            "winograd gradient: lengths"
        );
        for tile in 0..tiling.per_row {
            let at = |r: usize, c: usize| {
                let (y, x) = (2 * row + r, 2 * tile + c);
                let inside = y < image.height && x < image.width;
                if inside { dy[(y * image.width + x) * channels..].as_ptr() } else { zeros.as_ptr() }
            };
            let e = [[at(0, 0), at(0, 1)], [at(1, 0), at(1, 1)]];
            for (which, i) in rows.iter().enumerate() {
                for lane in (0..outputs.len()).step_by(LANES) {
                    let width = WIDE.min(outputs.len() - lane / WIDE * WIDE);
                    let to_lane = lane / WIDE * WIDE * tiles + (first + tile) * width + lane % WIDE;
                    let column = |c: usize| {
                        // SAFETY: a position of the image, or the zeros; the assertion covers all
                        // outputs.
                        let [e0, e1] = [0, 1].map(|r: usize| unsafe { load(e[r][c].add(outputs.start + lane)) });
                        match i {
                            0 => e0,
                            1 => add(e0, e1),
                            2 => sub(e0, e1),
                            _ => minus(e1),
                        }
                    };
                    for (j, values) in of_gradient([column(0), column(1)]).iter().enumerate() {
                        // SAFETY: the panels before it are full, so the lines of this one end
                        // within `tiles · outputs`.
                        unsafe { save(to.as_mut_ptr().add((which * 4 + j) * frequency + to_lane), *values) };
                    }
                }
            }
        }
    }
}

/// Where outputs go: `width` channels from `first` on of the positions of some tiles, counted over
/// images from the first one's first tile.
pub(super) struct Outputs<'a> {
    pub out: Out<'a>,
    pub tiling: Tiling,
    pub tiles: Range<usize>,
    pub first: usize,
    pub store: Store,
}

kernel! {
    /// Outputs of tiles from `m[frequency][tile][width]`.
    pub(super) fn output<F>(m: &[f32], frequency: usize, width: usize, bias: &[f32; WIDE], to: Outputs<'_>) {
        let Outputs { mut out, tiling, tiles, first, store } = to;
        let (image, channels) = (tiling.image, tiling.image.channels);
        let per_image = tiling.rows * tiling.per_row;
        assert!(
            (FREQUENCIES - 1) * frequency + tiles.len() * width <= m.len() && width <= WIDE && width.is_multiple_of(LANES)
                && first + width <= channels && tiles.end.div_ceil(per_image) * image.features() <= out.len(),
            "winograd output: lengths"
        );
        for (at, tile) in tiles.enumerate() {
            let (of_image, tile) = (tile / per_image, tile % per_image);
            let (row, column) = (2 * (tile / tiling.per_row), 2 * (tile % tiling.per_row));
            for lane in (0..width).step_by(LANES) {
                let m = |i: usize, j: usize| {
                    // SAFETY: the assertion covers the last tile's last frequency.
                    unsafe { load(m.as_ptr().add((i * 4 + j) * frequency + at * width + lane)) }
                };
                let columns: [[Lanes; 2]; 4] = std::array::from_fn(|j| to_output([m(0, j), m(1, j), m(2, j), m(3, j)]));
                let bias = *bias[lane..].first_chunk().expect("sixteen outputs");
                for i in 0..2.min(image.height - row) {
                    let values = to_output([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                    for (j, values) in values.iter().enumerate().take(image.width - column) {
                        let position = (row + i) * image.width + column + j;
                        let place = out.place(of_image * image.features() + position * channels + first + lane);
                        let values = add(*values, bias);
                        // SAFETY: the position lies within the image and the images within `out`,
                        // as asserted; what was there is read only where it counts.
                        unsafe {
                            match store {
                                Store::Set | Store::Relu | Store::ZeroPlus => save(place, values.map(|v| store.of(0.0, v))),
                                Store::Add | Store::AddRelu => {
                                    let there = load(place);
                                    save(place, std::array::from_fn(|l| store.of(there[l], values[l])));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

kernel! {
    /// The gradient of the weights of inputs `inputs` and of a panel's `width` outputs from `first`
    /// on, from the sums `u[frequency][input][width]`; `dw` is laid out `[9][inputs of
    /// all][outputs]`.
    pub(super) fn weight_gradient<F>(u: &[f32], frequency: usize, width: usize, inputs: Range<usize>, shape: (usize, usize), first: usize, how: Accumulate, dw: Out<'_>) {
        let (all, outputs) = shape;
        let mut dw = dw;
        assert!(
            inputs.end <= all && first + width <= outputs && width.is_multiple_of(LANES) && 9 * all * outputs <= dw.len()
                && (FREQUENCIES - 1) * frequency + inputs.end * width <= u.len(),
            "winograd weight gradient: lengths"
        );
        for input in inputs {
            for lane in (0..width).step_by(LANES) {
                let u = |i: usize, j: usize| {
                    // SAFETY: the assertion covers the last frequency's last input.
                    unsafe { load(u.as_ptr().add((i * 4 + j) * frequency + input * width + lane)) }
                };
                let columns: [[Lanes; 3]; 4] = std::array::from_fn(|j| to_weight([u(0, j), u(1, j), u(2, j), u(3, j)]));
                for kh in 0..3 {
                    let row = to_weight([columns[0][kh], columns[1][kh], columns[2][kh], columns[3][kh]]);
                    for (kw, values) in row.iter().enumerate() {
                        let place = dw.place(((kh * 3 + kw) * all + input) * outputs + first + lane);
                        // SAFETY: as asserted.
                        unsafe {
                            let there = match how {
                                Accumulate::First => [0.0; LANES],
                                Accumulate::Add => load(place),
                            };
                            save(place, add(there, *values));
                        }
                    }
                }
            }
        }
    }
}
