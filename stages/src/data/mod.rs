//! Labelled image sets: what a [`Dataset`] is, and the exact arithmetic that turns its bytes into network inputs.
//!
//! Where the bytes come from is decided elsewhere (`idx`, `cifar`, `shapes` read or draw published sets,
//! `fetch` gets files); how they lie in an artifact is [`file`]'s. Knows nothing of batches or of training.

pub mod cifar;
pub mod file;
pub mod idx;
pub mod published;
pub mod shapes;

use std::fmt;

/// Images, labels and where each came from; always consistent (see [`Dataset::new`]).
#[derive(Clone, PartialEq)]
pub struct Dataset {
    info: Info,
    images: Vec<u8>,
    labels: Vec<u8>,
    origin: Vec<u32>,
}

/// What all parts of one published data set have in common; only parts with equal `Info` can be put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// As published, e.g. `fashion-mnist`.
    pub name: String,
    /// The size of each image.
    pub shape: ImageShape,
    /// Class names in label order; label `k` means `classes[k]`. 1 to 256 of them.
    pub classes: Vec<String>,
    /// Mean of each channel over the published training images, pixels in units of [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, like [`Info::mean`]; positive.
    pub std: Vec<f32>,
}

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue), innermost.
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image, which is also the number of features of one row.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// No pixel at all; never true inside a [`Dataset`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// Why some images and labels are not a data set.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadDataset {
    /// Counts that must agree do not.
    #[error("{what}: expected {expected}, got {got}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// What the other fields ask for.
        expected: usize,
        /// What is there.
        got: usize,
    },
    /// A label without a class.
    #[error("image {index} has label {label}, but there are {classes} classes (0 to {})", classes - 1)]
    Label {
        /// Position of the image.
        index: usize,
        /// Its label.
        label: u8,
        /// How many classes there are.
        classes: usize,
    },
    /// A field is out of its range.
    #[error("{0}")]
    Info(String),
    /// Parts of different data sets were to be put together.
    #[error("`{a}` and `{b}` cannot be put together: their {differs} differ")]
    Mixed {
        /// Name of the first.
        a: String,
        /// Name of the other.
        b: String,
        /// What differs.
        differs: &'static str,
    },
}

impl Dataset {
    /// Checks and takes: `images` is `[N, height, width, channels]`, `labels` and `origin` are `[N]`.
    ///
    /// # Errors
    /// When a count disagrees, a label has no class, or `info` is out of range.
    pub fn new(
        info: Info,
        images: Vec<u8>,
        labels: Vec<u8>,
        origin: Vec<u32>,
    ) -> Result<Dataset, BadDataset> {
        info.check()?;
        let count = |what, expected, got| {
            if expected == got {
                Ok(())
            } else {
                Err(BadDataset::Count {
                    what,
                    expected,
                    got,
                })
            }
        };
        count(
            "bytes of images",
            labels.len().saturating_mul(info.shape.len()),
            images.len(),
        )?;
        count("origins", labels.len(), origin.len())?;
        if let Some(index) = labels
            .iter()
            .position(|&l| usize::from(l) >= info.classes.len())
        {
            return Err(BadDataset::Label {
                index,
                label: labels[index],
                classes: info.classes.len(),
            });
        }
        Ok(Dataset {
            info,
            images,
            labels,
            origin,
        })
    }

    /// Name, shape, classes and normalisation.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// There are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of features of a row: height × width × channels.
    pub fn features(&self) -> usize {
        self.info.shape.len()
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.info.classes.len()
    }

    /// All pixels, `[N, height, width, channels]`.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// All labels, `[N]`.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// For each image its position in the published part it comes from, `[N]`.
    pub fn origin(&self) -> &[u32] {
        &self.origin
    }

    /// The pixels of image `i`, `[height, width, channels]`. Panics when `i` is out of range.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.images[i * self.features()..(i + 1) * self.features()]
    }

    /// Writes image `i` as network input, NHWC-flattened, into `row` (of [`Dataset::features`] elements).
    ///
    /// Each pixel `p` of channel `c` becomes `((p as f32) / 255.0 - mean[c]) / std[c]`: three IEEE f32 operations in this
    /// order, each rounded. Part of the numerics contract. Panics when `i` or the length of `row` is wrong.
    pub fn normalised_row(&self, i: usize, row: &mut [f32]) {
        let image = self.image(i);
        assert_eq!(
            image.len(),
            row.len(),
            "a row has as many elements as an image"
        );
        let channels = self.info.shape.channels;
        for (pixel, out) in image
            .chunks_exact(channels)
            .zip(row.chunks_exact_mut(channels))
        {
            for c in 0..channels {
                out[c] = (f32::from(pixel[c]) / 255.0 - self.info.mean[c]) / self.info.std[c];
            }
        }
    }

    /// The images at these positions, in this order. Panics when a position is out of range.
    pub fn pick(&self, positions: &[usize]) -> Dataset {
        let mut images = Vec::with_capacity(positions.len() * self.features());
        for &i in positions {
            images.extend_from_slice(self.image(i));
        }
        Dataset {
            info: self.info.clone(),
            images,
            labels: positions.iter().map(|&i| self.labels[i]).collect(),
            origin: positions.iter().map(|&i| self.origin[i]).collect(),
        }
    }

    /// Keeps the first `n` images, or all when there are fewer.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.images.truncate(n * self.features());
            self.labels.truncate(n);
            self.origin.truncate(n);
        }
    }

    /// Puts parts of one data set together, in order.
    ///
    /// # Errors
    /// When there is none, or their [`Info`] differ.
    pub fn concat(parts: &[Dataset]) -> Result<Dataset, BadDataset> {
        let Some((first, rest)) = parts.split_first() else {
            return Err(BadDataset::Info("no data set was given".into()));
        };
        let mut whole = first.clone();
        for part in rest {
            if let Some(differs) = first.info.differs(&part.info) {
                return Err(BadDataset::Mixed {
                    a: first.info.name.clone(),
                    b: part.info.name.clone(),
                    differs,
                });
            }
            whole.images.extend_from_slice(&part.images);
            whole.labels.extend_from_slice(&part.labels);
            whole.origin.extend_from_slice(&part.origin);
        }
        Ok(whole)
    }

    /// The same images with other pixels. Panics when the number of bytes changes.
    pub fn with_images(mut self, images: Vec<u8>) -> Dataset {
        assert_eq!(
            images.len(),
            self.images.len(),
            "the number of pixels stays"
        );
        self.images = images;
        self
    }

    /// The same images with other labels.
    ///
    /// # Errors
    /// When their number changes or one has no class.
    pub fn with_labels(self, labels: Vec<u8>) -> Result<Dataset, BadDataset> {
        Dataset::new(self.info, self.images, labels, self.origin)
    }
}

/// Pixels would fill the screen: only what identifies the set is shown.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Dataset({}, {} images of {})",
            self.info.name,
            self.len(),
            self.info.shape
        )
    }
}

impl Info {
    fn check(&self) -> Result<(), BadDataset> {
        let bad = |text: String| Err(BadDataset::Info(text));
        if self.shape.is_empty() {
            return bad(format!("images of {} have no pixel", self.shape));
        }
        if self.classes.is_empty() || self.classes.len() > 256 {
            return bad(format!(
                "{} classes; 1 to 256 are possible",
                self.classes.len()
            ));
        }
        for (what, values) in [("means", &self.mean), ("standard deviations", &self.std)] {
            if values.len() != self.shape.channels {
                return Err(BadDataset::Count {
                    what,
                    expected: self.shape.channels,
                    got: values.len(),
                });
            }
        }
        if !self.mean.iter().all(|m| m.is_finite())
            || !self.std.iter().all(|s| s.is_finite() && *s > 0.0)
        {
            return bad(format!(
                "mean {:?} and standard deviation {:?} must be finite, the latter positive",
                self.mean, self.std
            ));
        }
        Ok(())
    }

    fn differs(&self, other: &Info) -> Option<&'static str> {
        [
            (self.name != other.name, "names"),
            (self.shape != other.shape, "image sizes"),
            (self.classes != other.classes, "classes"),
            (
                self.mean != other.mean || self.std != other.std,
                "means or standard deviations",
            ),
        ]
        .into_iter()
        .find_map(|(yes, what)| yes.then_some(what))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `n` images of 2×3×2 with two classes; every byte tells where it came from.
    pub(crate) fn tiny(n: usize) -> Dataset {
        let info = Info {
            name: "tiny".into(),
            shape: ImageShape {
                height: 2,
                width: 3,
                channels: 2,
            },
            classes: vec!["even".into(), "odd".into()],
            mean: vec![0.5, 0.25],
            std: vec![0.5, 0.125],
        };
        let images = (0..n * 12).map(|i| (i * 7 % 256) as u8).collect();
        let labels = (0..n).map(|i| (i % 2) as u8).collect();
        Dataset::new(info, images, labels, (0..n as u32).collect()).unwrap()
    }

    #[test]
    fn rows_are_normalised_per_channel() {
        let set = tiny(3);
        let mut row = [f32::NAN; 12];
        set.normalised_row(1, &mut row);
        for (k, &x) in row.iter().enumerate() {
            let p = f32::from(set.image(1)[k]);
            let (mean, std) = [(0.5, 0.5), (0.25, 0.125)][k % 2];
            assert_eq!(x.to_bits(), ((p / 255.0 - mean) / std).to_bits());
        }
    }

    #[test]
    fn counts_and_labels_must_agree() {
        let set = tiny(2);
        let make = |images: usize, labels: Vec<u8>, origin: usize| {
            Dataset::new(set.info.clone(), vec![0; images], labels, vec![0; origin])
        };
        assert!(matches!(
            make(23, vec![0, 1], 2),
            Err(BadDataset::Count {
                what: "bytes of images",
                expected: 24,
                got: 23
            })
        ));
        assert!(matches!(
            make(24, vec![0, 1], 3),
            Err(BadDataset::Count {
                what: "origins",
                ..
            })
        ));
        let error = make(24, vec![0, 2], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image 1 has label 2, but there are 2 classes (0 to 1)"
        );
        let mut info = set.info.clone();
        info.std[1] = 0.0;
        assert!(Dataset::new(info, vec![], vec![], vec![]).is_err());
    }

    #[test]
    fn pick_and_concat_undo_each_other() {
        let set = tiny(7);
        let parts = [
            set.pick(&[0, 1, 2]),
            set.pick(&[3]),
            set.pick(&[]),
            set.pick(&[4, 5, 6]),
        ];
        assert_eq!(Dataset::concat(&parts).unwrap(), set);
        let mut short = set.clone();
        short.truncate(3);
        assert_eq!(short, parts[0]);
    }

    #[test]
    fn only_parts_of_one_set_go_together() {
        let (a, mut b) = (tiny(2), tiny(2));
        b.info.classes[1] = "other".into();
        let error = Dataset::concat(&[a, b]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`tiny` and `tiny` cannot be put together: their classes differ"
        );
        assert!(Dataset::concat(&[]).is_err());
    }
}
