//! Sums per channel over a batch, in groups and shards ([`super::shard`]).
//!
//! A group's rows, (image, position) ascending, are cut into blocks of [`BLOCK_ROWS`], each a chain
//! from 0; the blocks of a group are added up in order from 0, then the groups of a shard in order,
//! then the shards.

use std::ops::Range;

use super::parallel::{self, Halves};
use super::path::{Path, kernel};
use super::scratch;
use super::shard::Groups;
use super::tiles::{TILE, tiles};

/// Rows of a block: about the square root of the longest group (1,024 positions of an image), where
/// the error of blocks and of adding them up is least.
pub(super) const BLOCK_ROWS: usize = 32;
/// Elements below which one thread does it all.
const WORTH_THREADS: usize = 1 << 15;

/// Writes `sums` (`width` of them, or several kinds of `width` side by side) over values
/// `[images][positions][width]`, `len` in all; `chain(elements of a group, its sums)` adds to
/// zeros.
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
        let work = |i: usize, sums: &mut [f32]| {
            let elements = groups.first_image(i) * image..groups.first_image(i + 1) * image;
            chain(elements, sums);
        };
        parallel::chunks(of_groups, all, len >= WORTH_THREADS, work);
        groups.combine(of_groups, all);
        sums.copy_from_slice(&of_groups[..all]);
    });
}

/// [`sums`] whose chains also change `values`: `chain(first element, values of the group, its
/// sums)`.
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
        let threads = values.len() >= WORTH_THREADS;
        let part = Part {
            groups,
            image,
            here: 0..groups.len(),
            values,
            sums: of_groups,
        };
        match threads {
            true => parallel::halves(part, &Part::cut, &|group| group.run(&chain)),
            false => part.each(&chain),
        }
        groups.combine(of_groups, all);
        sums.copy_from_slice(&of_groups[..all]);
    });
}

/// Adds the sums of blocks of rows to `sums`, in order.
pub(super) fn add_rows(path: Path, rows: &[f32], sums: &mut [f32]) {
    add_rows_by(path, BLOCK_ROWS, rows, sums);
}

kernel! {
    /// [`add_rows`] in blocks of `count` rows.
    pub(super) fn add_rows_by<F>(count: usize, rows: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        tiles!(width, |tile, LEN| {
            let mut total = [0.0; TILE];
            total[..LEN].copy_from_slice(&sums[tile..][..LEN]);
            for block in rows.chunks(count * width) {
                let mut sum = [0.0; TILE];
                for row in block.chunks_exact(width) {
                    let row = &row[tile..][..LEN];
                    for j in 0..LEN {
                        sum[j] += row[j];
                    }
                }
                for j in 0..LEN {
                    total[j] += sum[j];
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
    here: Range<usize>,
    values: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<'a> Part<'a> {
    fn first(&self, group: usize) -> usize {
        self.groups.first_image(group) * self.image
    }

    /// The chains of all groups, on this thread.
    fn each(self, chain: &impl Fn(usize, &mut [f32], &mut [f32])) {
        match self.cut() {
            Halves::Two(a, b) => {
                a.each(chain);
                b.each(chain);
            }
            Halves::One(group) => group.run(chain),
        }
    }

    /// The chains of the one group there is, or of none.
    fn run(self, chain: &impl Fn(usize, &mut [f32], &mut [f32])) {
        if !self.here.is_empty() {
            chain(self.first(self.here.start), self.values, self.sums);
        }
    }

    fn cut(self) -> Halves<Part<'a>> {
        let count = self.here.len();
        if count <= 1 {
            return Halves::One(self);
        }
        let middle = self.here.start + count / 2;
        let at = self.first(middle) - self.first(self.here.start);
        let (a, b) = self.values.split_at_mut(at);
        let width = self.sums.len() / count;
        let (a_sums, b_sums) = self.sums.split_at_mut(width * (count / 2));
        let part = |here, values, sums| Part {
            here,
            values,
            sums,
            groups: self.groups,
            image: self.image,
        };
        Halves::Two(
            part(self.here.start..middle, a, a_sums),
            part(middle..self.here.end, b, b_sums),
        )
    }
}
