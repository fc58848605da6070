//! How a batch is cut for reductions, and when threads pay. The cuts depend on sizes only, and so
//! do the bits.

use std::ops::Range;

use super::parallel;

/// Images in a shard.
pub(super) const SHARD_IMAGES: usize = 32;

/// Images of a group: as many as give 256 positions, at most a shard.
pub(super) fn group_images(positions: usize) -> usize {
    256usize.div_ceil(positions.max(1)).clamp(1, SHARD_IMAGES)
}

/// Consecutive images whose values form one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub shard: usize,
    pub images: Range<usize>,
}

/// The groups of a batch, shard by shard; the last of a shard and the last shard may be smaller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    images: usize,
    step: usize,
    per_shard: usize,
}

impl Groups {
    pub(super) fn new(images: usize, positions: usize) -> Groups {
        let step = group_images(positions);
        Groups {
            images,
            step,
            per_shard: SHARD_IMAGES.div_ceil(step),
        }
    }

    /// How many there are.
    pub(super) fn len(self) -> usize {
        let rest = self.images % SHARD_IMAGES;
        self.images / SHARD_IMAGES * self.per_shard + rest.div_ceil(self.step)
    }

    /// The first image of a group; of the one behind the last, the number of images.
    pub(super) fn first_image(self, group: usize) -> usize {
        let within = (group % self.per_shard * self.step).min(SHARD_IMAGES);
        (group / self.per_shard * SHARD_IMAGES + within).min(self.images)
    }

    /// All of them.
    pub(super) fn iter(self) -> impl Iterator<Item = Group> {
        (0..self.len()).map(move |group| Group {
            shard: group / self.per_shard,
            images: self.first_image(group)..self.first_image(group + 1),
        })
    }

    /// Adds group sums (`[groups][width]`) up in place: within each shard in order, then the shards
    /// in order. The first of each is where its sum starts; the total ends up in the first `width`
    /// sums.
    pub(super) fn combine(self, sums: &mut [f32], width: usize) {
        let mut add = |to: usize, from: usize| {
            let (a, b) = sums.split_at_mut(from * width);
            for (a, b) in a[to * width..][..width].iter_mut().zip(b) {
                *a += *b;
            }
        };
        let len = self.len();
        for group in (0..len).filter(|g| g % self.per_shard != 0) {
            add(group - group % self.per_shard, group);
        }
        for shard in (self.per_shard..len).step_by(self.per_shard) {
            add(0, shard);
        }
    }
}

/// Elements per piece of an elementwise kernel.
const PIECE: usize = 1 << 15;

/// Pieces of about equal size for `rows` rows of `work` operations each: one where threads would
/// cost more than they bring.
pub(super) fn rows_per_piece(rows: usize, work: usize) -> usize {
    let threads = parallel::threads();
    if threads == 1 || rows.saturating_mul(work) < 1 << 16 {
        return rows.max(1);
    }
    let least = (1usize << 14).div_ceil(work.max(1));
    rows.div_ceil(threads * 4).max(least)
}

/// As [`rows_per_piece`] for single elements.
pub(super) fn elements_per_piece(len: usize) -> usize {
    if parallel::threads() == 1 || len < 2 * PIECE {
        len.max(1)
    } else {
        PIECE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_do_not_cross_shards() {
        assert_eq!(
            (group_images(1024), group_images(100), group_images(1)),
            (1, 3, 32)
        );
        let cut: Vec<(usize, Range<usize>)> = Groups::new(70, 20)
            .iter()
            .map(|g| (g.shard, g.images))
            .collect();
        assert_eq!(
            cut,
            [
                (0, 0..13),
                (0, 13..26),
                (0, 26..32),
                (1, 32..45),
                (1, 45..58),
                (1, 58..64),
                (2, 64..70)
            ]
        );
        assert_eq!(Groups::new(0, 5).iter().count(), 0);
    }

    #[test]
    fn sums_are_added_shard_by_shard() {
        let mut sums: Vec<f32> = (0..7)
            .map(|i| 1.0e7f32.powi(i % 3) * (i as f32 + 0.1))
            .collect();
        let want = ((sums[0] + sums[1]) + sums[2]) + ((sums[3] + sums[4]) + sums[5]) + sums[6];
        Groups::new(70, 20).combine(&mut sums, 1);
        assert_eq!(sums[0], want);
    }
}
