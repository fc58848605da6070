//! Batch norm's running statistics made anew: for weights that no training has visited, such as
//! averages of weights (Izmailov et al. 2018, section 3.2, whose code weights batches by their
//! images; PyTorch's `update_bn` weights all alike).

use super::batches::InOrder;
use super::failed::failed;
use crate::data::Dataset;
use crate::nn::network::Network;
use crate::ops::{Backend, Matrix};

/// Images at once. Part of the definition of the statistics' bits.
const BATCH: usize = 256;

/// Replaces every running mean and variance by the mean, weighted by images, of the batches' own
/// (variances unbiased).
///
/// Batches of 256 images in order, unchanged; each passes the network in training mode without
/// dropout. After batch `k` of `n_k` images, with `s = n_k / (n_1 + ... + n_k)`, `running = (1 -
/// s)·running + s·batch`. A last batch with one value of a unit has no variance and is left out.
pub fn recompute<D: Backend>(network: &mut Network<D>, data: &Dataset) -> anyhow::Result<()> {
    let failed = failed::<D>("statistics of batch norm");
    let (images, pool) = (InOrder::new(data), D::Pool::default());
    for first in (0..data.len()).step_by(BATCH) {
        let end = data.len().min(first + BATCH);
        let shape = (end - first, data.features());
        let x = Matrix::written(network.device(), &pool, shape, |inputs| {
            images.write(first, inputs);
        });
        let share = (end - first) as f32 / end as f32;
        x.and_then(|x| network.update_statistics(x, share))
            .map_err(failed)?;
    }
    Ok(())
}
