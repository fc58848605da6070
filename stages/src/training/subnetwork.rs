//! Networks that are found in weights which never change: each weight has a score, scores are
//! learnt in the weights' place, and they say which weights compute.
//!
//! Decides how scores become masks, and how gradients of weights become gradients of scores. The
//! step around it is of [`super::step`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failed::failed;
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::init::{self, Init};
use crate::nn::network::Network;
use crate::ops::Backend;
use crate::weights::{NamedTensor, NamedTensors};
use repro_numerics::exact::math::sigmoid;
use repro_numerics::exact::rng::Stream;

/// How a network is looked for in weights that stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subnetwork {
    /// Edge-popup (Ramanujan et al. 2020): of each layer the weights with the largest scores in
    /// absolute value compute.
    EdgePopup(EdgePopup),
    /// A supermask (Zhou et al. 2019, section 5): each weight computes with the probability
    /// sigmoid(score), drawn anew after every step.
    Bernoulli(Bernoulli),
}

/// See [`Subnetwork::EdgePopup`]. The gradient of a score is `∂L/∂w · w · sign(score)`, for weights
/// that do not compute too (straight-through), with `∂L/∂w` that of the weight as it computes.
/// Scores start as U(±1/√fan_in).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgePopup {
    /// Share of the weights of each layer that compute, in [0, 1]. ⌊(1 - keep)·n⌋ of n do not; of
    /// equal scores the first go.
    pub keep: f64,
    /// What the weights that compute are multiplied with.
    #[serde(default)]
    pub rescale: Rescale,
}

/// See [`Subnetwork::Bernoulli`]. The gradient of a score is `∂L/∂w · w · σ(score)·(1 - σ(score))`,
/// for all weights (straight-through). What is measured and handed on is the mask drawn last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bernoulli {
    /// The first score of all weights. 0: half of them compute.
    #[serde(default)]
    pub first: f64,
    /// What the weights that compute are multiplied with.
    #[serde(default)]
    pub rescale: Rescale,
}

/// What the weights of a layer are multiplied with, where m of its n weights compute. No gradient
/// flows through the factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rescale {
    /// 1.
    #[default]
    None,
    /// √(n/m), which keeps the variance of a unit's input: the scaled weights of Ramanujan et al.
    Root,
    /// n/m: the dynamic weight rescaling of Zhou et al.
    Share,
}

impl Rescale {
    fn factor(self, all: usize, computing: usize) -> f32 {
        let ratio = all as f64 / computing.max(1) as f64;
        match self {
            Rescale::None => 1.0,
            Rescale::Root => ratio.sqrt() as f32,
            Rescale::Share => ratio as f32,
        }
    }
}

impl Subnetwork {
    /// What is wrong with the numbers: the field and the reason.
    pub fn problem(self) -> Option<(&'static [&'static str], String)> {
        match self {
            Subnetwork::EdgePopup(EdgePopup { keep, .. }) if !(0.0..=1.0).contains(&keep) => {
                let text = format!("must be between 0 and 1, got {keep}");
                Some((&["edge_popup", "keep"], text))
            }
            Subnetwork::Bernoulli(Bernoulli { first, .. }) if !first.is_finite() => {
                let text = format!("must be finite, got {first}");
                Some((&["bernoulli", "first"], text))
            }
            _ => None,
        }
    }

    /// The scores before the first step, of every weight, in file layout.
    fn first_scores(self, architecture: &Architecture, seed: u64) -> Result<NamedTensors, Failure> {
        let init = match self {
            Subnetwork::EdgePopup(_) => Init::FanInUniform,
            Subnetwork::Bernoulli(Bernoulli { first, .. }) => Init::Constant(first),
        };
        init::fresh(architecture, init, seed, "scores")
    }

    /// How the choice that a score makes changes with it.
    fn slope(self, score: f32) -> f32 {
        match self {
            Subnetwork::EdgePopup(_) if score > 0.0 => 1.0,
            Subnetwork::EdgePopup(_) if score < 0.0 => -1.0,
            Subnetwork::EdgePopup(_) => 0.0,
            Subnetwork::Bernoulli(_) => {
                let p = sigmoid(score);
                p * (1.0 - p)
            }
        }
    }

    fn rescale(self) -> Rescale {
        match self {
            Subnetwork::EdgePopup(EdgePopup { rescale, .. })
            | Subnetwork::Bernoulli(Bernoulli { rescale, .. }) => rescale,
        }
    }
}

/// A layer's weights and what is learnt of them, in memory layout.
struct Searched<D: Backend> {
    /// As they were given; nothing writes here.
    weights: Vec<f32>,
    scores: D::Values,
    /// 0 or 1.
    mask: Vec<f32>,
    factor: f32,
}

/// A search for a subnetwork, in the middle of a training.
pub struct Search<D: Backend> {
    how: Subnetwork,
    seed: u64,
    /// Steps done: the key of what is drawn.
    steps: u64,
    /// By position in [`Architecture::parameters`]; none of what has no scores.
    layers: Vec<Option<Searched<D>>>,
    /// Used again from step to step.
    ranks: Vec<u32>,
    computing: Vec<f32>,
}

/// What a search ends with, in file layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which weights compute: 1, the others 0.
    pub mask: NamedTensors,
    /// The scores.
    pub scores: NamedTensors,
    /// The whole network; its weights are those of before the first step.
    pub weights: NamedTensors,
}

impl<D: Backend> Search<D> {
    /// Of these weights, after so many steps, with the scores of a state or with fresh ones. The
    /// network computes with the weights that are chosen from now on.
    ///
    /// # Errors
    /// Scores of another network; the device's.
    pub(super) fn new(
        network: &mut Network<D>,
        pool: &D::Pool,
        how: Subnetwork,
        seed: u64,
        steps: u64,
        scores: Option<&NamedTensors>,
    ) -> anyhow::Result<Search<D>> {
        let failed = failed::<D>("the scores of a search");
        let architecture = network.architecture();
        let fresh = match scores {
            Some(_) => NamedTensors::new(),
            None => how.first_scores(architecture, seed)?,
        };
        let scores = scores.unwrap_or(&fresh);
        let device = network.device().clone();
        let mut layers = Vec::new();
        for (parameter, tensor) in architecture.parameters.iter().zip(network.tensors()) {
            if !parameter.role.is_weight() {
                layers.push(None);
                continue;
            }
            let weights = device.read(tensor.values()).into_owned();
            let of = scores.get(&parameter.name);
            let Some(of) = of.filter(|of| of.shape == parameter.shape) else {
                let text = format!("there are no scores of `{}`", parameter.name);
                return Err(Failure::new(text).into());
            };
            let of = parameter.layout.to_memory(&of.data);
            let scores = device.written(pool, of.len(), |to| to.copy_from_slice(&of));
            layers.push(Some(Searched {
                mask: vec![0.0; weights.len()],
                weights,
                scores: scores.map_err(failed)?,
                factor: 1.0,
            }));
        }
        let mut search = Search {
            how,
            seed,
            steps,
            layers,
            ranks: Vec::new(),
            computing: Vec::new(),
        };
        search.choose(network, pool).map_err(failed)?;
        Ok(search)
    }

    /// Turns the gradients of what computed into those of scores; nothing else has one.
    pub(super) fn slopes(
        &self,
        device: &D,
        pool: &D::Pool,
        gradients: &mut [Option<D::Values>],
    ) -> Result<(), D::Err> {
        for (gradient, layer) in gradients.iter_mut().zip(&self.layers) {
            let (Some(of_weights), Some(layer)) = (gradient.take(), layer) else {
                continue;
            };
            let (of_weights, scores) = (device.read(&of_weights), device.read(&layer.scores));
            let each = of_weights.iter().zip(&layer.weights).zip(&*scores);
            let of_scores = device.written(pool, layer.weights.len(), |to| {
                for (to, ((g, w), score)) in to.iter_mut().zip(each) {
                    *to = g * (layer.factor * w) * self.how.slope(*score);
                }
            })?;
            *gradient = Some(of_scores);
        }
        Ok(())
    }

    /// The scores of every parameter that has some, to move.
    pub(super) fn scores_mut(&mut self) -> impl Iterator<Item = Option<&mut D::Values>> {
        let layers = self.layers.iter_mut();
        layers.map(|layer| layer.as_mut().map(|layer| &mut layer.scores))
    }

    /// After a step: which weights compute from now on.
    pub(super) fn advance(
        &mut self,
        network: &mut Network<D>,
        pool: &D::Pool,
    ) -> Result<(), D::Err> {
        self.steps += 1;
        self.choose(network, pool)
    }

    fn choose(&mut self, network: &mut Network<D>, pool: &D::Pool) -> Result<(), D::Err> {
        let device = network.device().clone();
        let layers = self.layers.iter_mut().zip(network.tensors_mut());
        for (position, (layer, tensor)) in layers.enumerate() {
            let Some(layer) = layer else {
                continue;
            };
            let scores = device.read(&layer.scores);
            match self.how {
                Subnetwork::EdgePopup(EdgePopup { keep, .. }) => {
                    largest(&scores, keep, &mut self.ranks, &mut layer.mask);
                }
                Subnetwork::Bernoulli(_) => {
                    let position = position as u64;
                    let mut stream = Stream::new(self.seed, "bernoulli mask", self.steps, position);
                    for (mask, score) in layer.mask.iter_mut().zip(&*scores) {
                        *mask = f32::from(u8::from(stream.uniform() < sigmoid(*score)));
                    }
                }
            }
            let computing = layer.mask.iter().filter(|m| **m != 0.0).count();
            layer.factor = self.how.rescale().factor(layer.mask.len(), computing);
            let each = layer.weights.iter().zip(&layer.mask);
            self.computing.clear();
            self.computing.extend(each.map(|(w, m)| match *m == 0.0 {
                true => 0.0,
                false => layer.factor * w,
            }));
            tensor.set(&device, pool, &self.computing)?;
        }
        Ok(())
    }

    /// The share of all weights that computes.
    pub(super) fn share_kept(&self) -> f64 {
        let masks = || self.layers.iter().flatten().map(|layer| &layer.mask);
        let kept = masks().flatten().filter(|m| **m != 0.0).count();
        kept as f64 / masks().map(Vec::len).sum::<usize>().max(1) as f64
    }

    /// What there is now, of the network that computes.
    pub(super) fn found(&self, network: &Network<D>) -> Found {
        let mut weights = network.save();
        let mut mask = NamedTensors::new();
        let parameters = network.architecture().parameters.iter();
        for (parameter, layer) in parameters.zip(&self.layers) {
            let Some(layer) = layer else {
                continue;
            };
            let as_file = |values: &[f32]| NamedTensor {
                shape: parameter.shape.clone(),
                data: parameter.layout.to_file(values),
            };
            weights.insert(parameter.name.clone(), as_file(&layer.weights));
            mask.insert(parameter.name.clone(), as_file(&layer.mask));
        }
        let of = |i: usize| self.layers[i].as_ref().map(|layer| &layer.scores);
        Found {
            mask,
            scores: network.named(of),
            weights,
        }
    }
}

/// 1 for the share `keep` of largest magnitude, 0 for the others: ⌊(1 - keep)·n⌋, of equal ones the
/// first.
fn largest(scores: &[f32], keep: f64, ranks: &mut Vec<u32>, mask: &mut [f32]) {
    let away = ((1.0 - keep) * scores.len() as f64) as usize;
    mask.fill(1.0);
    let Some(last) = away.min(scores.len()).checked_sub(1) else {
        return;
    };
    let rank = |score: &f32| score.abs().to_bits();
    ranks.clear();
    ranks.extend(scores.iter().map(rank));
    let (below, limit, _) = ranks.select_nth_unstable(last);
    let limit = *limit;
    let mut equal = below.iter().filter(|r| **r == limit).count() + 1;
    for (mask, score) in mask.iter_mut().zip(scores) {
        let rank = rank(score);
        let goes = rank < limit || (rank == limit && equal > 0);
        if rank == limit {
            equal = equal.saturating_sub(1);
        }
        if goes {
            *mask = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ends_and_ties() {
        let mask = |scores: &[f32], keep| {
            let mut mask = vec![0.5; scores.len()];
            largest(scores, keep, &mut Vec::new(), &mut mask);
            mask
        };
        let scores = [0.5, -0.5, 0.25, -1.0, 0.5];
        assert_eq!(mask(&scores, 1.0), [1.0; 5]);
        assert_eq!(mask(&scores, 0.0), [0.0; 5]);
        assert_eq!(mask(&scores, 0.6), [0.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(mask(&scores, 0.39), [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(mask(&[], 0.5), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn the_largest_stay_and_the_count_is_exact(scores in prop::collection::vec(-4i8..5, 1..80), keep in 0.0..=1.0f64) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut mask = vec![0.0; scores.len()];
            largest(&scores, keep, &mut Vec::new(), &mut mask);
            let gone = ((1.0 - keep) * scores.len() as f64).floor() as usize;
            prop_assert_eq!(mask.iter().filter(|m| **m == 0.0).count(), gone);
            let of = |side: f32| scores.iter().zip(&mask).filter(move |(_, m)| **m == side).map(|(s, _)| s.abs());
            prop_assert!(of(0.0).fold(0.0, f32::max) <= of(1.0).fold(f32::INFINITY, f32::min));
        }
    }
}
