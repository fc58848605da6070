//! The documented orders, spelled out one scalar at a time, against the kernels on every path and
//! number of threads.

use std::time::Duration;

use super::parallel::Simulation;
use super::*;
use crate::exact::rng::Stream;
use crate::shape::Image;

mod conv_orders;
mod dense_orders;
mod depthwise_orders;
mod frozen;
mod fused;
mod gelu_orders;
mod gradients;
mod group_norm_orders;
mod lstm_orders;
mod others;
mod recurrent_orders;
mod soft_loss_orders;
mod special_values;
mod squared_error_orders;
mod winograd_orders;

/// Where a gradient is added to what is there.
fn added(to: &mut [f32]) -> layer::Gradient<'_> {
    let how = layer::Accumulate::Add;
    layer::Gradient { to, how }
}

/// Seeded values of mixed size; with `harsh`, also zeros of both signs, subnormals, huge values and
/// infinities.
fn values(len: usize, seed: u64, harsh: bool) -> Vec<f32> {
    let mut random = Stream::new(seed, "kernel test", 0, 0);
    let special = [
        0.0,
        -0.0,
        f32::from_bits(3),
        -f32::MIN_POSITIVE / 3.0,
        3.0e38,
        -2.9e38,
        f32::INFINITY,
        1.0e-30,
    ];
    let mut value = |_| match random.below(if harsh { 40 } else { 1 }) {
        i @ 1..=8 => special[i as usize - 1],
        _ => random.normal(),
    };
    (0..len).map(&mut value).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    // The payload of a NaN is no part of the contract.
    values
        .iter()
        .map(|v| {
            if v.is_nan() {
                f32::NAN.to_bits()
            } else {
                v.to_bits()
            }
        })
        .collect()
}

/// Runs a kernel on every path with 1, 2, 3 and 8 threads, and 16 simulated ones; all must give the
/// same bits, which are returned.
#[track_caller]
fn everywhere(run: impl Fn(Path) -> Vec<f32> + Sync) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    let mut compare = |path: Path, threads: &str, got: Vec<f32>| match &first {
        None => first = Some(got),
        Some(first) => assert_eq!(bits(first), bits(&got), "{} with {threads}", path.name()),
    };
    for path in Path::all() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let got = pool.install(|| run(path));
            compare(path, &format!("{threads} threads"), got);
        }
        let simulation = Simulation::begin(16, || Duration::ZERO);
        let got = run(path);
        drop(simulation);
        compare(path, "16 simulated threads", got);
    }
    first.unwrap()
}

fn chain(start: f32, terms: impl Iterator<Item = (f32, f32)>) -> f32 {
    terms.fold(start, |acc, (a, b)| a.mul_add(b, acc))
}

/// Products in blocks of so many: chains, the first from `start`, the others from 0, added up in
/// order.
fn in_blocks(block: usize, start: f32, terms: impl Iterator<Item = (f32, f32)>) -> f32 {
    let terms: Vec<_> = terms.collect();
    let mut blocks = terms.chunks(block);
    let first = chain(start, blocks.next().unwrap_or_default().iter().copied());
    blocks.fold(first, |sum, block| sum + chain(0.0, block.iter().copied()))
}

/// The sum of a group as `sums.rs` makes it: blocks of 32 rows, each a chain of `step` from 0,
/// added up in order from 0.
fn of_rows<T: Copy>(rows: impl Iterator<Item = T>, step: impl Fn(f32, T) -> f32) -> f32 {
    let rows: Vec<T> = rows.collect();
    let block = |rows: &[T]| rows.iter().fold(0.0, |sum, row| step(sum, *row));
    rows.chunks(32).fold(0.0, |sum, rows| sum + block(rows))
}

fn image(height: usize, width: usize, channels: usize) -> Image {
    Image {
        height,
        width,
        channels,
    }
}

/// Adds up group values as documented: groups of a shard, then shards.
fn grouped(
    n: usize,
    positions: usize,
    mut of_group: impl FnMut(std::ops::Range<usize>) -> f32,
) -> f32 {
    let step = 256usize.div_ceil(positions).clamp(1, 32);
    let mut shards = Vec::new();
    for shard in (0..n).step_by(32) {
        let end = n.min(shard + 32);
        let sums: Vec<f32> = (shard..end)
            .step_by(step)
            .map(|i| of_group(i..end.min(i + step)))
            .collect();
        shards.push(sums.into_iter().reduce(|a, b| a + b).unwrap());
    }
    shards.into_iter().reduce(|a, b| a + b).unwrap()
}
