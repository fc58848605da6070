//! How well a network does on a data set, in evaluation mode: loss and accuracy, or errors of
//! numbers.

use dfdx::prelude::AsArray as _;

use super::batches::InOrder;
use super::calibration::{Calibration, argmax};
use super::failed::failed;
use crate::data::{Answers, Dataset};
use crate::failure::Failure;
use crate::nn::architecture::{Head, Identity, InputSize};
use crate::nn::network::Network;
use crate::nn::spec::ModelSpec;
use crate::ops::{self, Backend, Frame, Labels, Matrix};

/// Images at once. Part of the definition of the loss's bits: means are taken per batch.
pub(super) const BATCH: usize = 256;

/// How well a network does.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Mean cross-entropy in nats, without label smoothing.
    pub loss: f64,
    /// Share of images whose largest logit (the first on a tie) is at the label.
    pub accuracy: f64,
    /// Per class: images right, images in all.
    pub by_class: Vec<(u64, u64)>,
}

/// Looks at every image once: the loss is Σ (batch mean · batch size) / N in f64, in order. Memory
/// comes from `pool`.
pub fn score<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
) -> anyhow::Result<Score> {
    let classes = network.architecture().identity.outputs.width();
    let (mut loss, mut by_class) = (0.0, vec![(0, 0); classes]);
    each_batch(pool, network, data, |first, logits| {
        let labels = &data.labels()[first..][..logits.shape().0];
        for (row, &label) in logits.read().chunks_exact(classes).zip(labels) {
            let class = &mut by_class[label as usize];
            class.1 += 1;
            class.0 += u64::from(argmax(row) == label as usize);
        }
        let labels = Labels::new(labels, classes)?;
        let mean =
            ops::softmax_cross_entropy(logits, &labels, 0.0).map_err(failed::<D>("evaluation"))?;
        loss += f64::from(mean.array()) * labels.of_rows().len() as f64;
        Ok(())
    })?;
    let right: u64 = by_class.iter().map(|c| c.0).sum();
    Ok(Score {
        loss: loss / data.len() as f64,
        accuracy: right as f64 / data.len() as f64,
        by_class,
    })
}

/// How sure a network is, beside how often it is right.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Data without labels.
pub fn calibration<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
) -> anyhow::Result<Calibration> {
    let classes = network.architecture().identity.outputs.width();
    let mut all = Calibration::default();
    each_batch(pool, network, data, |first, logits| {
        let labels = &data.labels()[first..];
        for (row, &label) in logits.read().chunks_exact(classes).zip(labels) {
            all.add(row, label as usize);
        }
        Ok(())
    })?;
    Ok(all)
}

/// How an image is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As it is.
    AsIs,
    /// Left and right exchanged.
    Mirrored,
}

impl View {
    /// The image of this number as it is shown.
    fn frame(self, image: usize) -> Frame {
        Frame {
            is_mirrored: self == View::Mirrored,
            // A data set has fewer than 2³² examples.
            ..Frame::whole(image as u32)
        }
    }

    /// Images of `height x width x channels` as they are shown, in place.
    fn show(self, images: &mut [f32], width: usize, channels: usize) {
        if self == View::AsIs {
            return;
        }
        for row in images.chunks_exact_mut(width * channels) {
            for x in 0..width / 2 {
                for channel in 0..channels {
                    row.swap(x * channels + channel, (width - 1 - x) * channels + channel);
                }
            }
        }
    }
}

/// The outputs of a network for every image, in order: `[images, outputs]`.
///
/// # Errors
/// The device's.
pub fn logits<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
    view: View,
) -> anyhow::Result<Vec<f32>> {
    let width = network.architecture().identity.outputs.width();
    let mut all = Vec::with_capacity(data.len() * width);
    each_batch_seen(pool, network, data, view, |_, outputs| {
        all.extend_from_slice(&outputs.read());
        Ok(())
    })?;
    Ok(all)
}

/// The outputs of a network for every image once, in batches and in order; each with the position
/// of its first image.
fn each_batch<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
    see: impl FnMut(usize, Matrix<D>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    each_batch_seen(pool, network, data, View::AsIs, see)
}

/// [`each_batch`], shown so.
fn each_batch_seen<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
    view: View,
    mut see: impl FnMut(usize, Matrix<D>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let images = InOrder::new(data);
    let size = data.info().shape;
    let device = network.device();
    let failed = failed::<D>("evaluation");
    let pictures = match images.album() {
        Some(album) => device.keep(pool, album).map_err(failed)?,
        None => None,
    };
    for first in (0..data.len()).step_by(BATCH) {
        let shape = (BATCH.min(data.len() - first), data.features());
        let x = match &pictures {
            Some(pictures) => {
                let frames: Vec<Frame> = (first..first + shape.0).map(|i| view.frame(i)).collect();
                let inputs = device.show(pool, pictures, &frames);
                inputs.map(|inputs| Matrix::new(device, pool, shape, inputs))
            }
            None => Matrix::written(device, pool, shape, |inputs| {
                images.write(first, inputs);
                view.show(inputs, size.width, size.channels);
            }),
        };
        let outputs = x.and_then(|x| network.forward(x));
        see(first, outputs.map_err(failed)?)?;
    }
    Ok(())
}

/// How far a network is off one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Share of the variance that is explained, 1 − Σ(y − t)² / Σ(t − mean)²; none where the number
    /// never varies.
    pub r2: Option<f64>,
}

/// The errors of each target. All sums are in f64, over images in order, of differences of f64.
///
/// # Panics
/// Data with labels.
pub fn errors<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
) -> anyhow::Result<Vec<Errors>> {
    let Answers::Targets(targets) = data.answers() else {
        panic!("errors of labels");
    };
    let (n, width) = (data.len() as f64, data.info().targets.len());
    let of = |k: usize| targets[k..].iter().step_by(width).map(|t| f64::from(*t));
    let mut sums = vec![(0.0, 0.0); width];
    each_batch(pool, network, data, |first, outputs| {
        let rows = targets[first * width..].chunks_exact(width);
        for (y, t) in outputs.read().chunks_exact(width).zip(rows) {
            for ((y, t), (squares, absolute)) in y.iter().zip(t).zip(&mut sums) {
                let error = f64::from(*y) - f64::from(*t);
                *squares += error * error;
                *absolute += error.abs();
            }
        }
        Ok(())
    })?;
    let errors = sums
        .into_iter()
        .enumerate()
        .map(|(k, (squares, absolute))| {
            let mean = of(k).sum::<f64>() / n;
            let spread: f64 = of(k).map(|t| (t - mean) * (t - mean)).sum();
            Errors {
                mse: squares / n,
                mae: absolute / n,
                r2: (spread > 0.0).then(|| 1.0 - squares / spread),
            }
        });
    Ok(errors.collect())
}

/// The errors over all targets: means of theirs, in order.
pub fn overall(errors: &[Errors]) -> Errors {
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / errors.len() as f64;
    let r2 = errors.iter().map(|e| e.r2).collect::<Option<Vec<f64>>>();
    Errors {
        mse: mean(&mut errors.iter().map(|e| e.mse)),
        mae: mean(&mut errors.iter().map(|e| e.mae)),
        r2: r2.map(|all| mean(&mut all.into_iter())),
    }
}

impl Errors {
    /// By name.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        let known = [("mse", self.mse), ("mae", self.mae)];
        let r2 = self.r2.map(|r2| ("r2", r2));
        known.into_iter().chain(r2).collect()
    }
}

/// What there is to say of a network on data in all: loss and accuracy, or errors.
pub fn values<D: Backend>(
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    Ok(match network.architecture().identity.outputs {
        Head::Classes(_) => {
            let score = score(pool, network, data)?;
            vec![("loss", score.loss), ("accuracy", score.accuracy)]
        }
        Head::Targets(_) => overall(&errors(pool, network, data)?).values(),
    })
}

/// What a network learns from these data.
pub fn outputs(data: &Dataset) -> Head {
    match data.answers() {
        Answers::Labels(_) => Head::Classes(data.class_count()),
        Answers::Targets(_) => Head::Targets(data.info().targets.len()),
    }
}

/// A network for these data.
pub fn fitted(model: &ModelSpec, data: &Dataset) -> Identity {
    let shape = data.info().shape;
    Identity {
        model: model.clone(),
        input: InputSize {
            height: shape.height,
            width: shape.width,
            channels: shape.channels,
        },
        outputs: outputs(data),
    }
}

/// The data can be shown to a network: some images, of its size, with its number of classes or
/// targets.
pub fn check_data(data: &Dataset, identity: &Identity, name: &str) -> Result<(), Failure> {
    let (got, want) = (data.info().shape, identity.input);
    if data.is_empty() {
        return Err(Failure::new(format!(
            "input `{name}`: `{}` has no images",
            data.info().name
        )));
    }
    if (got.height, got.width, got.channels) != (want.height, want.width, want.channels) {
        let text = format!(
            "input `{name}`: the images of `{}` are {got} (height, width, channels), the model was made for {}x{}x{}",
            data.info().name,
            want.height,
            want.width,
            want.channels
        );
        return Err(
            Failure::new(text).hint("use data of the same size as the model was trained on")
        );
    }
    let has = outputs(data);
    if has != identity.outputs {
        let text = format!(
            "input `{name}`: `{}` has {has}, the model {}",
            data.info().name,
            identity.outputs
        );
        let failure = Failure::new(text);
        return Err(match (has, identity.outputs) {
            (Head::Classes(_), Head::Classes(_)) => failure,
            (Head::Targets(_), Head::Targets(_)) => failure,
            _ => failure.hint(OTHER_ANSWERS),
        });
    }
    Ok(())
}

/// What to do where classes and numbers meet.
pub const OTHER_ANSWERS: &str =
    "a network learns either classes (`label`) or numbers (`targets`): use data with the same";
