//! From parts to data sets of one kind: one size, one set of classes, and the mean and standard
//! deviation of the training part.

use std::collections::{BTreeMap, BTreeSet};

use super::one_size::{Shaped, unify};
use super::raw::{Raw, RawAnswers};
use crate::data::{Answers, Dataset, Info, Values};
use crate::failure::Failure;
use crate::names::some;

/// Where mean and standard deviation come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Normalisation {
    /// Measured on this part.
    Of(String),
    /// Given: one for each channel, or one for all.
    Given(Vec<f32>, Vec<f32>),
}

/// Makes data sets of the parts, in the same order.
///
/// # Errors
/// When parts do not go together: sizes, columns, classes.
pub fn assemble(
    name: &str,
    parts: Vec<(String, Raw)>,
    classes: Option<&[String]>,
    normalisation: &Normalisation,
) -> Result<Vec<(String, Dataset)>, Failure> {
    let parts = unify(parts)?;
    let Some((first_name, first)) = parts.first() else {
        return Err(Failure::new("there is no data"));
    };
    let (shape, columns) = (first.shape, first.columns.clone());
    for (other_name, other) in &parts[1..] {
        if other.columns != columns {
            return Err(columns_differ(
                first_name,
                &columns,
                other_name,
                &other.columns,
            ));
        }
        if other.shape != shape {
            return Err(Failure::new(format!(
                "`{first_name}` has examples of {shape} (height, width, channels), `{other_name}` of {}",
                other.shape
            )));
        }
    }
    let classes = class_names(&parts, classes)?;
    let targets = match &first.answers {
        RawAnswers::Targets(names, _) => names.clone(),
        _ => Vec::new(),
    };
    let (mean, std) = match normalisation {
        Normalisation::Given(mean, std) => (
            spread("mean", mean, shape.channels)?,
            spread("std", std, shape.channels)?,
        ),
        Normalisation::Of(part) => {
            let measured = parts.iter().find(|(name, _)| name == part);
            measured.map_or_else(
                || {
                    Err(Failure::new(format!(
                        "there is no part `{part}` to measure"
                    )))
                },
                |(_, raw)| Ok(measure(&raw.values, shape.channels)),
            )?
        }
    };
    let info = Info {
        name: name.to_owned(),
        shape,
        classes,
        mean,
        std,
        columns,
        targets,
    };
    let index: BTreeMap<String, u32> = info.classes.iter().cloned().zip(0..).collect();
    parts
        .into_iter()
        .map(|(part, raw)| {
            let answers = match raw.answers {
                RawAnswers::Targets(_, values) => Answers::Targets(values),
                RawAnswers::Indexes(labels, _) => Answers::Labels(labels),
                RawAnswers::Names(names) => Answers::Labels(
                    names
                        .iter()
                        .map(|name| index.get(name).copied().ok_or_else(|| unknown_class(name)))
                        .collect::<Result<_, _>>()?,
                ),
            };
            let n = u32::try_from(raw.values.len() / shape.len())
                .map_err(|_| Failure::new(format!("`{part}` has more than 2^32 examples")))?;
            let set = Dataset::of(info.clone(), raw.values, answers, (0..n).collect())
                .map_err(|e| Failure::new(format!("`{part}`: {e}")))?;
            Ok((part, set))
        })
        .collect()
}

fn columns_differ(a: &str, in_a: &[String], b: &str, in_b: &[String]) -> Failure {
    let less = |these: &[String], those: &[String]| -> Vec<String> {
        let quoted = these.iter().filter(|c| !those.contains(c));
        quoted.map(|c| format!("`{c}`")).collect()
    };
    let (only_a, only_b) = (less(in_a, in_b), less(in_b, in_a));
    let text = match (only_a.is_empty(), only_b.is_empty()) {
        (true, true) => format!("the columns of `{a}` and `{b}` are in a different order"),
        (false, _) => format!("`{b}` has no column {}, which `{a}` has", some(&only_a)),
        (true, false) => format!("`{a}` has no column {}, which `{b}` has", some(&only_b)),
    };
    Failure::new(text).hint("name the features with `columns: [...]`")
}

fn unknown_class(name: &str) -> Failure {
    Failure::new(format!("`{name}` is not among `classes`")).hint("name every class that occurs")
}

/// The classes of all parts together. Names are sorted by their bytes; if all are whole numbers, by
/// size.
fn class_names(
    parts: &[(String, Shaped)],
    given: Option<&[String]>,
) -> Result<Vec<String>, Failure> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut named: Option<&Vec<String>> = None;
    let (mut count, mut kinds) = (0, BTreeSet::new());
    for (part, raw) in parts {
        match &raw.answers {
            RawAnswers::Names(names) => {
                kinds.insert("names");
                seen.extend(names.iter().map(String::as_str));
            }
            RawAnswers::Indexes(labels, names) => {
                kinds.insert("numbers of classes");
                count = count.max(labels.iter().max().map_or(0, |l| *l as usize + 1));
                if let Some(names) = names {
                    if named.is_some_and(|n| n != names) {
                        return Err(Failure::new(format!(
                            "`{part}` names other classes than the parts before it"
                        )));
                    }
                    named = Some(names);
                }
            }
            RawAnswers::Targets(..) => {
                kinds.insert("numbers to be learnt");
            }
        }
    }
    if kinds.len() > 1 {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        return Err(Failure::new(format!(
            "the parts have different answers: {}",
            kinds.join(" and ")
        )));
    }
    if kinds.contains("numbers to be learnt") {
        return match given {
            None => Ok(Vec::new()),
            Some(_) => Err(
                Failure::new("`classes` are given, but numbers are to be learnt")
                    .hint("class labels are whole numbers or texts; take `classes` out otherwise"),
            ),
        };
    }
    if let Some(given) = given {
        if let Some(name) = seen.iter().find(|name| !given.iter().any(|g| g == **name)) {
            return Err(unknown_class(name));
        }
        if count > given.len() {
            return Err(Failure::new(format!(
                "the label {} occurs, but `classes` names {}",
                count - 1,
                given.len()
            )));
        }
        return Ok(given.to_vec());
    }
    if let Some(named) = named {
        return Ok(named.clone());
    }
    if kinds.contains("names") {
        let mut names: Vec<String> = seen.into_iter().map(str::to_owned).collect();
        let numbers: Option<Vec<i64>> = names.iter().map(|n| n.parse().ok()).collect();
        if numbers.is_some() {
            names.sort_by_key(|n| n.parse::<i64>().unwrap_or_default());
        }
        return Ok(names);
    }
    Ok((0..count).map(|c| c.to_string()).collect())
}

/// One value for all channels, or one for each.
pub(crate) fn spread(what: &str, values: &[f32], channels: usize) -> Result<Vec<f32>, Failure> {
    match values {
        [one] => Ok(vec![*one; channels]),
        all if all.len() == channels => Ok(all.to_vec()),
        all => Err(Failure::new(format!(
            "`{what}` has {} values, the examples have {channels} channels",
            all.len()
        ))),
    }
}

/// Mean and population standard deviation by channel; 1 for a channel that never varies, and
/// without any example.
///
/// Sums of bytes are whole numbers, so exact. Floats are summed in f64 in their order, the
/// deviations in a second pass.
pub(crate) fn measure(values: &Values, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let n = values.len() / channels.max(1);
    if n == 0 {
        return (vec![0.0; channels], vec![1.0; channels]);
    }
    let positive = |std: f64| match std as f32 {
        std if std > 0.0 && std.is_finite() => std,
        _ => 1.0,
    };
    match values {
        Values::Bytes(bytes) => {
            let mut sums = vec![(0u128, 0u128); channels];
            for pixel in bytes.chunks_exact(channels) {
                for (sum, &p) in sums.iter_mut().zip(pixel) {
                    sum.0 += u128::from(p);
                    sum.1 += u128::from(p) * u128::from(p);
                }
            }
            let count = n as u128;
            let moments = |(sum, squares): (u128, u128)| {
                let mean = sum as f64 / (count as f64 * 255.0);
                let variance = (count * squares - sum * sum) as f64;
                let std = variance.sqrt() / (count as f64 * 255.0);
                (mean as f32, positive(std))
            };
            sums.into_iter().map(moments).unzip()
        }
        Values::Floats(floats) => {
            let mut means = vec![0.0f64; channels];
            for row in floats.chunks_exact(channels) {
                for (sum, &x) in means.iter_mut().zip(row) {
                    *sum += f64::from(x);
                }
            }
            means.iter_mut().for_each(|sum| *sum /= n as f64);
            let mut squares = vec![0.0f64; channels];
            for row in floats.chunks_exact(channels) {
                for ((sum, mean), &x) in squares.iter_mut().zip(&means).zip(row) {
                    let off = f64::from(x) - mean;
                    *sum += off * off;
                }
            }
            let std = squares.iter().map(|s| positive((s / n as f64).sqrt()));
            (means.iter().map(|&m| m as f32).collect(), std.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::data::own::raw::RawValues;

    fn raw(values: Vec<f32>, columns: usize, answers: RawAnswers) -> Raw {
        Raw {
            values: RawValues::Shaped(ImageShape::table(columns), Values::Floats(values)),
            answers,
            columns: Vec::new(),
        }
    }

    fn names(all: &[&str]) -> RawAnswers {
        RawAnswers::Names(all.iter().map(|&n| n.to_owned()).collect())
    }

    fn sets(parts: Vec<(&str, Raw)>) -> Result<Vec<(String, Dataset)>, Failure> {
        let parts = parts.into_iter().map(|(n, r)| (n.to_owned(), r)).collect();
        assemble("x", parts, None, &Normalisation::Of("train".into()))
    }

    #[test]
    fn classes_are_those_of_all_parts_in_order() {
        let made = sets(vec![
            ("test", raw(vec![1.0], 1, names(&["dog"]))),
            ("train", raw(vec![1.0, 2.0], 1, names(&["eel", "cat"]))),
        ])
        .unwrap();
        assert_eq!(made[0].1.info().classes, ["cat", "dog", "eel"]);
        assert_eq!(
            (made[0].1.labels(), made[1].1.labels()),
            (&[1][..], &[2, 0][..])
        );
        let made = sets(vec![(
            "train",
            raw(vec![0.0; 3], 1, names(&["10", "9", "-1"])),
        )]);
        assert_eq!(made.unwrap()[0].1.info().classes, ["-1", "9", "10"]);
        let indexes = |labels: &[u32]| RawAnswers::Indexes(labels.to_vec(), None);
        let made = sets(vec![("train", raw(vec![0.0; 2], 1, indexes(&[0, 300])))]).unwrap();
        assert_eq!(made[0].1.class_count(), 301);
    }

    #[test]
    fn moments_are_those_of_the_training_part() {
        let made = sets(vec![
            ("test", raw(vec![9.0, 9.0], 2, names(&["a"]))),
            (
                "train",
                raw(vec![1.0, 5.0, 3.0, 5.0], 2, names(&["a", "b"])),
            ),
        ])
        .unwrap();
        // The second column never varies.
        assert_eq!(made[0].1.info().mean, [2.0, 5.0]);
        assert_eq!(made[0].1.info().std, [1.0, 1.0]);
        let (mean, std) = measure(&Values::Bytes(vec![0, 255]), 1);
        assert_eq!((mean, std), (vec![0.5], vec![0.5]));
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        let targets = RawAnswers::Targets(vec!["price".into()], vec![1.0]);
        let error = sets(vec![
            ("test", raw(vec![9.0], 1, targets)),
            ("train", raw(vec![1.0], 1, names(&["a"]))),
        ]);
        assert!(error.unwrap_err().message.contains("different answers"));
        let error = sets(vec![
            ("test", raw(vec![9.0], 1, names(&["a"]))),
            ("train", raw(vec![1.0, 2.0], 2, names(&["a"]))),
        ]);
        assert!(error.unwrap_err().message.contains("examples of 1x1x1"));
    }
}
