//! `transform`: a data set cropped, whitened, or with other constants of normalisation.
//!
//! Decides the new values and what they are normalised with; number, order, labels and origin of
//! the examples stay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::own::assemble::{measure, spread};
use crate::data::own::resample::Size;
use crate::data::{Dataset, ImageShape, Info, Row, Values};
use crate::facts::{Fact, Findings, Known};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::data::dataset::Fixed;
use crate::nn::architecture::InputSize;
use crate::task::Task;

/// See the module.
pub struct Transform;

/// Parameters of `transform`; at least one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The size of the middle part of each image that is kept, as torchvision's `CenterCrop`.
    #[serde(default)]
    pub center_crop: Option<Size>,
    /// Whether every image gets mean 0 and deviation 1 by itself.
    #[serde(default)]
    pub whiten: Option<Whiten>,
    /// Mean and standard deviation with which values are normalised for networks. Without it a
    /// whitened set is not normalised further, and any other keeps its constants.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

/// What whitening goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whiten {
    /// `(x - mean) / max(std, 1/√n)` over all n values of the image; the values become floats.
    PerImage,
}

/// Where mean and standard deviation come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Measured by channel on these examples, after the other steps: for a training part.
    Measured,
    /// Those of the data set `like`: for a test part.
    Like,
    /// Nothing is subtracted or divided; bytes are still divided by 255.
    None,
    /// Given: one value for each channel, or one for all. Bytes count in units of 255.
    Fixed(Fixed),
}

impl Kind for Transform {
    type Params = Params;
    const NAME: &'static str = "transform";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Crops, whitens or normalises the examples of a data set.";
    const DOC: &'static str = include_str!("transform/guide.md");
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("data", "The data set to prepare."),
        InputSpec::optional(
            "like",
            "A prepared data set whose mean and deviation are taken.",
        ),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("data", "data.safetensors")?])
    }

    fn validate(params: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: &str, hint: &str| {
            problems.push(ParamProblem::new(path, message.to_owned(), hint));
        };
        if let Params {
            center_crop: None,
            whiten: None,
            normalise: None,
        } = params
        {
            let hint = "add e.g. `center_crop: {width: 28, height: 28}` or `whiten: per_image`";
            problem(&[], "nothing is to be done", hint);
        }
        if let Some(message) = params.center_crop.and_then(Size::problem) {
            problem(&["center_crop"], &message, "e.g. `{width: 28, height: 28}`");
        }
        let has_like = needs.iter().any(|need| need == "like");
        match (&params.normalise, has_like) {
            (Some(Normalise::Like), false) => problem(
                &["normalise"],
                "no data set `like` is given",
                "add `needs: {like: train.data}`: the prepared training part",
            ),
            (Some(Normalise::Like), true) | (_, false) => {}
            (_, true) => problem(
                &[],
                "the need `like` is not used",
                "say `normalise: like`, or leave the need out",
            ),
        }
        if let Some(Normalise::Fixed(fixed)) = &params.normalise {
            for (field, message) in fixed.problems() {
                problem(&["normalise", "fixed", field], message, "");
            }
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let mut data = known.first_data("data", &mut found).unwrap_or_default();
        if let (Some(crop), Some(image)) = (params.center_crop, &mut data.image) {
            if let Some(message) = too_small(crop, image.height, image.width) {
                found.param(&["center_crop"], &message, "");
            }
            *image = InputSize {
                height: crop.height,
                width: crop.width,
                ..*image
            };
        }
        found.say("data", Fact::Data(data));
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::input(task.input("data")?)?;
        let like = match params.normalise {
            Some(Normalise::Like) => Some(Dataset::input(task.input("like")?)?),
            _ => None,
        };
        transformed(params, &data, like.as_ref().map(Dataset::info))?.save(task.output("data")?)
    }
}

fn too_small(crop: Size, height: usize, width: usize) -> Option<String> {
    (height < crop.height || width < crop.width).then(|| {
        format!(
            "images of {width}x{height} pixels (width x height) are too small for a middle of {}x{}",
            crop.width, crop.height
        )
    })
}

fn transformed(params: &Params, data: &Dataset, like: Option<&Info>) -> anyhow::Result<Dataset> {
    let mut info = data.info().clone();
    let mut values = data.values().clone();
    if let Some(crop) = params.center_crop {
        let ImageShape { height, width, .. } = info.shape;
        if let Some(message) = too_small(crop, height, width) {
            anyhow::bail!(Failure::new(format!("`{}`: {message}", info.name)));
        }
        values = match &values {
            Values::Bytes(all) => Values::Bytes(cropped(all, info.shape, crop)),
            Values::Floats(all) => Values::Floats(cropped(all, info.shape, crop)),
        };
        info.shape = ImageShape {
            height: crop.height,
            width: crop.width,
            ..info.shape
        };
        if info.shape.len() != info.columns.len() {
            info.columns.clear();
        }
    }
    let channels = info.shape.channels;
    let plain = (vec![0.0; channels], vec![1.0; channels]);
    if let Some(Whiten::PerImage) = params.whiten {
        values = Values::Floats(whitened(&values, info.shape.len()));
        (info.mean, info.std) = plain.clone();
    }
    match (&params.normalise, like) {
        (None, _) => {}
        (Some(Normalise::None), _) => (info.mean, info.std) = plain,
        (Some(Normalise::Measured), _) => (info.mean, info.std) = measure(&values, channels),
        (Some(Normalise::Fixed(fixed)), _) => {
            info.mean = spread("mean", &fixed.mean, channels)?;
            info.std = spread("std", &fixed.std, channels)?;
        }
        (Some(Normalise::Like), Some(like)) => {
            (info.mean, info.std) = (like.mean.clone(), like.std.clone());
        }
        (Some(Normalise::Like), None) => anyhow::bail!("the job has no data set `like`"),
    }
    let (answers, origin) = (data.answers().clone(), data.origin().to_vec());
    Ok(Dataset::of(info, values, answers, origin)?)
}

/// The middle of every image.
fn cropped<T: Copy>(all: &[T], shape: ImageShape, crop: Size) -> Vec<T> {
    let (left, top) = crop.corner(shape.width, shape.height);
    let row = crop.width * shape.channels;
    all.chunks_exact(shape.len())
        .flat_map(|image| {
            (top..top + crop.height)
                .flat_map(move |y| &image[(y * shape.width + left) * shape.channels..][..row])
        })
        .copied()
        .collect()
}

/// Every image minus its mean, over its deviation or 1/√n where that is more. Sums are f64 in the
/// order of the values, deviations in a second pass; the quotient is rounded once.
fn whitened(values: &Values, features: usize) -> Vec<f32> {
    let n = features as f64;
    let images = values.len() / features.max(1);
    let mut all = Vec::with_capacity(values.len());
    for i in 0..images {
        let image: Vec<f64> = match values.row(i, features) {
            Row::Bytes(bytes) => bytes.iter().map(|&p| f64::from(p) / 255.0).collect(),
            Row::Floats(floats) => floats.iter().map(|&x| f64::from(x)).collect(),
        };
        let mean = image.iter().sum::<f64>() / n;
        let variance = image.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let std = variance.sqrt().max(1.0 / n.sqrt());
        all.extend(image.iter().map(|x| ((x - mean) / std) as f32));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::Shapes;
    use serde_json::json;

    fn data() -> Dataset {
        let shapes = Shapes {
            train: 40,
            test: 1,
            ..Shapes::default()
        };
        shapes.draw().unwrap().0
    }

    fn with(json: serde_json::Value, data: &Dataset, like: Option<&Info>) -> Dataset {
        let params: Params = serde_json::from_value(json).unwrap();
        let new = transformed(&params, data, like).unwrap();
        assert_eq!((new.origin(), new.labels()), (data.origin(), data.labels()));
        new
    }

    /// Two images of 4x3 pixels with two channels: value = 100·image + 10·row + column, and the
    /// other channel one more than twice of it.
    fn small() -> Dataset {
        let pixel = |i: u8, y: u8, x: u8| [100 * i + 10 * y + x, 2 * (10 * y + x) + 1];
        let mut bytes = Vec::new();
        for (i, y) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            (0..4).for_each(|x| bytes.extend(pixel(i, y, x)));
        }
        let info = Info {
            name: "small".into(),
            shape: ImageShape {
                height: 3,
                width: 4,
                channels: 2,
            },
            classes: vec!["a".into()],
            mean: vec![0.5; 2],
            std: vec![0.25; 2],
            columns: Vec::new(),
            targets: Vec::new(),
        };
        Dataset::new(info, bytes, vec![0u32, 0], vec![7, 9]).unwrap()
    }

    #[test]
    fn the_middle_is_that_of_torchvision() {
        // torchvision.transforms.functional.center_crop(torch.arange(12).reshape(1, 3, 4), [1, 2])
        // gives [5, 6]; [2, 3] gives rows 0 and 1 and columns 0 to 2: halves go to the even side.
        let new = with(
            json!({"center_crop": {"width": 2, "height": 1}}),
            &small(),
            None,
        );
        assert_eq!(new.images(), [11, 23, 12, 25, 111, 23, 112, 25]);
        let new = with(
            json!({"center_crop": {"width": 3, "height": 2}}),
            &small(),
            None,
        );
        assert_eq!(new.image(0)[..6], [0, 1, 1, 3, 2, 5]);
        assert_eq!(new.info().mean, [0.5; 2], "its constants stay");
        let whole = with(
            json!({"center_crop": {"width": 4, "height": 3}}),
            &small(),
            None,
        );
        assert_eq!(whole, small());
    }

    #[test]
    fn whitened_images_have_mean_0_and_deviation_1() {
        let new = with(json!({"whiten": "per_image"}), &data(), None);
        let mut row = vec![0.0; new.features()];
        for i in 0..new.len() {
            new.normalised_row(i, &mut row);
            let n = row.len() as f64;
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let square = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            assert!(
                mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5,
                "{mean} {square}"
            );
        }
        // Adding the same to all values of an image, and multiplying them, changes nothing.
        let Values::Bytes(bytes) = data().values().clone() else {
            unreachable!()
        };
        let moved = bytes
            .iter()
            .map(|&p| 3.0 * f32::from(p) / 255.0 - 1.0)
            .collect();
        let moved = Dataset::of(
            data().info().clone(),
            Values::Floats(moved),
            data().answers().clone(),
            data().origin().to_vec(),
        );
        let moved = with(json!({"whiten": "per_image"}), &moved.unwrap(), None);
        let (Values::Floats(a), Values::Floats(b)) = (new.values(), moved.values()) else {
            unreachable!()
        };
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn an_image_of_one_grey_level_becomes_zero_and_a_faint_one_is_not_blown_up() {
        // tf.image.per_image_standardization of [0, 0, 0, 1]/255: std 0.001698 is below 1/√4, so
        // the values are (x - 1/1020) / 0.5.
        let info = Info {
            shape: ImageShape {
                height: 2,
                width: 2,
                channels: 1,
            },
            mean: vec![0.5],
            std: vec![0.5],
            ..small().info().clone()
        };
        let bytes = vec![9u8, 9, 9, 9, 0, 0, 0, 1];
        let data = Dataset::new(info, bytes, vec![0u32, 0], vec![0, 1]).unwrap();
        let new = with(json!({"whiten": "per_image"}), &data, None);
        let Values::Floats(values) = new.values() else {
            panic!("whitened values are floats")
        };
        assert_eq!(values[..4], [0.0; 4]);
        assert_eq!(values[4], (-1.0 / 1020.0 / 0.5) as f32);
        assert_eq!(values[7], (3.0 / 1020.0 / 0.5) as f32);
    }

    #[test]
    fn constants_are_measured_taken_over_or_given() {
        let (whole, half) = (data(), data().pick(&[0, 1, 2]));
        let train = with(json!({"normalise": "measured"}), &half, None);
        assert_ne!(train.info().mean, whole.info().mean);
        let test = with(json!({"normalise": "like"}), &whole, Some(train.info()));
        assert_eq!(test.info(), train.info());
        let given = json!({"normalise": {"fixed": {"mean": [0.1], "std": [0.2]}}});
        let given = with(given, &whole, None);
        assert_eq!(
            (&given.info().mean[..], &given.info().std[..]),
            (&[0.1][..], &[0.2][..])
        );
        assert_eq!(
            with(json!({"normalise": "none"}), &whole, None).info().std,
            [1.0]
        );
    }

    #[test]
    fn preparing_and_splitting_commute() {
        let prepared = json!({"center_crop": {"width": 9, "height": 8}, "whiten": "per_image"});
        let some = [3, 17, 4];
        let split = with(prepared.clone(), &data().pick(&some), None);
        assert_eq!(with(prepared, &data(), None).pick(&some), split);
    }

    #[test]
    fn mistakes_are_named() {
        let messages = |json, needs: &[&str]| {
            let params: Params = serde_json::from_value(json).unwrap();
            let needs: Vec<String> = needs.iter().map(|&n| n.to_owned()).collect();
            let problems = Transform::validate(&params, &needs);
            Vec::from_iter(problems.into_iter().map(|p| p.message))
        };
        assert_eq!(messages(json!({}), &[]), ["nothing is to be done"]);
        assert_eq!(
            messages(json!({"normalise": "like"}), &[]),
            ["no data set `like` is given"]
        );
        assert_eq!(
            messages(json!({"whiten": "per_image"}), &["data", "like"]),
            ["the need `like` is not used"]
        );
        let bad = json!({"normalise": {"fixed": {"mean": [], "std": [0.0]}}});
        assert_eq!(
            messages(bad, &[]),
            ["it must be finite numbers", "it must be numbers above 0"]
        );
        assert_eq!(
            messages(json!({"center_crop": {"width": 0, "height": 3}}), &[]),
            ["sides of 1 to 4096 pixels are possible"]
        );
        let params = serde_json::from_value(json!({"center_crop": {"width": 5, "height": 2}}));
        let refused = transformed(&params.unwrap(), &small(), None).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("too small for a middle of 5x2"),
            "{refused}"
        );
    }
}
