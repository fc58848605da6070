//! Sums of models, and what makes a network of the result.
//!
//! Knows no reason why models are added.

use std::path::Path;
use std::sync::Arc;

use crate::data::Dataset;
use crate::device::{self, Device};
use crate::failure::Failure;
use crate::kinds::running::RunningStatistics;
use crate::kinds::{network, several};
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::model::Model;
use crate::nn::network::Network;
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::statistics::recompute;
use crate::weights::NamedTensors;

/// `a₁·w₁ + a₂·w₂ ...` in f32, element by element and in this order; each product and each sum is
/// rounded.
#[derive(Debug, Clone)]
pub(super) struct Sum(NamedTensors);

impl Sum {
    /// The first of the terms.
    pub(super) fn of(mut tensors: NamedTensors, factor: f32) -> Sum {
        let values = tensors.values_mut().flat_map(|t| &mut t.data);
        values.for_each(|w| *w *= factor);
        Sum(tensors)
    }

    /// One more. It has the tensors of the first.
    pub(super) fn add(&mut self, tensors: &NamedTensors, factor: f32) {
        for (name, tensor) in &mut self.0 {
            for (s, w) in tensor.data.iter_mut().zip(&tensors[name].data) {
                *s += factor * *w;
            }
        }
    }

    /// The sum over this.
    pub(super) fn over(mut self, divisor: f32) -> NamedTensors {
        let values = self.0.values_mut().flat_map(|t| &mut t.data);
        values.for_each(|w| *w /= divisor);
        self.0
    }
}

/// Reads models that are to be averaged, one after the other.
pub(super) struct Reader<'a> {
    network: Option<&'a Identity>,
    first: Option<Architecture>,
}

impl<'a> Reader<'a> {
    /// Of files that do not say it themselves, `network` says what they hold.
    pub(super) fn new(network: Option<&'a Identity>) -> Reader<'a> {
        Reader {
            network,
            first: None,
        }
    }

    /// The weights of the next.
    ///
    /// # Errors
    /// It is no model, or one of another shape than the first.
    pub(super) fn read(&mut self, path: &Path) -> anyhow::Result<NamedTensors> {
        let Model {
            architecture,
            tensors,
        } = network::read(path, self.network)?;
        let first = self.first.get_or_insert_with(|| architecture.clone());
        let hint = "only models of one shape can be averaged";
        several::of_one_shape(path, &architecture, first, hint)?;
        Ok(tensors)
    }

    /// What the models are.
    ///
    /// # Errors
    /// None was read.
    pub(super) fn architecture(self) -> Result<Architecture, Failure> {
        self.first.ok_or_else(|| {
            Failure::new("input `models`: no model")
                .hint("gather some: `needs: {models: \"train[*].model\"}`")
        })
    }
}

/// The training data on which batch norm's statistics are made anew, where there are some.
///
/// # Errors
/// There are none, the network has batch norm, and nothing says that its statistics are kept: of
/// one model alone they are its own.
pub(super) fn training_data(
    task: &Task,
    architecture: &Architecture,
    batch_norm: Option<RunningStatistics>,
    models: usize,
) -> anyhow::Result<Option<Dataset>> {
    let train = match task.inputs("train") {
        [] => None,
        sets => Some(Dataset::put_together(sets, "train")?),
    };
    let is_said = train.is_some() || batch_norm.is_some();
    if models > 1 && architecture.has_batch_norm() && !is_said {
        return Err(collapse().into());
    }
    Ok(train)
}

/// The network of these weights, and its batch norm's statistics made anew on data, if there are
/// some.
///
/// # Errors
/// Data of another size than the network's.
pub(super) fn anew(
    architecture: &Arc<Architecture>,
    tensors: &NamedTensors,
    data: Option<&Dataset>,
) -> anyhow::Result<Network<Device>> {
    let mut network = Network::load(&device::open()?, Arc::clone(architecture), tensors)?;
    if let Some(data) = data.filter(|_| architecture.has_batch_norm()) {
        check_data(data, &architecture.identity, "train")?;
        recompute(&mut network, data)?;
    }
    Ok(network)
}

/// The failure for several models with batch norm if neither training data nor `keep` is given.
pub(super) fn collapse() -> Failure {
    let text = "the models have batch norm, and the mean of their running statistics is not that of the averaged network: \
                its accuracy would collapse";
    Failure::new(text).hint(
        "add the training data, on which they are made anew: `needs: {train: data.train}`; or keep the means on purpose: `with: {batch_norm: keep}`",
    )
}
