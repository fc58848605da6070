//! Loss and accuracy of a network on a data set, in evaluation mode.

use super::batches::InOrder;
use crate::data::Dataset;
use crate::kind::Failure;
use crate::nn::network::Network;
use crate::ops::{self, Backend, Labels, Matrix};

/// Images at once. Part of the definition of the loss's bits: means are taken per batch.
const BATCH: usize = 256;

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

/// Looks at every image once: the loss is Σ (batch mean · batch size) / N in f64, in order. Memory comes
/// from `pool`.
pub fn score<D: Backend>(
    device: &D,
    pool: &D::Pool,
    network: &Network<D>,
    data: &Dataset,
) -> anyhow::Result<Score> {
    let failed = |e: D::Err| anyhow::anyhow!("evaluation: {e:?}");
    let classes = network.architecture().identity.classes;
    let images = InOrder::new(data);
    let (mut loss, mut by_class) = (0.0, vec![(0, 0); classes]);
    for first in (0..data.len()).step_by(BATCH) {
        let labels = &data.labels()[first..data.len().min(first + BATCH)];
        let shape = (labels.len(), data.features());
        let x = Matrix::written(device, pool, shape, |inputs| images.write(first, inputs));
        let logits = x.and_then(|x| network.forward(x)).map_err(failed)?;
        for (row, &label) in logits.read().chunks_exact(classes).zip(labels) {
            let class = &mut by_class[label as usize];
            class.1 += 1;
            class.0 += u64::from(argmax(row) == label as usize);
        }
        let labels = Labels::new(labels, classes)?;
        let mean = ops::softmax_cross_entropy(logits, &labels, 0.0).map_err(failed)?;
        loss += f64::from(mean.as_vec()[0]) * labels.of_rows().len() as f64;
    }
    let right: u64 = by_class.iter().map(|c| c.0).sum();
    Ok(Score {
        loss: loss / data.len() as f64,
        accuracy: right as f64 / data.len() as f64,
        by_class,
    })
}

/// The position of the largest value, the first on a tie; NaN never wins.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] || row[best].is_nan() {
            best = i;
        }
    }
    best
}

/// Numbers are to be learnt from these data, and there is no loss for them yet.
pub fn no_classes(data: &Dataset, name: &str) -> Failure {
    Failure::new(format!(
        "input `{name}`: `{}` has numbers to be learnt ({}), and networks learn classes here",
        data.info().name,
        data.info().targets.join(", ")
    ))
    .hint("regression is not built in: a command can read the file (docs/data.md); classes are labels, not targets")
}

/// The data can be shown to a network: some images, of its size, with its number of classes.
pub fn check_data(
    data: &Dataset,
    identity: &crate::nn::architecture::Identity,
    name: &str,
) -> Result<(), Failure> {
    let (got, want) = (data.info().shape, identity.input);
    if data.is_empty() {
        return Err(Failure::new(format!(
            "input `{name}`: `{}` has no images",
            data.info().name
        )));
    }
    if data.class_count() == 0 {
        return Err(no_classes(data, name));
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
    if data.class_count() != identity.classes {
        let text = format!(
            "input `{name}`: `{}` has {} classes, the model {}",
            data.info().name,
            data.class_count(),
            identity.classes
        );
        return Err(Failure::new(text));
    }
    Ok(())
}
