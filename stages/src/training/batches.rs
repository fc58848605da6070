//! Which images come when, and as which numbers.
//!
//! The order of epoch `e` is the permutation of stream (seed, "order", e, 0); step `k` of the epoch
//! takes its next `batch_size` entries, the last step what is left, unless that is dropped. Changes
//! of images are drawn from stream (seed, "augment", e, k), image by image. So any step can be made
//! without those before it.

use std::cell::RefCell;

use super::augment::{Augment, Change, Shown};
use super::later::Later;
use crate::data::{Answers, Dataset, Row, Values};
use crate::ops::{Album, Frame, Image};
use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::parallel;

/// Numbers a task makes at least.
const PER_TASK: usize = 1 << 15;

thread_local! {
    /// A changed image on its way.
    static CHANGED: RefCell<(Vec<u8>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Network input for every value and channel: what [`Dataset::normalised_row`] computes.
pub struct Normaliser {
    /// For every byte, looked up: by channel, then byte. Empty where the data have floats.
    tables: Vec<[f32; 256]>,
    /// Mean and standard deviation by channel.
    moments: Vec<(f32, f32)>,
}

impl Normaliser {
    /// These examples, for a device that shows images by itself; none where they are no bytes.
    pub fn album<'a>(&'a self, data: &'a Dataset) -> Option<Album<'a>> {
        let (Values::Bytes(bytes), shape) = (data.values(), data.info().shape) else {
            return None;
        };
        Some(Album {
            bytes,
            meanings: &self.tables,
            image: Image {
                height: shape.height,
                width: shape.width,
                channels: shape.channels,
            },
        })
    }

    /// For examples of this data set.
    pub fn new(data: &Dataset) -> Normaliser {
        let info = data.info();
        let moments: Vec<(f32, f32)> = info
            .mean
            .iter()
            .copied()
            .zip(info.std.iter().copied())
            .collect();
        let table = |(mean, std): &(f32, f32)| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        };
        let tables = match data.values() {
            Values::Bytes(_) => moments.iter().map(table).collect(),
            Values::Floats(_) => Vec::new(),
        };
        Normaliser { tables, moments }
    }

    /// Turns values into inputs.
    pub fn apply(&self, values: Row, row: &mut [f32]) {
        match values {
            Row::Bytes(image) => self.look_up(image, row),
            Row::Floats(values) => {
                let channels = self.moments.len();
                let pixels = row.chunks_exact_mut(channels);
                for (out, pixel) in pixels.zip(values.chunks_exact(channels)) {
                    for ((out, x), (mean, std)) in out.iter_mut().zip(pixel).zip(&self.moments) {
                        *out = (x - mean) / std;
                    }
                }
            }
        }
    }

    fn look_up(&self, image: &[u8], row: &mut [f32]) {
        // One, three, or any number of channels: a known number is several times as fast.
        match &self.tables[..] {
            [table] => {
                for (out, byte) in row.iter_mut().zip(image) {
                    *out = table[usize::from(*byte)];
                }
            }
            [a, b, c] => {
                let (pixels, _) = row.as_chunks_mut::<3>();
                for (out, [x, y, z]) in pixels.iter_mut().zip(image.as_chunks().0) {
                    *out = [a[usize::from(*x)], b[usize::from(*y)], c[usize::from(*z)]];
                }
            }
            tables => {
                let pixels = row.chunks_exact_mut(tables.len());
                for (out, pixel) in pixels.zip(image.chunks_exact(tables.len())) {
                    for ((out, byte), table) in out.iter_mut().zip(pixel).zip(tables) {
                        *out = table[usize::from(*byte)];
                    }
                }
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
    /// An incomplete last batch is left out.
    whole: bool,
    augment: Augment,
    /// How many images are visible from the start, and how the others join them.
    later: Option<(usize, Later)>,
    /// The images of an epoch in their order, once made.
    order: Option<(u64, Vec<u32>)>,
    /// What happens to the images of the newest batch.
    changes: Vec<Change>,
}

impl<'a> Batches<'a> {
    /// Batches of `batch_size` ≥ 1 images.
    pub fn new(data: &'a Dataset, seed: u64, batch_size: usize, augment: Augment) -> Batches<'a> {
        Batches {
            data,
            normaliser: Normaliser::new(data),
            seed,
            batch_size,
            whole: false,
            augment,
            later: None,
            order: None,
            changes: Vec::new(),
        }
    }

    /// The same without an epoch's last batch where that is incomplete.
    pub fn whole(self) -> Batches<'a> {
        Batches {
            whole: true,
            ..self
        }
    }

    /// The same where only the first images are visible from the start, and the others join them.
    pub fn joined(self, first: usize, later: Later) -> Batches<'a> {
        Batches {
            later: Some((first.min(self.data.len()), later)),
            ..self
        }
    }

    /// All examples, as [`Normaliser::album`] has them.
    pub fn album(&self) -> Option<Album<'_>> {
        self.normaliser.album(self.data)
    }

    /// Numbers of an image.
    pub fn features(&self) -> usize {
        self.data.features()
    }

    /// Steps in an epoch of all images.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_for(self.data.len())
    }

    /// Images that are visible in an epoch.
    pub fn visible(&self, epoch: u64) -> usize {
        match self.later {
            None => self.data.len(),
            Some((first, later)) => first + later.count(epoch, self.data.len() - first),
        }
    }

    /// Whether epochs may have different images.
    pub fn grows(&self) -> bool {
        self.later.is_some()
    }

    /// Steps in this epoch.
    pub fn steps_in(&self, epoch: u64) -> u64 {
        self.steps_for(self.visible(epoch))
    }

    fn steps_for(&self, images: usize) -> u64 {
        match self.whole {
            true => (images / self.batch_size) as u64,
            false => images.div_ceil(self.batch_size) as u64,
        }
    }

    /// Images in the batch of a step within an epoch of all images.
    pub fn rows(&self, step: u64) -> usize {
        let first = (step as usize).saturating_mul(self.batch_size);
        self.batch_size.min(self.data.len().saturating_sub(first))
    }

    /// The batch of a step: writes its labels, where there are classes, and returns what writes its
    /// inputs and targets.
    pub fn prepare(&mut self, epoch: u64, step: u64, labels: &mut Vec<u32>) -> Inputs<'_> {
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let images = self.visible(epoch);
            let mut order = Stream::new(self.seed, "order", epoch, 0).permutation(images as u32);
            if let Some((first, later)) = self.later {
                let joined = later.visible(epoch, self.data.len() - first, self.seed);
                for image in &mut order {
                    if let Some(place) = (*image as usize).checked_sub(first) {
                        *image = first as u32 + joined[place];
                    }
                }
            }
            self.order = Some((epoch, order));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let first = (step as usize * self.batch_size).min(order.len());
        let rows = &order[first..(first + self.batch_size).min(order.len())];
        labels.clear();
        if let Answers::Labels(all) = self.data.answers() {
            labels.extend(rows.iter().map(|&i| all[i as usize]));
        }
        self.changes.clear();
        if !self.augment.is_none() {
            let mut stream = Stream::new(self.seed, "augment", epoch, step);
            let shape = self.data.info().shape;
            let draw = |&image: &u32| {
                let shown = Shown {
                    seed: self.seed,
                    epoch,
                    image,
                };
                self.augment.draw(shape, &mut stream, shown)
            };
            self.changes.extend(rows.iter().map(draw));
        }
        Inputs {
            data: self.data,
            normaliser: &self.normaliser,
            rows,
            changes: &self.changes,
        }
    }
}

/// The images of a batch, not yet numbers.
pub struct Inputs<'a> {
    data: &'a Dataset,
    normaliser: &'a Normaliser,
    rows: &'a [u32],
    /// One for each image, or none at all.
    changes: &'a [Change],
}

impl Inputs<'_> {
    /// How many images there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Puts the numbers to be learnt of the batch in the place of others; none where there are
    /// classes.
    pub fn targets(&self, targets: &mut Vec<f32>) {
        targets.clear();
        if let Answers::Targets(all) = self.data.answers() {
            let width = self.data.info().targets.len();
            let of_row = |&i: &u32| &all[i as usize * width..][..width];
            targets.extend(self.rows.iter().flat_map(of_row));
        }
    }

    /// The images, for a device that shows them by itself.
    pub fn frames(&self) -> Vec<Frame> {
        let shape = self.data.info().shape;
        let frame = |(i, image): (usize, &u32)| match self.changes.get(i) {
            Some(change) => change.frame(*image, shape),
            None => Frame::whole(*image),
        };
        self.rows.iter().enumerate().map(frame).collect()
    }

    /// Writes the inputs, `[rows, features]`, NHWC.
    ///
    /// # Panics
    /// A buffer of another size.
    pub fn write(&self, inputs: &mut [f32]) {
        let (data, features) = (self.data, self.data.features());
        assert_eq!(inputs.len(), self.rows.len() * features, "a batch's inputs");
        each_row(inputs, features, |i, row| {
            let image = data.row(self.rows[i] as usize);
            let Some(change) = self.changes.get(i) else {
                return self.normaliser.apply(image, row);
            };
            let shape = data.info().shape;
            CHANGED.with_borrow_mut(|(bytes, floats)| {
                let changed = match image {
                    Row::Bytes(image) => {
                        bytes.resize(features, 0);
                        change.apply(image, shape, bytes);
                        Row::Bytes(bytes)
                    }
                    Row::Floats(image) => {
                        floats.resize(features, 0.0);
                        change.apply(image, shape, floats);
                        Row::Floats(floats)
                    }
                };
                self.normaliser.apply(changed, row);
                change.cut_out(shape, row);
            });
        });
    }
}

/// Runs `work(row number, row)` for every row, by several threads where that pays.
fn each_row(inputs: &mut [f32], features: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (PER_TASK / features).max(1);
    parallel::chunks(inputs, features * rows, true, |task, chunk| {
        for (i, row) in chunk.chunks_exact_mut(features).enumerate() {
            work(task * rows + i, row);
        }
    });
}

/// The images of a data set in order, unchanged: for evaluation.
pub struct InOrder<'a> {
    data: &'a Dataset,
    normaliser: Normaliser,
}

impl<'a> InOrder<'a> {
    /// Of this data set.
    pub fn new(data: &'a Dataset) -> InOrder<'a> {
        InOrder {
            data,
            normaliser: Normaliser::new(data),
        }
    }

    /// The data set, as [`Normaliser::album`] has it.
    pub fn album(&self) -> Option<Album<'_>> {
        self.normaliser.album(self.data)
    }

    /// Writes the images from `first` on as inputs.
    ///
    /// # Panics
    /// More images than there are.
    pub fn write(&self, first: usize, inputs: &mut [f32]) {
        each_row(inputs, self.data.features(), |i, row| {
            self.normaliser.apply(self.data.row(first + i), row);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::examples::tiny;

    #[test]
    fn an_epoch_shows_every_image_once_and_keeps_the_last_batch() {
        let data = tiny(11);
        let mut batches = Batches::new(&data, 3, 4, Augment::default());
        assert_eq!(batches.steps_per_epoch(), 3);
        let rows = |epoch, batches: &mut Batches| {
            let (mut labels, mut all) = (Vec::new(), Vec::new());
            for (step, rows) in [4, 4, 3].into_iter().enumerate() {
                assert_eq!(batches.rows(step as u64), rows);
                let mut inputs = vec![0.0; rows * 12];
                batches
                    .prepare(epoch, step as u64, &mut labels)
                    .write(&mut inputs);
                assert_eq!(labels.len(), rows);
                let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                all.extend(inputs.chunks(12).map(bits));
            }
            all
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
    fn case_15_the_last_batch_can_be_dropped() {
        let data = tiny(11);
        let batches = |size| Batches::new(&data, 3, size, Augment::default()).whole();
        assert_eq!(batches(4).steps_per_epoch(), 2);
        assert_eq!(batches(11).steps_per_epoch(), 1);
        assert_eq!(batches(12).steps_per_epoch(), 0);
        let (mut all, mut labels) = (Batches::new(&data, 3, 4, Augment::default()), Vec::new());
        let (mut whole, mut same) = (batches(4), Vec::new());
        for step in 0..2 {
            all.prepare(1, step, &mut labels);
            whole.prepare(1, step, &mut same);
            assert_eq!(labels, same, "those that are left are the same");
        }
    }

    /// An epoch shows what is visible, once; with all images visible it is that of all images.
    #[test]
    fn images_join_later() {
        let data = tiny(11);
        let shown = |mut batches: Batches, epoch: u64| {
            let (mut all, mut labels) = (Vec::new(), Vec::new());
            for step in 0..batches.steps_in(epoch) {
                let inputs = batches.prepare(epoch, step, &mut labels);
                assert_eq!(inputs.rows(), inputs.rows.len());
                all.extend_from_slice(inputs.rows);
            }
            all
        };
        let later = |share: f64| -> Later {
            let json = serde_json::json!({"portions": {"after": 1, "every": 2, "share": share}});
            serde_json::from_value(json).unwrap()
        };
        let plain = || Batches::new(&data, 3, 4, Augment::default());
        let half = || plain().joined(5, later(0.5));
        let first = data.pick(&[0, 1, 2, 3, 4]);
        let alone = Batches::new(&first, 3, 4, Augment::default());
        assert_eq!(
            shown(half(), 0),
            shown(alone, 0),
            "as if there were no others"
        );
        let mut second = shown(half(), 1);
        assert_eq!((second.len(), half().visible(1)), (8, 8));
        second.sort_unstable();
        second.dedup();
        assert_eq!(second.len(), 8, "each once");
        assert_eq!(second[..5], [0, 1, 2, 3, 4]);
        assert_eq!(half().steps_in(0), 2);
        assert_eq!(half().steps_in(3), 3);
        assert_eq!(shown(plain().joined(5, later(1.0)), 4), shown(plain(), 4));
    }

    #[test]
    fn evaluation_goes_in_order() {
        let data = tiny(5);
        let (mut got, mut row) = ([0.0; 24], [0.0; 12]);
        InOrder::new(&data).write(3, &mut got);
        for (i, got) in got.chunks(12).enumerate() {
            data.normalised_row(3 + i, &mut row);
            assert_eq!(got, row);
        }
    }

    /// What a batch is does not depend on threads, nor on the batches before it.
    #[test]
    fn changed_images_are_the_same_on_any_number_of_threads() {
        let data = tiny(5000);
        let augment = Augment {
            flip: crate::training::augment::Flip::Random,
            crop: 1,
            ..Augment::default()
        };
        let make = |threads: usize, warm: bool| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut batches = Batches::new(&data, 3, 4500, augment);
                let (mut labels, mut inputs) = (Vec::new(), vec![0.0; 500 * 12]);
                if warm {
                    batches.prepare(0, 0, &mut labels);
                }
                batches.prepare(0, 1, &mut labels).write(&mut inputs);
                (labels, inputs)
            })
        };
        let first = make(1, false);
        assert!(make(8, true) == first && make(3, false) == first);
    }
}
