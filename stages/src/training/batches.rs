//! Which images come when, and as which numbers.
//!
//! The order of epoch `e` is the permutation of stream (seed, "order", e, 0); step `k` of the epoch takes its next
//! `batch_size` entries, the last step what is left. Changes of images are drawn from stream (seed, "augment", e, k), image
//! by image. So any step can be made without those before it.

use rayon::prelude::*;

use super::augment::Augment;
use crate::data::{Dataset, Info};
use crate::exact::rng::Stream;

/// Images below which threads cost more than they bring.
const ROWS_PER_TASK: usize = 64;

/// Network inputs and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// `[rows, features]`, NHWC.
    pub inputs: Vec<f32>,
    /// `[rows]`.
    pub labels: Vec<u32>,
}

/// Network input for every byte and channel: what [`Dataset::normalised_row`] computes, looked up.
pub struct Normaliser {
    /// `[channels][256]`.
    table: Vec<f32>,
    channels: usize,
}

impl Normaliser {
    /// For images of this data set.
    pub fn new(info: &Info) -> Normaliser {
        let channels = info.shape.channels;
        let table = (0..channels * 256)
            .map(|i| ((i % 256) as f32 / 255.0 - info.mean[i / 256]) / info.std[i / 256])
            .collect();
        Normaliser { table, channels }
    }

    /// Turns bytes into inputs.
    pub fn apply(&self, image: &[u8], row: &mut [f32]) {
        for (pixel, out) in image
            .chunks_exact(self.channels)
            .zip(row.chunks_exact_mut(self.channels))
        {
            for (c, (p, out)) in pixel.iter().zip(out).enumerate() {
                *out = self.table[c * 256 + usize::from(*p)];
            }
        }
    }
}

/// The training batches of a data set.
pub struct Batches<'a> {
    data: &'a Dataset,
    normaliser: Normaliser,
    seed: u64,
    batch_size: usize,
    augment: Augment,
    /// The permutation of an epoch, once made.
    order: Option<(u64, Vec<u32>)>,
}

impl<'a> Batches<'a> {
    /// Batches of `batch_size` ≥ 1 images.
    pub fn new(data: &'a Dataset, seed: u64, batch_size: usize, augment: Augment) -> Batches<'a> {
        Batches {
            data,
            normaliser: Normaliser::new(data.info()),
            seed,
            batch_size,
            augment,
            order: None,
        }
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.data.len().div_ceil(self.batch_size) as u64
    }

    /// The batch of a step (within the epoch).
    pub fn batch(&mut self, epoch: u64, step: u64) -> Batch {
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let order =
                Stream::new(self.seed, "order", epoch, 0).permutation(self.data.len() as u32);
            self.order = Some((epoch, order));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let first = (step as usize * self.batch_size).min(order.len());
        let rows = &order[first..(first + self.batch_size).min(order.len())];
        let features = self.data.features();
        let mut batch = Batch {
            inputs: vec![0.0; rows.len() * features],
            labels: rows
                .iter()
                .map(|&i| u32::from(self.data.labels()[i as usize]))
                .collect(),
        };
        let mut stream = Stream::new(self.seed, "augment", epoch, step);
        let changes: Vec<_> = rows
            .iter()
            .map(|_| self.augment.draw(&mut stream))
            .collect();
        let (data, normaliser, plain) = (self.data, &self.normaliser, self.augment.is_none());
        batch
            .inputs
            .par_chunks_mut(features * ROWS_PER_TASK)
            .enumerate()
            .for_each(|(task, chunk)| {
                let mut changed = vec![0; if plain { 0 } else { features }];
                for (i, row) in chunk.chunks_exact_mut(features).enumerate() {
                    let at = task * ROWS_PER_TASK + i;
                    let image = data.image(rows[at] as usize);
                    if plain {
                        normaliser.apply(image, row);
                    } else {
                        changes[at].apply(image, data.info().shape, &mut changed);
                        normaliser.apply(&changed, row);
                    }
                }
            });
        batch
    }
}

/// The images of a data set in order, `size` at a time, unchanged: for evaluation.
pub fn in_order(data: &Dataset, size: usize) -> impl Iterator<Item = Batch> + '_ {
    let normaliser = Normaliser::new(data.info());
    let features = data.features();
    (0..data.len()).step_by(size).map(move |first| {
        let end = (first + size).min(data.len());
        let mut inputs = vec![0.0; (end - first) * features];
        inputs
            .par_chunks_mut(features * ROWS_PER_TASK)
            .enumerate()
            .for_each(|(task, chunk)| {
                for (i, row) in chunk.chunks_exact_mut(features).enumerate() {
                    normaliser.apply(data.image(first + task * ROWS_PER_TASK + i), row);
                }
            });
        Batch {
            inputs,
            labels: data.labels()[first..end]
                .iter()
                .map(|&l| u32::from(l))
                .collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::tiny;

    #[test]
    fn an_epoch_shows_every_image_once_and_keeps_the_last_batch() {
        let data = tiny(11);
        let mut batches = Batches::new(&data, 3, 4, Augment::default());
        assert_eq!(batches.steps_per_epoch(), 3);
        let rows = |epoch, batches: &mut Batches| {
            let all: Vec<Batch> = (0..3).map(|k| batches.batch(epoch, k)).collect();
            assert_eq!(
                all.iter().map(|b| b.labels.len()).collect::<Vec<_>>(),
                [4, 4, 3]
            );
            all.iter()
                .flat_map(|b| {
                    b.inputs
                        .chunks(12)
                        .map(|r| r.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        let first = rows(0, &mut batches);
        let second = rows(1, &mut batches);
        assert_ne!(first, second, "every epoch has its own order");
        assert_eq!(rows(0, &mut batches), first, "an epoch can be made again");
        let mut want: Vec<Vec<u32>> = (0..11)
            .map(|i| {
                let mut row = [0.0; 12];
                data.normalised_row(i, &mut row);
                row.iter().map(|x| x.to_bits()).collect()
            })
            .collect();
        let mut got = first.clone();
        want.sort();
        got.sort();
        assert_eq!(got, want, "the table gives what the data set defines");
    }

    #[test]
    fn evaluation_goes_in_order() {
        let data = tiny(5);
        let batches: Vec<Batch> = in_order(&data, 2).collect();
        assert_eq!(
            batches
                .iter()
                .flat_map(|b| b.labels.clone())
                .collect::<Vec<_>>(),
            [0, 1, 0, 1, 0]
        );
        let mut row = [0.0; 12];
        data.normalised_row(4, &mut row);
        assert_eq!(batches[2].inputs, row);
    }
}
