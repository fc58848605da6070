//! Sums per channel over a batch, in groups and shards ([`super::shard`]).
//!
//! A group is one chain from 0 over (image, position), the groups of a shard are added up in order, then the shards.

use std::ops::Range;

use rayon::prelude::*;

use super::path::kernel;
use super::scratch;
use super::shard::Groups;
use super::tiles::{TILE, tiles};

/// Elements below which one thread does it all.
const WORTH_THREADS: usize = 1 << 15;

/// Writes `sums` (`width` of them, or several kinds of `width` side by side) over values `[images][positions][width]`,
/// `len` in all; `chain(elements of a group, its sums)` adds to zeros.
///
/// # Panics
/// Lengths that disagree.
pub(super) fn sums(
    positions: usize,
    width: usize,
    len: usize,
    sums: &mut [f32],
    chain: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let image = positions * width;
    assert!(
        image > 0 && len.is_multiple_of(image),
        "sums over channels: lengths"
    );
    let groups = Groups::new(len / image, positions);
    let all = sums.len();
    scratch::with(groups.len().max(1) * all, |of_groups| {
        of_groups.fill(0.0);
        let work = |(i, sums): (usize, &mut [f32])| {
            let elements = groups.first_image(i) * image..groups.first_image(i + 1) * image;
            chain(elements, sums);
        };
        if len < WORTH_THREADS {
            of_groups.chunks_mut(all).enumerate().for_each(work);
        } else {
            of_groups.par_chunks_mut(all).enumerate().for_each(work);
        }
        groups.combine(of_groups, all);
        sums.copy_from_slice(&of_groups[..all]);
    });
}

/// [`sums`] whose chains also change `values`: `chain(first element, values of the group, its sums)`.
pub(super) fn sums_changing(
    positions: usize,
    width: usize,
    values: &mut [f32],
    sums: &mut [f32],
    chain: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let image = positions * width;
    assert!(
        image > 0 && values.len().is_multiple_of(image),
        "sums over channels: lengths"
    );
    let groups = Groups::new(values.len() / image, positions);
    let all = sums.len();
    scratch::with(groups.len().max(1) * all, |of_groups| {
        of_groups.fill(0.0);
        let part = Part {
            groups,
            image,
            threads: values.len() >= WORTH_THREADS,
            here: 0..groups.len(),
            values,
            sums: of_groups,
        };
        part.run(&chain);
        groups.combine(of_groups, all);
        sums.copy_from_slice(&of_groups[..all]);
    });
}

kernel! {
    /// Adds every row of `rows` to `sums`, in order.
    pub(super) fn add_rows<F>(rows: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        tiles!(width, |tile, LEN| {
            let mut total = [0.0; TILE];
            total[..LEN].copy_from_slice(&sums[tile..][..LEN]);
            for row in rows.chunks_exact(width) {
                let row = &row[tile..][..LEN];
                for j in 0..LEN {
                    total[j] += row[j];
                }
            }
            sums[tile..][..LEN].copy_from_slice(&total[..LEN]);
        });
    }
}

/// Consecutive groups with their values and sums.
struct Part<'a> {
    groups: Groups,
    image: usize,
    threads: bool,
    here: Range<usize>,
    values: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Part<'_> {
    fn run(self, chain: &(impl Fn(usize, &mut [f32], &mut [f32]) + Sync)) {
        let first = |group| self.groups.first_image(group) * self.image;
        match self.here.len() {
            0 => {}
            1 => chain(first(self.here.start), self.values, self.sums),
            count => {
                let middle = self.here.start + count / 2;
                let (a, b) = self
                    .values
                    .split_at_mut(first(middle) - first(self.here.start));
                let (a_sums, b_sums) = self
                    .sums
                    .split_at_mut(self.sums.len() / count * (count / 2));
                let a = Part {
                    here: self.here.start..middle,
                    values: a,
                    sums: a_sums,
                    ..self
                };
                let b = Part {
                    here: middle..self.here.end,
                    values: b,
                    sums: b_sums,
                    ..self
                };
                if self.threads {
                    rayon::join(|| a.run(chain), || b.run(chain));
                } else {
                    a.run(chain);
                    b.run(chain);
                }
            }
        }
    }
}
