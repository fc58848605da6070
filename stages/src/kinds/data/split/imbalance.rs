//! How many images each class keeps before a data set is split, and which.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::kind::ParamProblem;
use repro_numerics::exact::rng::Stream;

/// How many images each class keeps, in the order of labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Imbalance {
    /// Long-tailed: class `i` of `C`, from 0, keeps `n · ratio^(i / (C - 1))` images, rounded down
    /// (Cui et al. 2019, Cao et al. 2019).
    Exponential {
        /// The last class's size as a share of the first's, above 0 and at most 1. Papers that
        /// speak of an imbalance factor of 100 mean 0.01.
        ratio: f64,
    },
    /// The first classes keep `n` images, the last ones `n · ratio`, rounded down (Buda et al.
    /// 2018).
    Step {
        /// The size of a small class as a share of a large one's, above 0 and at most 1.
        ratio: f64,
        /// The share of classes that are small, above 0 and below 1; rounded to whole classes.
        #[serde(default = "half")]
        minority: f64,
    },
    /// These numbers of images, by name of class. All other classes keep what they have.
    Counts(BTreeMap<String, u64>),
}

fn half() -> f64 {
    0.5
}

impl Imbalance {
    /// What is wrong with the numbers.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut found = Vec::new();
        let mut check = |path: &[&str], value: f64, good: bool, what: &str| {
            if !good {
                found.push(ParamProblem::new(
                    path,
                    format!("must be {what}, got {value}"),
                    "",
                ));
            }
        };
        let mut ratio = |shape: &str, ratio: f64| {
            let good = ratio > 0.0 && ratio <= 1.0;
            check(&[shape, "ratio"], ratio, good, "above 0 and at most 1");
        };
        match self {
            Imbalance::Exponential { ratio: r } => ratio("exponential", *r),
            Imbalance::Step { ratio: r, minority } => {
                ratio("step", *r);
                let good = *minority > 0.0 && *minority < 1.0;
                check(
                    &["step", "minority"],
                    *minority,
                    good,
                    "above 0 and below 1",
                );
            }
            Imbalance::Counts(counts) if counts.is_empty() => found.push(ParamProblem::new(
                &["counts"],
                "no class is named",
                "e.g. `counts: {cat: 500, dog: 50}`",
            )),
            Imbalance::Counts(_) => {}
        }
        found
    }

    /// The positions that are kept, ascending. Of one class and seed a smaller number of images is
    /// a part of a larger one.
    ///
    /// # Errors
    /// A class has too few images, or would keep none.
    pub(super) fn kept(
        &self,
        classes: &[String],
        labels: &[u32],
        seed: u64,
    ) -> Result<Vec<usize>, Failure> {
        let mut of_class = vec![Vec::new(); classes.len()];
        for (i, &label) in labels.iter().enumerate() {
            of_class[label as usize].push(i);
        }
        let there: Vec<usize> = of_class.iter().map(Vec::len).collect();
        let sizes = self.sizes(classes, &there)?;
        let mut kept = Vec::with_capacity(sizes.iter().sum());
        for (class, (positions, size)) in of_class.iter().zip(sizes).enumerate() {
            let order =
                Stream::new(seed, "imbalance", 0, class as u64).permutation(positions.len() as u32);
            kept.extend(order.iter().take(size).map(|&i| positions[i as usize]));
        }
        kept.sort_unstable();
        Ok(kept)
    }

    /// How many images each class keeps of those that are there.
    fn sizes(&self, classes: &[String], there: &[usize]) -> Result<Vec<usize>, Failure> {
        let count = classes.len();
        let shares: Vec<f64> = match self {
            Imbalance::Exponential { ratio } => {
                let last = count.saturating_sub(1).max(1) as f64;
                let share = |i: usize| libm::pow(*ratio, i as f64 / last);
                (0..count).map(share).collect()
            }
            Imbalance::Step { ratio, minority } => {
                let small = (count as f64 * minority + 0.5) as usize;
                let share = |i: usize| if i + small < count { 1.0 } else { *ratio };
                (0..count).map(share).collect()
            }
            Imbalance::Counts(counts) => return exactly(counts, classes, there),
        };
        // The most for which no class lacks images; of equal classes that is their size.
        let most = |(&there, share): (&usize, &f64)| (there as f64 / share + 1e-6) as usize;
        let n = there.iter().zip(&shares).map(most).min().unwrap_or(0);
        let sizes: Vec<usize> = there
            .iter()
            .zip(&shares)
            .map(|(&there, share)| ((n as f64 * share + 1e-6) as usize).min(there))
            .collect();
        let absent = there.iter().position(|&there| there == 0);
        let left_out = || sizes.iter().position(|&size| size == 0);
        if let Some(class) = absent.or_else(left_out) {
            let class_name = &classes[class];
            let text = match absent {
                Some(_) => format!("`imbalance`: there is no image of the class `{class_name}`"),
                None => format!("`imbalance`: the class `{class_name}` would keep no image"),
            };
            return Err(Failure::new(text)
                .hint("give a larger `ratio`, or say which classes keep how many by `counts`"));
        }
        Ok(sizes)
    }
}

/// The sizes that are said by name.
fn exactly(
    counts: &BTreeMap<String, u64>,
    classes: &[String],
    there: &[usize],
) -> Result<Vec<usize>, Failure> {
    if let Some(name) = counts.keys().find(|name| !classes.contains(name)) {
        let text = format!("`imbalance.counts`: there is no class `{name}`");
        return Err(Failure::new(text).hint(format!("the classes are {}", classes.join(", "))));
    }
    let size = |(class, &there): (&String, &usize)| match counts.get(class) {
        None => Ok(there),
        Some(&asked) if asked <= there as u64 => Ok(asked as usize),
        Some(asked) => Err(Failure::new(format!(
            "`imbalance.counts`: {asked} images of `{class}` are asked for, and there are {there}"
        ))
        .hint("ask for at most as many as there are")),
    };
    classes.iter().zip(there).map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    /// The sizes that Cao et al. 2019 train on (`IMBALANCECIFAR10` and `100` of LDAM-DRW): 12,406
    /// and 10,847 images at an imbalance factor of 100.
    #[test]
    fn long_tailed_cifar_has_its_published_sizes() {
        let tail = Imbalance::Exponential { ratio: 0.01 };
        let ten = tail.sizes(&names(10), &[5000; 10]).unwrap();
        assert_eq!(ten, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
        assert_eq!(ten.iter().sum::<usize>(), 12_406);
        let hundred = tail.sizes(&names(100), &[500; 100]).unwrap();
        assert_eq!(hundred.iter().sum::<usize>(), 10_847);
        assert_eq!((hundred[0], hundred[1], hundred[99]), (500, 477, 5));
        let step = Imbalance::Step {
            ratio: 0.1,
            minority: 0.5,
        };
        let sizes = step.sizes(&names(10), &[5000; 10]).unwrap();
        assert_eq!(sizes[..5], [5000; 5]);
        assert_eq!(sizes[5..], [500; 5]);
    }

    #[test]
    fn classes_of_other_sizes_give_what_all_can_give() {
        let tail = Imbalance::Exponential { ratio: 0.25 };
        // Half of n from the second, a quarter from the third: it has only 20, so n is 80.
        assert_eq!(tail.sizes(&names(3), &[100, 90, 20]).unwrap(), [80, 40, 20]);
        let why = tail.sizes(&names(3), &[9, 0, 9]).unwrap_err();
        assert_eq!(
            why.message,
            "`imbalance`: there is no image of the class `c1`"
        );
        let why = tail.sizes(&names(3), &[3, 9, 9]).unwrap_err();
        assert_eq!(
            why.message,
            "`imbalance`: the class `c2` would keep no image"
        );
    }

    #[test]
    fn counts_are_exact_or_refused() {
        let of = |json| {
            let counts: Imbalance = serde_json::from_value(json).unwrap();
            counts
                .sizes(&names(3), &[10, 20, 30])
                .map_err(|e| e.message)
        };
        let sizes = of(serde_json::json!({"counts": {"c0": 0, "c2": 7}}));
        assert_eq!(sizes.unwrap(), [0, 20, 7]);
        assert_eq!(
            of(serde_json::json!({"counts": {"c1": 21}})).unwrap_err(),
            "`imbalance.counts`: 21 images of `c1` are asked for, and there are 20"
        );
        assert_eq!(
            of(serde_json::json!({"counts": {"cat": 2}})).unwrap_err(),
            "`imbalance.counts`: there is no class `cat`"
        );
    }

    proptest! {
        #[test]
        fn fewer_are_a_part_of_more(
            labels in proptest::collection::vec(0u32..3, 0..120), few in 0u64..8, more in 0u64..8, seed: u64,
        ) {
            let there = |class: u32| labels.iter().filter(|&&l| l == class).count() as u64;
            let kept = |n: u64| {
                let counts = (0..3).map(|c| (format!("c{c}"), n.min(there(c)))).collect();
                Imbalance::Counts(counts).kept(&names(3), &labels, seed).unwrap()
            };
            let (few, more) = (kept(few), kept(few + more));
            prop_assert!(few.is_sorted_by(|a, b| a < b));
            prop_assert!(few.iter().all(|i| more.contains(i)));
        }
    }
}
