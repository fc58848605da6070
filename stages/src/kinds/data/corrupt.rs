//! `corrupt`: a data set with labels or pixels replaced at random, as in Zhang et al. 2017.
//!
//! Decides the new bytes of each image or label; number, order and origin of the images stay.

mod clipped;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Row, Values};
use crate::facts::{AnswersFact, Fact, Findings, Known};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::task::Task;
use repro_numerics::exact::rng::Stream;

/// See the module.
pub struct Corrupt;

/// Parameters of `corrupt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Seed of all choices.
    pub seed: u64,
    /// What happens to labels; by default nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// What happens to pixels; by default nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Pixels>,
}

/// What happens to labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Labels {
    /// Each label is replaced with this probability by one drawn from all classes (Zhang et al.
    /// 2017): about one in `classes` of those is right by chance.
    Random(Fraction),
    /// Each label is replaced with this probability by one drawn from the other classes: all of
    /// those are wrong.
    Wrong(Fraction),
}

/// A probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fraction {
    /// Probability for each image, above 0 and at most 1.
    pub fraction: f64,
}

/// What happens to pixels (Zhang et al. 2017, section 2.2, and added noise).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pixels {
    /// One random order of the pixels, the same for all images; the channels of a pixel stay
    /// together. In a table, columns change places.
    Shuffle {},
    /// A random order of the pixels for each image.
    Random {},
    /// All values are replaced by draws from a normal distribution; bytes are rounded and clipped
    /// to 0 to 255.
    Gaussian {
        /// Which numbers have the data set's mean and standard deviation per channel. Floats have
        /// them either way.
        #[serde(default)]
        moments: PixelMoments,
    },
    /// Normal noise of this standard deviation is added to each value.
    Noise {
        /// Standard deviation, above 0: in grey levels of 255 for bytes, in their own units for
        /// floats.
        std: f64,
    },
}

/// What has the data set's mean and standard deviation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PixelMoments {
    /// The bytes: the normal distribution is chosen such that they have them after clipping.
    #[default]
    Bytes,
    /// The normal distribution before clipping. Clipping brings the bytes nearer to the middle and
    /// to each other.
    Drawn,
}

impl Kind for Corrupt {
    type Params = Params;
    const NAME: &'static str = "corrupt";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Replaces labels or pixels of a data set at random.";
    const DOC: &'static str = include_str!("corrupt/guide.md");
    const INPUTS: &'static [InputSpec] = &[InputSpec::required("data", "The data set to corrupt.")];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("data", "data.safetensors")?])
    }

    fn validate(params: &Params, _needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: String, hint: &str| {
            problems.push(ParamProblem::new(path, message, hint));
        };
        if params.labels.is_none() && params.pixels.is_none() {
            let hint = "add e.g. `labels: {random: {fraction: 0.5}}` or `pixels: {shuffle: {}}`";
            problem(&[], "nothing is corrupted".into(), hint);
        }
        if let Some(labels) = params.labels {
            let (name, Fraction { fraction }) = match labels {
                Labels::Random(f) => ("random", f),
                Labels::Wrong(f) => ("wrong", f),
            };
            if !(fraction > 0.0 && fraction <= 1.0) {
                let message = format!("the fraction {fraction} is out of range");
                problem(
                    &["labels", name, "fraction"],
                    message,
                    "give a number above 0 and at most 1",
                );
            }
        }
        if let Some(Pixels::Noise { std }) = params.pixels
            && !(std > 0.0 && std <= 255.0)
        {
            let message = format!("the standard deviation {std} is out of range");
            problem(
                &["pixels", "noise", "std"],
                message,
                "give a number of grey levels, above 0 and at most 255",
            );
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let data = known.first_data("data", &mut found).unwrap_or_default();
        if matches!(params.labels, Some(Labels::Wrong(_)))
            && data.answers == Some(AnswersFact::Classes(Some(1)))
        {
            found.param(
                &["labels", "wrong"],
                "a data set with one class has no wrong labels",
                "",
            );
        }
        if params.labels.is_some() && data.has_targets() {
            found.param(
                &["labels"],
                "these data have no labels: numbers are to be learnt from them",
                "`pixels` can be corrupted",
            );
        }
        found.say("data", Fact::Data(data));
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::input(task.input("data")?)?;
        corrupt(params, data)?.save(task.output("data")?)
    }
}

/// Every choice for an image comes from a stream of its own, named by its origin.
fn corrupt(params: &Params, mut data: Dataset) -> anyhow::Result<Dataset> {
    if let Some(pixels) = params.pixels {
        let values = corrupted_values(params.seed, pixels, &data);
        data = data.with_values(values);
    }
    if let Some(how) = params.labels {
        let labels = corrupted_labels(params.seed, how, &data)?;
        data = data.with_labels(labels)?;
    }
    Ok(data)
}

fn corrupted_labels(seed: u64, how: Labels, data: &Dataset) -> anyhow::Result<Vec<u32>> {
    let classes = data.class_count() as u32;
    if classes == 0 {
        anyhow::bail!(
            Failure::new(format!("`{}` has no labels to corrupt", data.info().name))
                .hint("numbers are to be learnt from these data; `pixels` can be corrupted")
        );
    }
    if matches!(how, Labels::Wrong(_)) {
        anyhow::ensure!(classes > 1, "a data set with one class has no wrong labels");
    }
    let relabelled = |(&label, &origin): (&u32, &u32)| {
        let mut stream = Stream::new(seed, "corrupt labels", 0, u64::from(origin));
        let (Labels::Random(Fraction { fraction }) | Labels::Wrong(Fraction { fraction })) = how;
        // `uniform_f64` is below 1: a fraction of 1 takes all.
        if stream.uniform_f64() >= fraction {
            return label;
        }
        match how {
            Labels::Random(_) => stream.below(classes),
            Labels::Wrong(_) => {
                let other = stream.below(classes - 1);
                other + u32::from(other >= label)
            }
        }
    };
    Ok(data
        .labels()
        .iter()
        .zip(data.origin())
        .map(relabelled)
        .collect())
}

fn corrupted_values(seed: u64, how: Pixels, data: &Dataset) -> Values {
    let shape = data.info().shape;
    let channels = shape.channels;
    // The columns of a table are what can change places; the channels of a pixel stay together.
    let (places, width) = match shape.is_table() {
        true => (channels, 1),
        false => (data.features() / channels, channels),
    };
    let shared = Stream::new(seed, "corrupt pixel order", 0, 0).permutation(places as u32);
    let moments = |k: usize| {
        let c = k % channels;
        (
            f64::from(data.info().mean[c]),
            f64::from(data.info().std[c]),
        )
    };
    let byte = |level: f64| (level + 0.5) as u8;
    let normals: Vec<(f64, f64)> = match (how, data.values()) {
        (Pixels::Gaussian { moments: of }, Values::Bytes(_)) => (0..channels)
            .map(moments)
            .map(|(mean, std)| (255.0 * mean, 255.0 * std))
            .map(|(mean, std)| match of {
                PixelMoments::Bytes => clipped::normal_behind(mean, std),
                PixelMoments::Drawn => (mean, std),
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut changed = match data.values() {
        Values::Bytes(all) => Values::Bytes(Vec::with_capacity(all.len())),
        Values::Floats(all) => Values::Floats(Vec::with_capacity(all.len())),
    };
    for (i, &origin) in data.origin().iter().enumerate() {
        let mut stream = Stream::new(seed, "corrupt pixels", 0, u64::from(origin));
        match (data.row(i), &mut changed) {
            (Row::Bytes(image), Values::Bytes(all)) => all.extend(match how {
                Pixels::Shuffle {} => reordered(image, &shared, width),
                Pixels::Random {} => reordered(image, &stream.permutation(places as u32), width),
                Pixels::Gaussian { .. } => (0..image.len())
                    .map(|k| {
                        let (mean, std) = normals[k % channels];
                        byte(mean + std * f64::from(stream.normal()))
                    })
                    .collect(),
                Pixels::Noise { std } => image
                    .iter()
                    .map(|&p| byte(f64::from(p) + std * f64::from(stream.normal())))
                    .collect(),
            }),
            (Row::Floats(row), Values::Floats(all)) => all.extend(match how {
                Pixels::Shuffle {} => reordered(row, &shared, width),
                Pixels::Random {} => reordered(row, &stream.permutation(places as u32), width),
                Pixels::Gaussian { .. } => (0..row.len())
                    .map(|k| {
                        let (mean, std) = moments(k);
                        (mean + std * f64::from(stream.normal())) as f32
                    })
                    .collect(),
                Pixels::Noise { std } => row
                    .iter()
                    .map(|&x| (f64::from(x) + std * f64::from(stream.normal())) as f32)
                    .collect(),
            }),
            _ => unreachable!("the new values are of the type of the old ones"),
        }
    }
    changed
}

/// Pixels (of `width` values each) in another order.
fn reordered<T: Copy>(image: &[T], order: &[u32], width: usize) -> Vec<T> {
    order
        .iter()
        .flat_map(|&p| &image[p as usize * width..][..width])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::Shapes;

    fn data() -> Dataset {
        Shapes {
            train: 2000,
            test: 1,
            ..Shapes::default()
        }
        .draw()
        .unwrap()
        .0
    }

    fn with(json: serde_json::Value, data: &Dataset) -> Dataset {
        let params: Params = serde_json::from_value(json).unwrap();
        assert!(Corrupt::validate(&params, &[]).is_empty());
        let new = corrupt(&params, data.clone()).unwrap();
        assert_eq!(new.origin(), data.origin());
        new
    }

    fn changed<T: PartialEq>(a: &[T], b: &[T]) -> f64 {
        a.iter().zip(b).filter(|(x, y)| x != y).count() as f64 / a.len() as f64
    }

    #[test]
    fn random_labels_are_right_by_chance_only() {
        let data = data();
        // 5 standard deviations of a share of 2,000 are below 0.06.
        for (fraction, expected) in [(1.0, 0.9), (0.5, 0.45), (0.1, 0.09)] {
            let new = with(
                serde_json::json!({"seed": 3, "labels": {"random": {"fraction": fraction}}}),
                &data,
            );
            assert!((changed(new.labels(), data.labels()) - expected).abs() < 0.06);
            assert_eq!(new.images(), data.images());
        }
        let wrong = with(
            serde_json::json!({"seed": 3, "labels": {"wrong": {"fraction": 1.0}}}),
            &data,
        );
        assert_eq!(changed(wrong.labels(), data.labels()), 1.0);
        let mut seen = [false; 10];
        wrong.labels().iter().for_each(|&l| seen[l as usize] = true);
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn pixel_orders_keep_the_bytes_of_each_image() {
        let data = data();
        let sorted = |image: &[u8]| {
            let mut bytes = image.to_vec();
            bytes.sort_unstable();
            bytes
        };
        let orders = [
            with(
                serde_json::json!({"seed": 3, "pixels": {"shuffle": {}}}),
                &data,
            ),
            with(
                serde_json::json!({"seed": 3, "pixels": {"random": {}}}),
                &data,
            ),
        ];
        for new in &orders {
            assert!((0..data.len()).all(|i| sorted(new.image(i)) == sorted(data.image(i))));
            assert!(changed(new.images(), data.images()) > 0.5);
            assert_eq!(new.labels(), data.labels());
        }
        // `shuffle` moves pixel k of every image to the same place: two equal images stay equal.
        let twins = data.pick(&[5, 5]);
        let new = with(
            serde_json::json!({"seed": 3, "pixels": {"shuffle": {}}}),
            &twins,
        );
        assert_eq!(new.image(0), new.image(1));
    }

    #[test]
    fn case_43_gaussian_pixels_have_mean_and_deviation_and_noise_its_width() {
        let data = data();
        let mean = |set: &Dataset| {
            set.images().iter().map(|&p| f64::from(p)).sum::<f64>() / set.images().len() as f64
        };
        let new = with(
            serde_json::json!({"seed": 3, "pixels": {"gaussian": {}}}),
            &data,
        );
        assert!((mean(&new) - mean(&data)).abs() < 2.0);
        let std = |set: &Dataset| {
            let middle = mean(set);
            let square = set
                .images()
                .iter()
                .map(|&p| (f64::from(p) - middle).powi(2));
            (square.sum::<f64>() / set.images().len() as f64).sqrt()
        };
        assert!(
            (std(&new) - std(&data)).abs() < 1.0,
            "{} {}",
            std(&new),
            std(&data)
        );
        let drawn = with(
            serde_json::json!({"seed": 3, "pixels": {"gaussian": {"moments": "drawn"}}}),
            &data,
        );
        assert!(std(&drawn) < std(&data) - 1.0, "cut off, it is narrower");
        let new = with(
            serde_json::json!({"seed": 3, "pixels": {"noise": {"std": 5.0}}}),
            &data,
        );
        let square: f64 = new
            .images()
            .iter()
            .zip(data.images())
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum();
        let std = (square / data.images().len() as f64).sqrt();
        assert!((4.7..5.2).contains(&std), "{std}");
    }

    #[test]
    fn corrupting_and_splitting_commute() {
        let data = data();
        let json = serde_json::json!({"seed": 3, "labels": {"random": {"fraction": 0.5}}, "pixels": {"random": {}}});
        let half: Vec<usize> = (0..1000).map(|i| 2 * i + 1).collect();
        assert_eq!(
            with(json.clone(), &data).pick(&half),
            with(json, &data.pick(&half))
        );
    }

    #[test]
    fn mistakes_are_named() {
        let messages = |json| {
            let params: Params = serde_json::from_value(json).unwrap();
            Corrupt::validate(&params, &[])
                .into_iter()
                .map(|p| p.message)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            messages(serde_json::json!({"seed": 1})),
            ["nothing is corrupted"]
        );
        assert_eq!(
            messages(serde_json::json!({"seed": 1, "labels": {"random": {"fraction": 1.5}}})),
            ["the fraction 1.5 is out of range"]
        );
        assert_eq!(
            messages(serde_json::json!({"seed": 1, "pixels": {"noise": {"std": 0.0}}})),
            ["the standard deviation 0 is out of range"]
        );
        assert!(
            serde_json::from_value::<Params>(
                serde_json::json!({"seed": 1, "pixels": {"noise": {"sd": 0.0}}})
            )
            .is_err()
        );
    }
}
