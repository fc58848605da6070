//! `split`: a data set into disjoint parts, at random or class by class.
//!
//! Decides which image goes where; the images themselves, their order and their
//! [`origin`](crate::data::Dataset::origin) stay.

mod imbalance;

use std::collections::BTreeMap;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::facts::{DataFact, Fact, Findings, Known};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::task::Task;
use repro_numerics::exact::rng::Stream;

pub use imbalance::Imbalance;

/// See the module.
pub struct Split;

/// Parameters of `split`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Name and size of each part: all fractions of the whole (`0.5`, together at most 1) or all
    /// numbers of images (`1000`).
    pub parts: BTreeMap<String, Size>,
    /// Seed of the choice.
    pub seed: u64,
    /// What is kept equal between the parts.
    #[serde(default)]
    pub by: By,
    /// How many images each class keeps before the split; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imbalance: Option<Imbalance>,
}

/// How large a part is: a number with a decimal point is a fraction, one without is a count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// Of the whole, 0 to 1.
    Fraction(f64),
    /// Images.
    Count(u64),
}

/// What is kept equal between the parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Nothing: every image has the same chance.
    #[default]
    None,
    /// The share of each class (a stratified split).
    Class,
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Size::Fraction(x) => s.serialize_f64(*x),
            Size::Count(n) => s.serialize_u64(*n),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        let number = serde_json::Number::deserialize(d)?;
        match (number.as_u64(), number.as_f64()) {
            (Some(count), _) => Ok(Size::Count(count)),
            (None, Some(fraction)) if (0.0..=1.0).contains(&fraction) => {
                Ok(Size::Fraction(fraction))
            }
            _ => Err(serde::de::Error::custom(format!(
                "`{number}` is neither a fraction from 0.0 to 1.0 nor a number of images"
            ))),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A fraction of the whole (`0.5`) or a number of images (`1000`).",
            "type": "number",
            "minimum": 0,
        })
    }
}

impl Kind for Split {
    type Params = Params;
    const NAME: &'static str = "split";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Splits a data set into disjoint parts.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[InputSpec::required("data", "The data set to split.")];

    fn outputs(params: &Params) -> Outputs {
        let output = |name: &String| OutputSpec::new(name, &format!("{name}.safetensors"));
        params.parts.keys().map(output).collect()
    }

    fn validate(params: &Params, _needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if params.parts.is_empty() {
            problems.push(ParamProblem::new(
                &["parts"],
                "there are no parts",
                "name at least one: `parts: {a: 0.5, b: 0.5}`",
            ));
        }
        for (name, size) in &params.parts {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                let message = format!("`{name}` cannot name an output");
                problems.push(ParamProblem::new(
                    &["parts", name],
                    message,
                    "use 1 to 64 letters, digits, `_` and `-`",
                ));
            }
            if matches!(size, Size::Count(0)) || *size == Size::Fraction(0.0) {
                problems.push(ParamProblem::new(
                    &["parts", name],
                    format!("part `{name}` is empty"),
                    "give it a size above 0, or leave it out",
                ));
            }
        }
        let fractions: Vec<f64> = params
            .parts
            .values()
            .filter_map(|s| {
                if let Size::Fraction(f) = s {
                    Some(*f)
                } else {
                    None
                }
            })
            .collect();
        if !fractions.is_empty() && fractions.len() < params.parts.len() {
            let message = "some parts are fractions and some are numbers of images".to_owned();
            problems.push(ParamProblem::new(
                &["parts"],
                message,
                "write all as fractions (`0.5`, `1.0`) or all as counts (`1000`)",
            ));
        }
        // Thirds and tenths are not exact: a whole may exceed 1 by their rounding.
        let total: f64 = fractions.iter().sum();
        if total > 1.0 + 1e-9 {
            problems.push(ParamProblem::new(
                &["parts"],
                format!("the fractions add up to {total}"),
                "parts are disjoint: together at most 1",
            ));
        }
        let imbalance = params.imbalance.iter().flat_map(Imbalance::problems);
        problems.extend(imbalance.map(|problem| problem.within("imbalance")));
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let mut data = known.first_data("data", &mut found).unwrap_or_default();
        let asked: u64 = params
            .parts
            .values()
            .map(|size| if let Size::Count(n) = size { *n } else { 0 })
            .fold(0, u64::saturating_add);
        if let Some(images) = data.images.filter(|&images| asked > images) {
            found.param(
                &["parts"],
                format!("the parts ask for {asked} images, but the data set has {images}"),
                "make the parts smaller, or give fractions",
            );
        }
        if params.by == By::Class && data.has_targets() {
            found.param(
                &["by"],
                "these data have no classes: numbers are to be learnt from them",
                "leave `by: class` out",
            );
        }
        if params.imbalance.is_some() {
            if data.has_targets() {
                found.param(
                    &["imbalance"],
                    "these data have no classes: numbers are to be learnt from them",
                    "leave `imbalance` out",
                );
            }
            // How many are kept follows from the classes' sizes, which nobody knows yet.
            data.images = None;
        }
        if let (By::None, Some(images)) = (params.by, data.images)
            && let Ok(sizes) = sizes(params, &[images as usize])
        {
            let none = params.parts.keys().zip(&sizes).filter(|(_, n)| n[0] == 0);
            for (name, _) in none {
                let failure = empty(name, images);
                found.param(
                    &["parts", name],
                    failure.message,
                    failure.hint.unwrap_or_default(),
                );
            }
        }
        for (name, size) in &params.parts {
            let images = match (size, data.images) {
                (Size::Count(n), _) => Some(*n),
                // Rounding is done class by class, and nobody knows yet how many images each has.
                (Size::Fraction(f), images) if *f == 1.0 => images,
                (Size::Fraction(f), Some(n))
                    if params.by == By::None && f * n as f64 % 1.0 == 0.0 =>
                {
                    Some((f * n as f64) as u64)
                }
                _ => None,
            };
            found.say(
                name,
                Fact::Data(DataFact {
                    // Of a test set that is cut in parts one may choose and another measure.
                    is_test: data.is_test && matches!(size, Size::Fraction(f) if *f == 1.0),
                    images,
                    ..data.clone()
                }),
            );
        }
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::input(task.input("data")?)?;
        if params.by == By::Class && data.class_count() == 0 {
            anyhow::bail!(
                Failure::new(format!("`{}` has no classes to split by", data.info().name))
                    .hint("leave `by: class` out: numbers are to be learnt from these data")
            );
        }
        let classes = &data.info().classes;
        let all = match &params.imbalance {
            None => (0..data.len()).collect(),
            Some(_) if classes.is_empty() => {
                anyhow::bail!(
                    Failure::new(format!("`{}` has no classes", data.info().name))
                        .hint("leave `imbalance` out: numbers are to be learnt from these data")
                );
            }
            Some(imbalance) => imbalance.kept(classes, data.labels(), params.seed)?,
        };
        for (name, positions) in assign(params, data.labels(), &all, classes.len())? {
            if positions.is_empty() {
                anyhow::bail!(empty(&name, all.len() as u64));
            }
            data.pick(&positions).save(task.output(&name)?)?;
        }
        Ok(())
    }
}

/// Nobody can use a part without images.
fn empty(name: &str, images: u64) -> Failure {
    Failure::new(format!("part `{name}` has none of the {images} images"))
        .hint("make it larger, or leave it out")
}

/// The positions of each part, of those in `all`, ascending.
fn assign(
    params: &Params,
    labels: &[u32],
    all: &[usize],
    classes: usize,
) -> anyhow::Result<BTreeMap<String, Vec<usize>>> {
    let examples = all.len();
    ensure!(
        u32::try_from(examples).is_ok(),
        "a data set of {examples} images is too large to split",
    );
    // Each stratum is split on its own, in a random order of its own.
    let strata: Vec<Vec<usize>> = match params.by {
        By::None => vec![all.to_vec()],
        By::Class => {
            let mut strata = vec![Vec::new(); classes];
            for &i in all {
                strata[labels[i] as usize].push(i);
            }
            strata
        }
    };
    let lengths: Vec<usize> = strata.iter().map(Vec::len).collect();
    let sizes = sizes(params, &lengths)?;
    let mut parts: BTreeMap<String, Vec<usize>> = params
        .parts
        .keys()
        .map(|name| (name.clone(), Vec::new()))
        .collect();
    for (k, stratum) in strata.iter().enumerate() {
        let order =
            Stream::new(params.seed, "split", 0, k as u64).permutation(stratum.len() as u32);
        let mut rest = order.iter().map(|&i| stratum[i as usize]);
        for (part, sizes) in parts.values_mut().zip(&sizes) {
            part.extend(rest.by_ref().take(sizes[k]));
        }
    }
    for part in parts.values_mut() {
        part.sort_unstable();
    }
    Ok(parts)
}

/// For each part the number of images from each stratum, given how many each has.
fn sizes(params: &Params, strata: &[usize]) -> anyhow::Result<Vec<Vec<usize>>> {
    let images: usize = strata.iter().sum();
    let mut table = vec![Vec::with_capacity(strata.len()); params.parts.len()];
    let counts: u64 = params
        .parts
        .values()
        .map(|s| if let Size::Count(n) = s { *n } else { 0 })
        .fold(0, u64::saturating_add);
    if counts > images as u64 {
        anyhow::bail!(
            Failure::new(format!(
                "the parts ask for {counts} images, but the data set has {images}"
            ))
            .hint("make the parts smaller, or give fractions")
        );
    }
    if counts > 0 && params.by == By::None {
        // One stratum: the counts as they are.
        for (row, size) in table.iter_mut().zip(params.parts.values()) {
            row.push(if let Size::Count(n) = size {
                *n as usize
            } else {
                0
            });
        }
        return Ok(table);
    }
    if counts > 0 {
        return Ok(count_table(params, strata));
    }
    for &stratum in strata {
        let exact: Vec<f64> = params
            .parts
            .values()
            .map(|s| {
                if let Size::Fraction(f) = s {
                    f * stratum as f64
                } else {
                    0.0
                }
            })
            .collect();
        for (row, n) in table.iter_mut().zip(largest_remainder(&exact, stratum)) {
            row.push(n);
        }
    }
    Ok(table)
}

/// Counts shared among classes in proportion to the class sizes; row sums are exact. Parts are
/// served in order of their names, each from what is left, so that no class is asked for more than
/// it has.
fn count_table(params: &Params, strata: &[usize]) -> Vec<Vec<usize>> {
    let mut left = strata.to_vec();
    let mut left_total: usize = left.iter().sum();
    let mut table = Vec::with_capacity(params.parts.len());
    for size in params.parts.values() {
        let count = if let Size::Count(n) = size {
            *n as usize
        } else {
            0
        };
        let exact: Vec<f64> = left
            .iter()
            .map(|&n| n as f64 * count as f64 / left_total.max(1) as f64)
            .collect();
        let row = largest_remainder(&exact, count);
        for (left, n) in left.iter_mut().zip(&row) {
            *left -= n;
        }
        left_total -= count;
        table.push(row);
    }
    table
}

/// Whole numbers near `exact` whose sum is that of `exact`, rounded, but at most `total_max`:
/// everybody gets the whole part, and what is left goes to the largest remainders, ties to the
/// first.
fn largest_remainder(exact: &[f64], total_max: usize) -> Vec<usize> {
    // 0.1 of 30 must be 3, though 0.1 * 30 may fall just short of it.
    let whole = |x: f64| (x + 1e-6) as usize;
    let mut sizes: Vec<usize> = exact.iter().map(|&x| whole(x)).collect();
    let target = whole(exact.iter().sum::<f64>() + 0.5).min(total_max);
    let mut order: Vec<usize> = (0..exact.len()).collect();
    let remainder = |i: usize| exact[i] - whole(exact[i]) as f64;
    order.sort_by(|&a, &b| {
        let (a_rest, b_rest) = (remainder(a), remainder(b));
        if (a_rest - b_rest).abs() < 1e-6 {
            a.cmp(&b)
        } else {
            b_rest.total_cmp(&a_rest)
        }
    });
    let missing = target.saturating_sub(sizes.iter().sum());
    for &i in order.iter().take(missing) {
        sizes[i] += 1;
    }
    sizes
}

const DOC: &str = r#"
Splits a data set into disjoint parts, chosen at random from `seed`. Each part is an output of that
name. Images keep their published order inside a part, and `origin` says where each one stood in the
published data.

```yaml
halves: {uses: split, needs: {data: data.train}, with: {parts: {a: 0.5, b: 0.5}, seed: 7}}
```

Sizes are fractions of the whole or numbers of images. Fractions are rounded to whole images so that
the total is right (largest remainder; ties go to the part whose name sorts first). With `by: class`
every class is split that way on its own, so that all parts have the same share of each class; a
number of images is then shared among the classes in proportion to their size. Images that fit in no
part are left out.

**Imbalance.** `imbalance` leaves images of some classes out before the split. Which images a class
keeps is drawn from `seed`; a smaller number is always a part of a larger one.

```yaml
long_tailed: {uses: split, needs: {data: data.train}, with: {parts: {train: 1.0}, seed: 7, imbalance: {exponential: {ratio: 0.01}}}}
few_cats:    {uses: split, needs: {data: data.train}, with: {parts: {train: 1.0}, seed: 7, imbalance: {counts: {cat: 50}}}}
```

- `exponential: {ratio}`: class `i` of `C` (in the order of labels, from 0) keeps
  `n · ratio^(i / (C - 1))` images, rounded down (Cui et al., *Class-balanced loss*, CVPR 2019; Cao
  et al., *Learning imbalanced datasets*, NeurIPS 2019). With `ratio: 0.01`, CIFAR-10 keeps 5000,
  2997, 1796 ... 50.
- `step: {ratio, minority: 0.5}`: the last half of the classes (or another share) keeps
  `n · ratio` images, the others `n` (Buda et al., *A systematic study of the class imbalance
  problem*, 2018).
- `counts`: numbers of images by name of class; all other classes keep what they have.

`n` is the size of a class if all are equal, as in the papers. Of classes of different sizes, it is
the largest number for which no class lacks images. A class that would keep none is an error.
`parts` are shares of what is kept. For a balanced test or validation part, split that off first, in
a stage of its own.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(json: serde_json::Value) -> Params {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn remainders() {
        assert_eq!(largest_remainder(&[2.5, 2.5], 5), [3, 2]);
        assert_eq!(
            largest_remainder(&[0.1 * 30.0, 0.2 * 30.0, 0.7 * 30.0], 30),
            [3, 6, 21]
        );
        assert_eq!(largest_remainder(&[3.3, 3.3, 3.4], 10), [3, 3, 4]);
        assert_eq!(largest_remainder(&[1.0 / 3.0 * 10.0; 3], 10), [4, 3, 3]);
        assert_eq!(largest_remainder(&[0.0, 0.0], 0), [0, 0]);
    }

    #[test]
    fn frozen_choice() {
        let halves = params(serde_json::json!({"parts": {"a": 0.5, "b": 0.5}, "seed": 7}));
        let ten = Vec::from_iter(0..10);
        let parts = assign(&halves, &[0; 10], &ten, 1).unwrap();
        assert_eq!(parts["a"], FROZEN_A);
        assert_ne!(
            assign(&Params { seed: 8, ..halves }, &[0; 10], &ten, 1).unwrap(),
            parts
        );
    }

    const FROZEN_A: [usize; 5] = [0, 3, 6, 7, 8];

    #[test]
    fn mistakes_are_named() {
        let texts = |json| {
            Split::validate(&params(json), &[])
                .into_iter()
                .map(|p| p.message)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            texts(serde_json::json!({"parts": {"a": 0.5, "b": 0.5}, "seed": 1})),
            [] as [&str; 0]
        );
        assert_eq!(
            texts(serde_json::json!({"parts": {}, "seed": 1})),
            ["there are no parts"]
        );
        assert_eq!(
            texts(serde_json::json!({"parts": {"a": 0.7, "b": 0.5}, "seed": 1})),
            ["the fractions add up to 1.2"]
        );
        assert_eq!(
            texts(serde_json::json!({"parts": {"a/b": 0.7, "b": 5}, "seed": 1})),
            [
                "`a/b` cannot name an output",
                "some parts are fractions and some are numbers of images"
            ]
        );
        assert!(
            serde_json::from_value::<Params>(serde_json::json!({"parts": {"a": -0.5}, "seed": 1}))
                .is_err()
        );
        assert!(
            serde_json::from_value::<Params>(serde_json::json!({"parts": {"a": 0.5}})).is_err()
        );
        let many = params(serde_json::json!({"parts": {"a": 7, "b": 4}, "seed": 1}));
        assert!(
            assign(&many, &[0; 10], &Vec::from_iter(0..10), 1)
                .unwrap_err()
                .to_string()
                .contains("ask for 11 images")
        );
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_have_their_sizes(
            labels in proptest::collection::vec(0u32..4, 0..200),
            shares in proptest::collection::vec(1u32..10, 1..5),
            left_out in 0u32..10,
            by_class: bool,
            counts: bool,
            seed: u64,
        ) {
            let whole: u32 = shares.iter().sum::<u32>() + left_out;
            let n = labels.len();
            let parts = shares.iter().enumerate().map(|(i, &share)| {
                let size = if counts { Size::Count(n as u64 * u64::from(share) / u64::from(whole)) } else { Size::Fraction(f64::from(share) / f64::from(whole)) };
                (format!("p{i}"), size)
            });
            let params = Params { parts: parts.collect(), seed, by: if by_class { By::Class } else { By::None }, imbalance: None };
            let assigned = assign(&params, &labels, &Vec::from_iter(0..n), 4).unwrap();
            prop_assert_eq!(assigned.keys().collect::<Vec<_>>(), params.parts.keys().collect::<Vec<_>>());
            let mut seen = vec![false; n];
            for (name, positions) in &assigned {
                prop_assert!(positions.is_sorted());
                for &i in positions {
                    prop_assert!(!std::mem::replace(&mut seen[i], true), "{} twice", i);
                }
                match params.parts[name] {
                    Size::Count(count) => prop_assert_eq!(positions.len() as u64, count),
                    Size::Fraction(f) => {
                        let strata = if by_class { 4.0 } else { 1.0 };
                        prop_assert!((positions.len() as f64 - f * n as f64).abs() < strata + 1e-6);
                    }
                }
                if by_class && !counts {
                    for class in 0..4 {
                        let all = labels.iter().filter(|&&l| l == class).count() as f64;
                        let here = positions.iter().filter(|&&i| labels[i] == class).count() as f64;
                        let Size::Fraction(f) = params.parts[name] else { unreachable!() };
                        prop_assert!((here - f * all).abs() < 1.0 + 1e-6);
                    }
                }
            }
            if left_out == 0 && !counts {
                prop_assert!(seen.iter().all(|&s| s), "fractions that add up to 1 leave nothing out");
            }
        }
    }
}
