//! What a [`Dataset`] is, and the exact arithmetic that turns its values into network inputs.

use std::fmt;

use super::values::{ImageShape, Row, Values};

/// Examples, what is to be learnt of each, and where each came from; always consistent (see
/// [`Dataset::new`]).
///
/// A row of a table is an image of one pixel with a channel for every column: both are normalised
/// by channel.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    info: Info,
    values: Values,
    answers: Answers,
    origin: Vec<u32>,
}

/// What is to be learnt.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// The class of each example, `[N]`.
    Labels(Vec<u32>),
    /// Finite numbers for each example, `[N, targets]`.
    Targets(Vec<f32>),
}

/// What all parts of one data set have in common; only parts with equal `Info` can be put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// As published, e.g. `fashion-mnist`.
    pub name: String,
    /// The size of each image.
    pub shape: ImageShape,
    /// Class names in label order; label `k` means `classes[k]`. At least one, or none where there
    /// are targets.
    pub classes: Vec<String>,
    /// Mean of each channel over the training examples; bytes count in units of 255.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, like [`Info::mean`]; positive.
    pub std: Vec<f32>,
    /// The names of a table's columns; empty where they have none.
    pub columns: Vec<String>,
    /// The names of the numbers to be learnt; empty where classes are.
    pub targets: Vec<String>,
}

/// Why some values and labels are not a data set.
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
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A number that is none.
    #[error("{what} {index} is {value}, which no network can learn from")]
    NotFinite {
        /// `value` or `target`.
        what: &'static str,
        /// Position among all of them.
        index: usize,
        /// What is there.
        value: f32,
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

fn count(what: &'static str, expected: usize, got: usize) -> Result<(), BadDataset> {
    if expected == got {
        Ok(())
    } else {
        Err(BadDataset::Count {
            what,
            expected,
            got,
        })
    }
}

fn finite(what: &'static str, values: &[f32]) -> Result<(), BadDataset> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => Err(BadDataset::NotFinite {
            what,
            index,
            value: values[index],
        }),
    }
}

impl Dataset {
    /// Checks and takes labelled examples: `values` is `[N, height, width, channels]`, `labels` and
    /// `origin` are `[N]`.
    ///
    /// # Errors
    /// When a count disagrees, a label has no class, or `info` is out of range.
    pub fn new<L: Into<u32>>(
        info: Info,
        values: impl Into<Values>,
        labels: Vec<L>,
        origin: Vec<u32>,
    ) -> Result<Dataset, BadDataset> {
        let labels = labels.into_iter().map(Into::into).collect();
        Dataset::of(info, values.into(), Answers::Labels(labels), origin)
    }

    /// Checks and takes: `values` is `[N, height, width, channels]`, `answers` and `origin` have
    /// one entry (or row) each.
    ///
    /// # Errors
    /// When a count disagrees, a label has no class, a number is not finite, or `info` is out of
    /// range.
    pub fn of(
        info: Info,
        values: Values,
        answers: Answers,
        origin: Vec<u32>,
    ) -> Result<Dataset, BadDataset> {
        info.check()?;
        let n = match &answers {
            Answers::Labels(labels) => labels.len(),
            Answers::Targets(_) => origin.len(),
        };
        let what = match values {
            Values::Bytes(_) => "bytes of images",
            Values::Floats(_) => "values",
        };
        count(what, n.saturating_mul(info.shape.len()), values.len())?;
        count("origins", n, origin.len())?;
        if let Values::Floats(values) = &values {
            finite("value", values)?;
        }
        match &answers {
            Answers::Labels(labels) => {
                if info.classes.is_empty() {
                    return Err(BadDataset::Info("there are labels, but no classes".into()));
                }
                let beyond = |&l: &u32| l as usize >= info.classes.len();
                if let Some(index) = labels.iter().position(beyond) {
                    return Err(BadDataset::Label {
                        index,
                        label: labels[index],
                        classes: info.classes.len(),
                    });
                }
            }
            Answers::Targets(targets) => {
                count(
                    "targets",
                    n.saturating_mul(info.targets.len()),
                    targets.len(),
                )?;
                finite("target", targets)?;
            }
        }
        Ok(Dataset {
            info,
            values,
            answers,
            origin,
        })
    }

    /// Name, shape, classes and normalisation.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.origin.len()
    }

    /// There are no examples.
    pub fn is_empty(&self) -> bool {
        self.origin.is_empty()
    }

    /// Number of features of a row: height × width × channels.
    pub fn features(&self) -> usize {
        self.info.shape.len()
    }

    /// Number of classes; 0 where numbers are to be learnt.
    pub fn class_count(&self) -> usize {
        self.info.classes.len()
    }

    /// All values, `[N, height, width, channels]`.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What is to be learnt.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// All labels, `[N]`; empty where numbers are to be learnt.
    pub fn labels(&self) -> &[u32] {
        match &self.answers {
            Answers::Labels(labels) => labels,
            Answers::Targets(_) => &[],
        }
    }

    /// For each example its position in the part it comes from, `[N]`.
    pub fn origin(&self) -> &[u32] {
        &self.origin
    }

    /// The values of example `i`. Panics when `i` is out of range.
    pub fn row(&self, i: usize) -> Row<'_> {
        self.values.row(i, self.features())
    }

    /// Writes example `i` as network input, NHWC-flattened, into `row` (of [`Dataset::features`]
    /// elements).
    ///
    /// Each byte `p` of channel `c` becomes `((p as f32) / 255.0 - mean[c]) / std[c]`, each float
    /// `x` becomes `(x - mean[c]) / std[c]`: three (or two) IEEE f32 operations in this order, each
    /// rounded. Part of the numerics contract. Panics when `i` or the length of `row` is wrong.
    pub fn normalised_row(&self, i: usize, row: &mut [f32]) {
        assert_eq!(
            self.features(),
            row.len(),
            "a row has as many elements as an image"
        );
        let channels = self.info.shape.channels;
        let value = |k: usize| match self.row(i) {
            Row::Bytes(bytes) => f32::from(bytes[k]) / 255.0,
            Row::Floats(floats) => floats[k],
        };
        for (k, out) in row.iter_mut().enumerate() {
            let c = k % channels;
            *out = (value(k) - self.info.mean[c]) / self.info.std[c];
        }
    }

    /// The examples at these positions, in this order. Panics when a position is out of range.
    pub fn pick(&self, positions: &[usize]) -> Dataset {
        let width = self.info.targets.len();
        Dataset {
            info: self.info.clone(),
            values: self.values.pick(positions, self.features()),
            answers: match &self.answers {
                Answers::Labels(labels) => {
                    Answers::Labels(positions.iter().map(|&i| labels[i]).collect())
                }
                Answers::Targets(targets) => Answers::Targets(
                    positions
                        .iter()
                        .flat_map(|&i| &targets[i * width..(i + 1) * width])
                        .copied()
                        .collect(),
                ),
            },
            origin: positions.iter().map(|&i| self.origin[i]).collect(),
        }
    }

    /// Keeps the first `n` examples, or all when there are fewer.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.values.truncate(n * self.info.shape.len());
            match &mut self.answers {
                Answers::Labels(labels) => labels.truncate(n),
                Answers::Targets(targets) => targets.truncate(n * self.info.targets.len()),
            }
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
            let mixed = |differs| BadDataset::Mixed {
                a: first.info.name.clone(),
                b: part.info.name.clone(),
                differs,
            };
            if let Some(differs) = first.info.differs(&part.info) {
                return Err(mixed(differs));
            }
            match (&mut whole.values, &part.values) {
                (Values::Bytes(all), Values::Bytes(more)) => all.extend_from_slice(more),
                (Values::Floats(all), Values::Floats(more)) => all.extend_from_slice(more),
                _ => return Err(mixed("types of values (bytes and floats)")),
            }
            match (&mut whole.answers, &part.answers) {
                (Answers::Labels(all), Answers::Labels(more)) => all.extend_from_slice(more),
                (Answers::Targets(all), Answers::Targets(more)) => all.extend_from_slice(more),
                _ => return Err(mixed("answers (labels and targets)")),
            }
            whole.origin.extend_from_slice(&part.origin);
        }
        Ok(whole)
    }

    /// The same examples with other values. Panics when their number changes.
    pub fn with_values(mut self, values: Values) -> Dataset {
        assert_eq!(
            values.len(),
            self.values.len(),
            "the number of values stays"
        );
        self.values = values;
        self
    }

    /// The same examples with other labels.
    ///
    /// # Errors
    /// When their number changes or one has no class.
    pub fn with_labels(self, labels: Vec<u32>) -> Result<Dataset, BadDataset> {
        Dataset::of(self.info, self.values, Answers::Labels(labels), self.origin)
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

/// More classes than any data set has; a file that asks for more is damaged.
const CLASSES_MAX: usize = 1 << 20;

impl Info {
    fn check(&self) -> Result<(), BadDataset> {
        let bad = |text: String| Err(BadDataset::Info(text));
        if self.shape.is_empty() {
            return bad(format!("images of {} have no pixel", self.shape));
        }
        match (self.classes.len(), self.targets.len()) {
            (0, 0) => return bad("0 classes; at least 1 is needed".into()),
            (classes, 0) if classes > CLASSES_MAX => {
                return bad(format!(
                    "{classes} classes; 1 to {CLASSES_MAX} are possible"
                ));
            }
            (0, _) | (_, 0) => {}
            _ => return bad("there are both classes and targets".into()),
        }
        if !self.columns.is_empty() {
            count("names of columns", self.shape.len(), self.columns.len())?;
        }
        for (what, values) in [("means", &self.mean), ("standard deviations", &self.std)] {
            count(what, self.shape.channels, values.len())?;
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
            (self.columns != other.columns, "columns"),
            (self.targets != other.targets, "targets"),
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
mod tests {
    use super::*;
    use crate::data::examples::{table, tiny};

    #[test]
    fn floats_are_normalised_per_column_and_picked_with_their_targets() {
        let set = table(4);
        let mut row = [f32::NAN; 3];
        set.normalised_row(2, &mut row);
        assert_eq!(row, [(0.75 - 0.5) / 0.5, (0.875 - 0.25) / 0.125, 1.0]);
        let picked = set.pick(&[3, 1]);
        assert_eq!(picked.answers(), &Answers::Targets(vec![4.5, 1.5]));
        assert_eq!(
            Dataset::concat(&[set.pick(&[0, 1]), set.pick(&[2, 3])]).unwrap(),
            set
        );
        let bad = Dataset::of(
            set.info.clone(),
            Values::Floats(vec![0.0, f32::NAN, 0.0]),
            Answers::Targets(vec![1.0]),
            vec![0],
        );
        assert!(bad.unwrap_err().to_string().starts_with("value 1 is NaN"));
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
        assert!(Dataset::new(info, Vec::<u8>::new(), Vec::<u8>::new(), vec![]).is_err());
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
